"""One connection: bytes between a transport and a sans-I/O machine, TLS in between.

There is no task and, at rest, no timer and no buffer per connection. What is written in one turn
of the loop is joined, encrypted once and handed over once: that, more than anything else, is what
decides the cost of a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from .life import Life, Stage, bare
from .limits import TokenBucket
from .owner import Owner, PumpOptions
from .proxy import ProxyError, parse
from .tls_session import TlsError, TlsSession
from .wire import Endpoint, TlsFacts

_PAUSED_BY_EDGE = 1
_PAUSED_BY_RATE = 2
_DISCARD_MOST = 16 << 20
"""Bytes read and thrown away after a close, so that the peer reads our last words."""


_PROXY, _HANDSHAKE, _OPEN, _CLOSING, _ = Stage  # globals: an enum lookup costs 30 ns more


class Pump(Life):
    """A `Wire` over an asyncio or uvloop transport.

    Args:
        owner: who made it.
        options: how it is treated.
        peer: the far end.
        expect_proxy: whether a PROXY header must come first.
    """

    __slots__ = ("_bucket", "_expect_proxy", "_held", "_over", "_paused")

    def __init__(
        self, owner: Owner, options: PumpOptions, peer: Endpoint, *, expect_proxy: bool = False
    ) -> None:
        super().__init__(owner, options, peer)
        self._expect_proxy = expect_proxy
        self._over = False
        self._paused = 0
        self._held: bytes | int | None = None  # unread bytes; a count once CLOSING
        self._bucket: TokenBucket | None = None

    # Wire

    @property
    def buffered(self) -> int:
        """Bytes accepted by `write` that the operating system has not taken yet."""
        transport = self._transport
        return self._queued + (transport.get_write_buffer_size() if transport else 0)

    @property
    def tls(self) -> TlsFacts | None:
        """What TLS settled; None on a plain connection and during the handshake."""
        return None if self._stage is _HANDSHAKE else self._tls

    def write(self, data: bytes) -> None:
        """Queue bytes; everything of one turn of the loop leaves in one joined write."""
        if self._stage is not _OPEN or not data:
            return
        if self._out is None:
            self._out = [data]
            self._owner.loop.call_soon(self._flush)
        else:
            self._out.append(data)
        self._queued += len(data)

    def pause(self) -> None:
        """Read no more from the socket until `resume`. Counted once, not nested."""
        if self._stage is _OPEN or self._stage is _HANDSHAKE:
            self._pause(_PAUSED_BY_EDGE)

    def resume(self) -> None:
        """Read again."""
        self._resume(_PAUSED_BY_EDGE)

    def start_tls(self, host: str | None = None) -> None:
        """Flush, forget every unread plain byte, then do the handshake.

        It is done as the client where it is us who have connected, else as the server.

        Bytes that come later are the handshake's, so none sent before it can be taken for
        protected ones afterwards. `Machine.secured` is called when it is done,
        `Machine.ended` when it fails. A pause ends: the handshake has to be read.

        Args:
            host: whose certificate to send if the client names no host by SNI.

        Raises:
            RuntimeError: there are no certificates, or TLS is on already.
        """
        if self._stage is not _OPEN:
            return
        if self._options.tls is None or self._tls is not None:
            raise RuntimeError("TLS is not to be had on this connection, or is on already")
        self._flush()
        self._held = None
        self._resume(_PAUSED_BY_EDGE)
        self._handshake(host)

    def close(self) -> None:
        """Flush what is queued (with a deadline), close_notify, then close.

        Our side is shut down and the peer's last bytes are read and thrown away: closing a
        socket with unread bytes would send a reset, which can destroy what we said last.
        """
        if self._stage >= _CLOSING or self._transport is None:
            return
        self._flush()
        transport = self._transport
        if self._tls is not None and self._stage is _OPEN:
            last = self._tls.shutdown()
            if last:
                transport.write(last)
        self._stage = _CLOSING
        self._held = 0
        self._bucket = None
        self._deadline(self._options.close_seconds, None)
        if self._paused:
            self._paused = 0
            transport.resume_reading()
        if not transport.is_closing():
            try:
                transport.write_eof()
            except OSError as error:  # asyncio: the peer has reset it, and nobody has read that
                self._fail(bare(error))

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop: the connection is there."""
        # uvloop's transports are no subclass of asyncio's, only alike.
        self._transport = transport = cast("asyncio.Transport", transport)
        options = self._options
        # Both marks of the transport are our low one: `resume_writing` is our way to know that
        # it was passed; whether the high one ever was, `_flush` knows.
        transport.set_write_buffer_limits(options.low_water, options.low_water)
        if options.rate:
            self._bucket = TokenBucket(options.rate, options.burst, self._owner.loop.time())
        if self._expect_proxy:
            self._held = b""
            self._deadline(options.proxy_seconds, "no PROXY header in time")
        else:
            self._begin()

    def data_received(self, data: bytes) -> None:
        """Called by the loop: bytes of the wire."""
        if self._bucket is not None:
            wait = self._bucket.take(len(data), self._owner.loop.time())
            if wait:
                self._throttle(wait)
        if self._stage is not _OPEN:
            self._early(data)
        elif self._tls is None:
            self._deliver(data)
        else:
            self._decrypt(self._tls.receive, data)

    def eof_received(self) -> bool:
        """Called by the loop: the peer will send no more. What is queued still leaves."""
        self.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: the connection is gone."""
        self._bucket = self._held = None
        self._owner.gone(self, self._end(exc))

    def resume_writing(self) -> None:
        """Called by the transport: no more than the low-water mark is waiting."""
        if self._over:
            self._owner.loop.call_soon(self._drained)

    # Life

    def _begin(self, rest: bytes = b"") -> None:
        """The far end is known: go on with TLS or with the machine."""
        if self._options.direct_tls:
            self._handshake(None)
            if rest:
                self._shake(rest)
            return
        self._stage = _OPEN
        self._connect()
        self._go_on(self._deliver, rest)

    def _connect(self) -> None:
        """Make the machine and tell it of its connection."""
        try:
            self._machine = self._owner.machine()
            self._machine.connected(self)
        except Exception as error:
            self._bug(error)

    def _early(self, data: bytes) -> None:
        """Take bytes while the connection is not open, or no longer."""
        if self._stage is _HANDSHAKE:
            self._shake(data)
        elif self._stage is _PROXY and isinstance(self._held, bytes):
            self._read_proxy(self._held + data)
        elif self._stage is _CLOSING and isinstance(self._held, int):
            self._held += len(data)
            if self._held > _DISCARD_MOST:
                self._fail(None)

    def _read_proxy(self, data: bytes) -> None:
        try:
            header = parse(data)
        except ProxyError as error:
            self._fail(bare(error))
            return
        if header is None:
            self._held = data
            return
        self._held = None
        self._cancel_timer()
        self._proxied = True
        if header.peer is not None:
            self._peer = header.peer
            self._local = header.local
        if self._owner.named(self, self._peer):
            self._begin(data[header.size :])
        else:
            self._fail(ProxyError("too many connections of the address that the proxy named"))

    def _handshake(self, host: str | None) -> None:
        """Begin TLS."""
        tls = self._options.tls
        if tls is None:
            self._fail(TlsError("no certificates"))
            return
        options, calling = self._options, self._options.calling
        self._stage = _HANDSHAKE
        if calling is None:
            self._tls = tls.accept(options.alpn, host, peers=options.peers, ask=options.ask)
        else:
            alpn = options.alpn if options.direct_tls else ()
            self._tls, hello = tls.connect(calling.host, calling.server_name, alpn)
            if self._transport is not None:
                self._transport.write(hello)
        self._deadline(options.handshake_seconds, "TLS handshake took too long")

    def _shake(self, data: bytes) -> None:
        """Go on with the handshake."""
        tls, transport = self._tls, self._transport
        if tls is None or transport is None or transport.is_closing():
            return
        try:
            rest = tls.handshake(data)
        except TlsError as error:
            self._broken(tls, error)
            return
        answer = tls.take()
        if answer:
            transport.write(answer)
        if rest is None:
            return
        self._cancel_timer()
        self._stage = _OPEN
        if self._machine is None:
            self._connect()
        else:
            try:
                self._machine.secured()
            except Exception as error:
                self._bug(error)
        self._go_on(self._read_rest, rest)

    def _read_rest(self, rest: bytes) -> None:
        """Read what came along with the end of the handshake."""
        if self._tls is not None:
            self._decrypt(self._tls.read, rest)

    def _go_on(self, read: Callable[[bytes], None], rest: bytes) -> None:
        """Deliver what came along with the last step, or hold it while the edge pauses."""
        if self._stage is not _OPEN:
            return
        if self._paused & _PAUSED_BY_EDGE:
            self._held = rest
        elif rest or self._tls is not None:
            read(rest)

    # Reading

    def _deliver(self, data: bytes) -> None:
        machine = self._machine
        if machine is None:
            return
        try:
            machine.received(data)
        except Exception as error:
            self._bug(error)

    def _decrypt(self, read: Callable[[bytes], bytes], data: bytes) -> None:
        tls, transport = self._tls, self._transport
        if tls is None or transport is None:
            return
        try:
            plain = read(data)
        except TlsError as error:
            self._broken(tls, error)
            return
        if plain:
            self._deliver(plain)
        elif not transport.is_closing():
            answer = tls.take()  # to a key update or an attempt to renegotiate
            if answer:
                transport.write(answer)
        if tls.closed:
            self.close()

    def _pause(self, by: int) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._paused |= by

    def _resume(self, by: int) -> None:
        if not self._paused & by:
            return
        self._paused &= ~by
        if self._held is not None and by == _PAUSED_BY_EDGE and self._stage is _OPEN:
            self._owner.loop.call_soon(self._release)
        elif not self._paused and self._transport is not None:
            self._transport.resume_reading()

    def _release(self) -> None:
        """Deliver the bytes that were held, then read on."""
        held = self._held
        if self._stage is not _OPEN or self._paused & _PAUSED_BY_EDGE or self._transport is None:
            return
        if not self._paused:
            self._transport.resume_reading()
        if isinstance(held, bytes):
            self._held = None
            if self._tls is None:
                self._deliver(held)
            else:
                self._read_rest(held)

    def _throttle(self, seconds: float) -> None:
        """Read no more until the bytes that came early would have been in time."""
        if self._stage is not _CLOSING and not self._paused & _PAUSED_BY_RATE:
            self._pause(_PAUSED_BY_RATE)
            self._owner.loop.call_later(seconds, self._resume, _PAUSED_BY_RATE)

    # Writing

    def _flush(self) -> None:
        """Hand over what is queued: joined, encrypted, in one write."""
        out, transport = self._out, self._transport
        if out is None:
            return
        self._out = None
        queued, self._queued = self._queued, 0
        if transport is None or transport.is_closing():
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        if queued + transport.get_write_buffer_size() > self._options.high_water:
            self._over = True
        if self._tls is not None:
            try:
                data = self._tls.send(data)
            except TlsError as error:
                self._fail(bare(error))
                return
        transport.write(data)
        if self._over and transport.get_write_buffer_size() <= self._options.low_water:
            self._owner.loop.call_soon(self._drained)

    def _drained(self) -> None:
        """Tell the machine that there is room again; no more than once each time."""
        if not self._over or self._stage is not _OPEN or self._machine is None:
            return
        if self.buffered > self._options.low_water:
            return  # the transport or the next flush comes back to it
        self._over = False
        try:
            self._machine.drained()
        except Exception as error:
            self._bug(error)

    # Ends

    def _broken(self, tls: TlsSession, error: TlsError) -> None:
        """TLS failed: send its alert, then end."""
        self._error = bare(error)
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        alert = tls.take()
        if alert:
            transport.write(alert)
        self._out = None
        self._queued = 0
        self._tls = None
        tls.release()
        self.close()
