"""An authority for tests, and the certificates that it signs: good ones and bad ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
_DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey


@dataclass(frozen=True)
class Files:
    """A certificate and its key as files.

    Attributes:
        certificate: PEM: the certificate, then the chain.
        key: PEM.
        chain: the same as DER, in order.
    """

    certificate: Path
    key: Path
    chain: tuple[bytes, ...]


class Authority:
    """Signs certificates.

    Args:
        folder: for all files; must exist.
        name: of the authority, and of its file.
        key: its own; a new one unless given.
        middle: that of the authority below it.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "authority",
        *,
        key: Key | None = None,
        middle: Key | None = None,
    ) -> None:
        self._folder = folder
        self._key = key or new_key()
        self._certificate = self._authority(name, self._key, None)
        self.file = folder / f"{name}.pem"
        """What others have to trust."""
        self.file.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        self._middle_key = middle or new_key()
        self._middle = self._authority(f"{name} below", self._middle_key, self._certificate)

    def sign(
        self,
        *dns: str,
        file: str = "",
        uses: tuple[x509.ObjectIdentifier, ...] = (SERVER, CLIENT),
        days: tuple[int, int] = (-2, 30),
        srv: tuple[str, ...] = (),
        xmpp: tuple[str, ...] = (),
        common_name: str = "",
        intermediate: bool = False,
        key: Key | None = None,
        extra: tuple[x509.ExtensionType, ...] = (),
    ) -> Files:
        """Make a certificate.

        Args:
            dns: names; the first one names the files.
            file: name of the files, where there is no name.
            uses: extended key usages; empty: none are said.
            days: from when to when it is valid, from today.
            srv: SRV-IDs, with the service.
            xmpp: XmppAddrs.
            common_name: of the subject.
            intermediate: signed by one that the authority has signed.
            key: of the certificate; a new one unless given.
            extra: more extensions, none of them critical.
        """
        issuer, signing = self._certificate, self._key
        if intermediate:
            issuer, signing = self._middle, self._middle_key
        own = key or new_key()
        builder = _leaf(
            own, issuer.subject, dns, uses, days, srv, xmpp, common_name or file or dns[0]
        )
        for extension in extra:
            builder = builder.add_extension(extension, critical=False)
        made = builder.sign(signing, hashes.SHA256())
        chain = (made, self._middle) if intermediate else (made,)
        return self._write(file or dns[0], own, chain)

    def self_signed(self, *dns: str, file: str = "", days: tuple[int, int] = (-2, 30)) -> Files:
        """Make a certificate that nobody has signed."""
        own = new_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, dns[0])])
        made = _leaf(own, name, dns, (SERVER, CLIENT), days, (), (), dns[0]).sign(
            own, hashes.SHA256()
        )
        return self._write(file or f"self-signed-{dns[0]}", own, (made,))

    def _write(self, name: str, key: Key, chain: tuple[x509.Certificate, ...]) -> Files:
        certificate, secret = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Files(certificate, secret, tuple(one.public_bytes(Encoding.DER) for one in chain))

    def _authority(self, name: str, key: Key, above: x509.Certificate | None) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        signing = key if above is None else self._key
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if above is None else above.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * _DAY)
            .not_valid_after(now + 100 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=True,
                    crl_sign=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(signing, hashes.SHA256())
        )


def new_key() -> Key:
    """A good one."""
    return ec.generate_private_key(ec.SECP256R1())


def _leaf(
    key: Key,
    issuer: x509.Name,
    dns: tuple[str, ...],
    uses: tuple[x509.ObjectIdentifier, ...],
    days: tuple[int, int],
    srv: tuple[str, ...],
    xmpp: tuple[str, ...],
    common_name: str,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
    names += [x509.OtherName(SRV_NAME, _der(0x16, name)) for name in srv]
    names += [x509.OtherName(XMPP_ADDR, _der(0x0C, name)) for name in xmpp]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(uses)), critical=False)
    return builder


def _der(tag: int, text: str) -> bytes:
    data = text.encode()
    return bytes((tag, len(data))) + data
