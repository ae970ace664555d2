"""The beginning of a received stream: which host it asks for, and what that host offers."""

from __future__ import annotations

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
from jabberd.xmpp.stream.policy import HostPolicy

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


def before_login(policy: HostPolicy, channel: Channel, offer: Offer) -> bytes:
    """The stream features of who has not logged in (RFC 6120 §5.4.1, §6.4.1)."""
    starttls = policy.starttls and not channel.secure
    if starttls and policy.tls_required:
        return features(_STARTTLS_REQUIRED)
    login = _login(offer.names, offer.bindings)
    legacy = _LEGACY if policy.legacy_auth else b""
    return features((_STARTTLS if starttls else b"") + login + legacy + policy.before_login())


def after_login(policy: HostPolicy) -> bytes:
    """The stream features of who has (RFC 6120 §7.4); the session is a no-op since RFC 6121."""
    return features(_BIND + policy.after_login())


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


_STARTTLS: Final = Element(ns.TLS, "starttls").to_bytes()
_STARTTLS_REQUIRED: Final = Element(
    ns.TLS, "starttls", {}, [Element(ns.TLS, "required")]
).to_bytes()
_LEGACY: Final = Element(ns.AUTH_FEATURE, "auth").to_bytes()
_BIND: Final = (
    Element(ns.BIND, "bind").to_bytes()
    + Element(ns.SESSION, "session", {}, [Element(ns.SESSION, "optional")]).to_bytes()
)
