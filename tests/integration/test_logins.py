"""Logins by real sockets: certificates, channel binding, several hosts, proxies, PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

import jabberd
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.initiating import InitiatingStream
from jabberd.xmpp.stream.login import Login, Tls
from tests.conftest import Cluster
from tests.integration.wire import CLIENT, SASL, Wire, stanza_error, stream_error
from tests.net.kit import Forge, Pair, dial, open_context, open_dial, std_context

LIMITS: Final = Limits(
    stanza_bytes=100_000, depth=64, elements=1000, attributes=64, declarations=64, name_bytes=1024
)
ALICE: Final = JID("alice", "localhost")
XMPP_ADDR: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
ROSTER: Final = "{jabber:iq:roster}"
EXPORTER: Final = b"EXPORTER-Channel-Binding"  # RFC 9266 §2

pytestmark = pytest.mark.asyncio


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


def client_certificate(forge: Forge, by: Pair, *addresses: str) -> Pair:
    """A client's certificate with XmppAddr names (RFC 6120 §13.7.1.4)."""
    key = forge.make("client").key
    now = dt.datetime.now(dt.UTC)
    names = [
        x509.OtherName(XMPP_ADDR, bytes((0x0C, len(text.encode()))) + text.encode())
        for text in addresses
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([*names, x509.DNSName("client.example")]), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(by.key, hashes.SHA256())
    )
    return Pair(made, key, by.cert_path, by.key_path)


Bindings = Callable[[SSL.Connection], dict[str, bytes]]


@dataclass(frozen=True)
class Outcome:
    """What came of a login.

    Attributes:
        event: what ended it: `SessionBound`, or why there is no session.
        raw: what the server sent, decrypted.
        sessions: mechanism and TLS version of the server's sessions meanwhile.
    """

    event: events.Event
    raw: bytes
    sessions: list[tuple[str, str]]

    @property
    def failure(self) -> str:
        assert isinstance(self.event, events.AuthenticationFailed), self.event
        return self.event.error.condition.value


def no_bindings(_: SSL.Connection) -> dict[str, bytes]:
    return {}


async def log_in(
    server: jabberd.Server,
    login: Login,
    *,
    certificate: Pair | None = None,
    bindings: Bindings = no_bindings,
) -> Outcome:
    """The initiating role over direct TLS of pyOpenSSL, which blocks: in a thread."""
    place, domain = (server.host, server.tls_port), login.account.domain
    context = open_context(certificate)
    async with asyncio.timeout(20):
        connection = await asyncio.to_thread(open_dial, place, context, name=domain)
        # The timeout cannot stop a thread; this makes a blocked read fail there.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
        try:
            event, raw = await asyncio.to_thread(drive, connection, login, bindings)
            sessions = server.running.assembly.sessions.all()
            facts = [(session.facts.mechanism, session.facts.tls) for session in sessions]
            return Outcome(event, raw, facts)
        finally:
            connection.close()


def drive(
    connection: SSL.Connection, login: Login, bindings: Bindings
) -> tuple[events.Event, bytes]:
    stream = InitiatingStream(
        login=login,
        channel=Channel(secure=True, bindings=bindings(connection)),
        limits=LIMITS,
        token=lambda: secrets.token_hex(16),
    )
    stream.start()
    raw = b""
    todo: list[events.Event] = []
    while True:
        if data := stream.take():
            connection.sendall(data)
        if not todo:
            data = connection.recv(65536)
            raw += data
            todo = stream.receive(data)
            continue
        event = todo.pop(0)
        if isinstance(event, events.DeriveKey):
            key = hashlib.pbkdf2_hmac(event.hash, event.password, event.salt, event.iterations)
            todo += stream.derived(key)
        elif not isinstance(event, events.Authenticated):
            return event, raw


def external(account: JID = ALICE) -> Login:
    return Login(account, resource="x", certificate=True, tls=Tls.OFF, mechanisms=["EXTERNAL"])


async def test_a_certificate_is_a_login(forge: Forge) -> None:
    config = {"host": {"localhost": {"client_ca": str(forge.authority.cert_path)}}}
    async with jabberd.Server(config=config) as server:
        await server.add_user("alice", "pw")
        mine = client_certificate(forge, forge.authority, "alice@localhost")
        outcome = await log_in(server, external(), certificate=mine)
        assert outcome.event == events.SessionBound(ALICE.with_resource("x"))
        assert outcome.sessions == [("EXTERNAL", "TLSv1.3")]
        assert b"<mechanism>EXTERNAL</mechanism>" in outcome.raw
        # A certificate speaks for its own addresses only.
        await server.add_user("bob", "pw")
        outcome = await log_in(server, external(JID("bob", "localhost")), certificate=mine)
        assert outcome.failure == "invalid-authzid"
        accounts = server.running.assembly.accounts
        await accounts.disable(ALICE, "moved")
        outcome = await log_in(server, external(), certificate=mine)
        assert outcome.failure == "account-disabled"
        await accounts.delete(ALICE)
        outcome = await log_in(server, external(), certificate=mine)
        assert outcome.failure == "not-authorized"


async def test_a_certificate_that_is_no_login(forge: Forge, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = Forge(other)
    config = {"host": {"localhost": {"client_ca": str(forge.authority.cert_path)}}}
    cases = {
        "of another authority": client_certificate(stranger, stranger.authority, "alice@localhost"),
        "of another host": client_certificate(forge, forge.authority, "alice@example.org"),
        "without an address": client_certificate(forge, forge.authority),
        "none": None,
    }
    async with jabberd.Server(config=config) as server:
        await server.add_user("alice", "pw")
        for case, certificate in cases.items():
            outcome = await log_in(server, external(), certificate=certificate)
            assert outcome.failure == "aborted", case
            assert b"<mechanism>SCRAM-SHA-256-PLUS</mechanism>" in outcome.raw, case
            assert b"EXTERNAL" not in outcome.raw, case
            # It is no obstacle to a password.
            login = Login(ALICE, "pw", "x", tls=Tls.OFF)
            outcome = await log_in(server, login, certificate=certificate)
            assert outcome.event == events.SessionBound(ALICE.with_resource("x")), case


def exporter(connection: SSL.Connection) -> dict[str, bytes]:
    assert connection.get_protocol_version_name() == "TLSv1.3"
    return {"tls-exporter": connection.export_keying_material(EXPORTER, 32, b"")}


def end_point(connection: SSL.Connection) -> dict[str, bytes]:
    certificate = connection.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    # RFC 5929 §4.1: the hash of the certificate's own signature, here SHA-256.
    der = certificate.public_bytes(Encoding.DER)
    return {"tls-server-end-point": hashlib.sha256(der).digest()}


def wrong(make: Bindings) -> Bindings:
    def bindings(connection: SSL.Connection) -> dict[str, bytes]:
        made = make(connection)
        return {name: bytes((data[0] ^ 1,)) + data[1:] for name, data in made.items()}

    return bindings


@pytest.mark.parametrize("binding", [exporter, end_point])
async def test_channel_binding(binding: Bindings) -> None:
    login = Login(ALICE, "pw", "x", tls=Tls.OFF, mechanisms=["SCRAM-SHA-256"])
    async with jabberd.Server() as server:
        await server.add_user("alice", "pw")
        outcome = await log_in(server, login, bindings=binding)
        assert outcome.event == events.SessionBound(ALICE.with_resource("x"))
        assert outcome.sessions == [("SCRAM-SHA-256-PLUS", "TLSv1.3")]
        assert b"<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>" in outcome.raw
        for kind in (b"tls-exporter", b"tls-server-end-point"):
            assert b"<channel-binding type='" + kind + b"'/>" in outcome.raw
        outcome = await log_in(server, login, bindings=wrong(binding))
        assert isinstance(outcome.event, events.AuthenticationFailed)
        assert outcome.event.mechanism == "SCRAM-SHA-256-PLUS"
        assert outcome.failure == "not-authorized"


def shown_on_direct_tls(place: tuple[str, int], name: str | None) -> bytes:
    with dial(place) as sock, std_context().wrap_socket(sock, server_hostname=name) as tls:
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        return der


def until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    return data


def shown_on_starttls(place: tuple[str, int], to: str) -> bytes:
    """The certificate where TLS itself says nothing of the host (no SNI)."""
    header = (
        f"<stream:stream xmlns='jabber:client' to='{to}' version='1.0'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    with dial(place) as sock:
        sock.sendall(header.encode())
        until(sock, b"</stream:features>")
        sock.sendall(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        until(sock, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        with std_context().wrap_socket(sock) as tls:
            der = tls.getpeercert(binary_form=True)
            assert der is not None
            return der


async def test_each_host_shows_its_certificate(forge: Forge) -> None:
    pairs = {name: forge.make(name) for name in ("one.example", "two.example")}
    tables = {
        name: {"certificate": str(pair.cert_path), "key": str(pair.key_path)}
        for name, pair in pairs.items()
    }
    ders = {name: pair.certificate.public_bytes(Encoding.DER) for name, pair in pairs.items()}
    async with jabberd.Server("one.example", config={"host": tables}) as server:
        direct, upgrade = (server.host, server.tls_port), (server.host, server.port)
        for name, der in ders.items():
            assert await asyncio.to_thread(shown_on_direct_tls, direct, name) == der
            assert await asyncio.to_thread(shown_on_starttls, upgrade, name) == der
        first = await asyncio.to_thread(shown_on_direct_tls, direct, None)
        assert first == ders["one.example"]


def behind_a_proxy(**more: bool) -> jabberd.Server:
    listener = {"address": "127.0.0.1:0", "proxy": ["127.0.0.1"], **more}
    return jabberd.Server(config={"listen": {"c2s": [listener]}})


def header(address: str) -> str:
    return f"PROXY TCP4 {address} 127.0.0.1 4711 5222\r\n"


async def test_the_proxy_says_who_it_is() -> None:
    async with behind_a_proxy() as server:
        await server.add_user("alice", "pw")
        async with await Wire.connect(server.host, server.port) as wire:
            await wire.send(header("203.0.113.9"))
            await wire.login("alice@localhost", "pw", "x")
            (session,) = server.running.assembly.sessions.all()
            assert session.facts.address == "203.0.113.9"
        # Whoever does not say for whom it speaks is not let in at all.
        async with await Wire.connect(server.host, server.port) as wire:
            await wire.send("<stream:stream xmlns='jabber:client' to='localhost'>")
            assert not (await wire.ended()).clean
            assert wire.raw == b""


@pytest.mark.parametrize("address", ["203.0.113.9", "127.0.0.1"])
async def test_behind_a_proxy_nobody_is_local(address: str) -> None:
    auth = (
        "<iq type='set' id='a'><query xmlns='jabber:iq:auth'><username>alice</username>"
        "<password>pw</password><resource>x</resource></query></iq>"
    )
    async with behind_a_proxy() as server, await Wire.connect(server.host, server.port) as wire:
        await wire.send(header(address))
        await wire.open("localhost")
        assert (await wire.features()).find(f"{SASL}mechanisms") is None
        await wire.send(auth)
        assert stream_error(await wire.next()) == "policy-violation"
    # Where logins without TLS are allowed, this kind of login is still refused.
    async with behind_a_proxy(starttls_required=False) as server:
        await server.add_user("alice", "pw")
        async with await Wire.connect(server.host, server.port) as wire:
            await wire.send(header(address))
            await wire.open("localhost")
            features = await wire.features()
            assert features.find(f"{SASL}mechanisms") is not None
            assert features.find("{http://jabber.org/features/iq-auth}auth") is None
            assert stanza_error(await wire.ask(auth)) == ("cancel", "service-unavailable")
            assert not server.running.assembly.sessions.of("alice@localhost")


async def test_postgresql_keeps_everything(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.new_url()
    data = tmp_path / "data"
    async with jabberd.Server(storage=url, data=data) as server:
        for name in ("alice", "bob"):
            await server.add_user(name, "pw")
        async with await Wire.connect(server.host, server.port) as wire:
            await wire.login("alice@localhost", "pw", "x")
            answer = await wire.ask(
                "<iq type='set' id='1'><query xmlns='jabber:iq:roster'>"
                "<item jid='bob@localhost' name='Bob'><group>G</group></item></query></iq>"
            )
            assert answer.get("type") == "result"
            await wire.send("<message to='bob@localhost' type='chat'><body>später</body></message>")
            await wire.ping("localhost")
    async with jabberd.Server(storage=url, data=data) as server:
        async with await Wire.connect(server.host, server.port) as wire:
            await wire.login("alice@localhost", "pw", "x")
            roster = await wire.ask("<iq type='get' id='2'><query xmlns='jabber:iq:roster'/></iq>")
            (item,) = roster.iter(f"{ROSTER}item")
            assert (item.get("jid"), item.get("name")) == ("bob@localhost", "Bob")
            assert item.findtext(f"{ROSTER}group") == "G"
        async with await Wire.connect(server.host, server.port) as wire:
            await wire.login("bob@localhost", "pw", "x")
            await wire.send("<presence/>")
            received = [await wire.next() for _ in range(2)]
            bodies = {stanza.findtext(f"{CLIENT}body") for stanza in received}
            assert bodies == {None, "später"}
