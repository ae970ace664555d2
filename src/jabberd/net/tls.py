"""TLS contexts of all hosts: which certificate, which rules, replaced as one.

What OpenSSL does behind this file's back, found by trying: a context that is switched in by SNI
brings its certificate, ALPN callback and authorities, but neither options nor verify mode; a
context that was used once cannot be changed; what a memory BIO once grew to it keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address

from OpenSSL import SSL
from OpenSSL.crypto import X509

from .certs import a_label
from .openssl import forget_errors, reason
from .tls_config import Material, TlsConfig, TlsConfigError, TlsProblem, covers, load
from .tls_host import TlsHost
from .tls_session import TlsSession

XMPP_CLIENT = b"xmpp-client"
"""The ALPN name of a client's stream (XEP-0368 §4)."""
XMPP_SERVER = b"xmpp-server"
"""The ALPN name of a stream between servers (XEP-0368 §4)."""


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

    def covers(self, host: str) -> bool:
        """Whether the certificate that we send for a host is made out to it."""
        known = self._hosts.get(a_label(host), self._default)
        return covers(known.names, a_label(host))

    def connect(
        self, host: str, server_name: str, alpn: tuple[bytes, ...]
    ) -> tuple[TlsSession, bytes]:
        """Begin the client's side of a handshake. Nothing is validated by it.

        Args:
            host: which of ours connects; its certificate is presented where one is asked for.
            server_name: whom it wants.
            alpn: the protocol, on a port for TLS only.

        Returns:
            The session, and the first bytes for the wire.
        """
        known = self._hosts.get(a_label(host), self._default)
        session = TlsSession(known, {}, alpn, known.connecting)
        return session, session.connect(_sni(server_name))

    def accept(
        self,
        alpn: tuple[bytes, ...] = (),
        host: str | None = None,
        *,
        peers: bool = False,
        ask: bool = True,
    ) -> TlsSession:
        """Begin the server's side of a handshake.

        Args:
            alpn: protocols that the listener speaks; a client that offers only others is
                refused (RFC 7301 §3.2), one that offers none is not. Empty: ALPN is ignored.
            host: whose certificate to send if the client names no host.
            peers: the far end is a server: it is asked for a certificate, and whatever it
                presents is accepted for now.
            ask: ask for a client's certificate where the host has authorities for them.
        """
        default = self._default
        if host is not None:
            default = self._hosts.get(a_label(host), default)
        context = default.peers if peers else default.context
        session = TlsSession(default, self._hosts, alpn, context, peers=peers, ask=ask)
        session.accept()
        return session


def _sni(name: str) -> str:
    """What may stand in SNI: a name of ASCII, and no address (RFC 6066 §3)."""
    label = a_label(name)
    try:
        ip_address(label.strip("[]"))
    except ValueError:
        return label if label.isascii() else ""
    return ""


def _build(config: TlsConfig, now: float) -> tuple[dict[str, TlsHost], TlsHost, tuple[str, ...]]:
    """Make the contexts of a configuration: by name, the default, and the warnings."""
    hosts: dict[str, TlsHost] = {}
    warnings: list[str] = []
    for wanted in config.hosts:
        material = load(wanted, now)
        try:
            host = TlsHost(
                _context(config, material),
                _peer_context(config, material),
                _connecting_context(config, material),
                material.end_point,
                asks=bool(material.authorities),
                names=material.info.names,
            )
        except (SSL.Error, ValueError, TypeError) as error:
            said = reason(error) if isinstance(error, SSL.Error) else str(error)
            message = f"{wanted.certificate}: OpenSSL refuses it: {said}"
            raise TlsConfigError(TlsProblem.REFUSED, message, wanted.certificate) from error
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
    """Towards clients."""
    context = _own(SSL.TLS_SERVER_METHOD, config, material)
    if config.resumption:
        # Contexts of several hosts must not take each other's sessions: the name is the hash.
        context.set_session_id((material.end_point or b"jabberd")[:32])
    else:
        _forget_sessions(context)
    _trust(context, material)
    context.set_tlsext_servername_callback(_on_server_name)
    context.set_alpn_select_callback(_on_alpn)
    return context


def _peer_context(config: TlsConfig, material: Material) -> SSL.Context:
    """Towards servers that connect to us.

    Their certificates are looked at after the handshake (`net.trust`): OpenSSL would refuse those
    that are for TLS servers only, and public authorities sign no others.
    """
    context = _own(SSL.TLS_SERVER_METHOD, config, material)
    _forget_sessions(context)
    _accept_all(context, SSL.VERIFY_PEER)
    context.set_tlsext_servername_callback(_on_server_name)
    context.set_alpn_select_callback(_on_alpn)
    return context


def _connecting_context(config: TlsConfig, material: Material) -> SSL.Context:
    """Towards servers that we connect to."""
    context = _own(SSL.TLS_CLIENT_METHOD, config, material)
    _forget_sessions(context)
    _accept_all(context, SSL.VERIFY_NONE)
    return context


def _accept_all(context: SSL.Context, mode: int) -> None:
    """Let every certificate pass.

    As no fault ends it, OpenSSL would check the signatures of all that a stranger sends, and for
    long: the keys are the stranger's. With depth 0 it looks at no more than the first one; the
    chain is kept for `net.trust` all the same.
    """
    context.set_verify(mode, _accept)
    context.set_verify_depth(0)


def _accept(
    _connection: SSL.Connection, _certificate: X509, _error: int, _depth: int, ok: int
) -> bool:
    if not ok:
        forget_errors()
    return True


def _forget_sessions(context: SSL.Context) -> None:
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)


def _own(method: int, config: TlsConfig, material: Material) -> SSL.Context:
    """A context with our rules and the certificate of a host."""
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(config.ciphers.encode())
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.use_certificate(material.chain[0])
    for certificate in material.chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(material.key)
    context.check_privatekey()
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
