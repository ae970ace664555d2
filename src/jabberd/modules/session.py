"""RFC 3921 §3: session establishment, which clients from before RFC 6121 still ask for.

It does nothing: a bound resource is a session (RFC 6121 §1.4). Who has one binds no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jabberd.core.module import At, Host, IqSet, Module
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Iq

RFC: Final = "3921 §3"


@dataclass(frozen=True)
class Options:
    """There is nothing to set."""


def load(_host: Host, _options: Options) -> Module:
    """Answer the request with an empty result, and one for another resource with an error."""
    return Module(
        handlers=[
            IqSet(ns.SESSION, "session", _establish, at=At.HOST | At.OWN),
            IqSet(ns.BIND, "bind", _bind, at=At.HOST | At.OWN),
        ]
    )


def _establish(_iq: Iq, _session: Session | None) -> None:
    return None


def _bind(_iq: Iq, _session: Session | None) -> None:
    # RFC 6120 §7.6.2.2; RFC 6120 knows no more than one resource per stream.
    raise StanzaError(Condition.NOT_ALLOWED, "this stream has its resource already")
