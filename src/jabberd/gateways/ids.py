"""Which message here is which message there.

Clients name messages by the id of the stanza, networks by names of their own. Receipts, markers,
corrections, replies and errors need both.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jabberd.storage.records import Record, Records

_THERE: Final = "there"  # legacy id → stanza
_HERE: Final = "here"  # stanza id → legacy id
KEPT_SECONDS: Final = 30 * 86_400.0
"""How long pairs of names are kept."""
_PATIENCE: Final = 5.0
_LONGEST: Final = 200  # characters of a name that is used as it is


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that a user has sent to the network.

    Attributes:
        id: of the stanza.
        contact: legacy id of the recipient.
        sender: full JID of the client.
        receipt: it asked for a receipt.
    """

    id: str
    contact: str
    sender: str
    receipt: bool


class Ids:
    """The pairs of one gateway.

    Args:
        records: of the gateway.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._under_way: dict[str, asyncio.Event] = {}

    @contextlib.contextmanager
    def sending(self, user: str) -> Iterator[None]:
        """A message of a user is under way: its names are known when this is over."""
        over = self._under_way[user] = asyncio.Event()
        try:
            yield
        finally:
            self._under_way.pop(user, None)
            over.set()

    async def sent(self, user: str, legacy: str) -> Sent | None:
        """The stanza that became a message on the network.

        News of a message can overtake the answer by which the network names it.
        """
        found = await self._records.get(user, _THERE, _short(legacy))
        if found is None and (over := self._under_way.get(user)) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await over.wait()
            found = await self._records.get(user, _THERE, _short(legacy))
        return Sent(**json.loads(found.value)) if found is not None else None

    async def legacy(self, user: str, stanza_id: str) -> str:
        """The network's name of a message that a client names; "" where it has none."""
        found = await self._records.get(user, _HERE, _short(stanza_id))
        return found.value.decode() if found is not None else ""

    async def known(self, user: str, stanza_id: str) -> bool:
        """Whether a message of this stanza id came or went lately."""
        return await self._records.get(user, _HERE, _short(stanza_id)) is not None

    async def here(self, user: str, contact: str, legacy: str) -> str:
        """The stanza id by which the user's clients know a message of the network."""
        theirs = stanza_id(contact, legacy)
        if await self.known(user, theirs):
            return theirs
        sent = await self.sent(user, legacy)
        return sent.id if sent is not None else theirs

    def pair(self, user: str, sent: Sent, legacy: str, at: float) -> list[Record]:
        """What to write for a message that went out."""
        here = Record(user, _HERE, _short(sent.id), legacy.encode(), at)
        if not legacy:
            return [here]
        value = {
            "id": sent.id,
            "contact": sent.contact,
            "sender": sent.sender,
            "receipt": sent.receipt,
        }
        return [here, Record(user, _THERE, _short(legacy), json.dumps(value).encode(), at)]

    def arrived(self, user: str, name: str, legacy: str, at: float) -> Record:
        """What to write for a message that is known by this name from now on."""
        return Record(user, _HERE, _short(name), legacy.encode(), at)

    async def prune(self, now: float) -> None:
        """Forget what is old."""
        for space in (_HERE, _THERE):
            while await self._records.prune(space, now - KEPT_SECONDS, limit=1_000) == 1_000:
                pass


def stanza_id(contact: str, legacy: str) -> str:
    """The id of the stanza for a message of the network: the same each time it is delivered."""
    digest = hashlib.sha256(f"{contact}\0{legacy}".encode()).digest()
    return base64.b32encode(digest[:20]).decode().lower()


def _short(name: str) -> str:
    """A name as a key: those that peers make up may be of any length."""
    if len(name) <= _LONGEST and name.isprintable():
        return name
    return "sha256-" + hashlib.sha256(name.encode(errors="replace")).hexdigest()
