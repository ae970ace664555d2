"""What certificates of servers are worth."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jabberd.net.trust import Fault, Tlsa, Trust, TrustError
from tests.net.authority import CLIENT, SERVER, Authority, Files

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


def test_those_of_the_system_can_be_read(authority: Authority) -> None:
    assert Trust().judge(authority.sign(DOMAIN).chain, DOMAIN).fault is Fault.UNTRUSTED


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


@pytest.mark.parametrize("record", [Tlsa(0, 0, 0, b""), Tlsa(1, 1, 1, b""), Tlsa(9, 0, 0, b"")])
def test_records_that_are_of_no_use(authority: Authority, trust: Trust, record: Tlsa) -> None:
    assert trust.judge_dane([record], authority.sign(DOMAIN).chain, DOMAIN) is None
