"""Mails on their way out: to the servers of a domain, by a relay; signed, refused."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dkim  # type: ignore[import-untyped]  # it has no types
import dns.asyncresolver
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from jabberd.gateways.email.lmtp import Delivery, Door
from jabberd.gateways.email.mx import Exchanges
from jabberd.gateways.email.outbound import Account, Direct, Envelope, Relay
from jabberd.gateways.email.reach import Place
from jabberd.gateways.email.refused import Refused
from jabberd.gateways.email.signing import Signer, load_key
from jabberd.gateways.events import Trouble
from jabberd.gateways.transport import LoginRefused, Lost, NotDone
from tests.gateways.email.conftest import Mailbox
from tests.gateways.email.post_office import arrived, said
from tests.gateways.email.servers import MAIL, Postfix
from tests.net.zone import BINARY, zone
from tests.ports import free_port

pytestmark = pytest.mark.asyncio
_DATA = b"From: a@ours.example\r\nTo: b@x.example\r\nSubject: Hi\r\n\r\nHi\r\n"
_ZONE = (
    "mx-host=x.example,127.0.0.9,10",
    "mx-host=x.example,localhost,20",
    "host-record=plain.example,127.0.0.1",
    "dns-rr=none.example,15,000000",  # a null MX (RFC 7505)
)


class Peer:
    """A mail server of others."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def admit(self, sender: str, to: str) -> None:
        if to.startswith("full@"):
            raise Refused(552, "5.2.2", "The mailbox is full")
        if to.startswith("grey@"):
            raise Refused(451, "4.7.1", "Come back in a minute")

    async def take(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)


@asynccontextmanager
async def peer() -> AsyncIterator[tuple[Peer, int]]:
    made = Peer()
    door = Door(made, "mx.x.example", mail_longest=100_000)
    try:
        where = await door.listen("127.0.0.1:0", lmtp=False)
        yield made, int(where.rpartition(":")[2])
    finally:
        await door.close()


def envelope(to: str, data: bytes = _DATA) -> Envelope:
    return Envelope("a@ours.example", to, data)


@asynccontextmanager
async def exchanges(folder: Path) -> AsyncIterator[Exchanges]:
    if BINARY is None:
        pytest.skip("dnsmasq is not installed")
    async with zone(folder, _ZONE) as where:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = int(where.rpartition(":")[2])
        yield Exchanges(resolver)


async def test_to_the_servers_of_a_domain(tmp_path: Path) -> None:
    async with exchanges(tmp_path) as names, peer() as (other, port):
        direct = Direct(names, "ours.example", anywhere=True, port=port)
        await direct.deliver(envelope("b@x.example"))  # the first of its servers is down
        assert other.deliveries == [Delivery("a@ours.example", "b@x.example", _DATA)]
        assert await names.of("plain.example") == ["plain.example"]  # it has no MX record
        for to, trouble in (
            ("b@none.example", Trouble.NO_SUCH_SERVER),
            ("b@missing.example", Trouble.NO_SUCH_SERVER),
            ("full@x.example", Trouble.FULL),
        ):
            with pytest.raises(NotDone) as refused:
                await direct.deliver(envelope(to))
            assert refused.value.trouble is trouble, to
        with pytest.raises(Lost, match="Come back"):
            await direct.deliver(envelope("grey@x.example"))
        with pytest.raises(Lost, match="public internet"):
            await Direct(names, "ours.example", port=port).deliver(envelope("b@x.example"))
        strict = Direct(names, "ours.example", anywhere=True, port=port, verify=True)
        with pytest.raises(Lost, match="does not offer encryption"):
            await strict.deliver(envelope("b@x.example"))


async def test_no_dns(tmp_path: Path) -> None:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = free_port()
    resolver.lifetime = 1.0
    with pytest.raises(Lost, match="cannot be looked up"):
        await Exchanges(resolver, patience=1.0).of("x.example")


async def test_a_relay_that_wants_a_login(postfix: Postfix, mailbox: Mailbox) -> None:
    place = Place(
        "localhost", postfix.port, "starttls", anywhere=True, authorities=str(mailbox.authority)
    )
    good = Relay(place, Account(mailbox.address, mailbox.password), "ours.example")
    await good.check()
    await good.deliver(Envelope("a@ours.example", mailbox.address, _DATA))
    (mail,) = await arrived(mailbox.server, mailbox.name, mailbox.password)
    assert said(mail) == "Hi\n"
    assert "ESMTPSA" in str(mail.get_all("Received"))
    wrong = Relay(place, Account(mailbox.address, "wrong"), "ours.example")
    with pytest.raises(LoginRefused):
        await wrong.check()
    with pytest.raises(Lost):  # it may be put right
        await wrong.deliver(envelope(mailbox.address))
    assert "wrong" not in repr(Account("a", "wrong"))


async def test_a_relay_that_nobody_can_trust(postfix: Postfix) -> None:
    place = Place("localhost", postfix.port, "starttls", anywhere=True)
    with pytest.raises(Lost, match="certificate"):
        await Relay(place, Account(), "ours.example").deliver(envelope(f"a@{MAIL}"))
    await Relay(
        Place("localhost", postfix.port, "starttls", anywhere=True, verify=False),
        Account(), "ours.example",
    ).check()  # fmt: skip


async def test_a_server_that_ends_in_the_middle() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.readline()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1")
    place = Place("127.0.0.1", server.sockets[0].getsockname()[1], "none", anywhere=True)
    with pytest.raises(Lost):
        await Relay(place, Account(), "ours.example").deliver(envelope("a@x.example"))
    server.close()


async def test_addresses_that_a_server_cannot_take() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while await reader.readline():
            writer.write(b"250 OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    place = Place("127.0.0.1", server.sockets[0].getsockname()[1], "none", anywhere=True)
    relay = Relay(place, Account(), "ours.example")
    with pytest.raises(NotDone) as refused:
        await relay.deliver(envelope("ä@x.example"))
    assert refused.value.trouble is Trouble.NOT_ACCEPTABLE
    with pytest.raises(NotDone):
        await relay.deliver(envelope("a@x.example", "Subject: ä\r\n\r\nHi\r\n".encode()))
    server.close()
    await asyncio.sleep(0.05)


async def test_a_signature(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65_537, 2_048)
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    kept: list[Envelope] = []

    class Kept:
        async def deliver(self, envelope: Envelope) -> None:
            kept.append(envelope)

    await Signer(Kept(), "ours.example", "s1", load_key(file)).deliver(envelope("b@x.example"))
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)

    def published(name: bytes, timeout: int = 5) -> bytes:
        assert name == b"s1._domainkey.ours.example."
        return record

    (signed,) = kept
    assert dkim.verify(signed.data, dnsfunc=published)
    assert not dkim.verify(signed.data.replace(b"Subject: Hi", b"Subject: Ho"), dnsfunc=published)


async def test_a_key_that_does_not_do(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    with pytest.raises(ValueError, match="cannot be read"):
        load_key(file)
    other = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match="RSA"):
        load_key(file)
