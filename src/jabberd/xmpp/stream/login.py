"""How the initiating role logs in: what it wants, and which mechanism that comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from jabberd.xmpp import ns, prep
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import anonymous, external, offer, plain, scram
from jabberd.xmpp.sasl.mechanism import ClientMechanism
from jabberd.xmpp.sasl.offer import Channel

_ORDER: Final = (
    external.NAME,
    *(name + scram.PLUS for name in scram.NAMES),
    *scram.NAMES,
    plain.NAME,
    anonymous.NAME,
)


class Tls(Enum):
    """What is done about STARTTLS."""

    REQUIRED = "required"
    """No login without TLS."""
    WANTED = "wanted"
    """TLS where the server offers it: no defence against who strips the offer."""
    OFF = "off"
    """No STARTTLS, whatever the server offers."""


@dataclass(frozen=True, slots=True)
class Login:
    """As whom to log in, and how.

    Attributes:
        account: its bare JID; only a domain for a login without a name (ANONYMOUS).
        password: in clear; None where there is none.
        resource: what to ask for; empty: the server chooses.
        certificate: whether the connection presents a client certificate (EXTERNAL).
        tls: what is done about STARTTLS.
        plain_without_tls: whether the password may go over the network as it is.
        mechanisms: out of `offer.MECHANISMS`, those that may be used, in any order; each SCRAM
            stands for itself and its -PLUS.
    """

    account: JID
    password: str | None = field(default=None, repr=False)
    resource: str = ""
    certificate: bool = False
    tls: Tls = Tls.REQUIRED
    plain_without_tls: bool = False
    mechanisms: Sequence[str] = offer.MECHANISMS


def read_offer(
    features: Element, namespace: str = ns.SASL, parent: str = "mechanisms"
) -> scram.Advertised:
    """The mechanisms and channel bindings that a server advertises (XEP-0440).

    Args:
        features: of the stream.
        namespace: of the kind of SASL.
        parent: the element that lists its mechanisms.
    """
    names = texts(features.find(namespace, parent), namespace, "mechanism")
    listed = features.find(ns.SASL_CB, "sasl-channel-binding")
    if listed is None:
        return scram.Advertised(names)
    types = [child.get("type") for child in listed.find_all(ns.SASL_CB, "channel-binding")]
    return scram.Advertised(names, tuple(types))


def texts(parent: Element | None, namespace: str, name: str) -> tuple[str, ...]:
    """What all children of this name say; nothing where there is no parent."""
    return () if parent is None else tuple(c.text for c in parent.find_all(namespace, name))


def choose(
    login: Login, channel: Channel, advertised: scram.Advertised, token: Callable[[], str]
) -> ClientMechanism:
    """The strongest mechanism that both sides know.

    Args:
        login: as whom.
        channel: what is known of the connection.
        advertised: what the server offers on it.
        token: makes an unpredictable string of printable ASCII without a comma.

    Raises:
        SaslError: aborted, where there is none, or the password cannot be prepared.
    """
    advertised = replace(advertised, version=channel.version if channel.secure else "")
    ours = tuple(channel.bindings.items()) if channel.secure else ()
    listed = advertised.bindings
    common = next((each for each in ours if listed is None or each[0] in listed), None)
    allowed = {name for name in login.mechanisms if _possible(name, login, channel)}
    for name in _ORDER:
        plus = name.endswith(scram.PLUS)
        if name.removesuffix(scram.PLUS) not in allowed or name not in advertised.mechanisms:
            continue
        if plus and common is None:
            continue
        # Also without PLUS the server learns that binding was possible (RFC 5802 §6).
        binding = common or next(iter(ours), None)
        try:
            return _make(name, login, advertised, binding, token)
        except prep.PrepError as error:
            raise SaslError(SaslCondition.ABORTED, str(error)) from None
    raise SaslError(SaslCondition.ABORTED, "the server offers no mechanism that may be used")


def _possible(name: str, login: Login, channel: Channel) -> bool:
    if name == external.NAME:
        return login.certificate and channel.secure
    if name == anonymous.NAME:
        return not login.account.local
    if login.password is None or not login.account.local:
        return False
    return name != plain.NAME or channel.secure or login.plain_without_tls


def _make(
    name: str,
    login: Login,
    advertised: scram.Advertised,
    binding: tuple[str, bytes] | None,
    token: Callable[[], str],
) -> ClientMechanism:
    if name == external.NAME:
        return external.client(login.account.text if login.account.local else "")
    if name == anonymous.NAME:
        return anonymous.client()
    password = login.password or ""
    if name == plain.NAME:
        return plain.client(login.account, password)
    return scram.ScramClient(name, login.account, password, token, advertised, binding=binding)
