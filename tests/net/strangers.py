"""Certificates that no library makes, as strangers may send them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

from tests.net.authority import Key

_SHA256, _SHA1 = (bytes.fromhex(f"300d06092a864886f70d0101{end}0500") for end in ("0b", "05"))


def names(der: str) -> x509.UnrecognizedExtension:
    """A subjectAltName that is made by hand."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex(der))


def with_sha1(der: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """The same certificate with sha1WithRSAEncryption; `key` is the signer's."""
    signed = x509.load_der_x509_certificate(der).tbs_certificate_bytes.replace(_SHA256, _SHA1)
    return _certificate(signed, _SHA1, key.sign(signed, padding.PKCS1v15(), hashes.SHA1()))


def forged_chain(key: Key, length: int) -> tuple[bytes, ...]:
    """A certificate, and so many above it, none of which has signed the one below."""
    signer = rsa.generate_private_key(65537, 2048)
    chain = []
    now = datetime.now(UTC)
    for number in range(length + 1):
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"number {one}")])
            for one in (number, number + 1)
        )
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(signer.public_key() if number else key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=number > 0, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )
        chain.append(_certificate(made.tbs_certificate_bytes, _SHA256, bytes(range(256))))
    return tuple(chain)


def errors() -> list[object]:
    """What was left in OpenSSL's queue; it is empty then."""
    found, own = _provoke(), _provoke()
    return found[: len(found) - len(own)]


def _provoke() -> list[object]:
    with pytest.raises(crypto.Error) as caught:
        crypto.load_certificate(crypto.FILETYPE_ASN1, b"")
    return list(caught.value.args[0])


def _certificate(signed: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """The outer form (RFC 5280 §4.1); what is in it is longer than 255 octets."""
    body = signed + algorithm + _long(0x03, b"\0" + signature)
    return _long(0x30, body)


def _long(tag: int, content: bytes) -> bytes:
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content
