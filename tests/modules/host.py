"""A real host over memory stores, with sessions that record what they are sent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from typing import TypeVar

from jabberd.core.eager import settle
from jabberd.core.host import LocalHost
from jabberd.core.journal import Journal
from jabberd.core.keeper import Ledger
from jabberd.core.module import Module
from jabberd.core.router import Router
from jabberd.core.session import Session, SessionFacts, Sessions, SessionState
from jabberd.core.verdict import Relayed, Verdict
from jabberd.storage.api import Account
from jabberd.storage.log_api import Entry, Flag, Unit
from jabberd.storage.memory import MemoryStores
from jabberd.xmpp.error import StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Presence, Stanza, read_stanza

S = TypeVar("S", bound=Stanza)
START = 1_700_000_000.0


class Clock:
    """Time that moves only when it is told to."""

    def __init__(self, at: float = START) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.at += seconds


class RecordingSession(SessionState):
    """A client that keeps what it is sent."""

    def __init__(self, jid: JID, since: float = START) -> None:
        super().__init__(jid, SessionFacts("127.0.0.1", since, "SCRAM-SHA-256", "TLSv1.3"))
        self.inbox: list[Stanza] = []
        self.ended = False
        self.error: StreamError | None = None

    def write(self, stanza: Stanza) -> None:
        """Keep the stanza."""
        self.inbox.append(stanza)

    def close(self, error: StreamError | None = None) -> None:
        """Keep the error."""
        self.ended = True
        self.error = error

    def take(self) -> list[str]:
        """Everything received since the last call, as text."""
        texts = [stanza.to_bytes().decode() for stanza in self.inbox]
        self.inbox.clear()
        return texts

    def take_all(self, kind: type[S]) -> list[S]:
        """The stanzas of one kind since the last call; the others are forgotten."""
        found = [stanza for stanza in self.inbox if isinstance(stanza, kind)]
        self.inbox.clear()
        return found


class Domain:
    """Somebody else's domain, which keeps what it is sent."""

    def __init__(self) -> None:
        self.inbox: list[Stanza] = []

    async def receive(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Keep the stanza."""
        self.inbox.append(stanza)
        return Relayed("test")

    def knows(self, account: str) -> bool:
        """None of its accounts are ours."""
        return False

    def take(self) -> list[str]:
        """Everything received since the last call, as text."""
        texts = [stanza.to_bytes().decode() for stanza in self.inbox]
        self.inbox.clear()
        return texts


class World:
    """One host, its clock and its clients."""

    def __init__(self, domain: str = "example.com") -> None:
        numbers = itertools.count(1)
        self.clock = Clock()
        self.stores = MemoryStores()
        self.sessions = Sessions()
        self.journal = Journal()
        self.router = Router(self.journal, self.clock)
        self.ledger = Ledger(self.stores.log, self.clock)
        self.host = LocalHost(
            JID.parse(domain),
            stores=self.stores,
            sessions=self.sessions,
            router=self.router,
            now=self.clock,
            token=lambda: f"token{next(numbers)}",
            ledger=self.ledger,
        )

    def load(self, name: str, module: Module) -> None:
        """Take a module in."""
        self.host.load(name, module)

    def domain(self, name: str) -> Domain:
        """Another domain that stanzas can be routed to."""
        other = Domain()
        self.router.add(name, other)
        return other

    async def account(self, *names: str) -> None:
        """Make accounts."""
        for name in names:
            owner = f"{name}@{self.host.domain.text}"
            await self.stores.accounts.create(Account(owner, (), self.clock()))

    async def login(self, address: str, presence: str | None = None) -> RecordingSession:
        """Bind a session: ``alice/desk``. `presence` is what it sends first, if anything."""
        name, _, resource = address.partition("/")
        session = RecordingSession(
            JID.parse(f"{name}@{self.host.domain.text}/{resource}"), self.clock()
        )
        await settle(self.host.bind(session))
        if presence is not None:
            await self.says(session, presence)
            session.inbox.clear()
        return session

    def put(self, owner: str, stanza: bytes) -> None:
        """Have a message wait in an account's log."""
        key = self.stores.log.next_key(self.clock())
        entry = Entry(
            key, owner, "alice@example.com", "", self.clock(), Flag.AWAITING, "", 0, stanza
        )
        self.stores.log.commit(Unit(entries=[entry]))

    async def waiting(self, owner: str) -> int:
        """How many messages wait in an account's log."""
        return await self.stores.log.count_waiting(owner)

    async def says(self, session: RecordingSession, xml: str) -> Verdict:
        """Let a client send a stanza; returns when it and all it caused is done."""
        stanza = read_stanza(xml.encode()).replace(from_=session.jid)
        verdict = await _ready(self.router.submit(stanza, session))
        await self.quiet()
        return verdict

    async def arrives(self, xml: str) -> Verdict:
        """Let a stanza come in from elsewhere."""
        verdict = await _ready(self.host.route(read_stanza(xml.encode())))
        await self.quiet()
        return verdict

    async def leaves(self, session: RecordingSession) -> None:
        """End a session without a word."""
        await settle(self.host.unbind(session))
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until nothing is under way any more, and all of it is committed."""
        await self._over()
        while self.ledger.turns.latest() is not None:
            await self.ledger.turns.settled()
            await self._over()

    async def _over(self) -> None:
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            _, late = await asyncio.wait(others, timeout=5)
            assert not late, f"still under way: {late}"


async def _ready(verdict: Verdict | Awaitable[Verdict]) -> Verdict:
    return await verdict if isinstance(verdict, Awaitable) else verdict


def presences(session: RecordingSession) -> list[tuple[str, str]]:
    """Who sent which type of presence, in order; forgets everything received."""
    return [(str(p.from_), p.type) for p in session.take_all(Presence)]
