"""A line between a client and the server that does to a connection what networks do.

Each connection draws its fate from the link's own dice. What TCP promises within a connection
stays true: bytes come in order or not at all, so nothing is reordered, or lost in the middle.
Between connections there is no such promise: what a client wrote into one that broke may reach the
server after what it wrote into the next (`LATE`), or the server may go on with the old one
(`ORPHAN`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

_BLOCK: Final = 4096
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_MOST_HELD: Final = 1_000_000  # bytes of a broken connection that may still reach the server
_ORPHANS: Final = 0.3  # of the connections that a client leaves


class Fault(Enum):
    """How a connection ends before its time."""

    RESET = "reset"
    """Both ends get an RST."""
    CLOSE = "closed"
    """Both ends get a FIN, in the middle of whatever was being said."""
    SILENCE = "silent"
    """Nothing gets through any more, in both directions; then RST."""
    DEAF = "server unheard"
    """What the server writes is lost, what the client writes gets through; then RST."""
    MUTE = "client unheard"
    """What the client writes is lost, what the server writes gets through; then RST."""
    LATE = "late"
    """What the client writes is held up; the client gets an RST, then the server gets it all."""
    ORPHAN = "orphaned"
    """The client gets an RST; the server is not told for a while."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What will become of a connection.

    Attributes:
        fault: how it ends.
        after: how many bytes get through before, in both directions together.
        lasts: seconds for which the fault goes on before the end.
    """

    fault: Fault
    after: int
    lasts: float


class Link:
    """Accepts the connections of one client and leads them to the server.

    Args:
        target: where the server is, asked for each connection.
        random: the dice.
        counts: of faults, by their names.
    """

    def __init__(
        self, target: Callable[[], tuple[str, int]], random: Random, counts: Counter[str]
    ) -> None:
        self._target = target
        self._random = random
        self._counts = counts
        self._server: asyncio.Server | None = None
        self._healed = False
        self._through: dict[asyncio.Task[None], _Through] = {}

    async def start(self) -> tuple[str, int]:
        """Listen; the address for the client."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return host, port

    def heal(self) -> None:
        """From now on nothing happens to connections; those that have a fate end."""
        self._healed = True
        for through in self._through.values():
            if through.fate is not None:
                through.reset()

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for task in self._through:
            task.cancel()
        if self._through:
            await asyncio.wait(self._through)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self._target())
        except OSError:
            _reset(writer)
            return
        through = _Through(
            (reader, writer), upstream, self._random, self._counts,
            None if self._healed else self._draw(),
        )  # fmt: skip
        task = asyncio.create_task(through.run())
        self._through[task] = through
        task.add_done_callback(self._through.pop)

    def _draw(self) -> Fate | None:
        random = self._random
        if random.random() < 0.25:
            return None
        # A login takes about 3,000 bytes: some end in it, most some time after it.
        after = int(10 ** random.uniform(2.8, 5.0))
        return Fate(random.choice(list(Fault)), after, random.uniform(0.1, 2.5))


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Through:
    """One connection, in two halves.

    Attributes:
        fate: how it will end; None where its ends decide.
    """

    def __init__(
        self, client: _Ends, server: _Ends, random: Random, counts: Counter[str], fate: Fate | None
    ) -> None:
        self.fate = fate
        self._client, self._server = client, server
        self._random = random
        self._counts = counts
        self._passed = 0
        self._fallen: Fault | None = None
        self._held: list[bytes] = []
        self._begun, self._end = asyncio.Event(), asyncio.Event()
        # Some lines tear everything into pieces, some let it pass as it comes.
        self._tearing = 0.0 if fate is None else random.choice((0.0, 0.2, 1.0))
        self._slow = 0.0 if fate is None else random.choice((0.0, 0.0, 0.3))

    def reset(self) -> None:
        """End it now."""
        self._end.set()

    async def run(self) -> None:
        """Carry bytes until it ends."""
        for _, writer in (self._client, self._server):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = asyncio.create_task(self._carry(self._client[0], self._server[1], up=True))
        down = asyncio.create_task(self._carry(self._server[0], self._client[1], up=False))
        events = [asyncio.create_task(event.wait()) for event in (self._begun, self._end)]
        orderly = False
        try:
            await asyncio.wait((up, down, *events), return_when=asyncio.FIRST_COMPLETED)
            if self._fallen is not None:
                await self._finish(self._fallen, up)
                orderly = self._fallen is Fault.CLOSE
            elif not self._end.is_set():
                orderly = True
                if up.done() and self.fate is not None and self._random.random() < _ORPHANS:
                    self._counts[f"fault: {Fault.ORPHAN.value}"] += 1
                    await self._pause(self.fate.lasts)
        finally:
            for task in (up, down, *events):
                task.cancel()
            await asyncio.wait((up, down, *events))
            for _, writer in (self._client, self._server):
                await _close(writer) if orderly else _reset(writer)

    async def _finish(self, fault: Fault, up: asyncio.Task[None]) -> None:
        """What comes after the fault has begun."""
        assert self.fate is not None
        if fault not in {Fault.RESET, Fault.CLOSE, Fault.ORPHAN}:
            await self._pause(self.fate.lasts)
        if fault is Fault.ORPHAN:
            _reset(self._client[1])
            await self._pause(self.fate.lasts)
        elif fault is Fault.LATE and not self._end.is_set():
            _reset(self._client[1])
            await asyncio.wait((up,), timeout=self.fate.lasts + 1.0)

    async def _deliver_late(self) -> None:
        """Give the server what was held up, as if it had been under way all the time."""
        assert self.fate is not None
        await self._pause(self.fate.lasts)
        with contextlib.suppress(OSError):
            self._server[1].write(b"".join(self._held))
            await self._server[1].drain()
        await self._pause(0.2)  # an RST right behind would undo it

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._end.wait(), seconds)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_BLOCK):
                self._passed += len(data)
                if self.fate is not None and self._fallen is None:
                    self._maybe_fall(self.fate)
                if self._fallen is None or self._passes(up):
                    await self._write(writer, data)
                elif up and self._fallen is Fault.LATE and len(self._held) * _BLOCK < _MOST_HELD:
                    self._held.append(data)
        if up and self._held:
            await self._deliver_late()

    def _maybe_fall(self, fate: Fate) -> None:
        if self._passed >= fate.after:
            self._fallen = fate.fault
            self._counts[f"fault: {fate.fault.value}"] += 1
            self._begun.set()

    def _passes(self, up: bool) -> bool:
        return self._fallen is (Fault.DEAF if up else Fault.MUTE)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Write, in pieces and with delays as this line does."""
        random = self._random
        if random.random() < self._slow:
            self._counts["fault: delayed"] += 1
            await asyncio.sleep(random.uniform(0.0, 0.15))
        if random.random() >= self._tearing:
            writer.write(data)
            await writer.drain()
            return
        self._counts["fault: torn"] += 1
        while data:
            size = random.choice((1, 2, 7, 60, 500, _BLOCK))
            writer.write(data[:size])
            data = data[size:]
            await writer.drain()
            await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with an RST."""
    if not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
            )
    writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    """End a connection with a FIN."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 1.0)
    writer.transport.abort()
