"""Asking a time server, and not believing everybody."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from jabberd.net.sntp import NoTimeError, clock_offset

pytestmark = pytest.mark.asyncio
_EPOCH = 2_208_988_800
Answer = Callable[[bytes], bytes]


class TimeServer(asyncio.DatagramProtocol):
    """Answers as a test says."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._transport.sendto(self._answer(data), addr)


@asynccontextmanager
async def time_server(answer: Answer) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: TimeServer(answer), ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def says(
    ahead: float = 0.0, *, first: int = 0x24, stratum: int = 2, token: bytes | None = None
) -> Answer:
    def answer(question: bytes) -> bytes:
        now = time.time() + ahead + _EPOCH
        stamp = struct.pack("!II", int(now) % 2**32, int(now % 1 * 2**32))
        head = bytes((first, stratum)) + bytes(22)
        return head + (question[40:48] if token is None else token) + stamp + stamp

    return answer


@pytest.mark.parametrize("ahead", [0.0, 90.0, -90.0])
async def test_the_difference(ahead: float) -> None:
    async with time_server(says(ahead)) as port:
        offset = await clock_offset("127.0.0.1", now=time.time, port=port)
    assert offset == pytest.approx(ahead, abs=1.0)


async def test_after_2036_ntp_counts_anew() -> None:
    later = 2**32 - _EPOCH + 1000.0 - time.time()

    async with time_server(says(later + 5.0)) as port:
        offset = await clock_offset("127.0.0.1", now=lambda: time.time() + later, port=port)
    assert offset == pytest.approx(5.0, abs=1.0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says(stratum=0), "does not know the time"),  # "kiss of death"
        (says(stratum=16), "does not know the time"),
        (says(first=0xE4), "does not know the time"),  # not synchronised
        (says(first=0x23), "does not know the time"),  # not a server
        (says(token=b"stranger"), "does not answer"),
        (lambda _: b"short", "does not answer"),
    ],
)
async def test_what_is_not_believed(answer: Answer, why: str) -> None:
    async with time_server(answer) as port:
        with pytest.raises(NoTimeError, match=why):
            await clock_offset("127.0.0.1", now=time.time, port=port, seconds=0.3)


async def test_nobody_there() -> None:
    async with time_server(says()) as port:
        pass
    with pytest.raises(NoTimeError):
        await clock_offset("127.0.0.1", now=time.time, port=port, seconds=0.5)


async def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(NoTimeError, match=r"^nowhere\.invalid"):
        await clock_offset("nowhere.invalid", now=time.time)
