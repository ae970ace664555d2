"""XEP-0199 XMPP Ping: the server says that it is there."""

from __future__ import annotations

from dataclasses import dataclass

from jabberd.core.module import At, Host, IqGet, Module, Xep
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.stanza import Iq

XEP = Xep(199, "2.0.1")


@dataclass(frozen=True)
class Options:
    """Ping has no options."""


def pong(_iq: Iq, _session: Session | None) -> None:
    """An empty result."""


def load(_host: Host, _options: Options) -> Module:
    """Answers at the host and at the sender's own bare JID (§4.2).

    Pings to other bare JIDs are not answered: that would tell which accounts exist (§7).
    """
    return Module(handlers=[IqGet(ns.PING, "ping", pong, At.HOST | At.OWN)], features=[ns.PING])
