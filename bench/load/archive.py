"""An account's archive, as its client reads it (XEP-0313, XEP-0059, XEP-0431)."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Final

from bench.load.client import Client
from bench.load.target import LoadError, Target

PAGE: Final = 50
"""What every server gives in one page; some give no more."""
_NS: Final = "urn:xmpp:mam:2"
_FULLTEXT: Final = "{urn:xmpp:fulltext:0}fulltext"
_DEADLINE: Final = 120.0
_RESULT_ID: Final = re.compile(rb"<result\b[^>]*\bid=['\"]([^'\"]+)['\"]")
_BODY: Final = re.compile(rb"<body>b(\d{8}) [^<]*</body>")
_STAMP: Final = re.compile(rb"<delay\b[^>]*\bstamp=['\"]([^'\"]+)['\"]")
_COMPLETE: Final = re.compile(rb"<fin\b[^>]*\bcomplete=['\"](?:true|1)['\"]")
_ERROR: Final = re.compile(rb"<iq\b[^>]*\btype=['\"]error['\"]")


class RefusedError(LoadError):
    """The server answered a query with an error."""


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to one query.

    Attributes:
        ids: of the results.
        numbers: of their bodies.
        stamps: when they were archived.
        complete: there is no more in this direction.
        seconds: from writing the query to reading its end.
        data: all of it.
    """

    ids: tuple[str, ...]
    numbers: tuple[int, ...]
    stamps: tuple[str, ...]
    complete: bool
    seconds: float
    data: bytes


class Archive:
    """A connection that does nothing but ask for pages.

    Args:
        target: the server.
        number: of the account.
    """

    def __init__(self, target: Target, number: int) -> None:
        self._client = Client(target, number)
        self._parts: list[bytes] = []
        self._asked = 0
        self._end: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Log in, without presence: nothing comes but what is asked for.

        Raises:
            LoadError: the server does not play along.
        """
        await self._client.bind("archive")
        self._client.hot = self._on

    def close(self) -> None:
        """Log out."""
        self._client.close()

    def _on(self, data: bytes) -> None:
        self._parts.append(data)
        # The results end with "</message>", so this is the end of the whole answer. A read may
        # begin within it.
        ended = b"".join(self._parts[-2:]).endswith(b"</iq>")
        if ended and self._end is not None and not self._end.done():
            self._end.set_result(None)

    async def page(
        self,
        most: int = PAGE,
        *,
        before: str | None = None,
        after: str | None = None,
        start: str = "",
        text: str = "",
    ) -> Page:
        """Ask for a page.

        Args:
            most: results.
            before: only what is older than this id; empty for the last page.
            after: only what is newer than this id.
            start: only what is not older than this date.
            text: only what has these words.

        Raises:
            RefusedError: the server answers with an error.
            LoadError: it does not answer as it should.
        """
        self._asked += 1
        name = f"q{self._asked}"
        limits = f"<max>{most}</max>"
        limits += "" if before is None else f"<before>{before}</before>"
        limits += "" if after is None else f"<after>{after}</after>"
        query = (
            f"<iq type='set' id='{name}'><query xmlns='{_NS}' queryid='{name}'>"
            f"{_form(start, text)}<set xmlns='http://jabber.org/protocol/rsm'>{limits}</set>"
            "</query></iq>"
        )
        self._parts.clear()
        self._end = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._client.write(query)
        try:
            await asyncio.wait_for(self._end, _DEADLINE)
        except TimeoutError:
            raise LoadError(f"no page within {_DEADLINE:.0f} s") from None
        return self._read(name, time.perf_counter() - began)

    def _read(self, name: str, seconds: float) -> Page:
        data = b"".join(self._parts)
        if _ERROR.search(data):
            raise RefusedError(f"archive: {data[-400:]!r}")
        if not re.search(rb"<iq\b[^>]*\bid=['\"]" + name.encode() + rb"['\"]", data):
            raise LoadError(f"archive: not what was asked for: {data[-400:]!r}")
        return Page(
            ids=tuple(found.decode() for found in _RESULT_ID.findall(data)),
            numbers=tuple(map(int, _BODY.findall(data))),
            stamps=tuple(found.decode() for found in _STAMP.findall(data)),
            complete=_COMPLETE.search(data) is not None,
            seconds=seconds,
            data=data,
        )

    async def numbers(self) -> list[int]:
        """The numbers of all bodies in the archive, oldest first.

        Raises:
            LoadError: the server does not play along.
        """
        page = await self.page()
        found = list(page.numbers)
        while not page.complete and page.ids:
            page = await self.page(after=page.ids[-1])
            found += page.numbers
        return found


def _form(start: str, text: str) -> str:
    fields = [("start", start), (_FULLTEXT, text)]
    given = [f"<field var='{var}'><value>{value}</value></field>" for var, value in fields if value]
    if not given:
        return ""
    kind = f"<field var='FORM_TYPE' type='hidden'><value>{_NS}</value></field>"
    return f"<x xmlns='jabber:x:data' type='submit'>{kind}{''.join(given)}</x>"
