"""TLS contexts of all hosts: which certificate, which rules, replaced as one.

What OpenSSL does behind this file's back, found by trying: a context that is switched in by SNI
brings its certificate, ALPN callback and authorities, but neither options nor verify mode; a
context that was used once cannot be changed; what a memory BIO once grew to it keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from OpenSSL import SSL
from OpenSSL.crypto import X509

from .certs import a_label
from .tls_config import Material, TlsConfig, TlsConfigError, TlsProblem, load
from .tls_session import TlsHost, TlsSession, reason

XMPP_CLIENT = b"xmpp-client"
"""The ALPN name of a client's stream (XEP-0368 §4)."""


class TlsContexts:
    """The certificates of all hosts, ready to be used, and replaced as one.

    Args:
        config: which hosts have which certificates.
        now: seconds since 1970, for warnings about expiry.

    Raises:
        TlsConfigError: the certificates cannot be used.
    """

    def __init__(self, config: TlsConfig, *, now: Callable[[], float] = time.time) -> None:
        self._config = config
        self._now = now
        self._hosts, self._default, self._warnings = _build(config, now())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an administrator should know of the certificates in use, for example expiry."""
        return self._warnings

    def reload(self, config: TlsConfig | None = None) -> tuple[str, ...]:
        """Read all files again; connections that are up are not touched.

        Args:
            config: the new configuration; None for the one in use.

        Returns:
            The warnings about the new certificates.

        Raises:
            TlsConfigError: the new ones cannot be used; the old ones stay.
        """
        config = config or self._config
        built = _build(config, self._now())
        self._config = config
        self._hosts, self._default, self._warnings = built
        return self._warnings

    def accept(self, alpn: tuple[bytes, ...] = (), host: str | None = None) -> TlsSession:
        """Begin the server's side of a handshake.

        Args:
            alpn: protocols that the listener speaks; a client that offers only others is
                refused (RFC 7301 §3.2), one that offers none is not. Empty: ALPN is ignored.
            host: whose certificate to send if the client names no host.
        """
        default = self._default
        if host is not None:
            default = self._hosts.get(a_label(host), default)
        return TlsSession(default, self._hosts, alpn)


def _build(config: TlsConfig, now: float) -> tuple[dict[str, TlsHost], TlsHost, tuple[str, ...]]:
    """Make the contexts of a configuration: by name, the default, and the warnings."""
    hosts: dict[str, TlsHost] = {}
    warnings: list[str] = []
    for wanted in config.hosts:
        material = load(wanted, now)
        try:
            context = _context(config, material)
        except (SSL.Error, ValueError, TypeError) as error:
            said = reason(error) if isinstance(error, SSL.Error) else str(error)
            message = f"{wanted.certificate}: OpenSSL refuses it: {said}"
            raise TlsConfigError(TlsProblem.REFUSED, message, wanted.certificate) from error
        host = TlsHost(context, material.end_point, bool(material.authorities))
        hosts.update((a_label(name), host) for name in wanted.names)
        warnings.extend(material.warnings)
    if not hosts:
        raise TlsConfigError(TlsProblem.NO_HOST, "no host has a certificate")
    first = next(iter(hosts))
    default = first if config.default is None else a_label(config.default)
    if default not in hosts:
        message = f"the default host {config.default} has no certificate"
        raise TlsConfigError(TlsProblem.NO_HOST, message)
    return hosts, hosts[default], tuple(warnings)


def _context(config: TlsConfig, material: Material) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(config.ciphers.encode())
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    if config.resumption:
        # Contexts of several hosts must not take each other's sessions: the name is the hash.
        context.set_session_id((material.end_point or b"jabberd")[:32])
    else:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
    context.use_certificate(material.chain[0])
    for certificate in material.chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(material.key)
    context.check_privatekey()
    _trust(context, material)
    context.set_tlsext_servername_callback(_on_server_name)
    context.set_alpn_select_callback(_on_alpn)
    return context


def _trust(context: SSL.Context, material: Material) -> None:
    """Name the authorities of client certificates, to OpenSSL and to the clients."""
    if not material.authorities:
        return
    store = context.get_cert_store()
    if store is None:
        raise TypeError("OpenSSL has no certificate store")
    for authority in material.authorities:
        store.add_cert(X509.from_cryptography(authority))
        context.add_client_ca(authority)


def _on_server_name(connection: SSL.Connection) -> None:
    session = connection.get_app_data()
    if isinstance(session, TlsSession):
        session.choose_host(connection)


def _on_alpn(
    connection: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    session = connection.get_app_data()
    if isinstance(session, TlsSession):
        return session.choose_protocol(offered)
    return SSL.NO_OVERLAPPING_PROTOCOLS
