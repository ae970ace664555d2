"""What certificates of servers are worth."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

from jabberd.net.trust import Fault, Tlsa, Trust, TrustError
from tests.net.authority import CLIENT, SERVER, Authority, Files, Key
from tests.net.strangers import errors, names, with_sha1

DOMAIN = "example.net"
MAIL = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.4")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trust(authority: Authority) -> Trust:
    return Trust(authority.file)


@pytest.mark.parametrize("uses", [(SERVER, CLIENT), (SERVER,), (CLIENT,), ()])
@pytest.mark.parametrize("intermediate", [False, True])
def test_a_good_one(
    authority: Authority,
    trust: Trust,
    uses: tuple[x509.ObjectIdentifier, ...],
    intermediate: bool,
) -> None:
    made = authority.sign(DOMAIN, "conference.example.net", uses=uses, intermediate=intermediate)
    judgement = trust.judge(made.chain, DOMAIN)
    assert judgement.valid
    assert judgement.trusted
    assert judgement.why == ""
    assert judgement.names == (DOMAIN, "conference.example.net")


def test_none_at_all(trust: Trust) -> None:
    judgement = trust.judge((), DOMAIN)
    assert (judgement.fault, judgement.trusted) == (Fault.NONE_SENT, False)
    assert judgement.why == "example.net presents no certificate"


def test_one_that_nobody_has_signed(authority: Authority, trust: Trust) -> None:
    judgement = trust.judge(authority.self_signed(DOMAIN).chain, DOMAIN)
    assert (judgement.fault, judgement.trusted) == (Fault.UNTRUSTED, False)
    assert "nobody whom this server trusts" in judgement.why


def test_one_of_another_authority(tmp_path: Path, trust: Trust) -> None:
    judgement = trust.judge(Authority(tmp_path, "other").sign(DOMAIN).chain, DOMAIN)
    assert (judgement.fault, judgement.trusted) == (Fault.UNTRUSTED, False)


def test_a_chain_with_a_gap(authority: Authority, trust: Trust) -> None:
    made = authority.sign(DOMAIN, intermediate=True)
    judgement = trust.judge(made.chain[:1], DOMAIN)
    assert (judgement.fault, judgement.trusted) == (Fault.UNTRUSTED, False)


def test_one_that_has_expired(authority: Authority, trust: Trust) -> None:
    judgement = trust.judge(authority.sign(DOMAIN, days=(-9, -1)).chain, DOMAIN)
    assert (judgement.fault, judgement.trusted) == (Fault.EXPIRED, True)
    assert judgement.why.startswith("the certificate of example.net expired on 20")


def test_one_that_is_not_valid_yet(authority: Authority, trust: Trust) -> None:
    judgement = trust.judge(authority.sign(DOMAIN, days=(1, 9)).chain, DOMAIN)
    assert (judgement.fault, judgement.trusted) == (Fault.NOT_YET_VALID, True)


def test_one_of_somebody_else(authority: Authority, trust: Trust) -> None:
    judgement = trust.judge(authority.sign("chat.example.net").chain, DOMAIN)
    assert (judgement.fault, judgement.trusted) == (Fault.WRONG_NAME, True)
    assert judgement.why == "example.net presents a certificate for chat.example.net"


def test_one_for_mail(authority: Authority, trust: Trust) -> None:
    judgement = trust.judge(authority.sign(DOMAIN, uses=(MAIL,)).chain, DOMAIN)
    assert judgement.fault is Fault.BROKEN


def test_no_certificate_at_all(trust: Trust) -> None:
    assert trust.judge((b"no certificate",), DOMAIN).fault is Fault.BROKEN


@pytest.mark.parametrize(
    ("names", "domain", "good"),
    [
        ({"dns": ("*.example.net",)}, "chat.example.net", True),
        ({"dns": ("*.example.net",)}, "a.chat.example.net", False),
        ({"dns": ("*.example.net",)}, "example.net", False),
        ({"dns": ("c*.example.net",)}, "chat.example.net", False),
        ({"dns": ("EXAMPLE.net",)}, "example.net", True),
        ({"dns": ("xn--bcher-kva.example",)}, "bücher.example", True),
        ({"srv": ("_xmpp-server.example.net",)}, "example.net", True),
        ({"srv": ("_xmpp-client.example.net",)}, "example.net", False),
        ({"srv": ("_imaps.example.net",)}, "example.net", False),
        ({"xmpp": ("example.net",)}, "example.net", True),
        ({"xmpp": ("bücher.example",)}, "bücher.example", True),
        ({"xmpp": ("juliet@example.net",)}, "example.net", False),
        ({"common_name": "example.net"}, "example.net", False),
        ({"srv": ("_xmpp-server.*.example.net",)}, "chat.example.net", True),
        ({"dns": ("*.example.net",)}, "*.example.net", False),
        ({"dns": ("*.0.2.1",)}, "192.0.2.1", False),
        ({"dns": ("192.0.2.1",)}, "192.0.2.1", False),
    ],
)
def test_names(
    authority: Authority,
    trust: Trust,
    names: dict[str, tuple[str, ...]],
    domain: str,
    good: bool,
) -> None:
    rest = dict(names)
    dns = rest.pop("dns", ())
    made = authority.sign(*dns, file="made", **rest)  # type: ignore[arg-type]  # of several kinds
    assert trust.judge(made.chain, domain).valid is good


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="cannot be read"):
        Trust(tmp_path / "nowhere")
    (tmp_path / "nothing").write_text("nothing")
    with pytest.raises(TrustError, match="no valid PEM"):
        Trust(tmp_path / "nothing")


def test_those_of_the_system_are_those_unless_a_file_is_given(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = authority.sign(DOMAIN)
    assert Trust().judge(made.chain, DOMAIN).fault is Fault.UNTRUSTED
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert Trust().judge(made.chain, DOMAIN).valid


# Weak ones


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP192R1()),
        dsa.generate_private_key(1024),
    ],
    ids=["rsa", "ec", "dsa"],
)
def test_a_weak_key(authority: Authority, trust: Trust, key: Key) -> None:
    judgement = trust.judge(authority.sign(DOMAIN, key=key).chain, DOMAIN)
    assert (judgement.fault, judgement.trusted) == (Fault.BROKEN, True)
    assert judgement.why.endswith(f"has a key of {key.key_size} bits only")


def test_a_weak_key_above(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    between = Authority(tmp_path, "between", middle=weak)
    above = Authority(tmp_path, "above", key=weak)
    for authority, intermediate in ((between, True), (above, False)):
        chain = authority.sign(DOMAIN, intermediate=intermediate).chain
        judgement = Trust(authority.file).judge(chain, DOMAIN)
        assert judgement.fault is Fault.BROKEN
        assert judgement.why.endswith("is signed by a key of 1024 bits only")


def test_a_weak_signature(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    authority = Authority(tmp_path, key=key)
    good = authority.sign(DOMAIN)
    judgement = Trust(authority.file).judge((with_sha1(good.chain[0], key),), DOMAIN)
    assert judgement.fault is Fault.BROKEN
    assert judgement.why.endswith("signed with a hash function that is broken")
    assert Trust(authority.file).judge(good.chain, DOMAIN).valid


# What strangers send


@pytest.mark.parametrize(
    "extension",
    [names("3002a300"), names("3002a500"), names("30058703010203"), names("ffff")],
    ids=["x400Address", "ediPartyName", "address of 3 bytes", "nothing"],
)
def test_names_that_cannot_be_read(
    authority: Authority, trust: Trust, extension: x509.UnrecognizedExtension
) -> None:
    chain = authority.sign(file="made", extra=(extension,)).chain
    assert trust.judge(chain, DOMAIN).fault is Fault.BROKEN
    record = Tlsa(3, 1, 1, bytes(32))
    by_dane = trust.judge_dane([record], chain, DOMAIN)
    assert by_dane is not None
    assert by_dane.fault is Fault.BROKEN


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("0603551d25", "0603551d11"),  # subjectAltName for the second time
        ("a003020102", "a003020107"),  # version 8
        ("06072a8648ce3d0201", "06072a8648ce3d0209"),  # a kind of key that is unknown
        ("06082a8648ce3d030107", "06082a8648ce3d030177"),  # a curve that is unknown
    ],
)
def test_certificates_that_cannot_be_read(
    authority: Authority, trust: Trust, good: str, bad: str
) -> None:
    der = authority.sign(DOMAIN).chain[0]
    made = der.replace(bytes.fromhex(good), bytes.fromhex(bad), 1)
    assert made != der
    assert trust.judge((made,), DOMAIN).fault is Fault.BROKEN
    by_dane = trust.judge_dane([Tlsa(3, 1, 1, bytes(32))], (made,), DOMAIN)
    assert by_dane is not None
    assert not by_dane.valid


@pytest.mark.filterwarnings(
    f"ignore::{CryptographyDeprecationWarning.__module__}.CryptographyDeprecationWarning"
)
def test_whatever_is_sent_is_judged(authority: Authority, trust: Trust) -> None:
    """What is changed anywhere proves nothing, and is no fault of ours."""
    whole = authority.sign(DOMAIN, srv=("_xmpp-server.example.net",), xmpp=(DOMAIN,)).chain[0]
    chance = random.Random(6120)
    for _ in range(1500):
        piece = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            piece[chance.randrange(len(piece))] = chance.randrange(256)
        changed = bytes(piece)
        assert trust.judge((changed,), DOMAIN).valid is (changed == whole)
        by_dane = trust.judge_dane([Tlsa(3, 1, 1, bytes(32))], (changed,), DOMAIN)
        assert by_dane is not None
        assert not by_dane.valid


def test_a_reason_can_be_shown(authority: Authority, trust: Trust) -> None:
    made = authority.sign("chat.example.net", "f" * 300, xmpp=("a\x00b", "c\nd", "e" * 100))
    judgement = trust.judge(made.chain, DOMAIN)
    assert judgement.names == ("chat.example.net", "e" * 100)
    assert judgement.why.isprintable()


def test_no_more_names_are_read_than_are_bearable(authority: Authority, trust: Trust) -> None:
    others = [f"{number}.example.org" for number in range(500)]
    chain = authority.sign(*others[1:], DOMAIN, file="fits").chain
    assert trust.judge(chain, DOMAIN).valid
    judgement = trust.judge(authority.sign(*others, DOMAIN, file="much").chain, DOMAIN)
    assert judgement.fault is Fault.WRONG_NAME
    assert len(judgement.why) < 200


def test_nothing_is_left_to_openssl(authority: Authority, trust: Trust) -> None:
    """Errors that stay in its queue would end the connections of others."""
    der = authority.sign(DOMAIN).chain[0]
    errors()
    judgement = trust.judge((der[:-1] + bytes((der[-1] ^ 1,)),), DOMAIN)
    assert "signature" in judgement.why
    assert errors() == []


# DANE


def _spki(made: Files, index: int = 0) -> bytes:
    certificate = x509.load_der_x509_certificate(made.chain[index])
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_the_certificate_that_a_record_names(authority: Authority, trust: Trust) -> None:
    made = authority.self_signed("whatever.invalid", days=(-9, -1))
    record = Tlsa(3, 1, 1, hashlib.sha256(_spki(made)).digest())
    judgement = trust.judge_dane([record], made.chain, DOMAIN)
    assert judgement is not None
    assert judgement.valid


def test_the_authority_that_a_record_names(tmp_path: Path, trust: Trust) -> None:
    made = Authority(tmp_path, "other").sign(DOMAIN, intermediate=True)
    record = Tlsa(2, 0, 2, hashlib.sha512(made.chain[1]).digest())
    judgement = trust.judge_dane([record], made.chain, DOMAIN)
    assert judgement is not None
    assert judgement.valid
    other = trust.judge_dane([record], made.chain, "example.org")
    assert other is not None
    assert not other.valid


def test_a_record_that_names_another(authority: Authority, trust: Trust) -> None:
    made = authority.sign(DOMAIN)
    judgement = trust.judge_dane([Tlsa(3, 0, 0, b"another")], made.chain, DOMAIN)
    assert judgement is not None
    assert not judgement.valid


def test_the_authority_that_a_record_names_is_asked(tmp_path: Path, trust: Trust) -> None:
    authority = Authority(tmp_path, "other")
    expected = {
        (DOMAIN, (-9, -1)): (Fault.EXPIRED, "the certificate of example.net expired on"),
        ("chat.example.net", (-2, 9)): (Fault.WRONG_NAME, "presents a certificate for chat."),
    }
    for (name, days), (fault, words) in expected.items():
        made = authority.sign(name, days=days, intermediate=True)
        record = Tlsa(2, 1, 1, hashlib.sha256(_spki(made, 1)).digest())
        judgement = trust.judge_dane([record], made.chain, DOMAIN)
        assert judgement is not None
        assert (judgement.fault, judgement.trusted) == (fault, True)
        assert words in judgement.why


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(0, 0, 0, b""),
        Tlsa(1, 1, 1, bytes(32)),
        Tlsa(9, 0, 0, b""),
        Tlsa(3, 2, 1, bytes(32)),
        Tlsa(3, 1, 3, bytes(32)),
        Tlsa(3, 1, 1, bytes(31)),
        Tlsa(2, 0, 2, bytes(32)),
    ],
)
def test_records_that_are_of_no_use(authority: Authority, trust: Trust, record: Tlsa) -> None:
    assert trust.judge_dane([record], authority.sign(DOMAIN).chain, DOMAIN) is None
