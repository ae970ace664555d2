"""RFC 3921 §3: session establishment, which clients from before RFC 6121 still ask for.

It does nothing: a bound resource is a session (RFC 6121 §1.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jabberd.core.module import At, Host, IqSet, Module
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.stanza import Iq

RFC: Final = "3921 §3"


@dataclass(frozen=True)
class Options:
    """There is nothing to set."""


def load(_host: Host, _options: Options) -> Module:
    """Answer the request with an empty result."""
    return Module(handlers=[IqSet(ns.SESSION, "session", _establish, at=At.HOST | At.OWN)])


def _establish(_iq: Iq, _session: Session | None) -> None:
    return None
