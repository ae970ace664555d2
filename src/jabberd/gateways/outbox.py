"""What a user has to say to the network, until the network has taken it.

A message is on the disk before the server is told that the gateway has it. It leaves the disk when
the network has it, or when its sender was told that it does not.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import structlog

from jabberd.client.component import LinkLost
from jabberd.gateways.desk import Desk
from jabberd.gateways.events import File, Text, Trouble
from jabberd.gateways.ids import Sent
from jabberd.gateways.transport import Capability, Lost, NotDone, Transport
from jabberd.gateways.users import User
from jabberd.storage.api import StorageError
from jabberd.storage.records import Drop, Record
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message, error_reply

_log: Final = structlog.get_logger("jabberd.gateway")
_SPACE: Final = "outbox"
_RETRY: Final = (5.0, 15.0, 60.0, 300.0)
_TOO_LONG: Final = "the network could not be reached for too long"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to bring to the network.

    Attributes:
        to: legacy id of the contact.
        sender: full JID of the client that sent it.
        stanza: id of its stanza; may be empty.
        text: the message; for reactions and retractions only its id and time count.
        about: legacy id of the message that is reacted to or retracted; empty for a text.
        emojis: reactions; None for a retraction or a text.
        tried: it was handed to the network before, and nobody knows what became of it.
    """

    to: str
    sender: str
    stanza: str
    text: Text
    about: str = ""
    emojis: tuple[str, ...] | None = None
    tried: bool = False


class Outbox:
    """The queue of one user.

    Args:
        desk: of the gateway.
        user: whose.
    """

    __slots__ = ("_bytes", "_desk", "_failures", "_last", "_lock", "_queue", "_retry", "_task",
                 "_transport", "_user")  # fmt: skip

    def __init__(self, desk: Desk, user: User) -> None:
        self._desk = desk
        self._user = user
        self._queue: deque[tuple[str, Item, int]] = deque()
        self._bytes = 0
        self._last = 0
        self._failures = 0
        self._lock = asyncio.Lock()
        self._retry: asyncio.TimerHandle | None = None
        self._transport: Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def has(self, name: str) -> bool:
        """Whether a message of this name (`Text.id`) waits here."""
        return any(item.text.id == name for _, item, _ in self._queue)

    async def load(self) -> None:
        """Read what waits; called once, before anything else.

        Raises:
            StorageError: that cannot be done.
        """
        after = ""
        while page := await self._desk.records.list(self._user.jid.text, _SPACE, after=after):
            for record in page:
                self._append(record.key, _read(record.value), len(record.value))
            after = page[-1].key
        if after:
            self._last = int(after)

    async def put(self, item: Item) -> None:
        """Take something; it is on the disk when this returns.

        Raises:
            StanzaError: too much waits already, or it cannot be stored.
        """
        rules = self._desk.rules
        if len(self._queue) >= rules.waiting or self._bytes >= rules.waiting_bytes:
            text = "too many of your messages wait for the network already"
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
        key, value = self._next_key(), _written(item)
        self._append(key, item, len(value))
        try:
            await self._write(key, item)
        except StorageError:
            self._remove(key)
            text = "the gateway cannot store this now"
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, text) from None
        self._kick()

    def open(self, transport: Transport) -> None:
        """The user is logged in: bring everything there."""
        self._transport = transport
        self._failures = 0
        self._kick()

    async def close(self) -> None:
        """The user is logged in no more; what waits, waits."""
        self._transport = None
        self._stop_retry()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def expire(self) -> None:
        """Give back what has waited for too long.

        Raises:
            StorageError: it cannot be removed.
        """
        async with self._lock:
            while self._queue and self._is_old(self._queue[0][1]):
                key, item, _ = self._queue[0]
                await self._give_back(key, item, NotDone(Trouble.TIMEOUT, _TOO_LONG))

    # Inside

    def _is_old(self, item: Item) -> bool:
        return item.text.at < self._desk.now() - self._desk.rules.waiting_seconds

    def _next_key(self) -> str:
        self._last = max(self._last + 1, int(self._desk.now() * 1_000_000))
        return f"{self._last:020}"

    def _append(self, key: str, item: Item, size: int) -> None:
        self._queue.append((key, item, size))
        self._bytes += size

    def _remove(self, key: str) -> None:
        for entry in self._queue:
            if entry[0] == key:
                self._queue.remove(entry)
                self._bytes -= entry[2]
                return

    def _kick(self) -> None:
        self._stop_retry()
        if self._transport is not None and self._queue and self._task is None:
            self._task = asyncio.create_task(self._send_all(self._transport))
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._failures = 0
            self._kick()  # something may have come at the last moment
            return
        if not isinstance(error, Lost | StorageError | LinkLost | StanzaError):
            _log.error("an outbox failed", user=self._user.jid.text, exc_info=error)
        # The login may be up all the same: a mail server does not answer, but the listener does.
        delay = _RETRY[min(self._failures, len(_RETRY) - 1)]
        self._failures += 1
        self._stop_retry()
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(delay * random.uniform(0.8, 1.2), self._kick)  # noqa: S311 -- jitter

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _send_all(self, transport: Transport) -> None:
        while self._queue:
            async with self._lock:
                if self._queue:
                    await self._send_first(transport)

    async def _send_first(self, transport: Transport) -> None:
        key, item, size = self._queue[0]
        repeatable = self._desk.can(Capability.REPEATABLE)
        if self._is_old(item):
            await self._give_back(key, item, NotDone(Trouble.TIMEOUT, _TOO_LONG))
            return
        if item.tried and not repeatable:
            text = "the connection broke just then: it may have arrived or not"
            await self._give_back(key, item, NotDone(Trouble.UNKNOWN_FATE, text))
            return
        if not repeatable:
            item = replace(item, tried=True)
            self._queue[0] = (key, item, size)
            await self._write(key, item)
        try:
            with self._desk.ids.sending(self._user.jid.text):
                legacy = await self._hand_over(transport, item)
                await self._done(key, item, legacy)
        except Lost:
            # Not taken, as the transport knows for certain.
            if item.tried:
                item = replace(item, tried=False)
                self._queue[0] = (key, item, size)
                await self._write(key, item)
            raise
        except NotDone as error:
            await self._give_back(key, item, error)

    async def _write(self, key: str, item: Item) -> None:
        owner, now = self._user.jid.text, self._desk.now()
        await self._desk.records.write([Record(owner, _SPACE, key, _written(item), now)])

    async def _hand_over(self, transport: Transport, item: Item) -> str:
        seconds = self._desk.rules.verb_seconds
        try:
            async with asyncio.timeout(seconds):
                if item.emojis is not None:
                    await transport.send_reactions(item.to, item.about, item.emojis)
                    return ""
                if item.about:
                    await transport.retract(item.to, item.about)
                    return ""
                return await transport.send_text(item.to, item.text)
        except TimeoutError:
            if self._desk.can(Capability.REPEATABLE):
                raise Lost("the network does not answer") from None
            text = "the network did not answer: it may have arrived or not"
            raise NotDone(Trouble.UNKNOWN_FATE, text) from None

    async def _done(self, key: str, item: Item, legacy: str) -> None:
        user, now = self._user.jid.text, self._desk.now()
        changes: list[Record | Drop] = [Drop(user, _SPACE, key)]
        if item.stanza and not item.about:
            sent = Sent(item.stanza, item.to, item.sender, item.text.receipt)
            changes += self._desk.ids.pair(user, sent, legacy, now)
        changes.append(self._desk.ids.arrived(user, item.text.id, legacy, now))
        await self._desk.records.write(changes)
        self._remove(key)

    async def _give_back(self, key: str, item: Item, why: NotDone) -> None:
        error = StanzaError(Condition(why.trouble.value), why.text)
        contact = self._desk.contact(item.to)
        original = Message.build(
            [Element(ns.CLIENT, "body", None, [item.text.body])],
            from_=JID.parse(item.sender),
            to=contact,
            id=item.stanza,
        )
        await self._desk.link.send(error_reply(original, error))
        await self._desk.records.write([Drop(self._user.jid.text, _SPACE, key)])
        self._remove(key)


def _written(item: Item) -> bytes:
    return json.dumps(asdict(item)).encode()


def _read(value: bytes) -> Item:
    facts: dict[str, Any] = json.loads(value)
    text = facts.pop("text")
    text["files"] = tuple(File(**file) for file in text["files"])
    emojis = facts.pop("emojis")
    return Item(text=Text(**text), emojis=None if emojis is None else tuple(emojis), **facts)
