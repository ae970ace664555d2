"""What an account has uploaded, and whether it may upload more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from jabberd.modules.http_upload.options import Options
from jabberd.storage.files import KEPT
from jabberd.xmpp.payload import http_upload as payload

FILES_MOST: Final = 2_000
"""Files of one account; every slot asks for the sizes of all of them."""
_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Used:
    """One file of an account, or one that a slot is reserved for.

    Attributes:
        token: of it.
        size: in bytes.
        at: when it was uploaded or asked for.
    """

    token: str
    size: int
    at: float

    @property
    def kept(self) -> bool:
        """Whether it has no day on which it goes."""
        return self.token.startswith(KEPT)

    @property
    def over(self) -> float | None:
        """When its day is over; None where it has none."""
        if self.kept:
            return None
        day = datetime.strptime(self.token[:8], "%Y%m%d").replace(tzinfo=UTC)
        return (day + timedelta(days=1)).timestamp()


def total(files: Iterable[Used]) -> int:
    """Bytes of all of them."""
    return sum(one.size for one in files)


def today(files: Iterable[Used], now: float) -> list[Used]:
    """Those of the last 24 hours, the oldest first."""
    return sorted((one for one in files if one.at > now - _DAY), key=lambda one: one.at)


def check(files: Sequence[Used], size: int, options: Options, now: float) -> None:
    """Whether an account that has these files may upload one more.

    Raises:
        StanzaError: it may not; says why, and when it may.
    """
    if len(files) >= FILES_MOST:
        again = min((one.over for one in files if one.over is not None), default=None)
        raise payload.not_now(f"you have {FILES_MOST} files here: no more", again)
    room = options.account_day_bytes - size
    recent = today(files, now)
    if total(recent) > room:
        again = _when([(one, one.at + _DAY) for one in recent], total(recent) - room)
        most = options.account_day_bytes
        raise payload.not_now(f"you can upload {most} bytes within 24 hours", again)
    room = options.account_bytes - size
    if total(files) > room:
        ends = [(one, one.over) for one in files if one.over is not None]
        again = _when(sorted(ends, key=lambda end: end[1]), total(files) - room)
        raise payload.not_now(f"you can have {options.account_bytes} bytes here", again)


def _when(ends: Sequence[tuple[Used, float]], bytes_: int) -> float | None:
    """When so many bytes are free again, if files end one after the other."""
    for one, end in ends:
        bytes_ -= one.size
        if bytes_ <= 0:
            return end
    return None


def surplus(files: Sequence[Used], most: int) -> list[Used]:
    """The oldest of the kept files that are more than `most` bytes together."""
    kept = sorted((one for one in files if one.kept), key=lambda one: one.at)
    over = total(kept) - most
    gone: list[Used] = []
    while over > 0 and kept:
        gone.append(kept.pop(0))
        over -= gone[-1].size
    return gone
