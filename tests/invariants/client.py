"""A client that loses nothing by itself (XEP-0198, 0280, 0313, 0359), for as long as it lives."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Final
from xml.etree.ElementTree import ParseError

from tests.integration.wire import StreamEnd
from tests.invariants.dialogue import Dialogue, World
from tests.invariants.history import ClientHistory
from tests.invariants.stream import Refused, Stream

_LOGIN: Final = 6.0  # seconds until a login is given up
_PATIENCE: Final = 4.0  # seconds without a word until a connection is given up
_LEAVING: Final = 3.0  # seconds to say goodbye in
_TICK: Final = 0.25


class Client:
    """One client of one account; it connects again and again while it is wanted.

    Args:
        history: what it writes; says also who it is.
        address: host and port to connect to.
        world: see there.
        random: its own dice.
        priority: of its presence.

    Attributes:
        history: see there.
    """

    def __init__(
        self,
        history: ClientHistory,
        address: tuple[str, int],
        world: World,
        random: Random,
        priority: int = 0,
    ) -> None:
        self.history = history
        self._address = address
        self._world = world
        self._random = random
        self._dialogue = Dialogue(history, world, random, priority)
        self._wanted, self._gone = asyncio.Event(), asyncio.Event()
        self._over = False

    def say(self, to: str, resource: str | None = None) -> None:
        """Say the next message to an account, or to one of its resources; later if need be."""
        self._dialogue.say(to, resource)

    def come(self) -> None:
        """Be there from now on: connect, and connect again."""
        self._wanted.set()

    def drop(self) -> None:
        """Lose the connection without a word, and stay away."""
        self._wanted.clear()
        if self._dialogue.stream is not None:
            self._dialogue.stream.abort()

    def forget(self) -> None:
        """Lose the connection, and know nothing of the session any more, as after a crash."""
        self.drop()
        self._dialogue.previous = None

    def look(self, active: bool) -> None:
        """Say that somebody is looking, or that nobody is (XEP-0352)."""
        if self._dialogue.stream is not None:
            name = "active" if active else "inactive"
            self._dialogue.stream.write(f"<{name} xmlns='urn:xmpp:csi:0'/>")

    async def leave(self) -> None:
        """Go in good order: have all acknowledged, acknowledge all, close the stream."""
        self._wanted.clear()
        dialogue = self._dialogue
        stream = dialogue.stream
        if stream is None:
            dialogue.previous = None
            return
        dialogue.acknowledge()
        dialogue.ping()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING):
                while dialogue.outbox.unacknowledged and dialogue.stream is stream:
                    dialogue.ask()
                    await asyncio.sleep(0.02)
        dialogue.acknowledge()
        dialogue.previous = None
        stream.finish()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), _LEAVING)
        stream.abort()

    def end(self) -> None:
        """Be no more; only after `leave` or `drop`."""
        self._over = True
        self._wanted.set()

    @property
    def gone(self) -> bool:
        """Whether it has no connection."""
        return self._dialogue.stream is None

    @property
    def waiting(self) -> int:
        """How many of its messages the server has not taken on."""
        return len(self._dialogue.outbox)

    @property
    def unsettled(self) -> str:
        """Why it has not come to rest, in words; empty where it has."""
        reasons = []
        if self.gone:
            reasons.append("it has no connection")
        if self.waiting:
            reasons.append(f"{self.waiting} of its messages are not acknowledged")
        if self._dialogue.timeline.reading:
            reasons.append("it has not read its archive to the end")
        return f"{self.history.name}: {', '.join(reasons)}" if reasons else ""

    async def live(self) -> None:
        """Connect whenever it is wanted, until the end."""
        while True:
            await self._wanted.wait()
            if self._over:
                return
            try:
                stream = await self._connect()
            except Refused as refused:
                self._world.counts[f"logins refused: {refused.condition}"] += 1
            except (OSError, StreamEnd, TimeoutError, ParseError):
                # Not XML: a server that ends may say so in a stream of its own, after <success/>.
                self._world.counts["logins failed"] += 1
            else:
                await self._serve(stream)
            await asyncio.sleep(self._random.uniform(0.02, 0.4))

    async def _connect(self) -> Stream:
        dialogue = self._dialogue
        async with asyncio.timeout(_LOGIN):
            life = self._world.life
            stream = await Stream.connect(*self._address)
            try:
                self._world.counts["connections"] += 1
                await stream.log_in(self.history.account)
                previous = dialogue.previous
                if previous is None or not await dialogue.resume(stream, previous, life):
                    await dialogue.begin(stream, life)
            except BaseException:
                stream.abort()
                raise
        return stream

    async def _serve(self, stream: Stream) -> None:
        """Read until the connection ends, in whatever way."""
        dialogue = self._dialogue
        dialogue.stream = stream
        self._gone.clear()
        dialogue.heard = self._world.now()
        dialogue.flush()
        watch = asyncio.create_task(self._watch(stream))
        try:
            if not self._wanted.is_set():
                stream.abort()  # it was told to go meanwhile
            while True:
                dialogue.take(stream, await stream.next(3600))
        except ParseError as error:
            self.history.faults.append(f"{self.history.name}: what came is no XML: {error}")
        except (OSError, StreamEnd) as end:
            closed = isinstance(end, StreamEnd) and end.clean
            self._world.counts["streams closed" if closed else "streams broken"] += 1
        finally:
            dialogue.stream = None
            self._gone.set()
            watch.cancel()
            await asyncio.wait((watch,))
            await stream.cut()

    async def _watch(self, stream: Stream) -> None:
        """Ask for acknowledgements; give up a connection on which nothing comes any more."""
        dialogue = self._dialogue
        while True:
            await asyncio.sleep(_TICK)
            dialogue.ask()
            if dialogue.owes and self._random.random() < 0.2:
                # With something to be acknowledged itself, so that we know that it is known.
                dialogue.acknowledge()
                dialogue.ping()
            if self._world.now() - dialogue.heard > _PATIENCE:
                self._world.counts["connections given up"] += 1
                stream.abort()
                return
