"""What a line does to a connection, seen from both of its ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from tests.invariants.link import Fate, Fault, Link

UP = b"".join(b"<message id='%d'/>" % number for number in range(300))
DOWN = UP[::-1]
_WAIT = 10.0


class End:
    """What one end has got.

    Attributes:
        data: all of it.
        ended: set at the end of the connection.
        reset: whether that was an RST.
    """

    def __init__(self) -> None:
        self.data = b""
        self.ended = asyncio.Event()
        self.reset = False

    async def read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(4096):
                self.data += data
        except ConnectionError:
            self.reset = True
        self.ended.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self.ended.wait(), _WAIT)


@asynccontextmanager
async def lines(
    fate: Fate | None, seed: int = 1
) -> AsyncIterator[tuple[Link, Counter[str], list[End]]]:
    """A link to a server that says `DOWN` to everybody; the server's ends are in the list."""
    ends: list[End] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(End())
        writer.write(DOWN)
        await ends[-1].read(reader)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    counts: Counter[str] = Counter()
    link = Link(server.sockets[0].getsockname, Random(seed), counts)
    link._draw = lambda: fate  # type: ignore[method-assign]
    try:
        yield link, counts, ends
    finally:
        await link.close()
        server.close()
        await asyncio.gather(*(end.wait() for end in ends))


async def until(done: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + _WAIT
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.001)


async def talk(link: Link, pieces: int = 10) -> End:
    """A client that says `UP` and then waits for the end, or closes when it has all."""
    reader, writer = await asyncio.open_connection(*await link.start())
    end = End()
    reading = asyncio.create_task(end.read(reader))
    size = len(UP) // pieces
    for start in range(0, len(UP), size):
        writer.write(UP[start : start + size])
        await asyncio.sleep(0.001)
    await until(lambda: end.ended.is_set() or len(end.data) == len(DOWN))
    if not end.ended.is_set():
        writer.write_eof()
    await end.wait()
    await reading
    writer.transport.abort()
    return end


@pytest.mark.asyncio
async def test_a_healed_line_does_nothing() -> None:
    async with lines(Fate(Fault.RESET, 0, 0.0)) as (link, counts, ends):
        link.heal()
        client = await talk(link)
        assert client.data == DOWN
        await ends[0].wait()
        assert ends[0].data == UP
        assert not counts


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(6))
async def test_a_bad_line_changes_nothing_within_a_connection(seed: int) -> None:
    """It tears and delays, and no byte is lost or out of order."""
    async with lines(Fate(Fault.RESET, 10**9, 0.1), seed) as (link, _, ends):
        client = await talk(link)
        assert client.data == DOWN
        await ends[0].wait()
        assert ends[0].data == UP


@pytest.mark.asyncio
async def test_lines_tear_and_delay() -> None:
    counts: Counter[str] = Counter()
    for seed in range(10):
        async with lines(Fate(Fault.RESET, 10**9, 0.1), seed) as (link, some, _):
            await talk(link)
            counts += some
    assert counts["fault: torn"]
    assert counts["fault: delayed"]


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", list(Fault))
async def test_a_fault_ends_a_connection(fault: Fault) -> None:
    """Both ends have the beginning of what was said, and the connection is no more."""
    async with lines(Fate(fault, 500, 0.2)) as (link, counts, ends):
        client = await talk(link)
        await ends[0].wait()
        assert DOWN.startswith(client.data)
        assert UP.startswith(ends[0].data)
        assert counts[f"fault: {fault.value}"] == 1
        whole = {Fault.DEAF: "up", Fault.MUTE: "down", Fault.LATE: "up"}.get(fault, "")
        assert (ends[0].data == UP) is (whole == "up")
        assert (client.data == DOWN) is (whole == "down")
        if fault is not Fault.MUTE:  # the client had all, and closed
            assert client.reset is (fault is not Fault.CLOSE)


@pytest.mark.asyncio
async def test_what_is_late_comes_after_the_client_has_gone() -> None:
    async with lines(Fate(Fault.LATE, 500, 0.3)) as (link, _, ends):
        client = await talk(link)
        assert client.reset
        assert ends[0].data != UP
        assert not ends[0].ended.is_set()
        await ends[0].wait()
        assert ends[0].data == UP


@pytest.mark.asyncio
async def test_the_server_is_not_told_of_an_orphan() -> None:
    async with lines(Fate(Fault.ORPHAN, 500, 0.3)) as (link, _, ends):
        client = await talk(link)
        assert client.reset
        assert not ends[0].ended.is_set()
        await ends[0].wait()


@pytest.mark.asyncio
async def test_healing_ends_what_has_a_fate() -> None:
    async with lines(Fate(Fault.SILENCE, 500, 3600.0)) as (link, counts, _):
        talking = asyncio.create_task(talk(link))
        await until(lambda: counts["fault: silent"] > 0)
        link.heal()
        client = await talking
        assert client.reset


@pytest.mark.asyncio
async def test_nobody_there() -> None:
    """Where the server does not listen, the client is told at once."""
    link = Link(lambda: ("127.0.0.1", 1), Random(1), Counter())
    reader, writer = await asyncio.open_connection(*await link.start())
    end = End()
    await end.read(reader)
    assert end.data == b""
    writer.transport.abort()
    await link.close()


def test_fates_are_drawn_from_the_seed() -> None:
    def drawn(seed: int) -> list[Fate | None]:
        link = Link(lambda: ("", 0), Random(seed), Counter())
        return [link._draw() for _ in range(100)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert {fate.fault for fate in drawn(1) if fate is not None} == set(Fault)
    assert None in drawn(1)
