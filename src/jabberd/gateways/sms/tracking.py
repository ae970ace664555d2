"""Which user's message a delivery report is about; on the disk, since reports take days."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jabberd.gateways.events import Failed, Received, Trouble
from jabberd.gateways.sms.backend import Outcome, Receipt
from jabberd.gateways.sms.receipts import normal, others
from jabberd.storage.records import Drop, Record, Records

_PART: Final = "sms-sent-part"  # name of an SMS → name of the message
_MESSAGE: Final = "sms-sent"  # name of the message → whose, and which parts are outstanding
_EARLY: Final = "sms-early"  # reports of SMS that nobody knows yet
EARLY_SECONDS: Final = 60.0
"""A report can overtake the answer that names the SMS, by so much."""
KEPT_SECONDS: Final = 7 * 86_400.0
_TROUBLES: Final = {
    Outcome.EXPIRED: Trouble.UNREACHABLE,
    Outcome.UNDELIVERABLE: Trouble.UNREACHABLE,
    Outcome.REJECTED: Trouble.NOT_ACCEPTABLE,
}
_TEXTS: Final = {
    Outcome.EXPIRED: "the phone could not be reached in time",
    Outcome.UNDELIVERABLE: "the SMS could not be delivered",
    Outcome.REJECTED: "the network rejected the SMS",
}

Tell = Callable[[str, Received | Failed], Awaitable[None]]
"""Brings an event to a user; raises `NotTaken`."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the network has.

    Attributes:
        user: bare JID.
        contact: to whom.
        id: legacy id: the name of its first part.
        waiting: normal names of the parts whose delivery was not reported yet.
    """

    user: str
    contact: str
    id: str
    waiting: tuple[str, ...]


class Tracking:
    """The messages of one gateway whose fate is not known yet.

    Args:
        records: of the gateway.
        tell: see there.
    """

    def __init__(self, records: Records, tell: Tell) -> None:
        self._records = records
        self._tell = tell
        # A report and the answer that it overtook must not miss each other.
        self._lock = asyncio.Lock()

    async def sent(
        self, user: str, contact: str, names: Sequence[str], now: float
    ) -> list[Receipt]:
        """Remember a message; returns the reports about it that came early.

        They are to be given to `report`, when the gateway knows the message by its id.

        Raises:
            StorageError: it cannot be remembered.
        """
        if not names:
            return []
        known = tuple(dict.fromkeys(map(normal, names)))
        message = Sent(user, contact, names[0], known)
        async with self._lock:
            parts = [Record("", _PART, name, known[0].encode(), now) for name in known]
            await self._records.write([_record(message, known[0], now), *parts])
            return [early for name in known for early in await self._early(name, contact, now)]

    async def report(self, receipt: Receipt, now: float) -> None:
        """Take a delivery report.

        Raises:
            NotTaken: the user could not be told.
            StorageError: it cannot be kept.
        """
        if receipt.outcome is Outcome.PENDING:
            return
        async with self._lock:
            key, message = await self._find(receipt)
            if message is None:
                await self._keep_early(receipt, now)
                return
            event = await self._next(key, message, receipt, now)
        if event is not None:  # without the lock: this can take its time
            await self._tell(message.user, event)
            async with self._lock:
                await self._forget(key, message)

    async def prune(self, now: float) -> None:
        """Forget what is old."""
        for space, seconds in (
            (_EARLY, EARLY_SECONDS), (_PART, KEPT_SECONDS), (_MESSAGE, KEPT_SECONDS)
        ):  # fmt: skip
            while await self._records.prune(space, now - seconds, limit=1_000) == 1_000:
                pass

    # Inside

    async def _next(
        self, key: str, message: Sent, receipt: Receipt, now: float
    ) -> Received | Failed | None:
        """What a report makes of a message; None where more of them are to come."""
        if receipt.outcome is not Outcome.DELIVERED:
            trouble, text = _TROUBLES[receipt.outcome], _TEXTS[receipt.outcome]
            text = f"{text} ({receipt.text})" if receipt.text else text
            return Failed(message.contact, message.id, trouble, text)
        names = {normal(receipt.id), *others(receipt.id)}
        waiting = tuple(name for name in message.waiting if name not in names)
        if not waiting:
            return Received(message.contact, message.id)
        gone = [Drop("", _PART, name) for name in message.waiting if name in names]
        rest = Sent(message.user, message.contact, message.id, waiting)
        await self._records.write([_record(rest, key, now), *gone])
        return None

    async def _find(self, receipt: Receipt) -> tuple[str, Sent | None]:
        """The message that a report is about, with its key."""
        exact = normal(receipt.id)
        for name in (exact, *others(receipt.id)):
            part = await self._records.get("", _PART, name)
            if part is None:
                continue
            key = part.value.decode()
            found = await self._records.get("", _MESSAGE, key)
            message = _read(found.value) if found is not None else None
            # In another notation, a name may be that of another SMS: the number has to fit, too.
            if message is not None and (name == exact or receipt.contact == message.contact):
                return key, message
        return "", None

    async def _forget(self, key: str, message: Sent) -> None:
        parts = [Drop("", _PART, name) for name in message.waiting]
        await self._records.write([Drop("", _MESSAGE, key), *parts])

    async def _keep_early(self, receipt: Receipt, now: float) -> None:
        value = json.dumps([receipt.outcome.value, receipt.text, receipt.id, receipt.contact])
        record = Record("", _EARLY, normal(receipt.id), value.encode(), now)
        await self._records.write([record])

    async def _early(self, name: str, contact: str, now: float) -> list[Receipt]:
        found = []
        for one in (name, *others(name)):
            record = await self._records.get("", _EARLY, one)
            if record is None or record.at < now - EARLY_SECONDS:
                continue
            outcome, text, id_, whom = json.loads(record.value)
            if one == name or whom == contact:
                found.append(Receipt(id_, Outcome(outcome), text, whom))
        return found


def _record(message: Sent, key: str, now: float) -> Record:
    facts = {
        "user": message.user,
        "contact": message.contact,
        "id": message.id,
        "waiting": message.waiting,
    }
    return Record("", _MESSAGE, key, json.dumps(facts).encode(), now)


def _read(value: bytes) -> Sent:
    facts: dict[str, Any] = json.loads(value)
    return Sent(facts["user"], facts["contact"], facts["id"], tuple(facts["waiting"]))
