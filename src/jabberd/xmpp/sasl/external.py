"""EXTERNAL (RFC 4422 appendix A) with client certificates (XEP-0178 §2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.encoding import decode_text
from jabberd.xmpp.sasl.mechanism import (
    ClientMechanism,
    Conversation,
    ServerMechanism,
    Success,
    ask_client,
    ask_credentials,
    demand_enabled,
    parse_authzid,
    refused,
)

NAME: Final = "EXTERNAL"


def server(domain: str, identities: Sequence[JID]) -> ServerMechanism:
    """The receiving side.

    Args:
        domain: of the host, prepared.
        identities: the XmppAddr names of the client's certificate, which has been verified.
            Those of other hosts are ignored.
    """
    return ServerMechanism(NAME, _converse(usable(domain, identities)))


def client(authzid: str = "") -> ClientMechanism:
    """The initiating side.

    Args:
        authzid: whom to act as; needed only where the certificate has several addresses.
    """
    return ClientMechanism(NAME, authzid.encode())


def usable(domain: str, identities: Sequence[JID]) -> tuple[JID, ...]:
    """Those identities that can be accounts of this host, each once."""
    mine = (jid.bare for jid in identities if jid.local and jid.domain == domain)
    return tuple(dict.fromkeys(mine))


def _converse(identities: tuple[JID, ...]) -> Conversation:
    authzid = decode_text((yield from ask_client()))
    jid = _choose(identities, authzid)
    found = yield from ask_credentials(jid.local)
    if found is None:
        raise refused()
    demand_enabled(found)
    return Success(jid.local, jid.text, named=bool(authzid))


def _choose(identities: tuple[JID, ...], authzid: str) -> JID:
    # XEP-0178 §2, steps 10 and 11: without an authzid there must be no choice to make.
    if not identities:
        raise refused("the certificate names no account of this host")
    if authzid:
        jid = parse_authzid(authzid)
        if jid not in identities:
            raise SaslError(SaslCondition.INVALID_AUTHZID, "not an address of the certificate")
        return jid
    if len(identities) > 1:
        raise SaslError(SaslCondition.INVALID_AUTHZID, "the certificate has several addresses")
    return identities[0]
