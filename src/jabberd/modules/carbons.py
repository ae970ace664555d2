"""XEP-0280 Message Carbons: your other clients see what this one sends and receives.

Copies are for connected clients. What nobody was there to receive waits in the log, and comes to
the next client that takes messages (XEP-0160); it is not copied to those that do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

from jabberd.core.module import At, Flow, Host, IqSet, Module, OnMessage, Phase, Side, Xep
from jabberd.core.ports import CarbonsApi
from jabberd.core.session import Session, client_of, flag_slot
from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.payload.carbons import copy, eligible
from jabberd.xmpp.stanza import Iq, Message

XEP: Final = Xep(280, "1.0.1")
ENABLED: Final = flag_slot("carbons.enabled")


@dataclass(frozen=True, slots=True)
class Options:
    """Carbons have no options."""


class Carbons:
    """`CarbonsApi`, and the copies."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def on(self, _iq: Iq, session: Session | None) -> None:
        """Enable carbons for the client that asks; as often as it likes (§10.1).

        Raises:
            StanzaError: not-allowed, where no client of ours asks.
        """
        self.enable(client_of(session))

    def off(self, _iq: Iq, session: Session | None) -> None:
        """Disable carbons for the client that asks; as often as it likes (§10.1).

        Raises:
            StanzaError: not-allowed, where no client of ours asks.
        """
        client_of(session).set(ENABLED, False)

    def refuse(self, _iq: Iq, _session: Session | None) -> NoReturn:
        """Nobody decides this for the clients of somebody else (§4.1, §5.1)."""
        raise StanzaError(Condition.NOT_ALLOWED, "this is for your own clients only")

    def enable(self, session: Session) -> None:
        """See `CarbonsApi.enable`."""
        session.set(ENABLED, True)

    def sent(self, message: Message, flow: Flow) -> None:
        """Copy what a client has sent (§8)."""
        others = self._others(flow)
        # What one sends to oneself is copied once, as received: those who got it need no copy.
        if others and (message.to is None or message.to.bare != flow.account):
            _copy(message, flow, others, outgoing=True)

    def received(self, message: Message, flow: Flow) -> None:
        """Copy what some clients have received (§7)."""
        others = self._others(flow)
        if others:
            _copy(message, flow, others, outgoing=False)

    def _others(self, flow: Flow) -> list[Session]:
        """The clients of the account that want copies and have not the message itself."""
        origin, reached = flow.origin, flow.reached
        others: list[Session] = []  # a comprehension is slower, and every message passes here
        for session in self._host.sessions(flow.account):
            if session is not origin and session not in reached and session.get(ENABLED):
                others.append(session)  # noqa: PERF401 -- as said above
        return others


def _copy(message: Message, flow: Flow, others: list[Session], *, outgoing: bool) -> None:
    if not eligible(message, outgoing=outgoing):
        return
    carbon = copy(flow.copy or message, flow.account, outgoing=outgoing)
    for session in others:
        session.send(carbon.replace(to=session.jid), flow.parcel)


def load(host: Host, _options: Options) -> Module:
    """The module's value for one host."""
    carbons = Carbons(host)
    return Module(
        features=[ns.CARBONS, ns.CARBONS_RULES],
        handlers=[
            IqSet(ns.CARBONS, "enable", carbons.on, At.OWN),
            IqSet(ns.CARBONS, "disable", carbons.off, At.OWN),
            IqSet(ns.CARBONS, "enable", carbons.refuse, At.USER),
            IqSet(ns.CARBONS, "disable", carbons.refuse, At.USER),
            OnMessage(Side.SENT, Phase.COPY, carbons.sent, others=True),
            OnMessage(Side.RECEIVED, Phase.COPY, carbons.received, others=True),
        ],
        provides={CarbonsApi: carbons},
    )
