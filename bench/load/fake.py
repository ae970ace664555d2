"""A fake of many servers: it takes streams to all live domains and believes what it is told.

It proves nothing about anybody: dialback keys are not looked at, and its certificate is
self-signed. It is there to be the far end of streams of a server whose own side is measured.
It is made of jabberd's parts, so it is no measure of how jabberd gets along with others.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench.load.places import is_live
from bench.load.target import LoadError
from jabberd.net.certs import make_self_signed
from jabberd.net.limits import Admission
from jabberd.net.listen import Listener, ListenOptions
from jabberd.net.owner import PumpOptions
from jabberd.net.tls import TlsContexts
from jabberd.net.tls_config import HostTls, TlsConfig
from jabberd.net.wire import Wire
from jabberd.xmpp import sm
from jabberd.xmpp.frames import Limits, Nonza
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.server import ServerPolicy
from jabberd.xmpp.stream.server_receiving import ServerReceivingStream

_NUMBER: Final = re.compile(rb"<body>(\d+)</body>")
_NAME: Final = "fake.example"


def _policy(domain: str) -> ServerPolicy | None:
    return ServerPolicy(domain) if is_live(domain) else None


class Seen:
    """What has come, on all streams.

    Attributes:
        times: when each numbered message came.
        streams: how many are open, from their first message on.
        repeated: messages that came more than once.
    """

    def __init__(self) -> None:
        self.times: dict[int, float] = {}
        self.streams = 0
        self.repeated = 0

    def came(self, number: int) -> None:
        """Note a message."""
        self.repeated += number in self.times
        self.times.setdefault(number, time.perf_counter())

    async def all_of(self, numbers: range, deadline: float) -> None:
        """Wait for messages.

        Raises:
            LoadError: they do not all come in time.
        """
        end = time.monotonic() + deadline
        while missing := sum(number not in self.times for number in numbers):
            if time.monotonic() > end:
                raise LoadError(f"{missing} of {len(numbers)} messages did not arrive")
            await asyncio.sleep(0.02)


class FakeStream:
    """One stream of the fake (`jabberd.net.wire.Machine`).

    Args:
        seen: where messages are noted.
    """

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._handled = 0
        self._wire: Wire | None = None
        self._stream: ServerReceivingStream | None = None

    def connected(self, wire: Wire) -> None:
        """Begin."""
        self._wire = wire
        self._stream = ServerReceivingStream(
            hosts=_policy,
            allowed=lambda _: None,
            secure=False,
            before=Limits(),
            after=Limits(),
            token=lambda: secrets.token_hex(16),
        )

    def received(self, data: bytes) -> None:
        """Take what comes."""
        if self._stream is not None:
            self._take(self._stream, self._stream.receive(data))

    def secured(self) -> None:
        """Go on: TLS is up."""
        if self._stream is not None:
            self._take(self._stream, self._stream.secured())

    def _take(self, stream: ServerReceivingStream, found: list[Event]) -> None:
        wire = self._wire
        if wire is None:
            return
        for event in found:
            if isinstance(event, Message):
                self._count(event)
            elif isinstance(event, Nonza):
                wire.write(sm.a(self._handled) if event.name == "r" else sm.enabled())
            elif isinstance(event, events.UpgradeToTls):
                wire.write(stream.take())
                wire.start_tls(None)
            elif isinstance(event, events.PeerWanted):
                self._take(stream, stream.peer(external=False))
            elif isinstance(event, events.PairClaimed):
                self._take(stream, stream.verified(event.pair, valid=True))
        wire.write(stream.take())

    def _count(self, message: Message) -> None:
        self._seen.streams += not self._handled
        self._handled += 1
        number = _NUMBER.search(message.inner)
        if number is not None:
            self._seen.came(int(number[1]))

    def ended(self, error: Exception | None) -> None:  # noqa: ARG002 -- part of the interface
        """Forget the connection."""
        self._seen.streams -= self._handled > 0
        self._wire = self._stream = None

    def drained(self) -> None:
        """Do nothing: little is written."""


@asynccontextmanager
async def fake_servers(where: str, folder: Path, most: int) -> AsyncIterator[Seen]:
    """Run it.

    Args:
        where: address and port.
        folder: for its certificate.
        most: connections at once.
    """
    certificate, key = folder / "fake.crt", folder / "fake.key"
    make_self_signed([_NAME], certificate, key, now=time.time())
    tls = TlsContexts(TlsConfig((HostTls((_NAME,), certificate, key),)))
    seen = Seen()
    listener = Listener(
        where,
        lambda: FakeStream(seen),
        ListenOptions(PumpOptions(tls=tls, peers=True)),
        admission=Admission(most, most),
    )
    listener.start()
    try:
        yield seen
    finally:
        await listener.stop()
