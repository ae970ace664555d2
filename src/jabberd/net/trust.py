"""What a certificate of another server is worth: who signed it, when it holds, whose it is.

OpenSSL is asked after the handshake, and without a purpose: public authorities sign certificates
for TLS servers only, and between servers both ends present them. The names are compared here
(RFC 6120 §13.7.2, RFC 9525).
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from .certs import UNREADABLE, ServerNames, a_label, server_names
from .openssl import forget_errors, reason

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL does not name
_BITS_LEAST: Final = (
    (rsa.RSAPublicKey, 2048),
    (dsa.DSAPublicKey, 2048),
    (ec.EllipticCurvePublicKey, 224),
)
"""By kind of key: what is worth 112 bits (NIST SP 800-57 part 1, table 2)."""
_CHAIN_LONGEST: Final = 10
_SHOWN: Final = 5
_NOT_YET, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_UNKNOWN: Final = frozenset({2, 18, 19, 20, 21, 27})
"""OpenSSL's errors for chains that lead to nobody who is trusted."""
_USES: Final = frozenset(
    {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
)
_DANE_TA, _DANE_EE = 2, 3  # RFC 7218 §2.1
_SIZES: Final = {0: 0, 1: 32, 2: 64}
"""Octets of a TLSA record's data by matching type; 0 for any number."""
_UNREADABLE: Final = (*UNREADABLE, crypto.Error)
_MD5: Final = hashes.MD5
_SHA1: Final = hashes.SHA1


class TrustError(Exception):
    """The file of authorities cannot be used."""


class Fault(Enum):
    """What is wrong with a certificate."""

    NONE_SENT = "none sent"
    UNTRUSTED = "untrusted"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    WRONG_NAME = "wrong name"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a certificate is worth for a domain.

    Attributes:
        fault: what is wrong with it; None: nothing.
        why: the same in plain words; empty where nothing is.
        trusted: an authority that is trusted has signed it, whatever else is wrong.
        names: whose it is.
        not_after: until when it holds, seconds since 1970; None where none was sent.
    """

    fault: Fault | None
    why: str = ""
    trusted: bool = False
    names: tuple[str, ...] = ()
    not_after: float | None = None

    @property
    def valid(self) -> bool:
        """Whether it proves that its holder is the domain."""
        return self.fault is None


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 §2.1).

    Attributes:
        usage: 0 to 3.
        selector: 0 for the certificate, 1 for its public key.
        matching: 0 for all of it, 1 for SHA-256, 2 for SHA-512.
        data: what is compared.
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def usable(self) -> bool:
        """Whether it says what can be compared; else it is as if it were not there (RFC 7671 §4).

        The usages for public authorities are not for this use (RFC 7672 §3.1.3 says the same of
        SMTP).
        """
        return (
            self.usage in {_DANE_TA, _DANE_EE}
            and self.selector in {0, 1}
            and self.matching in _SIZES
            and len(self.data) == (_SIZES[self.matching] or len(self.data))
        )


class Trust:
    """The authorities that are believed about other servers.

    Args:
        authorities: a PEM file; None for those of the system.
        now: seconds since 1970.

    Raises:
        TrustError: the file cannot be used.
    """

    def __init__(
        self, authorities: Path | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        self._now = now
        self._store = _store(authorities)
        self._timeless = _store(authorities)
        self._timeless.set_flags(_NO_CHECK_TIME)

    def judge(self, chain: Sequence[bytes], domain: str) -> Judgement:
        """What a chain is worth for a domain.

        It takes less than half a millisecond, and about one with as many names as are read at
        most: it may be done on the event loop.

        Args:
            chain: as it was sent, as DER; the certificate itself first.
            domain: whose it should be.
        """
        if not chain:
            return Judgement(Fault.NONE_SENT, f"{domain} presents no certificate")
        try:
            sent = _Sent(chain)
            code, said, path = _verify(self._store, sent)
            trusted = not code or not _verify(self._timeless, sent)[0]
            weak = _weakness(sent, path)
        except _UNREADABLE as error:
            return Judgement(Fault.BROKEN, _unreadable(error, domain))
        fault, why = self._fault(code, said, sent.until, domain)
        if fault is None:
            fault, why = _own_fault(sent, weak, domain)
        return Judgement(fault, why, trusted, sent.names.all, sent.until.timestamp())

    def _fault(
        self, code: int, said: str, until: datetime, domain: str
    ) -> tuple[Fault | None, str]:
        if not code:
            return None, ""
        if code == _EXPIRED:
            if until.timestamp() > self._now():
                why = f"a certificate above that of {domain} has expired"
            else:
                why = f"the certificate of {domain} expired on {until:%Y-%m-%d}"
            return Fault.EXPIRED, why
        if code == _NOT_YET:
            return Fault.NOT_YET_VALID, f"the certificate of {domain} is not valid yet"
        if code in _UNKNOWN:
            why = f"the certificate of {domain} is signed by nobody whom this server trusts"
            return Fault.UNTRUSTED, why
        return Fault.BROKEN, f"the certificate of {domain} is refused: {said}"

    def judge_dane(
        self, records: Iterable[Tlsa], chain: Sequence[bytes], domain: str
    ) -> Judgement | None:
        """What a chain is worth by TLSA records of a zone that is signed (RFC 7671, RFC 7673).

        Usage 3 (DANE-EE) names the certificate itself, whatever its names and times are; usage 2
        (DANE-TA) an authority of its chain. A certificate that is neither is refused.

        Returns:
            None where no record can be used.
        """
        usable = [record for record in records if record.usable]
        if not usable or not chain:
            return None
        try:
            sent = _Sent(chain)
            fault, why = self._dane_fault(usable, sent, domain)
        except _UNREADABLE as error:
            return Judgement(Fault.BROKEN, _unreadable(error, domain), True)
        return Judgement(fault, why, True, sent.names.all, sent.until.timestamp())

    def _dane_fault(
        self, records: Sequence[Tlsa], sent: _Sent, domain: str
    ) -> tuple[Fault | None, str]:
        leaf, *others = sent.certificates
        if any(_matches(record, leaf) for record in records if record.usage == _DANE_EE):
            return None, ""
        anchors = [
            certificate
            for certificate in others
            if any(_matches(record, certificate) for record in records if record.usage == _DANE_TA)
        ]
        if not anchors:
            why = f"the certificate of {domain} is not the one that its TLSA records name"
            return Fault.WRONG_NAME, why
        store = crypto.X509Store()
        for anchor in anchors:
            store.add_cert(crypto.X509.from_cryptography(anchor))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        code, said, path = _verify(store, sent)
        if code:
            return self._fault(code, said, sent.until, domain)
        return _own_fault(sent, _weakness(sent, path), domain)


class _Sent:
    """A chain, read.

    Args:
        chain: as it was sent, as DER.

    Attributes:
        certificates: the certificate itself first.
        opened: the same for OpenSSL.
        names: of the certificate.
        until: when it expires.
        for_tls: whether its uses, where it says any, are those of a server (RFC 5280 §4.2.1.12).

    Raises:
        Exception: one of `_UNREADABLE`.
    """

    __slots__ = ("certificates", "for_tls", "names", "opened", "until")

    def __init__(self, chain: Sequence[bytes]) -> None:
        chain = chain[:_CHAIN_LONGEST]
        self.certificates = [x509.load_der_x509_certificate(der) for der in chain]
        self.opened = [crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der in chain]
        leaf = self.certificates[0]
        self.names = server_names(leaf)
        self.until = leaf.not_valid_after_utc
        self.for_tls = _is_for_tls(leaf)


def _is_for_tls(leaf: x509.Certificate) -> bool:
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return not _USES.isdisjoint(uses)


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    if record.selector == 0:
        data = certificate.public_bytes(Encoding.DER)
    else:
        data = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    if record.matching == 1:
        data = hashlib.sha256(data).digest()
    elif record.matching == 2:
        data = hashlib.sha512(data).digest()
    return data == record.data


def _store(authorities: Path | None) -> crypto.X509Store:
    store = crypto.X509Store()
    if authorities is None:
        paths = ssl.get_default_verify_paths()
        if paths.cafile or paths.capath:
            store.load_locations(paths.cafile, paths.capath)
        return store
    try:
        for certificate in x509.load_pem_x509_certificates(authorities.read_bytes()):
            store.add_cert(crypto.X509.from_cryptography(certificate))
    except OSError as error:
        raise TrustError(f"{authorities}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise TrustError(f"{authorities}: holds no valid PEM certificate") from None
    return store


def _verify(store: crypto.X509Store, sent: _Sent) -> tuple[int, str, list[crypto.X509]]:
    """OpenSSL's verdict on a chain: 0 and the way to the authority, or an error and its words."""
    leaf, *others = sent.opened
    try:
        return 0, "", crypto.X509StoreContext(store, leaf, others).get_verified_chain()
    except crypto.X509StoreContextError as error:
        return int(error.errors[0]), str(error.errors[2]), []
    finally:
        forget_errors()


def _weakness(sent: _Sent, path: Sequence[crypto.X509]) -> str:
    """What makes a certificate worth nothing although an authority has signed it; else empty.

    OpenSSL does not look at it by itself: its security level is that of handshakes. That of the
    authority is believed whoever signed it, so only its key counts.
    """
    last = len(path) - 1
    for number, opened in enumerate(path):
        whose = "has a key" if number == 0 else "is signed by a key"
        certificate = opened.to_cryptography()
        key = certificate.public_key()
        for kind, least in _BITS_LEAST:
            if isinstance(key, kind) and key.key_size < least:
                return f"{whose} of {key.key_size} bits only"
        if number < last and isinstance(certificate.signature_hash_algorithm, _MD5 | _SHA1):
            return "is signed with a hash function that is broken"
    return "" if sent.for_tls else "is for other uses than TLS"


def _own_fault(sent: _Sent, weak: str, domain: str) -> tuple[Fault | None, str]:
    """What is wrong with a certificate that an authority has signed and that is in its time."""
    if weak:
        return Fault.BROKEN, f"the certificate of {domain} {weak}"
    if not sent.names.cover(a_label(domain)):
        return Fault.WRONG_NAME, _wrong_name(sent.names, domain)
    return None, ""


def _unreadable(error: Exception, domain: str) -> str:
    said = reason(error) if isinstance(error, crypto.Error) else str(error)
    return f"the certificate of {domain} cannot be read: {said}"


def _wrong_name(names: ServerNames, domain: str) -> str:
    shown = names.all[:_SHOWN]
    if not shown:
        return f"{domain} presents a certificate that names nobody"
    more = ", …" if len(names.all) > _SHOWN else ""
    return f"{domain} presents a certificate for {', '.join(shown)}{more}"
