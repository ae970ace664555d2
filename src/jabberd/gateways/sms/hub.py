"""What all users of the SMS network share: the way out, and who gets what comes in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog

from jabberd.gateways.events import Arrived, Failed, Received, Text, Trouble
from jabberd.gateways.sms.backend import Backend, Fragment, Incoming, Outgoing, Receipt
from jabberd.gateways.sms.contacts import LastContacts
from jabberd.gateways.sms.counters import Counters
from jabberd.gateways.sms.numbers import Numbers, mask
from jabberd.gateways.sms.reassembly import Group, Reassembly
from jabberd.gateways.sms.segments import TooLong
from jabberd.gateways.sms.text import Alphabet
from jabberd.gateways.sms.tracking import Tracking
from jabberd.gateways.transport import Lost, NotDone, NotTaken, Site

_log: Final = structlog.get_logger("jabberd.sms")
_TIDY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows.

    Attributes:
        numbers: which they are, and where SMS may go to.
        shared: the number that all send under; empty where they have their own.
        per_day: SMS of one user.
        parts_seconds: how long the parts of a text are waited for.
        alphabet: what the other side means by coding 0.
    """

    numbers: Numbers
    shared: str = ""
    per_day: int = 50
    parts_seconds: float = 3_600.0
    alphabet: Alphabet = "gsm"


class Hub:
    """See `backend.Handler` for what comes in.

    Args:
        site: of the gateway.
        backend: the way out.
        rules: see there.

    Attributes:
        backend: the way out.
        counters: what users have used up.
    """

    def __init__(self, site: Site, backend: Backend, rules: Rules) -> None:
        self.backend = backend
        self.counters = Counters(site.records)
        self._site = site
        self._rules = rules
        self._last = LastContacts(site.records)
        self._parts = Reassembly(site.records, rules.parts_seconds)
        self._tracking = Tracking(site.records, self._tell)
        self._lanes: dict[str, tuple[asyncio.Lock, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin.

        Raises:
            OSError: the way out is not there.
            StorageError: what is kept cannot be read.
        """
        await self._parts.load()
        await self.backend.start(self)
        self._spawn(self._tidy_always())

    async def stop(self) -> None:
        """End."""
        await self.backend.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Out

    async def send(self, user: str, source: str, to: str, text: Text) -> str:
        """Send a text of a user; returns its legacy id.

        Raises:
            NotDone: it failed for good.
            Lost: it was not sent.
        """
        now = self._site.now()
        self._rules.numbers.check(to)
        body = f"{text.subject}: {text.body}" if text.subject else text.body
        if not body.strip():
            raise NotDone(Trouble.NOT_ACCEPTABLE, "an SMS has a text")
        parts = self._count(body)
        counter = f"sms {user}"
        if not await self.counters.take(counter, parts, self._rules.per_day, now):
            limit = f"the limit of {self._rules.per_day} SMS a day is reached"
            raise NotDone(Trouble.NOT_ALLOWED, limit)
        try:
            # Before it is sent: an answer can be quicker than the confirmation.
            if source == self._rules.shared:
                await self._last.wrote(user, to, now)
            names = await self.backend.send(Outgoing(source, to, body, text.receipt))
        except (Lost, NotDone) as error:
            if isinstance(error, Lost) or error.trouble is not Trouble.UNKNOWN_FATE:
                await self.counters.give_back(counter, parts, now)
            raise
        for early in await self._tracking.sent(user, to, names, self._site.now()):
            # Only when this is over does the gateway know the message by its name.
            self._spawn(self._report_late(early))
        return names[0] if names else ""

    def _count(self, body: str) -> int:
        try:
            return self.backend.parts(body)
        except TooLong as error:
            raise NotDone(Trouble.TOO_LARGE, f"this text is too long: {error}") from None

    # In

    async def incoming(self, sms: Incoming) -> None:
        """See `Handler.incoming`."""
        async with self._lane(f"{sms.source} {sms.destination}"):
            if sms.fragment is None:
                await self._arrived(sms.source, sms.destination, sms.text)
                return
            await self._part(sms, sms.fragment)

    async def receipt(self, receipt: Receipt) -> None:
        """See `Handler.receipt`."""
        await self._tracking.report(receipt, self._site.now())

    async def tidy(self) -> None:
        """Deliver what has waited for the rest of it long enough, and forget what is old.

        Raises:
            StorageError: the records cannot be reached.
        """
        now = self._site.now()
        for group in await self._parts.late(now):
            async with self._lane(f"{group.source} {group.destination}"):
                with contextlib.suppress(NotTaken):
                    await self._deliver(group)
        await self._tracking.prune(now)
        await self._last.prune(now)
        await self.counters.prune(now)

    # Inside

    async def _part(self, sms: Incoming, fragment: Fragment) -> None:
        old = self._parts.in_the_way(sms, fragment)
        if old is not None:
            try:
                await self._deliver(old)
            except NotTaken as error:
                if not error.lasting:
                    raise
        group = await self._parts.add(sms, fragment, self._site.now())
        if group is None or not group.whole:
            return
        try:
            await self._deliver(group)
        except NotTaken as error:
            if not error.lasting:
                await self._parts.take_back(group, fragment.part.number)
            raise

    async def _deliver(self, group: Group) -> None:
        text = group.text(self._rules.alphabet)
        try:
            await self._arrived(group.source, group.destination, text, group.name())
        except NotTaken as error:
            if error.lasting:
                await self._parts.finish(group, self._site.now())
            raise
        await self._parts.finish(group, self._site.now())

    async def _arrived(self, source: str, destination: str, text: str, name: str = "") -> None:
        user = await self._user_for(source, destination)
        if user is None:
            _log.info("an SMS is for nobody here", source=mask(source), to=mask(destination))
            raise NotTaken("nobody here has this number", lasting=True)
        await self._site.emit(user, Arrived(source, text, name))

    async def _user_for(self, source: str, destination: str) -> str | None:
        owner = self._site.user_of(destination) if destination else None
        if owner is not None:
            return owner
        if self._rules.shared and destination in {"", self._rules.shared}:
            user = await self._last.of(source, self._site.now())
            if user is not None and self._site.login(user) is not None:
                return user
        return None

    async def _tell(self, user: str, event: Received | Failed) -> None:
        try:
            await self._site.emit(user, event)
        except NotTaken as error:
            if not error.lasting:
                raise
            _log.info("a delivery report is for nobody here", user=user)

    async def _report_late(self, receipt: Receipt) -> None:
        try:
            await self.receipt(receipt)
        except NotTaken as error:
            _log.info("a delivery report was not taken", why=str(error))

    @contextlib.asynccontextmanager
    async def _lane(self, key: str) -> AsyncIterator[None]:
        """What comes from one number to another goes one after the other."""
        lock, count = self._lanes.get(key, (asyncio.Lock(), 0))
        self._lanes[key] = (lock, count + 1)
        try:
            async with lock:
                yield
        finally:
            _, count = self._lanes[key]
            if count == 1:
                del self._lanes[key]
            else:
                self._lanes[key] = (lock, count - 1)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tidy_always(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                await self.tidy()
            except Exception as error:
                _log.error("tidying failed", exc_info=error)
