"""A connection that breaks when it is told to, and what tests of components share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from jabberd.client.component import ClientBounds, ComponentClient
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message, Stanza

WAIT = 20.0
SECRET = "swordfish-44"
QUICK = ClientBounds(first_retry=0.01, last_retry=0.2, send_seconds=WAIT)


class Line:
    """Leads to a port, for as long as it is up.

    Attributes:
        port: where to connect to.
        deaf: what the server says gets lost.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.deaf = False

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, away = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, away}
        for task in (
            asyncio.create_task(self._pass_on(reader, away, answers=False)),
            asyncio.create_task(self._pass_on(there, writer, answers=True)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(4096):
                if not (answers and self.deaf):
                    writer.write(data)
        writer.transport.abort()

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        """End."""
        self.cut()
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Actor:
    """A component, its line and what it was sent."""

    def __init__(
        self,
        domain: str,
        line: Line,
        *,
        secret: str = SECRET,
        receive: Callable[[Stanza], Awaitable[None] | None] | None = None,
        bounds: ClientBounds = QUICK,
    ) -> None:
        self.line = line
        self.inbox: list[Stanza] = []
        self.ups = 0
        self.downs: list[str] = []
        self.client = ComponentClient(
            JID.parse(domain),
            secret,
            "127.0.0.1",
            line.port,
            receive=receive or self.inbox.append,
            up=self._up,
            down=self.downs.append,
            bounds=bounds,
        )

    def _up(self) -> None:
        self.ups += 1

    @property
    def bodies(self) -> list[str | None]:
        """What is in the messages that came."""
        return [stanza.body() for stanza in self.inbox if isinstance(stanza, Message)]


@asynccontextmanager
async def acting(
    domain: str,
    port: int,
    *,
    secret: str = SECRET,
    receive: Callable[[Stanza], Awaitable[None] | None] | None = None,
    bounds: ClientBounds = QUICK,
) -> AsyncIterator[Actor]:
    """A component that runs, over a line of its own."""
    line = Line(port)
    await line.start()
    actor = Actor(domain, line, secret=secret, receive=receive, bounds=bounds)
    task = asyncio.create_task(actor.client.run())
    try:
        yield actor
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await line.stop()


async def until(true: Callable[[], bool], seconds: float = WAIT) -> None:
    """Wait for something to become true; it must."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 -- what is waited for knows nothing of tests
            await asyncio.sleep(0.002)


def text(body: str, to: str, by: str, ident: str = "") -> Message:
    """A message."""
    return Message.build(
        [Element(ns.CLIENT, "body", {}, [body])],
        to=JID.parse(to), from_=JID.parse(by), id=ident, type="chat",
    )  # fmt: skip
