"""Commit, then deliver, then acknowledge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jabberd.core.parcel import Parcel
from jabberd.core.session import SessionFacts, SessionState
from jabberd.core.turn import Turn
from jabberd.core.turns import Turns
from jabberd.storage.api import StorageError, StorageFull
from jabberd.storage.log_api import Entry, Flag, Relay, Unit
from jabberd.storage.memory_log import MemoryLog
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message, Stanza

pytestmark = pytest.mark.asyncio
BOB = "bob@example.com"
VISIBLE = int(Flag.VISIBLE)


class SlowLog(MemoryLog):
    """A log whose commits are done when the test says so."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)
        self.units: list[Unit] = []
        self._under_way: list[tuple[Unit, asyncio.Future[None]]] = []

    def commit(self, unit: Unit) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.units.append(unit)
        self._under_way.append((unit, done))
        return done

    async def disk(self, error: StorageError | None = None) -> None:
        """The oldest commit is done, or fails."""
        unit, done = self._under_way.pop(0)
        if error is None:
            super().commit(unit)
            done.set_result(None)
        else:
            done.set_exception(error)
        await passes()


class Client(SessionState):
    """A session that keeps what it writes."""

    def __init__(self, name: str = "phone") -> None:
        super().__init__(JID.parse(f"{BOB}/{name}"), SessionFacts("::1", 0.0, "", ""))
        self.written: list[str] = []

    def write(self, stanza: Stanza) -> None:
        self.written.append(stanza.id)


class Custodian:
    """Notes what becomes of parcels."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int]] = []

    def arrived(self, parcel: Parcel) -> None:
        self.notes.append(("arrived", parcel.key))

    def waits(self, parcel: Parcel) -> None:
        self.notes.append(("waits", parcel.key))

    def returned(self, parcel: Parcel) -> None:
        self.notes.append(("returned", parcel.key))


async def passes() -> None:
    """Some turns of the loop."""
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.fixture
def log() -> SlowLog:
    return SlowLog()


@pytest_asyncio.fixture
async def turns(log: SlowLog) -> AsyncIterator[Turns]:
    turns = Turns(log)
    yield turns
    closing = asyncio.ensure_future(turns.close())
    for _ in range(50):
        await passes()
        while log._under_way:
            await log.disk()
    await asyncio.wait_for(closing, 5)


@pytest.fixture
def custodian() -> Custodian:
    return Custodian()


def enter(turn: Turn, key: int) -> None:
    turn.unit.entries.append(Entry(key, BOB, "a@b", "", 0.0, VISIBLE, "", 0, b"<message/>"))


def parcel(key: int, turn: Turn, custodian: Custodian, flags: int = VISIBLE) -> Parcel:
    return Parcel(BOB, key, b"", turn, flags, custodian)


def said(name: str) -> Message:
    return Message(id=name)


async def test_nothing_leaves_before_it_is_on_disk(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    client = Client()
    turn = turns.open()
    enter(turn, 1)
    client.send(said("one"), parcel(1, turn, custodian))
    client.send(said("two"))  # not in the log, and yet it does not overtake
    await passes()
    assert client.written == []
    await log.disk()
    assert client.written == ["one", "two"]
    client.send(said("three"))
    assert client.written == ["one", "two", "three"]


async def test_one_turn_is_one_commit_and_the_next_gathers_meanwhile(
    log: SlowLog, turns: Turns
) -> None:
    enter(turns.open(), 1)
    enter(turns.open(), 2)
    await passes()
    enter(turns.open(), 3)
    await passes()
    enter(turns.open(), 4)
    await passes()
    assert [[entry.key for entry in unit.entries] for unit in log.units] == [[1, 2]]
    await log.disk()
    assert [[entry.key for entry in unit.entries] for unit in log.units] == [[1, 2], [3, 4]]


async def test_what_cannot_be_written_is_not_delivered_and_its_senders_are_told(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    client, told = Client(), list[str]()
    turn = turns.open()
    enter(turn, 1)
    turn.refused.append((lambda *what: told.append(" ".join(map(str, what))), "a", "b"))
    turn.after.append(lambda: told.append("written"))
    client.send(said("lost"), parcel(1, turn, custodian))
    client.send(said("other"))
    await passes()
    following = turns.open()
    enter(following, 2)
    client.send(said("next"), parcel(2, following, custodian))
    await log.disk(StorageFull("the disk is full"))
    assert told == ["a b the disk is full"]
    assert client.written == ["other"]
    await log.disk()
    assert client.written == ["other", "next"]


async def test_who_waits_for_everything_waits_for_the_commit(log: SlowLog, turns: Turns) -> None:
    await asyncio.wait_for(turns.settled(), 5)  # nothing is open
    enter(turns.open(), 1)
    waiting = asyncio.ensure_future(turns.settled())
    await passes()
    assert not waiting.done()
    await log.disk()
    assert waiting.done()


async def test_the_checkpoint_follows_what_was_delivered(log: SlowLog, turns: Turns) -> None:
    enter(turns.open(), 7)
    await passes()
    await log.disk()
    enter(turns.open(), 8)
    await passes()
    assert [unit.checkpoint for unit in log.units] == [0, 7]
    await log.disk()
    turns.tidy()  # as the timer does when it is quiet
    await passes()
    assert log.units[2].checkpoint == 8
    assert not log.units[2].entries


async def test_a_session_that_ends_gives_back_what_it_could_not_write(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    client = Client()
    turn = turns.open()
    enter(turn, 1)
    client.send(said("one"), parcel(1, turn, custodian))
    client.abandon()
    assert custodian.notes == [("returned", 1)]
    await passes()
    await log.disk()
    assert client.written == []


async def test_one_client_that_has_it_is_enough(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    phone, desk = Client("phone"), Client("desk")
    turn = turns.open()
    enter(turn, 1)
    one = parcel(1, turn, custodian)
    phone.send(said("one"), one)
    desk.send(said("one"), one)
    phone.abandon()
    await passes()
    await log.disk()
    assert desk.written == ["one"]
    assert custodian.notes == []


async def test_what_only_waits_in_the_log_is_over_when_it_has_arrived(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    client = Client()
    turn = turns.open()
    enter(turn, 1)
    client.send(said("one"), parcel(1, turn, custodian, flags=int(Flag.AWAITING)))
    await passes()
    assert custodian.notes == []
    await log.disk()
    assert custodian.notes == [("arrived", 1)]


async def test_what_is_held_back_waits_in_the_log_until_it_is_released(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    client = Client()
    client.hold()
    turn = turns.open()
    enter(turn, 1)
    client.send(said("one"), parcel(1, turn, custodian))
    client.send(said("state"))
    client.send(said("old"), ahead=True)
    await passes()
    await log.disk()
    assert client.written == ["old"]
    assert custodian.notes == [("waits", 1)]
    assert client.keys() == {1}
    client.release()
    assert client.written == ["old", "one", "state"]
    assert custodian.notes == [("waits", 1), ("arrived", 1)]
    assert client.keys() == frozenset()


async def test_what_is_too_much_to_hold_back_is_left_to_the_log(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    client = Client()
    client.hold()
    turn = turns.open()
    for key in range(1, 1_003):
        client.send(said(f"m{key}"), parcel(key, turn, custodian))
    assert client.missed
    assert client.keys() == frozenset()
    assert custodian.notes == [("waits", key) for key in range(1, 1_003)]
    client.release()
    assert client.written == []


async def test_what_is_held_back_and_cannot_be_written_is_not_delivered(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    client = Client()
    client.hold()
    turn = turns.open()
    enter(turn, 1)
    client.send(said("lost"), parcel(1, turn, custodian))
    client.send(said("state"))
    await passes()
    await log.disk(StorageFull("the disk is full"))
    client.release()
    assert client.written == ["state"]
    client.abandon()
    assert custodian.notes == [("waits", 1)]


async def test_a_commit_that_fails_leaves_what_is_true_to_the_next(
    log: SlowLog, turns: Turns
) -> None:
    unit = turns.open().unit
    unit.awaiting.append(1)
    unit.delivered.append(2)
    unit.ended.append(3)
    unit.relayed.append(4)
    await passes()
    await log.disk(StorageFull("the disk is full"))
    enter(turns.open(), 9)
    await passes()
    following = log.units[1]
    assert (following.awaiting, following.delivered, following.ended) == ([1], [2], [3])
    assert following.relayed == [4]


async def test_what_other_servers_have_is_forgotten_once_commits_work_again(
    log: SlowLog, turns: Turns
) -> None:
    def relay(key: int) -> Relay:
        return Relay(key, "example.com", "example.net", 9.0, b"<message/>")

    turns.open().unit.relays += [relay(1), relay(2)]
    await passes()
    await log.disk()
    turns.open().unit.relayed.append(1)
    await passes()
    await log.disk(StorageFull("the disk is full"))
    # Nothing of this one is written, and so nothing of it is to be deleted.
    unit = turns.open().unit
    unit.relays.append(relay(3))
    unit.relayed += [2, 3]
    await passes()
    assert log.units[2].relayed == [1, 2, 3]
    await log.disk(StorageFull("the disk is full"))
    assert await log.relays() == [relay(1), relay(2)]
    turns.tidy()  # as the timer does when it is quiet
    await passes()
    assert log.units[3] == Unit(relayed=[1, 2])
    await log.disk()
    assert await log.relays() == []


async def test_a_turn_with_many_relays_is_crowded(log: SlowLog, turns: Turns) -> None:
    relays = turns.open().unit.relays
    crowded: list[bool] = []
    for number in (3_999, 1):
        relays += [Relay(key, "a", "b", 9.0, b"") for key in range(number)]
        crowded.append(turns.crowded)
    assert crowded == [False, True]
    await passes()
    await log.disk()


async def test_a_mistake_of_one_session_stops_nobody(
    log: SlowLog, turns: Turns, custodian: Custodian
) -> None:
    class Broken(Client):
        def journal(self, unit: Unit) -> None:
            raise ValueError("a mistake")

    broken, client = Broken("broken"), Client()
    turn = turns.open()
    enter(turn, 1)
    for one in (broken, client):
        one.send(said("one"), parcel(1, turn, custodian))
    await passes()
    await log.disk()
    assert client.written == ["one"]
    await asyncio.wait_for(turns.settled(), 5)
