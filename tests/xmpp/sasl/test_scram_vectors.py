"""SCRAM against the examples of its specifications, and against an independent computation."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import keys, scram
from jabberd.xmpp.sasl import scram_wire as wire
from jabberd.xmpp.sasl.mechanism import (
    Challenge,
    Credentials,
    CredentialsWanted,
    DeriveKey,
    Response,
    Success,
)
from tests.xmpp.sasl.kit import derive, make_keys, say

USER = JID("user", "example.org")

# RFC 5802 §5
SHA1 = (
    "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
# RFC 7677 §3
SHA256 = (
    "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    (
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    ),
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)
# XEP-0474 §5.3
SSDP = (
    "p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6",
    (
        "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,"
        "s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08="
    ),
    (
        "c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,"
        "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,"
        "x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3,p=M/SIDjT+dfcxUh89jZEypRvFxB4="
    ),
    "v=MQrMPvv7yv4x4Cq4W4Ih25EqS2c=",
)
# XEP-0515 §4.3
TDP = (
    SSDP[0],
    f"{SSDP[1]},t=0304",
    (
        "c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,"
        "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,"
        "p=KHUfN8dSy1K95crT4D5y1ItLJfs="
    ),
    "v=3w34ZIMVRkx2f2Ozb3/ecRPVdv4=",
)
OFFERED = scram.Advertised(
    ("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"), ("tls-server-end-point", "tls-exporter")
)
OVER_TLS_1_3 = replace(OFFERED, version="TLSv1.3")
FAKE_BINDING = b"THIS IS FAKE CB DATA"


def exactly(nonce: str) -> Callable[[], str]:
    return lambda: nonce


@pytest.mark.parametrize(("name", "example"), [("SCRAM-SHA-1", SHA1), ("SCRAM-SHA-256", SHA256)])
def test_the_client_says_what_the_rfcs_say(name: str, example: tuple[str, ...]) -> None:
    nonce = example[0].rpartition("r=")[2]
    client = scram.ScramClient(name, USER, "pencil", exactly(nonce), scram.Advertised((name,)))
    assert client.initial().decode() == example[0]
    question = client.challenge(example[1].encode())
    assert isinstance(question, DeriveKey)
    assert client.derived(derive(question)) == Response(example[2].encode())
    client.success(example[3].encode())


def test_the_client_says_what_xep_0515_says() -> None:
    client = scram.ScramClient(
        "SCRAM-SHA-1-PLUS",
        USER,
        "pencil",
        exactly(TDP[0].rpartition("r=")[2]),
        OVER_TLS_1_3,
        binding=("tls-exporter", FAKE_BINDING),
    )
    assert client.initial().decode() == TDP[0]
    question = client.challenge(TDP[1].encode())
    assert isinstance(question, DeriveKey)
    assert client.derived(derive(question)) == Response(TDP[2].encode())
    client.success(TDP[3].encode())


def test_the_client_accepts_the_hash_of_xep_0474() -> None:
    nonce = SSDP[0].rpartition("r=")[2]
    client = scram.ScramClient(
        "SCRAM-SHA-1-PLUS",
        USER,
        "pencil",
        exactly(nonce),
        OFFERED,
        binding=("tls-exporter", FAKE_BINDING),
    )
    assert client.initial().decode() == SSDP[0]
    assert isinstance(client.challenge(SSDP[1].encode()), DeriveKey)


@pytest.mark.parametrize(
    ("name", "example", "advertised", "bindings"),
    [
        ("SCRAM-SHA-1", SHA1, scram.Advertised(("SCRAM-SHA-1",)), {}),
        ("SCRAM-SHA-256", SHA256, scram.Advertised(("SCRAM-SHA-256",)), {}),
        ("SCRAM-SHA-1-PLUS", SSDP, OFFERED, {"tls-exporter": FAKE_BINDING}),
        ("SCRAM-SHA-1-PLUS", TDP, OVER_TLS_1_3, {"tls-exporter": FAKE_BINDING}),
    ],
)
def test_the_server_says_what_the_specifications_say(
    name: str,
    example: tuple[str, ...],
    advertised: scram.Advertised,
    bindings: Mapping[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if example not in {SSDP, TDP}:  # the RFCs' examples are older than the attribute h
        monkeypatch.setattr(wire, "downgrade_hash", lambda *_: "")
    client_nonce = example[0].rpartition("r=")[2]
    first = wire.ServerFirst.parse(example[1])
    token = exactly(first.nonce.removeprefix(client_nonce))
    host = scram.Host("example.org", b"secret", 4096, advertised, bindings, token)
    algorithm = scram.NAMES[name.removesuffix("-PLUS")]
    accounts = {"user": Credentials((make_keys("pencil", algorithm, first.salt),))}
    server = scram.server(name, host)
    assert say(server, example[0].encode(), accounts) == Challenge(example[1].encode())
    success = say(server, example[2].encode(), accounts)
    assert success == Success("user", "user@example.org", example[3].encode())


def test_the_hash_of_xep_0474() -> None:
    assert OFFERED.bindings
    for mechanisms in (OFFERED.mechanisms, OFFERED.mechanisms[::-1]):
        found = wire.downgrade_hash("sha1", mechanisms, OFFERED.bindings)
        assert found == "G6k/rBLDqgOhRRaCuuatSDFkJ08="
    without = hashlib.sha256(b"PLAIN\x1eSCRAM-SHA-1").digest()
    assert base64.b64decode(wire.downgrade_hash("sha256", ["SCRAM-SHA-1", "PLAIN"], None)) == (
        without
    )


def hi(algorithm: str, password: bytes, salt: bytes, iterations: int) -> bytes:
    """Hi of RFC 5802 §2.2, word for word."""
    block = hmac.new(password, salt + b"\0\0\0\1", algorithm).digest()
    total = int.from_bytes(block, "big")
    for _ in range(iterations - 1):
        block = hmac.new(password, block, algorithm).digest()
        total ^= int.from_bytes(block, "big")
    return total.to_bytes(len(block), "big")


def test_sha512_by_the_formulas_of_rfc_5802() -> None:
    salt, iterations, password = b"0123456789abcdef", 4096, b"pencil"
    salted = hi("sha512", password, salt, iterations)
    client_key = hmac.new(salted, b"Client Key", "sha512").digest()
    stored_key = hashlib.sha512(client_key).digest()
    server_key = hmac.new(salted, b"Server Key", "sha512").digest()
    verifier = keys.from_salted("sha512", salt, iterations, salted)
    assert verifier == keys.ScramKeys("sha512", salt, iterations, stored_key, server_key)
    assert keys.verify(verifier, salted)
    assert not keys.verify(verifier, salted[:-1] + b"\0")

    offered = scram.Advertised(("SCRAM-SHA-512",))
    host = scram.Host("example.org", b"secret", 4096, offered, {}, exactly("theirs"))
    server = scram.server("SCRAM-SHA-512", host)
    assert server.respond(b"n,,n=user,r=ours") == CredentialsWanted("user")
    challenge = server.credentials(Credentials((verifier,)))
    assert isinstance(challenge, Challenge)
    seen = base64.b64encode(hashlib.sha512(b"SCRAM-SHA-512").digest())
    salt64 = base64.b64encode(salt)
    assert challenge.data == b"r=ourstheirs,s=" + salt64 + b",i=4096,h=" + seen
    bare = b"c=biws,r=ourstheirs"
    auth_message = b"n=user,r=ours," + challenge.data + b"," + bare
    signature = hmac.new(stored_key, auth_message, "sha512").digest()
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    success = server.respond(bare + b",p=" + base64.b64encode(proof))
    expected = base64.b64encode(hmac.new(server_key, auth_message, "sha512").digest())
    assert success == Success("user", "user@example.org", b"v=" + expected)
