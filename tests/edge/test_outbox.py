"""The queue of one pair of domains: nothing is lost, overtaken or kept for ever."""

from __future__ import annotations

import asyncio

import pytest

from jabberd.core.session import Session
from jabberd.core.turns import Turns
from jabberd.edge.outbox import Outbox, Outgoing, Post, Problem
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Unit
from jabberd.storage.memory import MemoryStores
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza, read_stanza
from jabberd.xmpp.stream.events import Pair

pytestmark = pytest.mark.asyncio
PAIR = Pair("example.com", "example.net")
ALICE = JID.parse("alice@example.com/desk")
BOB = JID.parse("bob@example.net")
GONE = Problem("the name example.net does not exist", lasting=True, found=False, step="dns")
DOWN = Problem("10.0.0.1 port 5269: connection refused", step="connect")


class Stream:
    """A carrier that remembers what it was given."""

    def __init__(self) -> None:
        self.carried: list[Outgoing] = []
        self.takes = True

    def carry(self, outbox: Outbox, outgoing: Outgoing) -> None:
        assert outbox.pair == PAIR
        self.carried.append(outgoing)

    @property
    def ids(self) -> list[str]:
        return [outgoing.stanza.id for outgoing in self.carried]


class Bench:
    """An outbox and everything around it."""

    def __init__(self, *, seconds: float = 60.0, size: int = 100_000) -> None:
        self.log = MemoryStores().log
        self.turns = Turns(self.log)
        self.back: list[tuple[str, StanzaError]] = []
        self.unstored: list[tuple[str, StorageError]] = []
        self.connects = 0
        self._tried = asyncio.Event()
        post = Post(
            self.turns,
            self.log.next_key,
            lambda: 1_700_000_000.0,
            self.give_back,
            self.refused,
            self.connect,
            seconds,
            size,
        )
        self.outbox = Outbox(PAIR, post)

    def give_back(self, stanza: Stanza, error: StanzaError) -> None:
        self.back.append((stanza.id, error))

    def refused(self, stanza: Stanza, _origin: Session | None, error: StorageError) -> None:
        self.unstored.append((stanza.id, error))

    def connect(self, outbox: Outbox) -> None:
        assert outbox is self.outbox
        self.connects += 1
        self._tried.set()

    async def connected(self, times: int) -> None:
        """Wait until it was tried so often."""
        async with asyncio.timeout(5):
            while self.connects < times:
                self._tried.clear()
                await self._tried.wait()

    def put(self, *stanzas: Stanza) -> None:
        for stanza in stanzas:
            self.outbox.put(stanza, None)

    async def stored(self) -> list[str]:
        """The ids of what is in the durable queue."""
        self.turns.tidy()
        await self.turns.settled()
        return [read_stanza(relay.stanza).id for relay in await self.log.relays()]


def message(name: str, *, to: JID = BOB) -> Message:
    text = f"<message from='{ALICE}' to='{to}' id='{name}' type='chat'><body>Hi</body></message>"
    stanza = read_stanza(text.encode())
    assert isinstance(stanza, Message)
    return stanza


def typing(name: str) -> Message:
    text = (
        f"<message from='{ALICE}' to='{BOB}' id='{name}' type='chat'>"
        "<composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
    stanza = read_stanza(text.encode())
    assert isinstance(stanza, Message)
    return stanza


def iq(name: str, kind: str = "get") -> Iq:
    return Iq(to=BOB, from_=ALICE, id=name, type=kind)


async def test_a_message_is_on_the_disk_before_it_is_written() -> None:
    bench, stream = Bench(), Stream()
    bench.outbox.attach(stream)
    bench.put(message("1"))
    assert stream.ids == []
    await bench.turns.settled()
    assert stream.ids == ["1"]
    assert await bench.stored() == ["1"]


async def test_what_follows_a_message_does_not_overtake_it() -> None:
    bench, stream = Bench(), Stream()
    bench.outbox.attach(stream)
    bench.put(typing("0"), message("1"), typing("2"), iq("3"), message("4"))
    assert stream.ids == ["0"]
    await bench.turns.settled()
    await bench.turns.settled()
    assert stream.ids == ["0", "1", "2", "3", "4"]
    assert await bench.stored() == ["1", "4"]


async def test_what_has_arrived_is_forgotten() -> None:
    bench, stream = Bench(), Stream()
    bench.outbox.attach(stream)
    bench.put(message("1"), message("2"))
    await bench.turns.settled()
    bench.outbox.arrived(stream.carried[0])
    assert await bench.stored() == ["2"]


async def test_without_a_stream_one_is_looked_for_once() -> None:
    bench, stream = Bench(), Stream()
    bench.put(message("1"), iq("2"))
    assert bench.connects == 1
    bench.outbox.attach(stream)
    await bench.turns.settled()
    assert stream.ids == ["1", "2"]


async def test_a_server_that_does_not_exist_is_told_to_the_sender_at_once() -> None:
    bench = Bench()
    bench.put(message("1"), iq("2"), Presence(to=BOB, from_=ALICE, type="subscribe", id="3"))
    await bench.turns.settled()
    bench.outbox.failed(GONE)
    assert [name for name, _ in bench.back] == ["1", "2", "3"]
    assert {error.condition for _, error in bench.back} == {Condition.REMOTE_SERVER_NOT_FOUND}
    assert await bench.stored() == []
    with pytest.raises(StanzaError, match="does not exist"):
        bench.outbox.put(message("4"), None)


async def test_it_is_found_out_before_the_message_is_on_the_disk() -> None:
    bench = Bench()
    bench.put(message("1"))
    bench.outbox.failed(GONE)
    assert bench.back == []
    await bench.turns.settled()
    assert [name for name, _ in bench.back] == ["1"]
    assert await bench.stored() == []


async def test_messages_wait_for_a_server_that_is_down_and_nothing_else_does() -> None:
    bench, stream = Bench(), Stream()
    bench.put(message("1"), iq("2"), typing("3"), message("4"))
    await bench.turns.settled()
    bench.outbox.failed(DOWN)
    assert [name for name, _ in bench.back] == ["2", "3"]
    assert {error.condition for _, error in bench.back} == {Condition.REMOTE_SERVER_TIMEOUT}
    with pytest.raises(StanzaError, match="connection refused"):
        bench.outbox.put(iq("5"), None)
    bench.put(message("6"))
    bench.outbox.attach(stream)
    await bench.turns.settled()
    assert stream.ids == ["1", "4", "6"]


async def test_it_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jabberd.edge.outbox._FIRST_RETRY", 0.01)
    bench = Bench()
    bench.put(message("1"))
    await bench.turns.settled()
    for attempt in range(1, 4):
        await bench.connected(attempt)
        bench.outbox.failed(DOWN)


async def test_what_waited_too_long_goes_back() -> None:
    bench = Bench(seconds=100.0)
    bench.put(message("1"), iq("2"))
    await bench.turns.settled()
    now = asyncio.get_running_loop().time()
    bench.outbox.expire(now + 59)
    assert bench.back == []
    bench.outbox.expire(now + 61)
    assert [name for name, _ in bench.back] == ["2"]
    bench.outbox.expire(now + 101)
    assert [name for name, _ in bench.back] == ["2", "1"]
    assert bench.back[1][1].condition is Condition.REMOTE_SERVER_TIMEOUT
    assert await bench.stored() == []


async def test_the_queue_has_a_bound() -> None:
    bench = Bench(size=5_000)
    numbers = iter(range(100))
    with pytest.raises(StanzaError, match="too much") as caught:
        bench.put(*(message(str(number)) for number in numbers))
    assert caught.value.condition is Condition.REMOTE_SERVER_TIMEOUT
    stream = Stream()
    bench.outbox.attach(stream)
    await bench.turns.settled()
    assert 5 < len(stream.ids) < 15
    bench.put(message("again"))


async def test_what_a_broken_stream_did_not_confirm_is_sent_again_first() -> None:
    bench, first, second = Bench(), Stream(), Stream()
    bench.outbox.attach(first)
    bench.put(message("1"), message("2"), iq("3"), iq("4", "result"))
    await bench.turns.settled()
    bench.outbox.arrived(first.carried[0])
    first.takes = False
    bench.put(message("5"))
    await bench.turns.settled()
    bench.outbox.detach(first, first.carried[1:], "reset")
    assert bench.connects == 1
    # The request may have been carried out: its sender decides.
    assert [(name, error.condition) for name, error in bench.back] == [
        ("3", Condition.REMOTE_SERVER_TIMEOUT)
    ]
    bench.outbox.attach(second)
    assert second.ids == ["2", "4", "5"]
    assert await bench.stored() == ["2", "5"]


async def test_a_stream_that_is_full_is_not_written_to() -> None:
    bench, stream = Bench(), Stream()
    bench.outbox.attach(stream)
    stream.takes = False
    bench.put(typing("1"), typing("2"))
    assert stream.ids == []
    stream.takes = True
    bench.outbox.flush()
    assert stream.ids == ["1", "2"]


async def test_a_message_that_cannot_be_stored_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, stream = Bench(), Stream()

    def fail(_unit: Unit) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_exception(StorageError("the disk is full"))
        return done

    bench.outbox.attach(stream)
    monkeypatch.setattr(bench.log, "commit", fail)
    bench.put(message("1"), typing("2"))
    await bench.turns.settled()
    assert [name for name, _ in bench.unstored] == ["1"]
    assert stream.ids == ["2"]


async def test_a_former_process_left_something() -> None:
    bench, stream = Bench(), Stream()
    now = asyncio.get_running_loop().time()
    bench.outbox.restore(Outgoing(message("1"), 7, None, now + 5))
    bench.outbox.restore(Outgoing(message("2"), 8, None, now + 6))
    bench.outbox.begin()
    assert bench.connects == 1
    bench.put(message("3"))
    bench.outbox.attach(stream)
    await bench.turns.settled()
    assert stream.ids == ["1", "2", "3"]
