"""TLS between servers: both roles of ours against each other, and against other libraries."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from jabberd.net import tls as tls_module
from jabberd.net.owner import Calling, PumpOptions
from jabberd.net.pump import Pump
from jabberd.net.tls import XMPP_CLIENT, XMPP_SERVER, TlsContexts
from jabberd.net.tls_config import HostTls, TlsConfig
from jabberd.net.tls_session import TlsError, TlsSession
from jabberd.net.trust import Fault, Trust
from jabberd.net.wire import Endpoint, TlsFacts
from tests.net.authority import CLIENT, SERVER, Authority, Files, Key, new_key
from tests.net.strangers import errors, forged_chain

from .kit import (
    Recorder,
    Running,
    dial,
    exactly,
    on_both_loops,
    open_context,
    running,
    std_context,
    until,
)
from .test_tls import resident

HERE, THERE = "here.example", "there.example"
to_thread = asyncio.to_thread


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def contexts(*files: Files, resumption: bool = False, client_ca: Path | None = None) -> TlsContexts:
    hosts = (HostTls((one.certificate.stem,), one.certificate, one.key, client_ca) for one in files)
    return TlsContexts(TlsConfig(tuple(hosts), resumption=resumption))


@dataclass
class Client(Recorder):
    """A machine that connects: with STARTTLS it waits for the word, then says hello."""

    direct: bool = True

    def hello(self) -> None:
        assert self.wire is not None
        self.wire.write(b"hello" if self.direct or self.facts else b"STARTTLS")

    def _call(self, name: str) -> None:
        super()._call(name)
        if name in {"connected", "secured"}:
            self.hello()

    def received(self, data: bytes) -> None:
        assert self.wire is not None
        self.data += data
        if not self.direct and data == b"PROCEED":
            self.data.clear()
            self.wire.start_tls()


@dataclass
class Caller:
    """Who has connected (`net.owner.Owner`)."""

    client: Client
    why: str | None = None
    bugs: list[Exception] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def machine(self) -> Client:
        return self.client

    def named(self, pump: Pump, peer: Endpoint) -> bool:
        return False

    def gone(self, pump: Pump, why: str | None) -> None:
        self.why = why
        self.over.set()

    def bug(self, error: Exception) -> None:
        self.bugs.append(error)

    @property
    def facts(self) -> TlsFacts:
        assert self.client.facts is not None
        return self.client.facts


@asynccontextmanager
async def calling(
    pair: tuple[str, int],
    contexts: TlsContexts,
    *,
    direct: bool = True,
    host: str = HERE,
    server_name: str = THERE,
    alpn: bytes = XMPP_SERVER,
    seconds: float = 10.0,
) -> AsyncIterator[Caller]:
    caller = Caller(Client(direct=direct))
    options = PumpOptions(
        tls=contexts,
        calling=Calling(host, server_name),
        direct_tls=direct,
        alpn=(alpn,),
        handshake_seconds=seconds,
        close_seconds=0.5,
    )
    pump = Pump(caller, options, Endpoint(*pair))
    await asyncio.get_running_loop().create_connection(lambda: pump, *pair)
    try:
        yield caller
    finally:
        pump.close()
        await caller.over.wait()
        assert caller.bugs == []


@asynccontextmanager
async def listening(contexts: TlsContexts, *, direct: bool = True) -> AsyncIterator[Running]:
    async with running(contexts, direct_tls=direct, peers=True, alpn=(XMPP_SERVER,)) as server:
        yield server
        assert server.bugs == []


async def greeted(caller: Caller, server: Running, index: int = 0) -> tuple[TlsFacts, TlsFacts]:
    """What both ends know once bytes have come and gone; the caller's first."""
    await until(lambda: caller.client.data == b"hello")
    facts = (await server.machine(index)).facts
    assert facts is not None
    return caller.facts, facts


def protocol(facts: TlsFacts) -> str | None:
    assert isinstance(facts, TlsSession)
    return facts.protocol


# Both of ours


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "starttls"])
@on_both_loops
async def test_each_knows_the_other(authority: Authority, direct: bool) -> None:
    here = authority.sign(HERE, intermediate=True)
    there = authority.sign(THERE, intermediate=True)
    async with (
        listening(contexts(there), direct=direct) as server,
        calling(server.pair, contexts(here), direct=direct) as caller,
    ):
        ours, theirs = await greeted(caller, server)
        assert ours.peer_chain() == there.chain
        assert theirs.peer_chain() == here.chain
        assert ours.peer_certificate() == there.chain[0]
        assert theirs.peer_certificate() == here.chain[0]
        assert ours.exporter() == theirs.exporter() is not None
        end_point = hashlib.sha256(there.chain[0]).digest()
        assert ours.server_end_point() == theirs.server_end_point() == end_point
        assert (ours.version, theirs.server_name) == ("TLSv1.3", THERE)
        expected = "xmpp-server" if direct else None
        assert (protocol(ours), protocol(theirs)) == (expected, expected)
        trust = Trust(authority.file)
        assert trust.judge(ours.peer_chain(), THERE).valid
        assert trust.judge(theirs.peer_chain(), HERE).valid


@pytest.mark.parametrize("uses", [(SERVER,), (CLIENT,), ()], ids=["server", "client", "none"])
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "starttls"])
@on_both_loops
async def test_one_use_is_enough_for_both_directions(
    authority: Authority, direct: bool, uses: tuple[x509.ObjectIdentifier, ...]
) -> None:
    here, there = authority.sign(HERE, uses=uses), authority.sign(THERE, uses=uses)
    async with (
        listening(contexts(there), direct=direct) as server,
        calling(server.pair, contexts(here), direct=direct) as caller,
    ):
        ours, theirs = await greeted(caller, server)
        trust = Trust(authority.file)
        assert trust.judge(ours.peer_chain(), THERE).valid
        assert trust.judge(theirs.peer_chain(), HERE).valid


@on_both_loops
async def test_a_bad_certificate_is_judged_after_the_handshake(authority: Authority) -> None:
    made: dict[Fault, Callable[[str], Files]] = {
        Fault.UNTRUSTED: lambda name: authority.self_signed(name, file=name),
        Fault.EXPIRED: lambda name: authority.sign(name, days=(-9, -1)),
        Fault.NOT_YET_VALID: lambda name: authority.sign(name, days=(1, 9)),
        Fault.WRONG_NAME: lambda name: authority.sign("other.example", file=name),
    }
    trust = Trust(authority.file)
    for fault, make in made.items():
        here, there = make(HERE), make(THERE)
        async with (
            listening(contexts(there)) as server,
            calling(server.pair, contexts(here)) as caller,
        ):
            ours, theirs = await greeted(caller, server)
            assert trust.judge(ours.peer_chain(), THERE).fault is fault
            assert trust.judge(theirs.peer_chain(), HERE).fault is fault


@on_both_loops
async def test_the_certificate_is_that_of_the_host(authority: Authority) -> None:
    one, two = authority.sign("one.example"), authority.sign("two.example")
    both, there = contexts(one, two), contexts(authority.sign(THERE))
    async with listening(there) as server:
        for index, (host, files) in enumerate(
            [("one.example", one), ("two.example", two), ("nobody.example", one)]
        ):
            async with calling(server.pair, both, host=host) as caller:
                _, theirs = await greeted(caller, server, index)
                assert theirs.peer_chain() == files.chain


@on_both_loops
async def test_the_name_that_is_wanted(authority: Authority) -> None:
    one, two = authority.sign("one.example"), authority.sign("xn--bcher-kva.example")
    here = contexts(authority.sign(HERE))
    async with listening(contexts(one, two)) as server:
        for index, (wanted, sent, files) in enumerate(
            [
                ("one.example", "one.example", one),
                ("Bücher.example", "xn--bcher-kva.example", two),
                ("192.0.2.1", None, one),
                ("[2001:db8::1]", None, one),
            ]
        ):
            async with calling(server.pair, here, server_name=wanted) as caller:
                ours, theirs = await greeted(caller, server, index)
                assert theirs.server_name == sent
                assert ours.peer_chain() == files.chain


@on_both_loops
async def test_clients_are_not_asked(authority: Authority) -> None:
    there, here = contexts(authority.sign(THERE)), contexts(authority.sign(HERE))
    async with (
        running(there, direct_tls=True) as server,
        calling(server.pair, here, alpn=XMPP_CLIENT) as caller,
    ):
        _, theirs = await greeted(caller, server)
        assert theirs.peer_chain() == ()
        assert theirs.peer_certificate() is None


@on_both_loops
async def test_another_protocol_is_refused(authority: Authority) -> None:
    there, here = contexts(authority.sign(THERE)), contexts(authority.sign(HERE))
    async with (
        listening(there) as server,
        calling(server.pair, here, alpn=XMPP_CLIENT) as caller,
    ):
        await caller.over.wait()
        assert caller.why is not None
        assert "no application protocol" in caller.why
        assert caller.client.calls == []


@on_both_loops
async def test_much_at_once_in_both_directions(authority: Authority) -> None:
    there, here = contexts(authority.sign(THERE)), contexts(authority.sign(HERE))
    big = bytes(range(256)) * 2000
    async with (
        listening(there, direct=False) as server,
        calling(server.pair, here, direct=False) as caller,
    ):
        await greeted(caller, server)
        assert caller.client.wire is not None
        caller.client.wire.write(big)
        await until(lambda: len(caller.client.data) == len(big) + 5)
        assert caller.client.data == b"hello" + big


# The client's role alone


@on_both_loops
async def test_the_client_speaks_first(authority: Authority) -> None:
    here = contexts(authority.sign(HERE))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with calling(silent.getsockname(), here, seconds=0.3) as caller:
            accepted, _ = await to_thread(silent.accept)
            with accepted:
                assert await to_thread(exactly, accepted, 2) == b"\x16\x03"
                await caller.over.wait()
            assert caller.why == "TLS handshake took too long"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_both_loops
async def test_a_server_of_another_library(authority: Authority, version: ssl.TLSVersion) -> None:
    there = authority.sign(THERE)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(there.certificate, there.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    context.set_alpn_protocols(["xmpp-server"])
    here = authority.sign(HERE, intermediate=True)

    def serve(listener: socket.socket) -> tuple[bytes | None, str | None, bool | None]:
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True) as accepted:
            accepted.sendall(exactly(accepted, 5))
            seen = accepted.getpeercert(binary_form=True)
            return seen, accepted.selected_alpn_protocol(), accepted.session_reused

    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = contexts(here)
        for _ in range(2):  # the second one could resume the session of the first
            served = asyncio.create_task(to_thread(serve, listener))
            async with calling(listener.getsockname(), ours) as caller:
                await until(lambda: caller.client.data == b"hello")
                assert caller.facts.peer_chain()[:1] == there.chain
                end_point = hashlib.sha256(there.chain[0]).digest()
                assert caller.facts.server_end_point() == end_point
            assert await served == (here.chain[0], "xmpp-server", False)


@on_both_loops
async def test_what_speaks_no_tls_is_left(authority: Authority) -> None:
    here = contexts(authority.sign(HERE))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as plain:
        async with calling(plain.sockets[0].getsockname(), here) as caller:
            await caller.over.wait()
            assert caller.why is not None
            assert "version" in caller.why or "packet" in caller.why
        assert caller.client.calls == []


def shake(session: TlsSession, other: SSL.Connection) -> None:
    """Do the handshake of a session of ours in memory."""
    for _ in range(6):
        with contextlib.suppress(SSL.WantReadError):
            other.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            if session.handshake(other.bio_read(1 << 20)) is not None:
                break
        answer = session.take()
        if answer:
            other.bio_write(answer)
    answer = session.take()
    if answer:
        other.bio_write(answer)
    with contextlib.suppress(SSL.WantReadError):
        other.do_handshake()


def other_server(files: Files, version: int) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(version)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.use_certificate_file(str(files.certificate))
    context.use_privatekey_file(str(files.key))
    made = SSL.Connection(context, None)
    made.set_accept_state()
    return made


def test_old_versions_are_refused(authority: Authority) -> None:
    files = authority.sign(THERE)
    for version, good in ((SSL.TLS1_2_VERSION, True), (SSL.TLS1_1_VERSION, False)):
        session, hello = contexts(authority.sign(HERE)).connect(HERE, THERE, ())
        server = other_server(files, version)
        server.bio_write(hello)
        expected = contextlib.nullcontext() if good else pytest.raises((TlsError, SSL.Error))
        with expected:
            shake(session, server)
            assert session.version == "TLSv1.2"


# The server's role alone


def stranger(chain: tuple[bytes, ...], key: Key, *, version: int | None = None) -> SSL.Connection:
    """A client that presents what it likes."""
    context = open_context(version=version)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    present(context, chain, key)
    made = SSL.Connection(context, None)
    made.set_connect_state()
    return made


def present(context: SSL.Context, chain: tuple[bytes, ...], key: Key) -> None:
    """Use a certificate that nobody but OpenSSL has read, and what is sent along with it."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write("".join(ssl.DER_cert_to_PEM_cert(der) for der in chain))
        file.flush()
        context.use_certificate_chain_file(file.name)
    context.use_privatekey(key)


def key_of(files: Files) -> Key:
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, Key)
    return key


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_server_need_not_have_a_certificate(authority: Authority, version: int) -> None:
    session = contexts(authority.sign(THERE)).accept(peers=True)
    client = SSL.Connection(open_context(version=version), None)
    client.set_connect_state()
    shake(session, client)
    assert session.peer_chain() == ()
    client.send(b"hello")
    assert session.receive(client.bio_read(1 << 16)) == b"hello"


def test_servers_are_told_no_authorities(authority: Authority) -> None:
    files = authority.sign(THERE)
    made = contexts(authority.sign("default.example"), files, client_ca=authority.file)
    for peers in (True, False):
        for name in ("default.example", THERE):
            session = made.accept(peers=peers)
            client = stranger(files.chain, key_of(files))
            client.set_tlsext_host_name(name.encode())
            shake(session, client)
            assert session.peer_chain() == files.chain
            assert bool(client.get_client_ca_list(as_cryptography=True)) is not peers
            assert session.peer_certificate_valid() is not peers


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_both_loops
async def test_only_clients_resume_sessions(authority: Authority, version: ssl.TLSVersion) -> None:
    made = contexts(authority.sign(THERE), resumption=True)
    context = std_context(maximum_version=version)

    def run(pair: tuple[str, int], old: ssl.SSLSession | None) -> tuple[ssl.SSLSession, bool]:
        with context.wrap_socket(dial(pair), session=old) as client:
            client.sendall(b"x")
            exactly(client, 1)
            assert client.session is not None
            return client.session, bool(client.session_reused)

    for peers in (True, False):
        async with running(made, direct_tls=True, peers=peers) as server:
            session, _ = await to_thread(run, server.pair, None)
            _, reused = await to_thread(run, server.pair, session)
            assert reused is not peers


# What strangers present


def test_signatures_of_strangers_cost_nothing(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects chooses the keys, and those can be big; the chain is kept all the same."""
    depths: list[int] = []

    def accept(
        _connection: SSL.Connection, _certificate: crypto.X509, _error: int, depth: int, _ok: int
    ) -> bool:
        depths.append(depth)
        return True

    monkeypatch.setattr(tls_module, "_accept", accept)
    key = new_key()
    chain = forged_chain(key, 8)
    session = contexts(authority.sign(THERE)).accept(peers=True)
    shake(session, stranger(chain, key))
    assert session.peer_chain() == chain
    assert max(depths) <= 1


def test_no_more_of_a_chain_is_kept_than_is_bearable(authority: Authority) -> None:
    key = new_key()
    chain = forged_chain(key, 30)
    session = contexts(authority.sign(THERE)).accept(peers=True)
    shake(session, stranger(chain, key))
    kept = session.peer_chain()
    assert kept == chain[: len(kept)]
    assert len(kept) <= 11
    assert Trust(authority.file).judge(kept, HERE).fault is Fault.UNTRUSTED


@pytest.mark.parametrize("peers", [True, False], ids=["servers", "clients"])
def test_a_forged_chain_leaves_nothing_to_openssl(authority: Authority, peers: bool) -> None:
    """What stays in its queue of errors would end the connections of others."""
    key = new_key()
    chain = forged_chain(key, 1)
    made = contexts(authority.sign(THERE), client_ca=None if peers else authority.file)
    errors()
    session = made.accept(peers=peers)
    shake(session, stranger(chain, key, version=SSL.TLS1_3_VERSION))
    assert session.peer_certificate() == chain[0]
    assert errors() == []


def test_a_certificate_that_cannot_be_read_is_handed_on(authority: Authority) -> None:
    files = authority.self_signed(HERE)
    version_8 = files.chain[0].replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020107"), 1)
    session = contexts(authority.sign(THERE)).accept(peers=True)
    client = stranger((version_8,), key_of(files))
    shake(session, client)
    assert session.peer_certificate() == version_8
    assert session.peer_chain() == (version_8,)
    assert Trust(authority.file).judge(session.peer_chain(), HERE).fault is Fault.BROKEN
    client.send(b"hello")
    assert session.receive(client.bio_read(1 << 16)) == b"hello"


def test_the_end_point_of_one_that_cannot_be_read_is_none(authority: Authority) -> None:
    files = authority.self_signed(THERE)
    version_8 = files.chain[0].replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020107"), 1)
    session, hello = contexts(authority.sign(HERE)).connect(HERE, THERE, ())
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    present(context, (version_8,), key_of(files))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    server.bio_write(hello)
    shake(session, server)
    assert session.peer_chain() == (version_8,)
    assert session.server_end_point() is None


def test_connections_that_we_have_made_are_small(authority: Authority) -> None:
    """As for those that clients have made: a memory BIO keeps the size it once had."""
    files = authority.sign(THERE)
    ours = contexts(authority.sign(HERE))
    big = b"x" * 1_000_000
    kept = []
    before = 0
    for number in range(40):
        session, hello = ours.connect(HERE, THERE, (XMPP_SERVER,))
        server = other_server(files, SSL.TLS1_3_VERSION)
        server.bio_write(hello)
        shake(session, server)
        server.sendall(big)
        assert session.receive(server.bio_read(1 << 21)) == big
        assert len(session.send(big)) > len(big)
        kept.append(session)
        if number == 9:
            before = resident()
    assert (resident() - before) / 30 < 200_000
