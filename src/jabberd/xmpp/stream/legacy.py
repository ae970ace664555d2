"""The login of clients from before XMPP 1.0 (XEP-0078), as the receiving role needs it."""

from __future__ import annotations

from typing import Final, NamedTuple

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, SaslCondition, SaslError, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq

LEGACY: Final = "jabber:iq:auth"
"""What stands in place of a SASL mechanism's name for a login by XEP-0078."""


class Fields(NamedTuple):
    """What a client fills in, as it came; empty where a field is absent."""

    username: str
    password: str
    resource: str

    @property
    def message(self) -> bytes:
        """The same as the one message of SASL PLAIN (RFC 4616), which decides about it."""
        return f"\0{self.username}\0{self.password}".encode()


def read_fields(iq: Iq) -> Fields:
    """The fields of a request whose one child is a query of `ns.AUTH`."""
    query = iq.request()
    return Fields(*(query.child_text(ns.AUTH, name) or "" for name in Fields._fields))


def answer_get(iq: Iq, host: JID) -> Iq:
    """Which fields are wanted.

    The same for every name: who exists is nobody's business. No digest: it would need passwords
    to be stored.
    """
    fields = [Element(ns.AUTH, name) for name in Fields._fields]
    answer = iq.result(Element(ns.AUTH, "query", {}, fields))
    answer.from_ = iq.to or host
    return answer


def missing() -> StanzaError:
    """Why a request without one of the fields is refused (XEP-0078 §3.1)."""
    text = "username, password and resource are required; digest is not offered"
    return StanzaError(Condition.NOT_ACCEPTABLE, text)


def as_stanza_error(error: SaslError) -> StanzaError:
    """What a refused login is told: whatever is wrong with a name or a password is one error."""
    if error.condition is SaslCondition.TEMPORARY_AUTH_FAILURE:
        return StanzaError(Condition.RESOURCE_CONSTRAINT, error.text)
    return StanzaError(Condition.NOT_AUTHORIZED, error.text)
