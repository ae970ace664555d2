"""What a connection and a message cost the server: `python tests/net/measure.py [tls|plain]`.

Not a test: figures depend on the machine. Server and client are two processes; the server's
memory is its PSS, its time is user and system time.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from jabberd.net.certs import make_self_signed
from jabberd.net.limits import Admission
from jabberd.net.listen import Listener, ListenOptions
from jabberd.net.owner import PumpOptions
from jabberd.net.tls import TlsContexts
from jabberd.net.tls_config import HostTls, TlsConfig
from jabberd.net.wire import Wire

WARM, CONNECTIONS, BUSY = 100, 500, 50
MESSAGE = b"<message to='bob@localhost' type='chat'><body>" + b"x" * 80 + b"</body></message>"
MESSAGE += b" " * (200 - len(MESSAGE))
SHAPES = (
    # label, messages per send, sends in a row, rounds
    ("8 messages in one record", 8, 1, 200),
    ("8 records one after the other", 1, 8, 200),
    ("one message at a time", 1, 1, 600),
)


class Echo:
    """The least that a machine can do."""

    __slots__ = ("wire",)
    wire: Wire

    def connected(self, wire: Wire) -> None:
        self.wire = wire

    def received(self, data: bytes) -> None:
        self.wire.write(data)

    def secured(self) -> None:
        pass

    def ended(self, error: Exception | None) -> None:
        pass

    def drained(self) -> None:
        pass


async def serve(tls: bool) -> None:
    """Print the port, then a line of memory (KiB) and time (s) for each line on stdin."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "c.pem"), Path(folder, "k.pem")
        make_self_signed(["localhost"], certificate, key, now=time.time())
        contexts = TlsContexts(TlsConfig((HostTls(("localhost",), certificate, key),)))
    options = ListenOptions(pump=PumpOptions(tls=contexts, direct_tls=tls))
    listener = Listener("127.0.0.1:0", Echo, options, admission=Admission(9999, 9999))
    listener.start()
    print(listener.address.port, flush=True)
    end = asyncio.Event()

    def answer() -> None:
        if not sys.stdin.readline():
            end.set()
            return
        gc.collect()
        rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
        memory = next(line.split()[1] for line in rollup if line.startswith("Pss:"))
        print(memory, time.process_time(), flush=True)

    asyncio.get_running_loop().add_reader(0, answer)
    await end.wait()
    asyncio.get_running_loop().remove_reader(0)
    await listener.stop(0.1)


class Client:
    """The other process: asks the server for its figures, and makes it work."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, __file__, kind, "serve"]
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.port = int(self._line())
        self.context: ssl.SSLContext | None = None
        if kind == "tls":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE

    def _line(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline()

    def figures(self) -> tuple[float, float]:
        assert self.server.stdin is not None
        self.server.stdin.write("\n")
        self.server.stdin.flush()
        memory, cpu = self._line().split()
        return float(memory), float(cpu)

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made = self.context.wrap_socket(plain) if self.context else plain
        made.sendall(MESSAGE)
        receive(made, len(MESSAGE))
        return made

    def echo(self, sockets: list[socket.socket], joined: int, sends: int, rounds: int) -> float:
        """Microseconds of the server per message."""
        data = MESSAGE * joined
        _, before = self.figures()
        for _ in range(rounds):
            for each in sockets:
                for _ in range(sends):
                    each.sendall(data)
            for each in sockets:
                receive(each, sends * len(data))
        _, after = self.figures()
        return (after - before) / (rounds * len(sockets) * sends * joined) * 1e6

    def run(self) -> None:
        kept = [self.connect() for _ in range(WARM)]
        memory, cpu = self.figures()
        kept += [self.connect() for _ in range(CONNECTIONS)]
        more_memory, more_cpu = self.figures()
        print(f"KiB per idle connection: {(more_memory - memory) / CONNECTIONS:.1f}")
        print(f"ms per connection made: {(more_cpu - cpu) / CONNECTIONS * 1e3:.2f}")
        for label, joined, sends, rounds in SHAPES:
            print(f"us per message, {label}: {self.echo(kept[:BUSY], joined, sends, rounds):.1f}")
        for each in kept:
            each.close()
        self.server.communicate()


def receive(stream: socket.socket, size: int) -> None:
    while size:
        size -= len(stream.recv(min(size, 65_536)))


if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else "tls"
    if sys.argv[2:] == ["serve"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(kind == "tls"))
    else:
        Client(kind).run()
