"""Connecting to the first place that can be reached."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

import jabberd.net.dial as dial_module
from jabberd.net.dial import DialError, Dialler
from jabberd.net.dns import DnsError, DnsProblem, Target
from jabberd.net.owner import Calling, PumpOptions
from jabberd.net.tls import XMPP_SERVER, TlsContexts
from jabberd.net.wire import Endpoint, Wire

from .kit import Forge, on_both_loops


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


@contextmanager
def full() -> Iterator[int]:
    """A port whose queue of connections is full: who connects gets no answer."""
    with socket.socket() as place, socket.socket() as first, socket.socket() as second:
        place.bind(("127.0.0.1", 0))
        place.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(place.getsockname())
        yield place.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    with full() as port:
        yield port


async def dial(
    dialler: Dialler, *targets: Target, tls: TlsContexts | None = None
) -> tuple[Caller, Target]:
    made: list[Caller] = []

    def machine() -> Caller:
        made.append(Caller())
        return made[-1]

    def options(target: Target) -> PumpOptions:
        return PumpOptions(
            tls=tls,
            calling=Calling("localhost", "far.example"),
            direct_tls=target.direct_tls,
            alpn=(XMPP_SERVER,),
            handshake_seconds=0.5,
        )

    target = await dialler.dial(targets, machine, options)
    return made[-1], target


@pytest.mark.asyncio
async def test_the_second_address_answers(book: Book, dialler: Dialler, echo: Place) -> None:
    book.known["both"] = ["::1", "127.0.0.1"]
    caller, target = await dial(dialler, Target("both", echo.port))
    assert target.host == "both"
    assert caller.wire is not None
    assert caller.wire.peer.host == "127.0.0.1"
    caller.wire.close()
    await asyncio.wait_for(caller.over.wait(), 10)


@pytest.mark.asyncio
async def test_the_next_place_is_tried(book: Book, dialler: Dialler, echo: Place) -> None:
    book.known.update(here=["127.0.0.1"])
    _, target = await dial(
        dialler, Target("nowhere", 1), Target("here", 1), Target("here", echo.port)
    )
    assert target.port == echo.port


@on_both_loops
async def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second() -> None:
    book = Book()
    book.known["both"] = ["127.0.0.1", "127.0.0.2"]
    bugs: list[Exception] = []
    dialler = Dialler(book, on_bug=bugs.append)
    with full() as port, socket.create_server(("127.0.0.2", port)):
        loop = asyncio.get_running_loop()
        began = loop.time()
        caller, _ = await dial(dialler, Target("both", port))
        assert 0.2 < loop.time() - began < 2
        assert caller.wire is not None
        assert caller.wire.peer == Endpoint("127.0.0.2", port)
        await dialler.stop(0.1)
    assert bugs == []


@pytest.mark.asyncio
async def test_a_place_that_does_not_answer(
    book: Book, dialler: Dialler, echo: Place, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jabberd.net.dial._PER_TARGET", 0.5)
    book.known.update(here=["127.0.0.1"])
    _, target = await dial(dialler, Target("here", silent), Target("here", echo.port))
    assert target.port == echo.port


@pytest.mark.asyncio
async def test_why_nobody_could_be_reached(book: Book, dialler: Dialler) -> None:
    book.known.update(here=["127.0.0.1"])
    with pytest.raises(DialError) as caught:
        await dial(dialler, Target("nowhere", 1), Target("here", 1))
    assert str(caught.value) == (
        "the name nowhere does not exist; 127.0.0.1 port 1: connection refused"
    )
    assert (caught.value.step, caught.value.cause) == ("connect", None)


@pytest.mark.asyncio
async def test_the_dns_alone_is_at_fault(dialler: Dialler) -> None:
    with pytest.raises(DialError) as caught:
        await dial(dialler, Target("nowhere", 1))
    assert caught.value.cause is not None
    assert caught.value.cause.problem is DnsProblem.NOT_FOUND


@pytest.mark.asyncio
async def test_many_at_once_and_no_more(book: Book, echo: Place) -> None:
    book.known["here"] = ["127.0.0.1"]
    dialler = Dialler(book, on_bug=lambda error: None, most=100)
    place = Target("here", echo.port)
    made = await asyncio.gather(*(dial(dialler, place) for _ in range(100)))
    with pytest.raises(DialError, match="too many"):
        await dial(dialler, place)
    await dialler.stop(1.0)
    assert all(caller.over.is_set() for caller, _ in made)


@pytest.mark.asyncio
async def test_no_more_than_that_also_of_those_who_come_at_the_same_time(
    book: Book, echo: Place
) -> None:
    book.known["here"] = ["127.0.0.1"]
    dialler = Dialler(book, on_bug=lambda error: None, most=20)
    place = Target("here", echo.port)
    made = await asyncio.gather(*(dial(dialler, place) for _ in range(200)), return_exceptions=True)
    assert sum(isinstance(one, DialError) for one in made) == 180
    await dialler.stop(1.0)
    await dial(dialler, place)  # there is room again
    await dialler.stop(1.0)


@pytest.mark.asyncio
async def test_direct_tls_fails_and_the_next_place_is_tried(
    book: Book, dialler: Dialler, echo: Place, tmp_path: Path
) -> None:
    book.known["here"] = ["127.0.0.1"]
    # What the server echoes is no handshake.
    direct = Target("here", echo.port, direct_tls=True)
    _, target = await dial(
        dialler, direct, Target("here", echo.port), tls=Forge(tmp_path).contexts()
    )
    assert not target.direct_tls
    with pytest.raises(DialError, match=f"127.0.0.1 port {echo.port}: ") as caught:
        await dial(dialler, direct, tls=Forge(tmp_path).contexts())
    assert caught.value.step == "tls"


@pytest.mark.asyncio
async def test_who_says_nothing_during_a_handshake_is_told_from_who_does_not_answer(
    book: Book, dialler: Dialler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jabberd.net.dial._PER_TARGET", 0.3)  # less than for the handshake
    book.known["here"] = ["127.0.0.1"]
    tls = Forge(tmp_path).contexts()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = Target("here", mute.getsockname()[1], direct_tls=True)
        for in_all in (30.0, 0.2):  # whichever of the two deadlines comes first
            monkeypatch.setattr("jabberd.net.dial._IN_ALL", in_all)
            with pytest.raises(DialError, match="TLS handshake took too long") as caught:
                await dial(dialler, target, tls=tls)
            assert caught.value.step == "tls"


@pytest.mark.asyncio
async def test_there_is_one_deadline_for_all_places(
    book: Book, dialler: Dialler, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jabberd.net.dial._PER_TARGET", 0.2)
    monkeypatch.setattr("jabberd.net.dial._IN_ALL", 0.5)
    book.known["here"] = ["127.0.0.1"]
    with pytest.raises(DialError) as caught:
        async with asyncio.timeout(2):
            await dial(dialler, *[Target("here", silent)] * 16)
    assert str(caught.value) == (
        f"here port {silent} does not answer; there was no time for more places"
    )


@on_both_loops
async def test_a_connection_that_is_reset_at_once() -> None:
    book = Book()
    book.known["here"] = ["127.0.0.1"]
    bugs: list[Exception] = []
    dialler = Dialler(book, on_bug=bugs.append)
    connecting = dial_module._connect

    with socket.create_server(("127.0.0.1", 0)) as place, pytest.MonkeyPatch.context() as patch:

        async def and_reset(address: tuple[str, int]) -> socket.socket:
            made = await connecting(address)
            accepted, _ = place.accept()
            # Not to linger at all is to send a reset, which over loopback is there at once.
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            with pytest.raises(OSError, match="not connected"):
                made.getpeername()
            return made

        patch.setattr(dial_module, "_connect", and_reset)
        try:
            caller, _ = await dial(dialler, Target("here", place.getsockname()[1]))
        except DialError:
            pass  # as good: which of the two, hangs on the loop
        else:
            await asyncio.wait_for(caller.over.wait(), 5)
    assert dialler._calls == set()
    assert bugs == []


@pytest.mark.asyncio
async def test_machines_are_told_before_the_stop_is_over(book: Book) -> None:
    book.known["here"] = ["127.0.0.1"]
    dialler = Dialler(book, on_bug=lambda error: None)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # which never closes
        caller, _ = await dial(dialler, Target("here", mute.getsockname()[1]))
        await dialler.stop(0.1)
        assert caller.over.is_set()


@pytest.mark.asyncio
async def test_who_gives_up_leaves_nothing_behind(
    book: Book, dialler: Dialler, silent: int
) -> None:
    book.known["here"] = ["127.0.0.1"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await dial(dialler, Target("here", silent))
