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
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from .certs import ServerNames, a_label, server_names

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL does not name
_RSA_LEAST: Final = 2048
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

        It takes about a millisecond, and may be done on the event loop.

        Args:
            chain: as it was sent, as DER; the certificate itself first.
            domain: whose it should be.
        """
        if not chain:
            return Judgement(Fault.NONE_SENT, f"{domain} presents no certificate")
        try:
            certificates = [x509.load_der_x509_certificate(der) for der in chain[:_CHAIN_LONGEST]]
            leaf = certificates[0]
            names = server_names(leaf)
            until = leaf.not_valid_after_utc
            weak = _weakness(leaf)
        except (ValueError, UnsupportedAlgorithm) as error:
            why = f"the certificate of {domain} cannot be read: {error}"
            return Judgement(Fault.BROKEN, why)
        code, said = _verify(self._store, certificates)
        trusted = not code or not _verify(self._timeless, certificates)[0]
        fault, why = self._fault(code, said, until, domain)
        if fault is None and weak:
            fault, why = Fault.BROKEN, f"the certificate of {domain} {weak}"
        if fault is None and not names.cover(a_label(domain)):
            fault, why = Fault.WRONG_NAME, _wrong_name(names, domain)
        return Judgement(fault, why, trusted, names.all, until.timestamp())

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
        (DANE-TA) an authority of its chain. The usages for public authorities are not for this
        use (RFC 7672 §3.1.3 says the same of SMTP).

        Returns:
            None where no record can be used.
        """
        usable = [record for record in records if record.usage in {2, 3}]
        if not usable or not chain:
            return None
        try:
            certificates = [x509.load_der_x509_certificate(der) for der in chain[:_CHAIN_LONGEST]]
            leaf = certificates[0]
            names = server_names(leaf)
        except ValueError:
            return None
        until = leaf.not_valid_after_utc.timestamp()
        if any(_matches(record, leaf) for record in usable if record.usage == 3):
            return Judgement(None, "", True, names.all, until)
        anchors = [
            certificate
            for certificate in certificates[1:]
            if any(_matches(record, certificate) for record in usable if record.usage == 2)
        ]
        if anchors:
            store = crypto.X509Store()
            for anchor in anchors:
                store.add_cert(crypto.X509.from_cryptography(anchor))
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
            if not _verify(store, certificates)[0] and names.cover(a_label(domain)):
                return Judgement(None, "", True, names.all, until)
        why = f"the certificate of {domain} is not the one that its TLSA records name"
        return Judgement(Fault.WRONG_NAME, why, True, names.all, until)


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    if record.selector == 0:
        data = certificate.public_bytes(Encoding.DER)
    elif record.selector == 1:
        data = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    else:
        return False
    if record.matching == 1:
        data = hashlib.sha256(data).digest()
    elif record.matching == 2:
        data = hashlib.sha512(data).digest()
    elif record.matching:
        return False
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


def _verify(store: crypto.X509Store, certificates: Sequence[x509.Certificate]) -> tuple[int, str]:
    """OpenSSL's verdict on a chain: 0, or the error's number and its words."""
    leaf, *others = [crypto.X509.from_cryptography(one) for one in certificates]
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        return int(error.errors[0]), str(error.errors[2])
    return 0, ""


def _weakness(leaf: x509.Certificate) -> str:
    """What makes a certificate worth nothing by itself; empty where nothing does."""
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_LEAST:
        return f"has a key of {key.key_size} bits only"
    if isinstance(leaf.signature_hash_algorithm, _MD5 | _SHA1):
        return "is signed with a hash function that is broken"
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    if not _USES.intersection(uses):
        return "is for other uses than TLS"
    return ""


def _wrong_name(names: ServerNames, domain: str) -> str:
    shown = names.all[:_SHOWN]
    if not shown:
        return f"{domain} presents a certificate that names nobody"
    more = ", …" if len(names.all) > _SHOWN else ""
    return f"{domain} presents a certificate for {', '.join(shown)}{more}"
