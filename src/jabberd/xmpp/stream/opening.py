"""The beginning of a received stream: which host it asks for, and what that host offers."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.frames import StreamOpened
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sasl.offer import Channel, Offer
from jabberd.xmpp.stream.base import features
from jabberd.xmpp.stream.policy import HostPolicy, Inline

UPGRADE: Final = "UPGR-"
"""What the name of a task begins with that upgrades to the mechanism named behind it."""

_VERSION: Final = re.compile(r"([0-9]{1,9})\.[0-9]{1,9}")


def major_version(header: StreamOpened) -> int | None:
    """The major version of the peer's protocol; 0 where it names none, None for a bad one.

    RFC 6120 §4.7.5: a stream without a version is of the time before XMPP 1.0.
    """
    if header.version is None:
        return 0
    version = _VERSION.fullmatch(header.version)
    return int(version[1]) if version else None


def choose_host(
    header: StreamOpened,
    content: str,
    hosts: Callable[[JID], HostPolicy | None],
    account: JID | None,
) -> tuple[HostPolicy | None, StreamError | None]:
    """The host that a header asks for, and why the stream cannot go on, if it cannot.

    Args:
        header: the peer's.
        content: the content namespace of this port.
        hosts: how a host wants to be logged in to; None for one that is not ours.
        account: as whom the peer has logged in already.
    """
    if header.namespace != content:
        text = f"this port is for {content}"
        return None, StreamError(StreamCondition.INVALID_NAMESPACE, text)
    if not header.to:
        return None, StreamError(StreamCondition.IMPROPER_ADDRESSING, "the stream has no 'to'")
    try:
        domain = JID.parse(header.to)
    except InvalidJID as error:
        return None, StreamError(StreamCondition.IMPROPER_ADDRESSING, str(error))
    policy = hosts(domain) if not domain.local and domain.is_bare else None
    if policy is None:
        return None, StreamError(StreamCondition.HOST_UNKNOWN, "this host is not served here")
    if account is not None and account.domain != policy.domain.domain:
        # A login is good for one host only (CVE-2018-10847 was this).
        text = f"this login is for {account.domain}"
        return policy, StreamError(StreamCondition.NOT_AUTHORIZED, text)
    return policy, None


def canonical(address: str) -> str:
    """An address of a header to be sent back; empty where it is none."""
    try:
        return JID.parse(address).text if address else ""
    except InvalidJID:
        return ""


def sender(header: StreamOpened, policy: HostPolicy) -> JID | None:
    """Who the peer says it is; None where it does not say, or not in a way to be understood.

    Raises:
        StreamError: invalid-from: somebody of another host (XEP-0388 §2.1).
    """
    try:
        jid = JID.parse(header.from_).bare if header.from_ else None
    except InvalidJID:
        return None
    if jid is None or not policy.sasl2:
        return None
    if jid.domain != policy.domain.domain:
        text = f"this stream is for accounts of {policy.domain.text}"
        raise StreamError(StreamCondition.INVALID_FROM, text)
    return jid if jid.local else None


def before_login(policy: HostPolicy, channel: Channel, offer: Offer) -> tuple[bytes, str]:
    """The stream features of who has not logged in (RFC 6120 §5.4.1, §6.4.1).

    Returns:
        The features, and the version of what they say (XEP-0509); empty where there is no SASL2.
    """
    starttls = policy.starttls and not channel.secure
    if starttls and policy.tls_required:
        return features(_STARTTLS_REQUIRED), ""
    offered = _STARTTLS if starttls else b""
    offered += _login(offer.names, offer.bindings)
    if policy.legacy_auth:
        offered += _LEGACY
    offered += policy.before_login()
    # XEP-0388 §3: under TLS only, and not without a mechanism.
    if not (policy.sasl2 and channel.secure and offer.names):
        return features(offered), ""
    return _with_version(offered + _authentication(offer.names, offer.fast, policy.inline))


def after_login(policy: HostPolicy, *, bound: bool = False) -> bytes:
    """The stream features of who has (RFC 6120 §7.4); the session is a no-op since RFC 6121.

    Args:
        policy: of the host.
        bound: whether there is a resource already.
    """
    return features((b"" if bound else _BIND) + policy.after_login())


# Few different ones are ever sent, each of them thousands of times.
@lru_cache(maxsize=256)
def _login(mechanisms: tuple[str, ...], bindings: tuple[str, ...]) -> bytes:
    children: list[Element] = []
    if mechanisms:
        names = [Element(ns.SASL, "mechanism", {}, [name]) for name in mechanisms]
        children.append(Element(ns.SASL, "mechanisms", {}, names))
    if bindings:
        types = [Element(ns.SASL_CB, "channel-binding", {"type": name}) for name in bindings]
        children.append(Element(ns.SASL_CB, "sasl-channel-binding", {}, types))
    return b"".join(child.to_bytes() for child in children)


@lru_cache(maxsize=256)
def _authentication(mechanisms: tuple[str, ...], fast: tuple[str, ...], offered: Inline) -> bytes:
    # XEP-0388 §2.1, XEP-0386 §3.1, XEP-0198 §9, XEP-0484 §3.1, XEP-0480 §2.1.
    inline: list[Element] = []
    if offered.bind is not None:
        inside = [Element(ns.BIND2, "feature", {"var": name}) for name in offered.bind]
        listed = [Element(ns.BIND2, "inline", {}, inside)] if inside else []
        inline.append(Element(ns.BIND2, "bind", {}, listed))
    if offered.resume:
        inline.append(Element(ns.SM, "sm"))
    if fast:
        names = [Element(ns.FAST, "mechanism", {}, [name]) for name in fast]
        inline.append(Element(ns.FAST, "fast", {}, names))
    element = Element(ns.SASL2, "authentication")
    element.add(*(Element(ns.SASL2, "mechanism", {}, [name]) for name in mechanisms))
    if inline:
        element.add(Element(ns.SASL2, "inline", {}, inline))
    upgrades = (Element(ns.SASL_UPGRADE, "upgrade", {}, [UPGRADE + n]) for n in offered.upgrades)
    return element.add(*upgrades).to_bytes()


@lru_cache(maxsize=64)
def _with_version(offered: bytes) -> tuple[bytes, str]:
    # XEP-0509 §2.3: opaque, the same for the same offer, also after a restart.
    version = base64.b64encode(hashlib.sha256(offered).digest()[:18]).decode("ascii")
    element = Element(ns.IAP, "config-version", {"scheme": "opaque", "value": version})
    return features(offered + element.to_bytes()), version


_STARTTLS: Final = Element(ns.TLS, "starttls").to_bytes()
_STARTTLS_REQUIRED: Final = Element(
    ns.TLS, "starttls", {}, [Element(ns.TLS, "required")]
).to_bytes()
_LEGACY: Final = Element(ns.AUTH_FEATURE, "auth").to_bytes()
_BIND: Final = (
    Element(ns.BIND, "bind").to_bytes()
    + Element(ns.SESSION, "session", {}, [Element(ns.SESSION, "optional")]).to_bytes()
)
