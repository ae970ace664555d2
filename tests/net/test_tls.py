"""TLS between our server and clients of two libraries."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import ssl
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from jabberd.net.tls import XMPP_CLIENT
from jabberd.net.tls_config import (
    HostTls,
    TlsConfig,
    TlsConfigError,
    TlsProblem,
    end_point,
    load,
)

from .kit import (
    Forge,
    Pair,
    dial,
    exactly,
    on_both_loops,
    open_context,
    open_dial,
    running,
    std_context,
    until,
)

to_thread = asyncio.to_thread


def shown(pair: tuple[str, int], name: str | None, context: ssl.SSLContext | None = None) -> bytes:
    """The certificate that the server shows for a name."""
    wrapped = (context or std_context()).wrap_socket(dial(pair), server_hostname=name)
    with wrapped:
        return wrapped.getpeercert(binary_form=True) or b""


def der(host: HostTls) -> bytes:
    return load(host, 0.0).chain[0].public_bytes(Encoding.DER)


@on_both_loops
async def test_server_name_chooses_the_certificate(forge: Forge) -> None:
    one = forge.host("one.example")
    two = forge.host("two.example", more=("conference.two.example", "müller.example"))
    contexts = forge.contexts(one, two, default="two.example")
    async with running(contexts, direct_tls=True) as server:
        expected = {
            "one.example": one,
            "ONE.example": one,
            "two.example": two,
            "conference.two.example": two,
            "sub.one.example": two,
            "xn--mller-kva.example": two,
            "nobody.example": two,
            None: two,
        }
        for name, host in expected.items():
            assert await to_thread(shown, server.pair, name) == der(host), name


@on_both_loops
async def test_host_of_the_stream_counts_where_no_name_is_sent(forge: Forge) -> None:
    one, two = forge.host("one.example"), forge.host("two.example")
    contexts = forge.contexts(one, two)
    session = contexts.accept(host="two.example")
    assert session.server_end_point() == end_point(load(two, 0.0).chain[0])
    assert contexts.accept(host="else.example").server_end_point() == end_point(
        load(one, 0.0).chain[0]
    )


@on_both_loops
async def test_alpn(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run(*protocols: str) -> str | None:
            context = std_context()
            if protocols:
                context.set_alpn_protocols(list(protocols))
            with context.wrap_socket(dial(server.pair)) as client:
                return client.selected_alpn_protocol()

        assert await to_thread(run, "xmpp-client") == "xmpp-client"
        assert await to_thread(run, "h2", "xmpp-client") == "xmpp-client"
        assert await to_thread(run) is None
        before = len(server.machines)
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            await to_thread(run, "h2", "http/1.1")
        assert len(server.machines) == before


@on_both_loops
async def test_alpn_is_the_listeners_own(forge: Forge) -> None:
    contexts = forge.contexts(forge.host("localhost"), forge.host("other.example"))
    async with (
        running(contexts, direct_tls=True, alpn=(b"http/1.1",)) as web,
        running(contexts, direct_tls=True, alpn=()) as any_protocol,
    ):

        def run(pair: tuple[str, int], name: str, protocol: str) -> str | None:
            context = std_context()
            context.set_alpn_protocols([protocol])
            with context.wrap_socket(dial(pair), server_hostname=name) as client:
                return client.selected_alpn_protocol()

        assert await to_thread(run, web.pair, "other.example", "http/1.1") == "http/1.1"
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            await to_thread(run, web.pair, "other.example", "xmpp-client")
        assert await to_thread(run, any_protocol.pair, "localhost", "h2") is None


@on_both_loops
async def test_old_versions_are_refused(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run(version: int) -> str:
            context = open_context(version=version)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            client = open_dial(server.pair, context)
            said = client.get_protocol_version_name()
            client.close()
            return said

        assert await to_thread(run, SSL.TLS1_2_VERSION) == "TLSv1.2"
        with pytest.raises(SSL.Error):
            await to_thread(run, SSL.TLS1_1_VERSION)


@on_both_loops
async def test_weak_suites_are_refused(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run() -> None:
            context = open_context(version=SSL.TLS1_2_VERSION)
            context.set_cipher_list(b"AES128-SHA:ECDHE-ECDSA-AES128-SHA")
            open_dial(server.pair, context).close()

        with pytest.raises(SSL.Error):
            await to_thread(run)


@on_both_loops
async def test_exporter_is_the_same_at_both_ends(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:
        client = await to_thread(open_dial, server.pair, open_context(), name="localhost")
        facts = (await server.machine()).facts
        assert facts is not None
        ours = facts.exporter()
        assert ours is not None
        assert len(ours) == 32
        assert ours == client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        assert facts.cipher == client.get_cipher_name()
        assert facts.peer_certificate() is None
        assert not facts.peer_certificate_valid()
        client.close()


@on_both_loops
async def test_no_exporter_on_tls_1_2(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:
        context = open_context(version=SSL.TLS1_2_VERSION)
        client = await to_thread(open_dial, server.pair, context)
        facts = (await server.machine()).facts
        assert facts is not None
        assert facts.version == "TLSv1.2"
        assert facts.exporter() is None
        client.send(b"hello")
        assert await to_thread(client.recv, 5) == b"hello"
        client.close()


@on_both_loops
async def test_server_end_point_is_of_the_certificate_sent(forge: Forge) -> None:
    strong = forge.make("strong.example", algorithm=hashes.SHA384())
    one = forge.host("one.example")
    other = HostTls(("strong.example",), strong.cert_path, strong.key_path)
    async with running(forge.contexts(one, other), direct_tls=True) as server:
        for index, (name, algorithm) in enumerate(
            [("one.example", "sha256"), ("strong.example", "sha384")]
        ):
            sent = await to_thread(shown, server.pair, name)
            facts = (await server.machine(index)).facts
            assert facts is not None
            assert facts.server_end_point() == hashlib.new(algorithm, sent).digest()


def test_end_point_without_a_single_hash_is_none(forge: Forge, tmp_path: Path) -> None:
    import datetime as dt

    from cryptography import x509

    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, None)
    )
    assert end_point(made) is None


@on_both_loops
async def test_client_certificate_is_asked_for_only_where_configured(forge: Forge) -> None:
    plain = forge.host("plain.example")
    asking = forge.host("asking.example", client_ca=True)
    for default in ("plain.example", "asking.example"):
        contexts = forge.contexts(plain, asking, default=default)
        async with running(contexts, direct_tls=True) as server:
            good = forge.client()
            for index, (name, sent) in enumerate(
                [
                    ("plain.example", False),
                    ("asking.example", True),
                    (None, default == "asking.example"),
                ]
            ):
                context = open_context(good)
                client = await to_thread(open_dial, server.pair, context, name=name)
                client.send(b"x")
                assert await to_thread(client.recv, 1) == b"x"
                facts = (await server.machine(index)).facts
                assert facts is not None
                assert (facts.peer_certificate() is not None) is sent, (default, name)
                assert facts.peer_certificate_valid() is sent
                asked = client.get_client_ca_list(as_cryptography=True)
                assert (forge.authority.certificate.subject in asked) is sent
                client.close()


def bad_clients(forge: Forge) -> dict[str, Pair]:
    stranger = forge.make("stranger", ca=True)
    return {
        "self-signed": forge.make("client", usage=ExtendedKeyUsageOID.CLIENT_AUTH),
        "server-only": forge.client(usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "expired": forge.client(days=(-30, -1)),
        "not yet": forge.client(days=(10, 30)),
        "other authority": forge.client(by=stranger),
    }


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@on_both_loops
async def test_bad_client_certificates_do_not_break_the_handshake(
    forge: Forge, version: int
) -> None:
    contexts = forge.contexts(forge.host("localhost", client_ca=True))
    async with running(contexts, direct_tls=True) as server:
        for index, (kind, pair) in enumerate(bad_clients(forge).items()):
            context = open_context(pair, version=version)
            client = await to_thread(open_dial, server.pair, context)
            client.send(b"x")
            assert await to_thread(client.recv, 1) == b"x"
            facts = (await server.machine(index)).facts
            assert facts is not None
            assert facts.peer_certificate() == pair.certificate.public_bytes(Encoding.DER)
            assert not facts.peer_certificate_valid(), kind
            client.close()
        client = await to_thread(open_dial, server.pair, open_context(version=version))
        client.send(b"x")
        assert await to_thread(client.recv, 1) == b"x"
        facts = server.machines[-1].facts
        assert facts is not None
        assert facts.peer_certificate() is None
        assert not facts.peer_certificate_valid()
        client.close()
        good = open_context(forge.client(), version=version)
        client = await to_thread(open_dial, server.pair, good)
        client.send(b"x")
        assert await to_thread(client.recv, 1) == b"x"
        facts = server.machines[-1].facts
        assert facts is not None
        assert facts.peer_certificate_valid()
        client.close()


@on_both_loops
async def test_renegotiation_is_refused(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:

        def run() -> str:
            context = open_context(version=SSL.TLS1_2_VERSION)
            client = open_dial(server.pair, context)
            client.renegotiate()
            try:
                client.do_handshake()
                client.send(b"x")
                client.recv(1)
            except SSL.Error as error:
                return str(error)
            finally:
                count = client.total_renegotiations()
                client.close()
            return f"no error, {count} done"

        assert "no renegotiation" in await to_thread(run)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_both_loops
async def test_resumption_only_where_asked_for(forge: Forge, version: ssl.TLSVersion) -> None:
    for wanted in (False, True):
        contexts = forge.contexts(resumption=wanted)
        async with running(contexts, direct_tls=True) as server:
            context = std_context(maximum_version=version)

            def run(
                context: ssl.SSLContext, pair: tuple[str, int], old: ssl.SSLSession | None
            ) -> tuple[ssl.SSLSession | None, bool | None]:
                with context.wrap_socket(dial(pair), session=old) as client:
                    client.sendall(b"x")
                    exactly(client, 1)
                    return client.session, client.session_reused

            session, _ = await to_thread(run, context, server.pair, None)
            _, reused = await to_thread(run, context, server.pair, session)
            assert reused is wanted


@on_both_loops
async def test_garbage_instead_of_a_hello(forge: Forge) -> None:
    async with running(forge.contexts(), direct_tls=True) as server:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 400, b"\x16\x03\x01\xff\xff" * 9000):
            client = await to_thread(dial, server.pair)
            client.sendall(garbage)
            with contextlib.suppress(ConnectionResetError):
                await to_thread(exactly, client, 1000)
            client.close()
        await until(lambda: not server.listener.pumps)
        assert server.machines == []
        client_two = await to_thread(open_dial, server.pair, open_context())
        client_two.send(b"still there")
        assert await to_thread(client_two.recv, 20) == b"still there"
        client_two.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 100_000])
def test_records_may_be_cut_anywhere(forge: Forge, size: int) -> None:
    """What is decrypted is the same, and nothing waits for the next read."""
    session = forge.contexts().accept((XMPP_CLIENT,))
    client = SSL.Connection(open_context(), None)
    client.set_connect_state()
    plain = bytearray()
    done = False

    def feed() -> None:
        nonlocal done
        with contextlib.suppress(SSL.WantReadError):
            data = client.bio_read(1 << 20)
            for start in range(0, len(data), size):
                piece = data[start : start + size]
                if done:
                    plain.extend(session.receive(piece))
                elif (rest := session.handshake(piece)) is not None:
                    done = True
                    plain.extend(session.read(rest))

    for _ in range(3):
        with contextlib.suppress(SSL.WantReadError):
            client.do_handshake()
        feed()
        answer = session.take()
        if answer:
            client.bio_write(answer)
    assert done
    for length in (1, 10, 20_000, 5, 16_384, 3):
        message = bytes([length % 256]) * length
        before = len(plain)
        client.sendall(message)
        feed()
        assert bytes(plain[before:]) == message
    for letter in b"abc":  # three records in one read
        client.send(bytes([letter]))
    feed()
    assert plain.endswith(b"abc")
    client.shutdown()
    feed()
    assert session.closed


def test_big_data_leaves_no_big_buffers(forge: Forge) -> None:
    """A memory BIO keeps the size it once had, so big data must pass in small pieces."""
    contexts = forge.contexts()
    big = b"x" * 1_000_000
    kept = []
    before = 0
    for number in range(40):
        session = contexts.accept()
        client = SSL.Connection(open_context(), None)
        client.set_connect_state()
        for _ in range(3):
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                session.handshake(client.bio_read(1 << 20))
            answer = session.take()
            if answer:
                client.bio_write(answer)
        client.sendall(big)
        assert session.receive(client.bio_read(1 << 21)) == big
        assert len(session.send(big)) > len(big)
        kept.append(session)
        if number == 9:
            before = resident()
    assert (resident() - before) / 30 < 200_000


def resident() -> int:
    """Bytes of this process's memory that are its own."""
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


@on_both_loops
async def test_reload(forge: Forge) -> None:
    host = forge.host("localhost")
    contexts = forge.contexts(host)
    async with running(contexts, direct_tls=True) as server:
        old = await to_thread(open_dial, server.pair, open_context())
        before = await to_thread(shown, server.pair, "localhost")
        assert host.key is not None
        fresh = forge.make("localhost")
        good_key = host.key.read_bytes()
        host.certificate.write_bytes(fresh.cert_path.read_bytes())
        with pytest.raises(TlsConfigError, match="does not belong") as caught:
            contexts.reload()
        assert caught.value.problem is TlsProblem.MISMATCH
        assert await to_thread(shown, server.pair, "localhost") == before
        host.key.write_bytes(fresh.key_path.read_bytes())
        assert good_key != host.key.read_bytes()
        assert contexts.reload() == ()
        after = await to_thread(shown, server.pair, "localhost")
        assert after == fresh.certificate.public_bytes(Encoding.DER)
        old.send(b"still up")
        assert await to_thread(old.recv, 20) == b"still up"
        old.close()
        changed = TlsConfig((dataclasses.replace(host, names=("other.example",)),))
        assert contexts.reload(changed) != ()  # it is not made out to that name


def test_faults_are_said_in_words(forge: Forge, tmp_path: Path) -> None:
    good, other = forge.make("localhost"), forge.make("localhost")
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"nothing in here")
    absent = tmp_path / "absent.pem"
    broken = tmp_path / "broken.pem"
    broken.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    names = ("localhost",)
    cases = [
        (HostTls(names, absent, good.key_path), TlsProblem.UNREADABLE, "No such file"),
        (HostTls(names, good.cert_path, absent), TlsProblem.UNREADABLE, "absent.pem"),
        (HostTls(names, tmp_path), TlsProblem.UNREADABLE, "directory"),
        (HostTls(names, empty, good.key_path), TlsProblem.NO_CERTIFICATE, "empty.pem"),
        (HostTls(names, broken, good.key_path), TlsProblem.NO_CERTIFICATE, "no valid PEM"),
        (HostTls(names, good.cert_path), TlsProblem.NO_KEY, "no valid PEM private key"),
        (HostTls(names, good.cert_path, other.key_path), TlsProblem.MISMATCH, "not belong"),
        (
            HostTls(names, good.cert_path, good.key_path, empty),
            TlsProblem.NO_AUTHORITY,
            "no valid PEM certificate",
        ),
    ]
    for host, problem, words in cases:
        with pytest.raises(TlsConfigError, match=words) as caught:
            forge.contexts(host)
        assert caught.value.problem is problem
    with pytest.raises(TlsConfigError, match="default host"):
        forge.contexts(default="nobody.example")
    with pytest.raises(TlsConfigError):
        forge.contexts(ciphers="NONSENSE")


def test_encrypted_key_is_refused(forge: Forge, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        PrivateFormat,
    )

    pair = forge.make("localhost")
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        pair.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(TlsConfigError, match="encrypted"):
        forge.contexts(HostTls(("localhost",), pair.cert_path, locked))


@pytest.mark.parametrize(
    ("days", "words"),
    [((-30, -1), "expired"), ((-1, 3), "expires in"), ((5, 60), "not valid yet")],
)
def test_expiry_is_a_warning(forge: Forge, days: tuple[int, int], words: str) -> None:
    pair = forge.make("localhost", days=days)
    contexts = forge.contexts(HostTls(("localhost",), pair.cert_path, pair.key_path))
    assert [words in warning for warning in contexts.warnings] == [True]


def test_wrong_name_is_a_warning_and_a_wildcard_is_none(forge: Forge) -> None:
    wild = forge.make("*.example.org")
    host = HostTls(("a.example.org", "example.org"), wild.cert_path, wild.key_path)
    assert forge.contexts(host).warnings == (f"{wild.cert_path}: is not made out to example.org",)


def test_nothing_is_deprecated(forge: Forge) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forge.contexts(forge.host("localhost", client_ca=True))
