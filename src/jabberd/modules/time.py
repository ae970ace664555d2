"""XEP-0202 Entity Time: the server's clock and time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jabberd.core.module import At, Host, IqGet, Module, Xep
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload import time
from jabberd.xmpp.stanza import Iq

XEP = Xep(202, "2.0")


@dataclass(frozen=True)
class Options:
    """Entity time has no options."""


def load(host: Host, _options: Options) -> Module:
    """Answers what time it is."""

    def answer(_iq: Iq, _session: Session | None) -> Element:
        now = host.now()
        zone = datetime.fromtimestamp(now, UTC).astimezone().utcoffset() or timedelta()
        return time.element(now, int(zone.total_seconds()))

    return Module(handlers=[IqGet(ns.TIME, "time", answer, At.HOST)], features=[ns.TIME])
