"""Certificates: make a self-signed one for the first run, and say what is in a file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import idna
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
_SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
_UTF8_STRING = 0x0C
_IA5_STRING = 0x16
_COMMON_NAME_LONGEST = 64
_DAY = 86_400
_MOST_NAMES = 500
_NAME_LONGEST = 255
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate raises where it is none, or none that can be made sense of."""


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What an administrator wants to know of a certificate.

    Attributes:
        names: DNS names, XMPP addresses and IP addresses that it is made out to, in order.
        not_before: seconds since 1970 from which it is valid.
        not_after: seconds since 1970 until which it is valid.
        days_left: whole days until then; negative once it has expired.
        self_signed: whether it names itself as its issuer.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float
    days_left: int
    self_signed: bool


@dataclass(frozen=True, slots=True)
class ServerNames:
    """The names of a certificate, as A-labels in lower case.

    Attributes:
        dns: DNS-IDs, some of them with a wildcard.
        srv: domains of SRV-IDs for servers (RFC 4985), without the name of the service.
        xmpp: XmppAddrs.
    """

    dns: tuple[str, ...] = ()
    srv: tuple[str, ...] = ()
    xmpp: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Each of them once."""
        return tuple(dict.fromkeys((*self.dns, *self.srv, *self.xmpp)))

    def cover(self, domain: str) -> bool:
        """Whether one of them is a domain (RFC 9525 §6); `domain` is in A-labels.

        A wildcard stands for one whole label, the left-most. An address has no labels.
        """
        if domain in self.xmpp:
            return True
        if "*" in domain or _is_address(domain):
            return False
        wildcard = "*." + domain.partition(".")[2]
        return any(name in (domain, wildcard) for name in (*self.dns, *self.srv))


def a_label(name: str) -> str:
    """The name as DNS knows it: lower case, A-labels (RFC 5890); other text is left as it is."""
    name = name.rstrip(".").lower()
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return name


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def make_self_signed(
    names: Sequence[str], certificate: Path, key: Path, *, now: float, days: int = 3650
) -> None:
    """Write a self-signed ECDSA P-256 certificate and its key (mode 0600).

    Each file appears complete or not at all; the key appears first. Besides the DNS name each
    host gets the XmppAddr and SRVName forms of RFC 6120 §13.7.1.2.

    Args:
        names: hosts, the first one names the certificate; Unicode allowed.
        certificate: where the PEM certificate goes; its folder must exist.
        key: where the PEM key goes.
        now: seconds since 1970.
        days: how long it is valid.

    Raises:
        OSError: a file could not be written.
        ValueError: there are no names, or one of them cannot stand in a certificate.
    """
    if not names:
        raise ValueError("a certificate needs at least one name")
    private = ec.generate_private_key(ec.SECP256R1())
    start = datetime.fromtimestamp(now, UTC)
    common = a_label(names[0])[:_COMMON_NAME_LONGEST]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    alternatives = [form for name in names for form in _alternatives(name)]
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(hours=1))  # clocks of clients differ
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomically(key, pem, 0o600)
    write_atomically(certificate, built.public_bytes(Encoding.PEM), 0o644)


def _alternatives(name: str) -> list[x509.GeneralName]:
    try:
        return [x509.IPAddress(ip_address(name.strip("[]")))]
    except ValueError:
        ascii_name = a_label(name)
    forms: list[x509.GeneralName] = [
        x509.DNSName(ascii_name),
        x509.OtherName(_XMPP_ADDR, _der_string(_UTF8_STRING, name.encode())),
    ]
    for service in ("_xmpp-client.", "_xmpp-server."):
        srv_name = (service + ascii_name).encode("ascii")
        forms.append(x509.OtherName(_SRV_NAME, _der_string(_IA5_STRING, srv_name)))
    return forms


def _der_string(tag: int, text: bytes) -> bytes:
    """One DER string (X.690 §8.1.3): tag, length in the short or the long form, content."""
    size = len(text)
    if size < 0x80:
        return bytes((tag, size)) + text
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + text


def write_atomically(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that its name shows either what was there before or all of `data`.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def inspect(path: Path, *, now: float) -> CertificateInfo:
    """Say what the first certificate of a PEM file is made out to, and for how long.

    Raises:
        OSError: the file could not be read.
        ValueError: it holds no PEM certificate.
    """
    return describe(x509.load_pem_x509_certificates(path.read_bytes())[0], now)


def describe(certificate: x509.Certificate, now: float) -> CertificateInfo:
    """As `inspect`, for a certificate that is already loaded."""
    until = certificate.not_valid_after_utc.timestamp()
    return CertificateInfo(
        names=subject_names(certificate),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=until,
        days_left=int((until - now) // _DAY),
        self_signed=certificate.issuer == certificate.subject,
    )


def subject_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The subject's alternative names: DNS, XmppAddr, IP. The common name is none (RFC 9525)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return ()
    names: dict[str, None] = {}
    for name in extension.value:
        if isinstance(name, x509.DNSName):
            names[name.value.lower()] = None
        elif isinstance(name, x509.IPAddress):
            names[str(name.value)] = None
        elif isinstance(name, x509.OtherName) and name.type_id == _XMPP_ADDR:
            text = der_text(name.value, _UTF8_STRING)
            if text is not None:
                names[text] = None
    return tuple(names)


def server_names(certificate: x509.Certificate) -> ServerNames:
    """The names by which a certificate can be a server's (RFC 6120 §13.7.1.2).

    Raises:
        Exception: one of `UNREADABLE`.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ServerNames()
    found: dict[str, list[str]] = {"dns": [], "srv": [], "xmpp": []}
    for name in list(extension.value)[:_MOST_NAMES]:
        if isinstance(name, x509.DNSName):
            found["dns"].append(name.value.rstrip(".").lower())
        elif isinstance(name, x509.OtherName) and name.type_id == _SRV_NAME:
            text = der_text(name.value, _IA5_STRING)
            service, _, domain = (text or "").partition(".")
            if service.lower() == "_xmpp-server":
                found["srv"].append(domain.rstrip(".").lower())
        elif isinstance(name, x509.OtherName) and name.type_id == _XMPP_ADDR:
            text = der_text(name.value, _UTF8_STRING)
            if text:
                found["xmpp"].append(a_label(text))
    return ServerNames(_fit(found["dns"]), _fit(found["srv"]), _fit(found["xmpp"]))


def _fit(names: list[str]) -> tuple[str, ...]:
    """Those that may be shown: in logs, and to whom they are the reason of a refusal."""
    return tuple(name for name in names if name.isprintable() and len(name) <= _NAME_LONGEST)


def der_text(data: bytes, tag: int) -> str | None:
    """The text of one DER string with this tag; None when it is not exactly that."""
    if len(data) < 2 or data[0] != tag:
        return None
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if len(data) != start + size:
        return None
    try:
        return data[start:].decode()
    except UnicodeDecodeError:
        return None
