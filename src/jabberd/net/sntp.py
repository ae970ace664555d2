"""The time, as a server for it says (RFC 4330): one packet there, and one back."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable
from typing import Final

_PORT: Final = 123
_SIZE: Final = 48
_FIRST: Final = 0x23  # version 4, client
_SERVER: Final = 4  # the mode of an answer
_STRATA: Final = range(1, 16)  # 0: it refuses to say ("kiss of death")
_UNSYNCHRONISED: Final = 3
_EPOCH: Final = 2_208_988_800
"""Seconds from 1900, where NTP begins to count, to 1970."""
_ERA: Final = 1 << 32
"""Seconds after which NTP begins anew, for the first time in 2036."""


class NoTimeError(Exception):
    """The server says nothing that can be used; the message says why."""


async def clock_offset(
    server: str, *, now: Callable[[], float], port: int = _PORT, seconds: float = 3.0
) -> float:
    """How far another clock is ahead of ours, in seconds.

    Args:
        server: name or address.
        now: our clock: seconds since 1970.
        port: where it answers.
        seconds: how long to wait.

    Raises:
        NoTimeError: it did not answer, or with nothing of use.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[bytes, float]] = loop.create_future()
    # Who has not seen the question cannot answer it: what comes back has this in it (§5).
    token = secrets.token_bytes(8)
    transport: asyncio.DatagramTransport | None = None
    try:
        async with asyncio.timeout(seconds):
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Question(answer, token, now), remote_addr=(server, port)
            )
            begun = now()
            transport.sendto(struct.pack("!B39x8s", _FIRST, token))
            data, ended = await answer
    except TimeoutError:
        raise NoTimeError(f"{server} does not answer") from None
    except OSError as error:
        raise NoTimeError(f"{server}: {error.strerror or error}") from None
    finally:
        if transport is not None:
            transport.close()
    received, sent = _seconds(data, 32, begun), _seconds(data, 40, begun)
    return ((received - begun) + (sent - ended)) / 2


class _Question(asyncio.DatagramProtocol):
    """Waits for the answer that belongs to a question."""

    def __init__(
        self, answer: asyncio.Future[tuple[bytes, float]], token: bytes, now: Callable[[], float]
    ) -> None:
        self._answer = answer
        self._token = token
        self._now = now

    def datagram_received(self, data: bytes, _addr: tuple[str | int, ...], /) -> None:
        """Something came; what is no answer to the question is not looked at."""
        if self._answer.done() or len(data) < _SIZE or data[24:32] != self._token:
            return
        if data[0] & 7 != _SERVER or data[0] >> 6 == _UNSYNCHRONISED or data[1] not in _STRATA:
            self._answer.set_exception(NoTimeError("the server does not know the time"))
            return
        self._answer.set_result((data, self._now()))

    def error_received(self, exc: Exception) -> None:
        """The network says that nobody is there."""
        if not self._answer.done():
            self._answer.set_exception(exc)


def _seconds(data: bytes, offset: int, near: float) -> float:
    """A timestamp as seconds since 1970, in the era that is nearest to our own clock."""
    whole, fraction = struct.unpack_from("!II", data, offset)
    at = whole - _EPOCH + fraction / _ERA
    return float(at + round((near - at) / _ERA) * _ERA)
