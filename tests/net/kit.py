"""What the tests of net share: certificates, a machine that records, a running listener."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from jabberd.net.limits import Admission
from jabberd.net.listen import Listener, ListenOptions
from jabberd.net.owner import PumpOptions
from jabberd.net.tls import TlsContexts
from jabberd.net.tls_config import HostTls, TlsConfig
from jabberd.net.wire import TlsFacts, Wire

LIMIT = 30.0


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Any:
    """Run a coroutine test on asyncio's own loop and on uvloop's."""

    @pytest.mark.parametrize(
        "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    @functools.wraps(test)
    def run(*args: Any, new_loop: Callable[[], asyncio.AbstractEventLoop], **kwargs: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(LIMIT):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(limited())

    signature = inspect.signature(test)
    extra = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    parameters = [*signature.parameters.values(), extra]
    vars(run)["__signature__"] = signature.replace(parameters=parameters)  # pytest reads it
    return run


@dataclass
class Pair:
    """A certificate and its key, in memory and in files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_path: Path
    key_path: Path


class Forge:
    """Makes certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = self.make("authority", ca=True)

    def make(
        self,
        name: str,
        *,
        by: Pair | None = None,
        ca: bool = False,
        usage: x509.ObjectIdentifier | None = None,
        days: tuple[int, int] = (-1, 30),
        algorithm: hashes.SHA256 | hashes.SHA384 | None = None,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by.certificate.subject if by else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        made = builder.sign(by.key if by else key, algorithm or hashes.SHA256())
        stem = f"{name}-{made.serial_number:x}"
        cert_path, key_path = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        cert_path.write_bytes(made.public_bytes(Encoding.PEM))
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Pair(made, key, cert_path, key_path)

    def client(self, **kwargs: Any) -> Pair:
        kwargs.setdefault("usage", ExtendedKeyUsageOID.CLIENT_AUTH)
        kwargs.setdefault("by", self.authority)
        return self.make("client", **kwargs)

    def host(self, name: str, *, client_ca: bool = False, more: tuple[str, ...] = ()) -> HostTls:
        pair = self.make(name)
        return HostTls(
            (name, *more),
            pair.cert_path,
            pair.key_path,
            self.authority.cert_path if client_ca else None,
        )

    def contexts(self, *hosts: HostTls, **kwargs: Any) -> TlsContexts:
        return TlsContexts(TlsConfig(hosts or (self.host("localhost"),), **kwargs))


@dataclass
class Recorder:
    """A machine that records its calls and echoes, or does what it is told."""

    starttls_host: str | None = None
    echo: bool = True
    fail_on: str | None = None
    calls: list[str] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    error: Exception | None = None
    wire: Wire | None = None
    facts: TlsFacts | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    drains: asyncio.Event = field(default_factory=asyncio.Event)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fail_on:
            raise RuntimeError(name)

    def connected(self, wire: Wire) -> None:
        self.wire = wire
        self.facts = wire.tls
        self._call("connected")

    def received(self, data: bytes) -> None:
        assert self.wire is not None
        self._call("received")
        self.data += data
        if data.startswith(b"STARTTLS"):
            self.wire.write(b"PROCEED")
            self.wire.start_tls()
        elif data.startswith(b"CLOSE"):
            self.wire.write(b"BYE")
            self.wire.close()
        elif self.echo:
            self.wire.write(data)

    def secured(self) -> None:
        assert self.wire is not None
        self.facts = self.wire.tls
        self._call("secured")

    def ended(self, error: Exception | None) -> None:
        self.error = error
        self.over.set()
        self._call("ended")

    def drained(self) -> None:
        self.drains.set()
        self._call("drained")


@dataclass
class Running:
    """A listener that runs, and the machines that it made."""

    listener: Listener
    machines: list[Recorder]
    bugs: list[Exception]
    admission: Admission

    @property
    def pair(self) -> tuple[str, int]:
        return self.listener.address.host, self.listener.address.port

    async def machine(self, index: int = 0) -> Recorder:
        await until(lambda: len(self.machines) > index)
        return self.machines[index]


@asynccontextmanager
async def running(
    tls: TlsContexts | None = None,
    *,
    address: str = "127.0.0.1:0",
    machine: Callable[[], Recorder] = Recorder,
    proxies: tuple[Any, ...] = (),
    admission: Admission | None = None,
    **pump: Any,
) -> AsyncIterator[Running]:
    machines: list[Recorder] = []
    bugs: list[Exception] = []

    def make() -> Recorder:
        machines.append(machine())
        return machines[-1]

    admission = admission or Admission()
    listener = Listener(
        address,
        make,
        ListenOptions(pump=PumpOptions(tls=tls, **pump), proxies=proxies),
        admission=admission,
        on_bug=bugs.append,
    )
    listener.start()
    try:
        yield Running(listener, machines, bugs, admission)
    finally:
        await listener.stop(0.5)
        assert admission.open == 0
        assert not listener.pumps


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that will come true on its own."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- any condition, of code that sets no event
            await asyncio.sleep(0.005)


def dial(pair: tuple[str, int]) -> socket.socket:
    """A blocking connection."""
    return socket.create_connection(pair, timeout=10)


def exactly(stream: Any, size: int) -> bytes:
    """Read so many bytes, or what comes before the end."""
    data = bytearray()
    while len(data) < size:
        piece = stream.recv(min(65536, size - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)


def std_context(**minimum: Any) -> ssl.SSLContext:
    """A client's context of the standard library that checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in minimum.items():
        setattr(context, name, value)
    return context


def open_context(pair: Pair | None = None, *, version: int | None = None) -> SSL.Context:
    """A client's context of pyOpenSSL that checks nothing."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if pair is not None:
        context.use_certificate(pair.certificate)
        context.use_privatekey(pair.key)
    if version is not None:
        context.set_max_proto_version(version)
    return context


def open_dial(
    pair: tuple[str, int],
    context: SSL.Context,
    *,
    name: str | None = None,
    alpn: list[bytes] | None = None,
) -> SSL.Connection:
    """A blocking TLS connection of pyOpenSSL with the handshake done."""
    sock = dial(pair)
    sock.settimeout(None)
    connection = SSL.Connection(context, sock)
    if name is not None:
        connection.set_tlsext_host_name(name.encode())
    if alpn is not None:
        connection.set_alpn_protos(alpn)
    connection.set_connect_state()
    try:
        connection.do_handshake()
    except BaseException:
        sock.close()
        raise
    return connection
