"""Sessions that wait for their clients to come back (XEP-0198 §5), also from a former process."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog

from jabberd.core.host import LocalHost
from jabberd.core.keeper import Ledger
from jabberd.core.parcel import Parcel
from jabberd.core.session import SessionFacts
from jabberd.edge.client_session import ClientSession
from jabberd.edge.sm import Bounds, Item, StreamManagement, unpack
from jabberd.storage.log_api import Entry, Flag, Restored
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sm import MODULUS, Resume
from jabberd.xmpp.stanza import ParseError

_log: Final = structlog.get_logger("jabberd.resumption")
_SWEEP_SECONDS: Final = 5.0
_ENDED: Final = 10_000  # sessions that ended, of which the last count is known
_KEYS_AT_ONCE: Final = 500
_WORK_SECONDS: Final = 10.0  # for the last stanza of a broken stream to be dealt with


_SETTLED: Final = int(Flag.AWAITING | Flag.SENT | Flag.SEEN)


class ResumeFailed(Exception):  # noqa: N818 -- what the client is told
    """A session cannot be resumed.

    Attributes:
        error: why.
        handled: how many of the client's stanzas were handled in it; None where unknown.
    """

    def __init__(self, error: StanzaError, handled: int | None) -> None:
        super().__init__(error.text)
        self.error = error
        self.handled = handled


class Resumptions:
    """Every session of this server that can be resumed.

    Args:
        ledger: the durable log.
        hosts: by domain.
        clock: of the loop, in seconds.
        bounds: how much is kept for one session; may be changed at any time.
        ack_seconds: how long a client may take to acknowledge before its connection counts as
            broken.
        location: where clients are to come back to, "host:port"; empty: where they were.
    """

    def __init__(
        self,
        ledger: Ledger,
        hosts: Mapping[str, LocalHost],
        clock: Callable[[], float],
        bounds: Bounds,
        ack_seconds: float,
        location: str = "",
    ) -> None:
        self._ledger = ledger
        self._hosts = hosts
        self.now = clock
        self.turns = ledger.turns
        self.bounds = bounds
        self.ack_seconds = ack_seconds
        self.location = location
        self._sessions: dict[str, ClientSession] = {}
        self._ended: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def next_number(self) -> int:
        """A number for one more session in the log."""
        return self._ledger.log.next_key(self._ledger.now())

    def add(self, session: ClientSession) -> None:
        """The session can be resumed from now on."""
        if session.sm is not None and session.sm.id:
            self._sessions[session.sm.id] = session
            self._sweep_soon()

    def remove(self, session: ClientSession) -> None:
        """The session is over."""
        sm = session.sm
        if sm is None:
            return
        if self._sessions.pop(sm.id, None) is not None:
            self._ended[sm.id] = (session.jid.bare_text, _certain(session, sm.handled))
            if len(self._ended) > _ENDED:
                self._ended.popitem(last=False)
        self.turns.forget(session)
        if sm.durable:
            self.turns.open().unit.ended.append(sm.number)

    async def take(self, account: JID, wanted: Resume) -> ClientSession:
        """The session that a client wants back, with nobody attached to it any more.

        Raises:
            ResumeFailed: there is none, or it is somebody else's.
            StreamError: the client acknowledges more than was sent (§6).
        """
        session = self._sessions.get(wanted.previd)
        if session is None or session.jid.bare != account or session.sm is None:
            await self.turns.settled()  # what is told was handled is on disk
            owner, handled = self._ended.get(wanted.previd, ("", 0))
            known = handled if owner == account.text else None
            raise ResumeFailed(StanzaError(Condition.ITEM_NOT_FOUND), known)
        session.detach(StreamError(StreamCondition.CONFLICT, "the session goes on elsewhere"))
        if session.work is not None:
            await asyncio.wait({session.work}, timeout=_WORK_SECONDS)
        # The count that the client is told must be on disk, as in every acknowledgement.
        sm = session.sm
        if sm.durable and sm.told != sm.handled:
            turn = self.turns.open()
            turn.unit.handled[sm.number] = sm.told = sm.handled
            turn.gates[session] = None
        await self.turns.settled()
        self._check(wanted, session, sm)
        restored = sm.restored
        sm.resume(wanted.h)
        if restored and sm.durable:
            # Its stanzas have other places from now on. The journal has to know before the first
            # of them is sent: another restart would take it for one that was not.
            self.turns.open().gates[session] = None
            await self.turns.settled()
            self._check(wanted, session, sm)
        return session

    def _check(self, wanted: Resume, session: ClientSession, sm: StreamManagement) -> None:
        """Somebody else may have taken the session meanwhile."""
        if self._sessions.get(wanted.previd) is not session or session.connected:
            raise ResumeFailed(StanzaError(Condition.ITEM_NOT_FOUND), sm.handled)

    # Time

    def _sweep_soon(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """End what nobody has come back to, and connections that nobody answers on."""
        self._timer = None
        now = self.now()
        for session in list(self._sessions.values()):
            sm = session.sm
            if sm is None:
                continue
            if session.connected:
                if sm.asked and now - sm.asked > self.ack_seconds:
                    session.lose("no acknowledgement came")
            elif now - session.since > sm.seconds:
                session.finish("its client has not come back")
        if self._sessions:
            self._sweep_soon()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # From one process to the next

    async def restore(self, left: Sequence[Restored], make: Make) -> int:
        """Take over the sessions of a former process.

        Args:
            left: what it left behind.
            make: makes a session without a connection.

        Returns:
            How many there are.
        """
        entries = await self._entries(left)
        revived: list[tuple[Restored, ClientSession]] = []
        lost: list[int] = []
        # Of two rows with one address the newer one is right.
        for one in sorted(left, key=lambda row: row.saved.number, reverse=True):
            session = self._revive(one, make)
            if session is None:
                self.turns.open().unit.ended.append(one.saved.number)
                lost += [key for key in _keys(one) if key in entries]
            else:
                revived.append((one, session))
        held = {key for one, _ in revived for key in _keys(one)}
        # The former process may have died before these were written to anybody.
        waiting = set(await self._ledger.log.unsettled()).union(
            key for key in lost if not entries[key].flags & _SETTLED
        )
        self.turns.open().unit.awaiting.extend(sorted(waiting - held))
        parcels: dict[int, tuple[bytes, Parcel]] = {}
        for one, session in revived:
            if session.sm is not None:
                placed = self._placed(one, session, entries, parcels)
                behind = max((row.first + row.stanzas for row in one.journal), default=0)
                session.sm.restore(one.handled, placed, behind)
            self.add(session)
        await self.turns.settled()
        # Nobody tells a session that was available all the time to take what waits.
        for account in {session.jid.bare for session in self._sessions.values()}:
            self._hosts[account.domain].keeper.look(account)
        return len(revived)

    async def _entries(self, left: Sequence[Restored]) -> dict[int, Entry]:
        found: dict[int, Entry] = {}
        for one in left:
            keys = _keys(one)
            for at in range(0, len(keys), _KEYS_AT_ONCE):
                some = await self._ledger.log.get(one.saved.owner, keys[at : at + _KEYS_AT_ONCE])
                found.update((entry.key, entry) for entry in some)
        return found

    def _revive(self, one: Restored, make: Make) -> ClientSession | None:
        try:
            data = json.loads(one.saved.data)
            jid = JID.parse(data["jid"])
            host = self._hosts.get(jid.domain)
            if host is None or _has(host, jid):
                return None
            session = make(jid, SessionFacts(**data["facts"]))
            session.become(data)
            session.manage(
                StreamManagement(one.saved.number, data["id"], data["seconds"], durable=True)
            )
        except (ValueError, KeyError, TypeError, InvalidJID, ParseError) as error:
            _log.error("a session could not be restored", owner=one.saved.owner, error=str(error))
            return None
        host.adopt(session)
        return session

    def _placed(
        self,
        one: Restored,
        session: ClientSession,
        entries: Mapping[int, Entry],
        parcels: dict[int, tuple[bytes, Parcel]],
    ) -> Iterable[tuple[int, Item]]:
        keeper = self._hosts[session.jid.domain].keeper
        for row in one.journal:
            for place, (key, data) in enumerate(unpack(row.items), row.first):
                entry = entries.get(key)
                if entry is None:
                    if data:
                        yield place, Item(data, None)
                    continue
                if key not in parcels:
                    try:
                        parcels[key] = keeper.parcel_of(entry)
                    except ParseError as error:
                        _log.error("an entry cannot be read", key=key, error=str(error))
                        continue
                wire, parcel = parcels[key]
                parcel.holders += 1
                yield place, Item(data or wire, parcel)

    def save(self) -> None:
        """Write down what is not yet: the process is about to end."""
        turn = self.turns.open()
        for session in self._sessions.values():
            if session.sm is not None and session.sm.durable:
                session.detach(None)
                session.sm.changed = True
                session.sm.finish()
                turn.gates[session] = None


Make = Callable[[JID, SessionFacts], ClientSession]


def _has(host: LocalHost, jid: JID) -> bool:
    return any(other.jid == jid for other in host.sessions(jid.bare))


def _keys(one: Restored) -> list[int]:
    return [key for row in one.journal for key, _ in unpack(row.items) if key]


def _certain(session: ClientSession, handled: int) -> int:
    """A count without the stanza that is still being dealt with."""
    under_way = session.work is not None and not session.work.done()
    return (handled - under_way) % MODULUS
