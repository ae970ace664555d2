"""Mails on their way out: held for a moment, so that more lines join them, and tried again.

Each is on the disk from the moment that the gateway hands it over.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import structlog

from jabberd.gateways.events import Failed, File, Text, Trouble
from jabberd.gateways.transport import Lost, NotDone, NotTaken, Site
from jabberd.storage.api import StorageError
from jabberd.storage.records import Drop, Record

_log: Final = structlog.get_logger("jabberd.gateway.email")
_SPACE: Final = "spool"
_PER_CONTACT: Final = 200
_AT_ONCE: Final = 20
_LINES: Final = 50
_JOINED: Final = 65_536
_LONGEST_HOLD: Final = 6
"""So many times the usual one, for somebody who does not stop writing."""
_RETRY: Final = 60.0
_LONGEST_RETRY: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Held:
    """A mail that is not gone.

    Attributes:
        user: bare JID of who wrote it.
        to: the contact.
        texts: what it is made of.
        since: when the first of them came.
        due: when it is to go.
        tries: how often it was tried.
    """

    user: str
    to: str
    texts: tuple[Text, ...]
    since: float
    due: float
    tries: int = 0

    @property
    def key(self) -> str:
        """Of its record."""
        return f"{int(self.since * 1_000_000):020}-{self.texts[0].id}"


@dataclass(slots=True)
class _Lane:
    """What one user has for one contact, in order."""

    mails: deque[Held] = field(default_factory=deque)
    sending: bool = False
    task: asyncio.Task[None] | None = None


Post = Callable[[Held], Awaitable[None]]
"""Gets rid of a mail; raises `NotDone` or `Lost`."""
Named = Callable[[str, Text], str]
"""The legacy id of a user's message."""


class Spool:
    """All of them.

    Args:
        site: of the gateway.
        post: see there.
        named: see there.
        hold: seconds that a mail waits for more lines.
        lifetime: seconds that it is tried.
        retry: seconds until it is tried for the second time; it gets longer.
    """

    def __init__(
        self,
        site: Site,
        post: Post,
        named: Named,
        *,
        hold: float,
        lifetime: float,
        retry: float = _RETRY,
    ) -> None:
        self._site = site
        self._post = post
        self._named = named
        self._hold = hold
        self._lifetime = lifetime
        self._retry = retry
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Go on with what was there.

        Raises:
            StorageError: it cannot be read.
        """
        after = ("", "")
        while page := await self._site.records.everyone(_SPACE, after=after):
            for record in page:
                held = _read(record)
                self._lane(held).mails.append(held)
            after = (page[-1].owner, page[-1].key)
        for lane in self._lanes.values():
            self._go_on(lane)

    async def close(self) -> None:
        """Stop; what is there waits on the disk."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()

    def joins(self, user: str, to: str, text: Text) -> bool:
        """Whether a message would become part of a mail that is still here."""
        lane = self._lanes.get((user, to))
        return lane is not None and self._joined(lane, text) is not None

    async def put(self, user: str, to: str, text: Text) -> None:
        """Take a message; it is on the disk when this returns.

        Raises:
            NotDone: too much is here already.
            Lost: it cannot be stored.
        """
        async with self._writing:
            now = self._site.now()
            lane = self._lanes.get((user, to)) or _Lane()
            if any(known.id == text.id for mail in lane.mails for known in mail.texts):
                return  # handed over again, since nobody knew whether it was taken
            place = self._joined(lane, text)
            if place is not None:
                number, held = place
            else:
                if len(lane.mails) >= _PER_CONTACT:
                    text_ = "too many of your mails to this address wait already"
                    raise NotDone(Trouble.FULL, text_)
                number, held = len(lane.mails), Held(user, to, (text,), now, now + self._hold)
            try:
                await self._site.records.write([_record(held)])
            except StorageError as error:
                raise Lost(f"the mail cannot be stored: {error}") from None
            lane = self._lane(held)
            if number < len(lane.mails) and lane.mails[number].key == held.key:
                lane.mails[number] = held
            else:
                lane.mails.append(held)
            self._go_on(lane)

    def _joined(self, lane: _Lane, text: Text) -> tuple[int, Held] | None:
        """The mail of which a message becomes part, with it, and its number; None: of none."""
        if not self._hold:
            return None
        open_from = 1 if lane.sending else 0
        for number, held in enumerate(lane.mails):
            if number >= open_from and text.replaces and (done := self._corrected(held, text)):
                return number, done
        if len(lane.mails) <= open_from or text.replaces:
            return None
        last = lane.mails[-1]
        if last.tries or not _fits(last, text):
            return None
        due = min(self._site.now() + self._hold, last.since + _LONGEST_HOLD * self._hold)
        return len(lane.mails) - 1, replace(last, texts=(*last.texts, text), due=due)

    def _corrected(self, held: Held, text: Text) -> Held | None:
        texts = list(held.texts)
        for number, known in enumerate(texts):
            if self._named(held.user, known) == text.replaces:
                # It keeps the name under which the gateway knows it.
                files = text.files or known.files
                texts[number] = replace(known, body=text.body, files=files)
                return replace(held, texts=tuple(texts))
        return None

    def _lane(self, held: Held) -> _Lane:
        return self._lanes.setdefault((held.user, held.to), _Lane())

    def _go_on(self, lane: _Lane) -> None:
        if lane.task is None:
            lane.task = asyncio.create_task(self._empty(lane))

    async def _empty(self, lane: _Lane) -> None:
        user, to = lane.mails[0].user, lane.mails[0].to
        try:
            while lane.mails:
                while (wait := lane.mails[0].due - self._site.now()) > 0:  # noqa: ASYNC110 -- it may become later
                    await asyncio.sleep(wait)
                async with self._writing:
                    lane.sending = True
                try:
                    await self._send(lane, lane.mails[0])
                finally:
                    lane.sending = False
        finally:
            lane.task = None
            if not lane.mails and self._lanes.get((user, to)) is lane:
                del self._lanes[user, to]

    async def _send(self, lane: _Lane, held: Held) -> None:
        """Try to get rid of the first one, and say what became of it."""
        try:
            async with self._slots:
                await self._post(held)
            await self._gone(lane, held)
        except NotDone as error:
            await self._failed(lane, held, error)
        except Exception as error:
            if not isinstance(error, Lost | StorageError):
                _log.exception("a mail cannot be sent", user=held.user)
            if self._site.now() - held.since > self._lifetime:
                why = f"it was tried for too long: {error}"
                await self._failed(lane, held, NotDone(Trouble.TIMEOUT, why))
            else:
                _log.info("a mail waits", user=held.user, why=str(error), tries=held.tries + 1)
                await self._later(lane, held)

    async def _failed(self, lane: _Lane, held: Held, why: NotDone) -> None:
        try:
            for text in held.texts:
                id_ = self._named(held.user, text)
                event = Failed(held.to, id_, why.trouble, why.text)
                await self._site.emit(held.user, event)
        except NotTaken as error:
            if not error.lasting:
                await self._later(lane, held)
                return
        try:
            await self._gone(lane, held)
        except StorageError:
            await self._later(lane, held)

    async def _gone(self, lane: _Lane, held: Held) -> None:
        await self._site.records.write([Drop(held.user, _SPACE, held.key)])
        lane.mails.popleft()

    async def _later(self, lane: _Lane, held: Held) -> None:
        wait = min(self._retry * 2**held.tries, _LONGEST_RETRY)
        later = replace(held, tries=held.tries + 1, due=self._site.now() + wait)
        lane.mails[0] = later
        try:
            await self._site.records.write([_record(later)])
        except StorageError as error:
            _log.warning("a mail's retry is not on the disk", why=str(error))


def _fits(held: Held, text: Text) -> bool:
    first = held.texts[0]
    size = sum(len(known.body.encode()) for known in held.texts) + len(text.body.encode())
    return (
        len(held.texts) < _LINES
        and size <= _JOINED
        and text.thread == first.thread
        and text.subject in {"", first.subject}
        and text.replies_to in {"", first.replies_to}
    )


def _record(held: Held) -> Record:
    facts = asdict(held)
    del facts["user"]
    return Record(held.user, _SPACE, held.key, json.dumps(facts).encode(), held.since)


def _read(record: Record) -> Held:
    facts: dict[str, Any] = json.loads(record.value)
    texts = tuple(
        Text(**{**text, "files": tuple(File(**file) for file in text["files"])})
        for text in facts.pop("texts")
    )
    return Held(record.owner, texts=texts, **facts)
