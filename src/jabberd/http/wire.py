"""One HTTP connection: uvicorn's protocol on the same pump as every other connection.

So TLS, certificates that change while running, counting of connections, rates and deadlines are
those of `net`, and there is one way in which the server listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from jabberd.net.wire import Wire

WATER: Final = 65_536
"""Both marks of the pump: `drained` comes when no more than this waits for the far end."""
_FULL: Final = 2 * WATER  # above this, whoever writes has to wait; see `_Transport._look`


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a far end may take.

    Attributes:
        head: for the head of a request, in seconds, from the end of the last response on.
        stalled: for taking anything of a response that waits for it.
    """

    head: float = 20.0
    stalled: float = 60.0


class HttpProtocol(H11Protocol):
    """uvicorn's protocol, which tells when it has begun to wait for a request.

    Args:
        config: of uvicorn.
        state: what all connections share.
        changed: told when a response is complete.
    """

    def __init__(self, config: Config, state: ServerState, changed: Callable[[], None]) -> None:
        super().__init__(config, state, {})
        self._changed = changed

    @property
    def waiting(self) -> bool:
        """Whether the next thing to come is the head of a request."""
        # uvicorn's annotation does not say that there is no cycle before the first request.
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def on_response_complete(self) -> None:
        """Called by uvicorn."""
        super().on_response_complete()
        self._changed()


class _Transport(asyncio.Transport):
    """A `Wire`, as uvicorn's protocol wants to see it."""

    def __init__(self, wire: Wire, protocol: HttpProtocol, deadlines: Deadlines) -> None:
        super().__init__(
            {
                "peername": (wire.peer.host, wire.peer.port),
                "sockname": (wire.local.host, wire.local.port),
                "sslcontext": wire.tls,  # which is how uvicorn tells http from https
            }
        )
        self._wire = wire
        self._protocol = protocol
        self._deadlines = deadlines
        self._closing = False
        self._full = False
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._wire.write(bytes(data))
        if not self._full and self._wire.buffered > _FULL:
            self._full = True
            self._protocol.pause_writing()
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Called after the flush: much may have gone out with it.

        What is more than `_FULL` now was above the pump's mark when it was flushed (TLS adds far
        less than that), so `drained` will come.
        """
        if self._full and self._wire.buffered <= _FULL:
            self.drained()
        elif self._full and self._timer is None:
            self._left = self._wire.buffered
            self._watch()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._deadlines.stalled, self._stalled)

    def _stalled(self) -> None:
        """Give up a far end that has taken nothing since the last look."""
        self._timer = None
        left = self._wire.buffered
        if left >= self._left:
            self.abort()
        else:
            self._left = left
            self._watch()

    def drained(self) -> None:
        """There is room again."""
        self._full = False
        self.stop()
        self._protocol.resume_writing()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ended(self) -> None:
        """The connection is gone."""
        self._closing = True
        self.stop()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._wire.close()

    def abort(self) -> None:
        self._closing = True
        self._wire.abort()

    def pause_reading(self) -> None:
        self._wire.pause()

    def resume_reading(self) -> None:
        self._wire.resume()


class HttpConnection:
    """Implements `net.wire.Machine` for HTTP/1.1.

    Args:
        config: of uvicorn.
        state: what all connections share.
        deadlines: for the far end.
    """

    def __init__(self, config: Config, state: ServerState, deadlines: Deadlines) -> None:
        self._protocol = HttpProtocol(config, state, self._changed)
        self._deadlines = deadlines
        self._transport: _Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connected(self, wire: Wire) -> None:
        """The connection is open, and secured where it is to be."""
        self._transport = _Transport(wire, self._protocol, self._deadlines)
        self._protocol.connection_made(self._transport)
        self._changed()

    def received(self, data: bytes) -> None:
        """Decrypted bytes have arrived."""
        self._protocol.data_received(data)
        self._changed()

    def secured(self) -> None:
        """TLS comes with the first byte or not at all."""

    def ended(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._transport is not None:
            self._transport.ended()
            self._protocol.connection_lost(error)
        self._cancel()

    def drained(self) -> None:
        """There is room to write again."""
        if self._transport is not None:
            self._transport.drained()

    def _changed(self) -> None:
        """Hold the deadline of a request's head as long as one is waited for, and not longer."""
        if self._transport is None or self._transport.is_closing() or not self._protocol.waiting:
            self._cancel()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._deadlines.head, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
