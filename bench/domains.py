"""One server and a thousand others: memory per stream, and what dead ones cost the living.

    python -m bench.domains --json out.json

The thousand are one fake in this process: it takes every stream, believes every dialback key
without looking, and counts messages. Only jabberd is measured. PSS of its process is read before
the first stream and ten seconds after the last one is up. Then messages go to one live domain at a
steady rate, without and with as many again to domains whose server never answers (a full queue of
connections), and the time from the client's write to the fake's read is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import ClassVar, Final

import uvloop
from tests.federation.peers import C2S, Ours
from tests.net.authority import Authority

from bench.load.client import Client
from bench.load.many import percentile
from bench.load.proc import calibrate, pss_kib
from bench.load.target import Result, Target
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

_ADDRESS: Final = "127.77.0.1"
_PORT: Final = 5269
_DOMAINS: Final = 1_000
_DEAD: Final = 50
_NUMBER: Final = re.compile(rb"<body>(\d+)</body>")


class _Fake:
    """One stream of the thousand servers (`net.wire.Machine`).

    Attributes:
        times: when each numbered message came.
        came: how many messages came, on all streams.
    """

    times: ClassVar[dict[int, float]] = {}
    came: ClassVar[int] = 0

    def __init__(self) -> None:
        self._handled = 0
        self._wire: Wire | None = None
        self._stream: ServerReceivingStream | None = None

    def connected(self, wire: Wire) -> None:
        """Take it."""
        self._wire = wire
        self._stream = ServerReceivingStream(
            hosts=lambda domain: ServerPolicy(domain) if domain != "ours.example" else None,
            allowed=lambda _: None,
            secure=False,
            before=Limits(),
            after=Limits(),
            token=lambda: secrets.token_hex(16),
        )

    def received(self, data: bytes) -> None:
        """Believe everything."""
        if self._stream is not None:
            self._take(self._stream.receive(data))

    def secured(self) -> None:
        """TLS is up."""
        if self._stream is not None:
            self._take(self._stream.secured())

    def _take(self, found: list[Event]) -> None:
        stream, wire = self._stream, self._wire
        if stream is None or wire is None:
            return
        for event in found:
            if isinstance(event, Message):
                number = _NUMBER.search(event.inner)
                self._handled += 1
                _Fake.came += 1
                if number is not None:
                    _Fake.times[int(number[1])] = time.perf_counter()
            elif isinstance(event, Nonza):
                answer = sm.a(self._handled) if event.name == "r" else sm.enabled()
                wire.write(answer)
            elif isinstance(event, events.UpgradeToTls):
                wire.write(stream.take())
                wire.start_tls(None)
            elif isinstance(event, events.PeerWanted):
                self._take(stream.peer(external=False))
            elif isinstance(event, events.PairClaimed):
                self._take(stream.verified(event.pair, valid=True))
        wire.write(stream.take())

    def ended(self, error: Exception | None) -> None:
        """Gone."""

    def drained(self) -> None:
        """Nothing waits."""


@contextmanager
def _ours(folder: Path, dead_port: int) -> Iterator[Ours]:
    authority = Authority(folder)

    class Server(Ours):
        level, archive, open = "warning", False, True

        def configure(self) -> None:
            super().configure()
            lines = ["[route]"]
            lines += [f'"d{number}.example" = "{_ADDRESS}:{_PORT}"' for number in range(_DOMAINS)]
            lines += [
                f'"dead{number}.example" = "127.0.0.1:{dead_port}"' for number in range(_DEAD)
            ]
            with (folder / "ours" / "jabberd.toml").open("a") as file:
                file.write("\n".join(lines) + "\n")

    hosts = {"ours.example": authority.sign("ours.example")}
    server = Server(folder / "ours", "127.77.0.2", "127.0.0.1", authority.file, hosts)
    try:
        yield server.start()
    finally:
        server.stop()


@asynccontextmanager
async def _thousand(folder: Path) -> AsyncIterator[None]:
    certificate, key = folder / "fake.crt", folder / "fake.key"
    make_self_signed(["d0.example"], certificate, key, now=time.time())
    tls = TlsContexts(TlsConfig((HostTls(("d0.example",), certificate, key),)))
    options = ListenOptions(PumpOptions(tls=tls, peers=True))
    many = Admission(10 * _DOMAINS, 10 * _DOMAINS)
    listener = Listener(f"{_ADDRESS}:{_PORT}", _Fake, options, admission=many)
    listener.start()
    try:
        yield
    finally:
        await listener.stop()


@contextmanager
def _silent() -> Iterator[int]:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield full.getsockname()[1]


async def _came(count: int) -> None:
    async with asyncio.timeout(120):
        while _Fake.came < count:  # noqa: ASYNC110 -- the fake sets no events
            await asyncio.sleep(0.02)


async def _latency(client: Client, first: int, dead: bool) -> list[float]:
    """Five seconds of 200 messages a second to one domain."""
    sent: dict[int, float] = {}
    for step in range(1_000):
        number = first + step
        sent[number] = time.perf_counter()
        client.write(f"<message to='x@d0.example' type='chat'><body>{number}</body></message>")
        if dead:
            to = f"x@dead{step % _DEAD}.example"
            client.write(f"<message to='{to}' type='chat'><body>dead</body></message>")
        await asyncio.sleep(0.005)
    await asyncio.sleep(2)
    missing = [number for number in sent if number not in _Fake.times]
    if missing:
        raise RuntimeError(f"{len(missing)} messages did not arrive")
    return sorted(_Fake.times[number] - at for number, at in sent.items())


async def _measure(folder: Path, server: Ours) -> Result:
    async with _thousand(folder):
        target = Target(C2S, domain="ours.example", tls="starttls", host=server.address)
        await Client(target, 0).register()
        client = Client(target, 0)
        await client.login()
        client.hot = lambda _: None
        await asyncio.sleep(2)
        before = pss_kib((server.pid,))
        begun = time.perf_counter()
        for number in range(_DOMAINS):
            client.write(f"<message to='x@d{number}.example' type='chat'><body>x</body></message>")
        await _came(_DOMAINS)
        seconds = time.perf_counter() - begun
        await asyncio.sleep(10)
        after = pss_kib((server.pid,))
        alone = await _latency(client, 10_000, dead=False)
        beside = await _latency(client, 20_000, dead=True)
        client.close()
    return {
        "kib_per_stream": round((after - before) / _DOMAINS, 1),
        "seconds_for_all": round(seconds, 1),
        "p50_ms": percentile(alone, 0.5),
        "p99_ms": percentile(alone, 0.99),
        "p50_ms_beside_dead": percentile(beside, 0.5),
        "p99_ms_beside_dead": percentile(beside, 0.99),
        "calib_ms": calibrate(),
    }


def main() -> int:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(prog="bench.domains", description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jabberd-bench-") as name, _silent() as port:
        folder = Path(name)
        with _ours(folder, port) as server:
            result = uvloop.run(_measure(folder, server))
    print(json.dumps(result, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
