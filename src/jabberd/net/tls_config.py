"""Which certificates there are, read and checked; the faults are said in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from .certs import UNREADABLE, CertificateInfo, a_label, describe

PrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)
_FILE_LONGEST = 1 << 20
_SOON_DAYS = 14
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2 suites: forward secrecy and AEAD only (RFC 9325 §4.2). TLS 1.3 has no others."""


@dataclass(frozen=True, slots=True)
class HostTls:
    """The certificate of one host.

    Attributes:
        names: the host and those of its sub-domains that share the certificate; Unicode allowed.
        certificate: PEM file: the host's certificate, then the chain.
        key: PEM file; None when the key is in the certificate's file.
        client_ca: PEM file of the authorities that client certificates are checked against;
            None: no client certificate is asked for on this host.
    """

    names: tuple[str, ...]
    certificate: Path
    key: Path | None = None
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """All certificates of a server.

    Attributes:
        hosts: at least one.
        default: the host whose certificate a client gets that names no host, or an unknown
            one; None for the first.
        resumption: whether clients may resume sessions (tickets).
        ciphers: OpenSSL's cipher string for TLS 1.2.
    """

    hosts: tuple[HostTls, ...]
    default: str | None = None
    resumption: bool = False
    ciphers: str = CIPHERS


class TlsProblem(Enum):
    """What is wrong with the TLS configuration."""

    UNREADABLE = "unreadable"
    NO_CERTIFICATE = "no certificate"
    NO_KEY = "no key"
    MISMATCH = "key does not match"
    NO_AUTHORITY = "no authority"
    NO_HOST = "no host"
    REFUSED = "refused by OpenSSL"


class TlsConfigError(Exception):
    """The certificates cannot be used; the message says which file and why.

    Attributes:
        problem: the kind of fault.
        path: the file at fault, where there is one.
    """

    def __init__(self, problem: TlsProblem, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.path = path


@dataclass(frozen=True, slots=True)
class Material:
    """What the files of a host hold.

    Attributes:
        chain: the host's certificate, then what leads to an authority.
        key: the private key of the first.
        authorities: what client certificates are checked against; empty: not asked for.
        info: names and times of the first certificate.
        end_point: its hash after RFC 5929 §4.1; None where its signature has no single hash.
        warnings: what an administrator should know; none of it stops the server.
    """

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey
    authorities: tuple[x509.Certificate, ...]
    info: CertificateInfo
    end_point: bytes | None
    warnings: tuple[str, ...]


def load(host: HostTls, now: float) -> Material:
    """Read and check the files of one host.

    Args:
        host: where they are.
        now: seconds since 1970, for the warnings about expiry.

    Raises:
        TlsConfigError: they cannot be used.
    """
    chain = _certificates(host.certificate, TlsProblem.NO_CERTIFICATE)
    key_path = host.key or host.certificate
    key = _key(key_path)
    if _spki(key) != chain[0].public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        raise TlsConfigError(
            TlsProblem.MISMATCH,
            f"{key_path}: the key does not belong to the certificate in {host.certificate}",
            key_path,
        )
    authorities: tuple[x509.Certificate, ...] = ()
    if host.client_ca is not None:
        authorities = _certificates(host.client_ca, TlsProblem.NO_AUTHORITY)
    info = describe(chain[0], now)
    return Material(
        chain, key, authorities, info, end_point(chain[0]), tuple(_warnings(host, info, now))
    )


def end_point(certificate: x509.Certificate) -> bytes | None:
    """tls-server-end-point: the hash of the certificate with its signature's hash function.

    MD5 and SHA-1 are replaced by SHA-256 (RFC 5929 §4.1); None where there is no single hash
    function, as with Ed25519: the binding is not defined then.
    """
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LONGEST)
    except OSError as error:
        raise TlsConfigError(
            TlsProblem.UNREADABLE, f"{path}: cannot be read: {error.strerror}", path
        ) from error


def _certificates(path: Path, problem: TlsProblem) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(_read(path)))
    except UNREADABLE:
        raise TlsConfigError(problem, f"{path}: holds no valid PEM certificate", path) from None


def _key(path: Path) -> PrivateKey:
    try:
        key = load_pem_private_key(_read(path), password=None)
    except TypeError:
        message = f"{path}: the key is encrypted; a server needs one without a passphrase"
        raise TlsConfigError(TlsProblem.NO_KEY, message, path) from None
    except (ValueError, UnsupportedAlgorithm):
        message = f"{path}: holds no valid PEM private key"
        raise TlsConfigError(TlsProblem.NO_KEY, message, path) from None
    if not isinstance(key, PrivateKey):
        message = f"{path}: this kind of key cannot be used with TLS"
        raise TlsConfigError(TlsProblem.NO_KEY, message, path)
    return key


def _spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _warnings(host: HostTls, info: CertificateInfo, now: float) -> list[str]:
    found = []
    if info.not_after <= now:
        found.append(f"{host.certificate}: the certificate expired {-info.days_left} days ago")
    elif info.days_left < _SOON_DAYS:
        found.append(f"{host.certificate}: the certificate expires in {info.days_left} days")
    if info.not_before > now:
        found.append(f"{host.certificate}: the certificate is not valid yet")
    missing = [name for name in host.names if not covers(info.names, a_label(name))]
    if missing:
        found.append(f"{host.certificate}: is not made out to {', '.join(missing)}")
    return found


def covers(names: tuple[str, ...], host: str) -> bool:
    """Whether a certificate with these names is good for `host` (RFC 9525 §6.3)."""
    wildcard = "*." + host.partition(".")[2]
    return host in names or wildcard in names
