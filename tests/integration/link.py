"""A line to a server on which one can listen, and that can be held up and cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final, Self
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

WAIT: Final = 20.0
_BLOCK: Final = 65536
_MOST: Final = 10_000_000
"""Bytes that are kept of what one end said; more is a fault of the test."""
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_HEADER: Final = b"<?xml"


class Call:
    """One connection over a link, and what was said on it.

    Attributes:
        sent: what came from the client and got through to the server.
        received: what came from the server and got through to the client.
        over: whether it was cut.
    """

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.sent = bytearray()
        self.received = bytearray()
        self.over = False
        self._ends = (client, server)

    def cut(self) -> None:
        """Reset the connection: both ends see it break, and neither stream is closed."""
        self.over = True
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
                )
            end.transport.abort()


class Link:
    """Listens on a port of its own, and leads every connection to a server.

    Args:
        port: of the server, on 127.0.0.1.

    Attributes:
        host: where it listens.
        port: where it listens.
        calls: every connection that there was, oldest first.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Call] = set()
        self._muted = self._held = False
        self._news = asyncio.Event()
        self.host, self.port = "127.0.0.1", 0
        self.calls: list[Call] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WAIT)

    def mute(self) -> None:
        """From now on nothing of the client gets through, until the cut; it is lost then."""
        self._muted = True

    def hold(self) -> None:
        """From now on nothing gets through, in either direction, until the cut; it is lost then."""
        self._held = True

    def cut(self) -> None:
        """Break every connection; those to come get through again."""
        for call in tuple(self._open):
            call.cut()
        self._muted = self._held = False

    async def until(self, there: Callable[[], bool], what: str) -> None:
        """Wait until something has gone over the line."""
        try:
            async with asyncio.timeout(WAIT):
                while not there():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {what} within {WAIT:g} s") from None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._lead(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, upstream = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is away
            writer.transport.abort()
            return
        call = Call(writer, upstream)
        self.calls.append(call)
        self._open.add(call)
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(
                    self._carry(reader, upstream, call.sent, lambda: call.over or self._muted),
                    self._carry(theirs, writer, call.received, lambda: call.over),
                )
        finally:
            call.cut()
            self._open.discard(call)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        said: bytearray,
        is_lost: Callable[[], bool],
    ) -> None:
        while data := await reader.read(_BLOCK):
            if self._held or is_lost():
                continue
            if len(said) + len(data) > _MOST:
                raise OSError("more was said than a test should")
            said += data
            self._news.set()
            writer.write(data)
            await writer.drain()
        if not self._held and not is_lost():
            writer.write_eof()


def elements(said: bytes | bytearray) -> list[Element]:
    """What an end has said in full: the children of its streams, in order."""
    found: list[Element] = []
    for number, stream in enumerate(bytes(said).split(_HEADER)):
        found += _children(_HEADER + stream if number else stream)
    return found


def _children(stream: bytes) -> Iterator[Element]:
    parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
    # It may have been cut in the middle: what was whole before counts.
    with contextlib.suppress(ParseError):
        parser.feed(stream)
    depth = 0
    for what, *rest in parser.read_events():
        element = rest[0]
        assert isinstance(element, Element)
        depth += 1 if what == "start" else -1
        if what == "end" and depth == 1:
            yield element
