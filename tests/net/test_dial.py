"""Connecting to the first place that can be reached."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import pytest_asyncio

from jabberd.net.dial import DialError, Dialler
from jabberd.net.dns import DnsError, DnsProblem, Target
from jabberd.net.owner import PumpOptions
from jabberd.net.wire import Wire

pytestmark = pytest.mark.asyncio


class Book:
    """Addresses by name."""

    def __init__(self) -> None:
        self.known: dict[str, Sequence[str]] = {}

    async def addresses(self, target: Target) -> Sequence[str]:
        """Those that a test has written in."""
        if target.host not in self.known:
            raise DnsError(DnsProblem.NOT_FOUND, f"the name {target.host} does not exist")
        return self.known[target.host]


class Caller:
    """What drives a connection."""

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.data = b""
        self.over = asyncio.Event()

    def connected(self, wire: Wire) -> None:
        """Say something."""
        self.wire = wire
        wire.write(b"hello")

    def received(self, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def secured(self) -> None:
        """Nothing."""

    def ended(self, error: Exception | None) -> None:
        """It is over."""
        self.over.set()

    def drained(self) -> None:
        """Nothing."""


class Place:
    """A server that echoes."""

    def __init__(self, server: asyncio.Server) -> None:
        self.port = server.sockets[0].getsockname()[1]


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[Place]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield Place(server)
    server.close()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest_asyncio.fixture
async def dialler(book: Book) -> AsyncIterator[Dialler]:
    bugs: list[Exception] = []
    made = Dialler(book, on_bug=bugs.append)
    yield made
    await made.stop(1.0)
    assert bugs == []


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose queue of connections is full: who connects gets no answer."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield full.getsockname()[1]


async def dial(dialler: Dialler, *targets: Target) -> tuple[Caller, Target]:
    made: list[Caller] = []

    def machine() -> Caller:
        made.append(Caller())
        return made[-1]

    target = await dialler.dial(targets, machine, lambda _: PumpOptions(handshake_seconds=1.0))
    return made[-1], target


async def test_the_second_address_answers(book: Book, dialler: Dialler, echo: Place) -> None:
    book.known["both"] = ["::1", "127.0.0.1"]
    caller, target = await dial(dialler, Target("both", echo.port))
    assert target.host == "both"
    assert caller.wire is not None
    assert caller.wire.peer.host == "127.0.0.1"
    caller.wire.close()
    await asyncio.wait_for(caller.over.wait(), 10)


async def test_the_next_place_is_tried(book: Book, dialler: Dialler, echo: Place) -> None:
    book.known.update(here=["127.0.0.1"])
    _, target = await dial(
        dialler, Target("nowhere", 1), Target("here", 1), Target("here", echo.port)
    )
    assert target.port == echo.port


async def test_a_place_that_does_not_answer_costs_a_quarter_of_a_second(
    book: Book, dialler: Dialler, echo: Place, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jabberd.net.dial._PER_TARGET", 0.5)
    book.known.update(here=["127.0.0.1"])
    _, target = await dial(dialler, Target("here", silent), Target("here", echo.port))
    assert target.port == echo.port


async def test_why_nobody_could_be_reached(book: Book, dialler: Dialler) -> None:
    book.known.update(here=["127.0.0.1"])
    with pytest.raises(DialError) as caught:
        await dial(dialler, Target("nowhere", 1), Target("here", 1))
    assert str(caught.value) == (
        "the name nowhere does not exist; 127.0.0.1 port 1: connection refused"
    )
    assert (caught.value.step, caught.value.cause) == ("connect", None)


async def test_the_dns_alone_is_at_fault(dialler: Dialler) -> None:
    with pytest.raises(DialError) as caught:
        await dial(dialler, Target("nowhere", 1))
    assert caught.value.cause is not None
    assert caught.value.cause.problem is DnsProblem.NOT_FOUND


async def test_many_at_once_and_no_more(book: Book, echo: Place) -> None:
    book.known["here"] = ["127.0.0.1"]
    dialler = Dialler(book, on_bug=lambda error: None, most=100)
    place = Target("here", echo.port)
    made = await asyncio.gather(*(dial(dialler, place) for _ in range(100)))
    with pytest.raises(DialError, match="too many"):
        await dial(dialler, place)
    await dialler.stop(1.0)
    assert all(caller.over.is_set() for caller, _ in made)


async def test_who_gives_up_leaves_nothing_behind(
    book: Book, dialler: Dialler, silent: int
) -> None:
    book.known["here"] = ["127.0.0.1"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await dial(dialler, Target("here", silent))
