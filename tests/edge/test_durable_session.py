"""What a session with stream management has on the disk when its client is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from jabberd.core.parcel import Parcel
from jabberd.core.session import SessionFacts
from jabberd.core.turns import Turns
from jabberd.edge import client_session
from jabberd.edge.client_session import ClientSession
from jabberd.edge.sm import Bounds, StreamManagement, unpack
from jabberd.storage.log_api import Entry, Flag, Unit
from jabberd.xmpp.error import StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence
from tests.modules.host import World

pytestmark = pytest.mark.asyncio
BOB = JID.parse("bob@example.com/phone")
NUMBER = 7


class Disk:
    """A log that writes when it is told to."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.units: list[Unit] = []
        self._commit = world.stores.log.commit
        self._done: list[asyncio.Future[None]] = []
        monkeypatch.setattr(world.stores.log, "commit", self.commit)

    def commit(self, unit: Unit) -> asyncio.Future[None]:
        self.units.append(unit)
        self._done.append(asyncio.get_running_loop().create_future())
        return self._done[-1]

    async def turns(self) -> None:
        """Write everything."""
        while self._done:
            self._commit(self.units[-len(self._done)])
            self._done.pop(0).set_result(None)
            await passes()


class Carrier:
    """A connection that remembers what was written to it."""

    waiting = 0
    takes = True

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> bool:
        self.written += data
        return True

    def release(self, error: StreamError | None) -> None:
        raise AssertionError(error)

    def close(self, error: StreamError | None = None) -> None:
        raise AssertionError(error)

    def abort(self) -> None:
        raise AssertionError("nothing is wrong")


class Keeping:
    """What sessions share."""

    bounds = Bounds(60, 1000, 1_000_000)

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.now: Callable[[], float] = asyncio.get_running_loop().time

    def remove(self, session: ClientSession) -> None:
        """Nobody can resume it."""


async def passes() -> None:
    """Some turns of the loop."""
    for _ in range(6):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.account("alice", "bob")
    yield world
    await world.host.close()
    await world.stores.close()


@pytest.fixture
def disk(world: World, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(world, monkeypatch)


@pytest.fixture
def carrier() -> Carrier:
    return Carrier()


@pytest_asyncio.fixture
async def session(world: World, disk: Disk, carrier: Carrier) -> AsyncIterator[ClientSession]:
    facts = SessionFacts(address="", since=0.0, mechanism="", tls="")
    keeping = Keeping(world.ledger.turns)
    session = ClientSession(BOB, facts, world.host, keeping, carrier)
    world.host.adopt(session)
    session.manage(StreamManagement(NUMBER, "id", 60, durable=True))
    world.ledger.turns.tidy()
    await passes()
    await disk.turns()
    disk.units.clear()
    yield session
    await disk.turns()


async def test_what_follows_a_change_waits_until_it_is_written(
    session: ClientSession, carrier: Carrier, disk: Disk
) -> None:
    session.appear(Presence(from_=BOB), 0)
    session.send(Message(id="answer"))
    await passes()
    assert carrier.written == b""
    assert b"<presence" in disk.units[0].sessions[NUMBER].data
    await disk.turns()
    assert b"answer" in carrier.written


async def test_what_waited_is_journaled_before_it_is_written(
    world: World, session: ClientSession, carrier: Carrier, disk: Disk
) -> None:
    stanza = b"<message from='alice@example.com' id='old'><body>m</body></message>"
    entry = Entry(5, "bob@example.com", "alice@example.com", "", 0.0, Flag.AWAITING, "", 0, stanza)
    world.host.keeper.hand_over(session, entry)
    await passes()
    assert carrier.written == b""
    (row,) = disk.units[0].journal
    assert [key for key, _ in unpack(row.items)] == [5]
    await disk.turns()
    assert b"old" in carrier.written


async def test_a_copy_of_what_the_account_sent_is_not_held_back(
    world: World, session: ClientSession, carrier: Carrier, disk: Disk
) -> None:
    session.hold()
    turn = world.ledger.turns.open()
    flags = int(Flag.VISIBLE | Flag.SENT)
    parcel = Parcel("bob@example.com", 9, b"", turn, flags, world.host.keeper)
    session.send(Message(id="copy"), parcel)
    session.send(Message(id="other"))
    await passes()
    (row,) = disk.units[0].journal
    assert [key for key, _ in unpack(row.items)] == [9]
    await disk.turns()
    assert b"copy" in carrier.written
    assert b"other" not in carrier.written
    session.release()
    await passes()
    await disk.turns()
    assert b"other" in carrier.written


async def test_what_is_kept_for_a_client_that_says_nothing_has_a_bound(
    world: World, carrier: Carrier
) -> None:
    facts = SessionFacts(address="", since=0.0, mechanism="", tls="")
    session = ClientSession(BOB, facts, world.host, Keeping(world.ledger.turns), carrier)
    session.hold()
    session.expect()
    for number in range(32):
        session.send(Message(id=f"m{number}"))
    assert carrier.written == b""
    session.send(Message(id="m32"))
    at = [carrier.written.index(f"'m{number}'".encode()) for number in range(33)]
    assert at == sorted(at)
    assert session.expecting is None


async def test_messages_wait_longest_for_a_client_that_says_nothing(
    world: World, carrier: Carrier, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_session, "_EXPECT_SECONDS", 0.01)
    facts = SessionFacts(address="", since=0.0, mechanism="", tls="")
    session = ClientSession(BOB, facts, world.host, Keeping(world.ledger.turns), carrier)
    session.hold()
    session.expect()
    sent = Message(from_=JID.parse("alice@example.com"), id="kept", inner=b"<body>m</body>")
    stanza, parcel = world.host.keeper.receive(sent, BOB.bare, int(Flag.VISIBLE), None)
    session.send(stanza, parcel)
    session.send(Iq(id="early", type="get"))
    await asyncio.sleep(0.05)
    session.send(Iq(id="late", type="get"))
    await disk.turns()
    assert carrier.written.index(b"early") < carrier.written.index(b"late")
    assert b"kept" not in carrier.written
    assert [unit for unit in disk.units if parcel.key in unit.awaiting]
    session.abandon()
    waiting = asyncio.create_task(world.host.keeper.waiting(BOB.bare))
    while not waiting.done():
        await disk.turns()
        await passes()
    assert waiting.result() == 1
