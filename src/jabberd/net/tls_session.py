"""TLS of one connection: pyOpenSSL over memory, so that the pump alone touches sockets."""

from __future__ import annotations

import contextlib

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, X509, dump_certificate

from .certs import UNREADABLE
from .openssl import forget_errors, reason
from .tls_config import end_point
from .tls_host import TlsHost

_CHUNK = 8192
"""Bytes that pass a memory BIO at once: it never gives back the room it has grown to."""
_RECORD = 16_384
"""The most plain bytes in one record (RFC 8446 §5.1)."""
_HEADER = 5
_OVERHEAD = 1024
"""More than one record has beside its plain bytes. Room for two whole ones costs more to get."""
_ALL = 1 << 30
_CHAIN_LONGEST = 10
_TLS_1_3 = "TLSv1.3"


class TlsError(Exception):
    """The handshake or the connection failed; the message is fit for a log."""


class _NoProtocolError(Exception):
    """The client offered ALPN, and none of ours; OpenSSL sends no_application_protocol."""


class _Judge:
    """The verify callback: it remembers faults of the client's chain and goes on all the same.

    OpenSSL calls it for each fault and each certificate. It does not when a session is resumed:
    the certificate counts as not valid then.

    Attributes:
        valid: whether there was no fault; None while it was not called.
    """

    __slots__ = ("valid",)

    def __init__(self) -> None:
        self.valid: bool | None = None

    def __call__(
        self, _connection: SSL.Connection, _certificate: X509, _error: int, _depth: int, ok: int
    ) -> bool:
        self.valid = bool(ok) and self.valid is not False
        if not ok:
            forget_errors()
        return True


class TlsSession:
    """One connection's TLS, from ciphertext to plain and back; also its `TlsFacts`.

    Made by `TlsContexts.accept` and `TlsContexts.connect`.
    """

    __slots__ = (
        "_alpn",
        "_ask",
        "_calling",
        "_connection",
        "_head",
        "_host",
        "_hosts",
        "_judge",
        "_need",
        "_peers",
        "closed",
    )

    def __init__(
        self,
        host: TlsHost,
        hosts: dict[str, TlsHost],
        alpn: tuple[bytes, ...],
        context: SSL.Context,
        *,
        peers: bool = False,
        ask: bool = True,
    ) -> None:
        self._host = host
        self._hosts: dict[str, TlsHost] | None = hosts
        self._alpn = alpn
        self._peers = peers
        self._ask = ask
        self._calling = False
        self._judge: _Judge | None = None
        self._need = 0  # bytes that the last record, seen from the wire, still lacks
        self._head = b""  # a record's header, as far as it came
        self.closed = False
        """Whether the peer has sent close_notify."""
        self._connection = connection = SSL.Connection(context, None)
        connection.set_app_data(self)

    def accept(self) -> None:
        """Be the server: the peer speaks first."""
        self._connection.set_accept_state()

    def connect(self, server_name: str) -> bytes:
        """Be the client; returns the first bytes for the wire.

        Args:
            server_name: the A-labels of whom we want (SNI); empty where that is no name.
        """
        self._calling = True
        connection = self._connection
        connection.set_connect_state()
        if server_name:
            connection.set_tlsext_host_name(server_name.encode("ascii"))
        if self._alpn:
            connection.set_alpn_protos(list(self._alpn))
        with contextlib.suppress(SSL.WantReadError):
            connection.do_handshake()
        return self.take()

    def handshake(self, data: bytes) -> bytes | None:
        """Take bytes of the wire during the handshake; then send what `take` returns.

        Returns:
            None while it is not done; else the bytes not looked at yet: give them to `read`
            even if there are none, as the first plain bytes may have come along.

        Raises:
            TlsError: it failed; `take` has the alert.
        """
        connection = self._connection
        try:
            for start in range(0, len(data), _CHUNK):
                chunk = data[start : start + _CHUNK]
                self._walk(chunk)
                connection.bio_write(chunk)
                try:
                    connection.do_handshake()
                except SSL.WantReadError:
                    continue
                self.release()
                return data[start + _CHUNK :]
        except _NoProtocolError:
            raise TlsError("client offers no protocol that we speak (ALPN)") from None
        except SSL.Error as error:
            raise TlsError(reason(error)) from None
        return None

    def receive(self, data: bytes) -> bytes:
        """Decrypt bytes of the wire; sets `closed` at the peer's close_notify.

        Asking OpenSSL for one record too many costs as much as decrypting one, so where the
        wire stands between two records, as it nearly always does, they are counted.

        Raises:
            TlsError: they are not ours or were tampered with; `take` has the alert.
        """
        size = len(data)
        if (
            self._need
            or self._head
            or not _HEADER < size <= _CHUNK
            or (data[3] << 8) + data[4] + _HEADER != size
        ):
            return self._receive_many(data)
        connection = self._connection
        try:
            connection.bio_write(data)
            return connection.recv(size)  # one record, which holds less than that
        except SSL.Error as error:
            self._interrupted(error)
            return b""

    def _receive_many(self, data: bytes) -> bytes:
        connection = self._connection
        pieces: list[bytes] = []
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK]
            records = self._walk(chunk)
            if self._need or self._head:
                records = _ALL  # what is begun moves to a buffer that is freed, out of the BIO
            connection.bio_write(chunk)
            self._take_in(pieces, records)
        return b"".join(pieces)

    def read(self, data: bytes) -> bytes:
        """As `receive`, after the handshake: OpenSSL may hold records already."""
        pieces: list[bytes] = []
        self._take_in(pieces, _ALL)
        if data:
            pieces.append(self._receive_many(data))
        return b"".join(pieces)

    def _take_in(self, pieces: list[bytes], records: int) -> None:
        """Decrypt so many records, or as many as there are."""
        if self.closed:
            return
        receive = self._connection.recv
        try:
            for _ in range(records):
                pieces.append(receive(_RECORD))  # noqa: PERF401 -- what came before an error counts
        except SSL.Error as error:
            self._interrupted(error)

    def send(self, data: bytes) -> bytes:
        """Encrypt; returns the bytes for the wire.

        Raises:
            TlsError: the connection is broken.
        """
        connection = self._connection
        try:
            if len(data) <= _CHUNK:
                connection.send(data)
                most = len(data) + _OVERHEAD
                sealed = connection.bio_read(most)
                return sealed if len(sealed) < most else sealed + self.take()
            pieces = []
            view = memoryview(data)
            while view:
                view = view[connection.send(view[:_CHUNK]) :]
                pieces.append(connection.bio_read(2 * _RECORD))
            return b"".join(pieces)
        except SSL.Error as error:
            raise TlsError(reason(error)) from None

    def shutdown(self) -> bytes:
        """Say close_notify; returns the bytes for the wire, empty when it cannot be said."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            return b""
        return self.take()

    def release(self) -> None:
        """Forget what only the handshake needs; without it, only a collection frees us."""
        self._connection.set_app_data(None)
        self._hosts = None

    def take(self) -> bytes:
        """What OpenSSL has of its own to send: handshake, alerts, answers."""
        pieces = []
        try:
            while True:
                pieces.append(self._connection.bio_read(2 * _RECORD))
        except SSL.WantReadError:
            return b"".join(pieces)

    def _interrupted(self, error: SSL.Error) -> None:
        """Tell apart: nothing more to read, the peer's close_notify, a fault (raised)."""
        if isinstance(error, SSL.WantReadError):
            return
        if isinstance(error, SSL.ZeroReturnError):
            self.closed = True
            return
        raise TlsError(reason(error)) from None

    def _walk(self, data: bytes) -> int:
        """Follow the record headers; returns how many records `data` completes."""
        need = self._need
        if need > len(data):
            self._need = need - len(data)
            return 0
        records = 1 if need else 0
        position = need
        if self._head:
            data = self._head + data
            self._head = b""
        size = len(data)
        while position + _HEADER <= size:
            position += _HEADER + (data[position + 3] << 8) + data[position + 4]
            records += 1
        if position > size:
            self._need = position - size
            return records - 1
        self._need = 0
        self._head = data[position:]
        return records

    # Called by OpenSSL during the handshake

    def choose_host(self, connection: SSL.Connection) -> None:
        """Select the certificate by SNI; ask for the client's where its host wants one.

        Servers are asked by the context, and judged by others (`net.trust`).

        Never raises: OpenSSL would only be able to print the exception.
        """
        name = connection.get_servername()
        if name is not None and self._hosts is not None:
            host = self._hosts.get(name.decode("ascii", "replace").rstrip(".").lower())
            if host is not None and host is not self._host:
                self._host = host
                connection.set_context(host.peers if self._peers else host.context)
        if self._host.asks and self._ask and not self._peers:
            self._judge = _Judge()  # not a method of ours: that would be a cycle
            connection.set_verify(SSL.VERIFY_PEER, self._judge)

    def choose_protocol(self, offered: list[bytes]) -> bytes | SSL._NoOverlappingProtocols:
        """Select the protocol by ALPN (RFC 7301 §3.2).

        Raises:
            _NoProtocolError: none of those offered; it ends the handshake.
        """
        if not self._alpn:
            return SSL.NO_OVERLAPPING_PROTOCOLS
        for name in self._alpn:
            if name in offered:
                return name
        raise _NoProtocolError

    # TlsFacts

    @property
    def version(self) -> str:
        """For example "TLSv1.3"."""
        return self._connection.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite."""
        return self._connection.get_cipher_name() or ""

    @property
    def server_name(self) -> str | None:
        """The host that the client asked for by SNI."""
        name = self._connection.get_servername()
        return None if name is None else name.decode("ascii", "replace")

    @property
    def protocol(self) -> str | None:
        """The protocol that ALPN chose; None without."""
        return self._connection.get_alpn_proto_negotiated().decode("ascii") or None

    def exporter(self) -> bytes | None:
        """tls-exporter (RFC 9266): 32 bytes on TLS 1.3; None on older versions.

        TLS 1.2 would need the extended master secret, which pyOpenSSL cannot tell us of.
        """
        if self.version != _TLS_1_3:
            return None
        return self._connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")

    def server_end_point(self) -> bytes | None:
        """tls-server-end-point (RFC 5929 §4): the hash of the server's certificate.

        That is ours; the far end's where it is us who have connected.
        """
        if not self._calling:
            return self._host.end_point
        try:
            return end_point(x509.load_der_x509_certificate(self.peer_certificate() or b""))
        except UNREADABLE:
            return None

    def peer_certificate(self) -> bytes | None:
        """The far end's certificate as DER, where it sent one; neither validated nor read."""
        certificate = self._connection.get_peer_certificate()
        return None if certificate is None else dump_certificate(FILETYPE_ASN1, certificate)

    def peer_chain(self) -> tuple[bytes, ...]:
        """What the far end sent as DER: its certificate, then what it says leads to an authority.

        Nothing of it is validated.
        """
        leaf = self.peer_certificate()
        if leaf is None:
            return ()
        sent = self._connection.get_peer_cert_chain() or []
        chain = [dump_certificate(FILETYPE_ASN1, one) for one in sent[:_CHAIN_LONGEST]]
        # To the accepting side, OpenSSL gives the chain without the certificate itself.
        return (leaf, *(one for one in chain if one != leaf))

    def peer_certificate_valid(self) -> bool:
        """Whether the client's certificate chained to the configured authority."""
        judge = self._judge
        return judge is not None and judge.valid is True and self.peer_certificate() is not None
