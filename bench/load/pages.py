"""Pages of a long archive, one after the other (XEP-0313)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from bench.load.archive import Archive, Page
from bench.load.many import percentile
from bench.load.proc import Meter
from bench.load.target import LoadError, Result, Target

_ACCOUNT: Final = 1
_WARM: Final = 5
_LEAST: Final = 20
Where = Literal["last", "middle"]


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What is asked for.

    Attributes:
        where: the last page, or the one behind an entry in the middle.
        page: results.
        text: words to find; empty for none.
        duration: seconds; twenty queries are made in any case.
    """

    where: Where = "last"
    page: int = 50
    text: str = ""
    duration: float = 5.0


async def pages(target: Target, settings: PageSettings) -> Result:
    """Ask the second account's archive for the same page again and again.

    Raises:
        LoadError: the server does not play along.
    """
    archive = Archive(target, _ACCOUNT)
    await archive.open()
    after = await _middle(archive) if settings.where == "middle" else None

    async def ask() -> Page:
        before = None if after is not None else ""
        return await archive.page(settings.page, before=before, after=after, text=settings.text)

    first = await ask()
    for _ in range(_WARM):
        await ask()
    latencies: list[float] = []
    correct = _is_right(first, settings)
    meter = Meter(target.pids)
    end = time.monotonic() + settings.duration
    while time.monotonic() < end or len(latencies) < _LEAST:
        page = await ask()
        latencies.append(page.seconds)
        correct = correct and page.ids == first.ids and page.numbers == first.numbers
    await asyncio.sleep(target.settle)
    meter.read()
    archive.close()
    latencies.sort()
    return {
        "correct": correct,
        "queries": len(latencies),
        "first_number": first.numbers[0] if first.numbers else None,
        "cpu_ms_per_query": round(meter.cpu / len(latencies) * 1e3, 3),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
    }


def _is_right(page: Page, settings: PageSettings) -> bool:
    """A full page; without words to find, of messages that follow each other."""
    numbers = page.numbers
    if len(numbers) != settings.page or len(page.ids) != settings.page:
        return False
    if settings.text:
        wanted = f" {settings.text}".encode()
        return page.data.count(wanted) == settings.page and sorted(numbers) == list(numbers)
    return numbers == tuple(range(numbers[0], numbers[0] + settings.page))


async def _middle(archive: Archive) -> str:
    """The id of an entry from halfway between the oldest and the newest one."""
    oldest, newest = await archive.page(1), await archive.page(1, before="")
    if not oldest.stamps or not newest.stamps:
        raise LoadError("the archive is empty")
    begin, end = _time(oldest.stamps[0]), _time(newest.stamps[0])
    halfway = datetime.fromtimestamp((begin + end) / 2, tz=UTC)
    found = await archive.page(1, start=halfway.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if not found.ids:
        raise LoadError("there is nothing in the second half of the archive")
    return found.ids[0]


def _time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
