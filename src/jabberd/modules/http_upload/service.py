"""Slots and files of one host: who may have which."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Final
from urllib.parse import quote

from jabberd.core.locks import Locks
from jabberd.core.module import Host
from jabberd.core.ports import HttpApi
from jabberd.core.session import Session
from jabberd.core.uploads import Refused, Stored, Upload, UploadRefused
from jabberd.modules.http_upload.incoming import Incoming, Slot
from jabberd.modules.http_upload.options import Options
from jabberd.modules.http_upload.usage import Used, check, surplus, total
from jabberd.storage.api import StorageError
from jabberd.storage.files import FileFacts, token_of
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import http_upload as payload
from jabberd.xmpp.payload.http_upload import Purpose
from jabberd.xmpp.stanza import Iq

SPACE: Final = "upload"
PURPOSES: Final = (Purpose.MESSAGE, Purpose.PROFILE, Purpose.EPHEMERAL)
_SLOTS: Final = 10_000  # of all accounts together
_DAY: Final = 86_400.0
_LISTED: Final = b"1"


class Uploads:
    """Gives out slots, takes files in and finds them. Implements `core.ports.UploadApi`.

    Which files an account has is listed in the key-value store, before a file is served; all else
    that is known of a file is beside it (`storage.files`). Slots are in memory only.
    """

    def __init__(self, host: Host, options: Options, web: HttpApi) -> None:
        self._host = host
        self.options = options
        self._web = web
        self.files = web.files
        self._slots: dict[str, Slot] = {}  # not used yet, the oldest first
        self._active: dict[str, Slot] = {}
        self._locks = Locks()
        self._total: int | None = None

    # The request for a slot

    async def slot(self, iq: Iq, session: Session | None) -> Element:
        """Give out a slot (§4).

        Raises:
            StanzaError: as §6 has it.
        """
        owner = self._owner(iq, session)
        request = payload.read(iq.request())
        if request.purpose not in PURPOSES:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "files are not kept for ever here")
        most = self.options.largest
        if request.purpose is Purpose.PROFILE:
            most = min(most, self.options.profile_bytes)
        if request.size > most:
            raise payload.too_large(most)
        async with self._locks.of(owner):
            files = await self.used(owner)
            taken = await self.total()
            slot = self._reserve(owner, request, files, taken)
        return payload.slot(*[self._url(slot)] * 2)

    def _owner(self, iq: Iq, session: Session | None) -> str:
        sender = iq.from_
        if sender is None:
            raise StanzaError(Condition.BAD_REQUEST, "who asks?")
        # Without a session the server itself asks, for a service that may do so (XEP-0356): nobody
        # else can have an address of ours.
        if sender.local and sender.domain == self._host.domain.domain:
            return sender.bare_text
        if session is None and sender.domain in self.options.allow:
            return sender.domain
        raise StanzaError(Condition.FORBIDDEN, f"only for accounts of {self._host.domain.text}")

    def _reserve(self, owner: str, request: payload.Request, files: list[Used], taken: int) -> Slot:
        now, options = self._host.now(), self.options
        self._expire(now)
        open_ = [*self._slots.values(), *self._active.values()]
        mine = [slot for slot in open_ if slot.owner == owner]
        if len(mine) >= options.slots or len(self._slots) >= _SLOTS:
            again = now + options.slot_seconds
            raise payload.not_now("use the slots that you have first", again)
        reserved = [Used(slot.token, slot.size, slot.asked) for slot in mine]
        check([*files, *reserved], request.size, options, now)
        if taken + sum(slot.size for slot in open_) + request.size > options.host_bytes:
            raise payload.not_now("there is no room on this server at present", None)
        expires = self._expiry(request, now)
        token = token_of(expires, secrets.token_hex(20))
        slot = Slot(
            token, owner, request.name, request.size, request.type,
            expires, now, now + options.slot_seconds,
        )  # fmt: skip
        self._slots[token] = slot
        return slot

    def _expiry(self, request: payload.Request, now: float) -> float | None:
        days = self.options.keep_days
        if request.purpose is Purpose.PROFILE or not days:
            latest = None
        else:
            latest = now + days * _DAY
        if request.expires is None:
            return latest
        if request.expires <= now:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "expire-before is over already")
        return request.expires if latest is None else min(request.expires, latest)

    def _expire(self, now: float) -> None:
        for token, slot in list(self._slots.items()):
            if slot.until > now and slot.asked <= now:
                break
            del self._slots[token]

    def _url(self, slot: Slot) -> str:
        domain, name = (quote(text, safe="") for text in (self._host.domain.text, slot.name))
        return f"{self._web.url}/upload/{domain}/{slot.token}/{name}"

    # The upload and the file (UploadApi)

    async def begin(self, token: str, name: str, size: int, kind: str) -> Upload:
        """Use a slot, which is good for one upload.

        Raises:
            UploadRefused: there is none, or it is for something else.
        """
        self._expire(self._host.now())
        slot = self._slots.get(token)
        if slot is None or slot.name != name:
            raise UploadRefused(Refused.UNKNOWN)
        if slot.size != size:
            raise UploadRefused(Refused.SIZE)
        if slot.type and kind and _essence(slot.type) != _essence(kind):
            raise UploadRefused(Refused.TYPE)
        if len(self._active) >= self.options.uploads:
            raise UploadRefused(Refused.BUSY)
        self._active[token] = self._slots.pop(token)
        try:
            handle = self.files.begin(token)  # not in a thread: who is cut off would lose it
        except OSError:
            del self._active[token]
            raise UploadRefused(Refused.FULL) from None
        slot.type = slot.type or kind
        return Incoming(slot, self.files, handle, self._commit, self._ended)

    async def _commit(self, slot: Slot, handle: int) -> None:
        now = self._host.now()
        facts = FileFacts(slot.owner, slot.name, slot.type, slot.size, now, slot.expires)
        store = self._host.stores.keyvalue
        async with self._locks.of(slot.owner):
            if slot.dropped:
                raise UploadRefused(Refused.UNKNOWN)
            await asyncio.to_thread(self.files.describe, slot.token, handle, facts)
            try:
                await store.put(slot.owner, SPACE, slot.token, _LISTED)
            except StorageError:
                raise UploadRefused(Refused.FULL) from None
            await asyncio.to_thread(self.files.keep, slot.token)
            if self._total is not None:
                self._total += slot.size
            if slot.expires is None:
                # The file is there whatever happens now; the next one makes room again.
                with contextlib.suppress(StorageError):
                    await self._make_room(slot.owner)

    async def _make_room(self, owner: str) -> None:
        """Newer files of a profile take the place of older ones."""
        if self.options.keep_days:  # otherwise all files are kept
            for one in surplus(await self.used(owner), self.options.profile_bytes):
                await self._remove(owner, one.token)

    def _ended(self, slot: Slot) -> None:
        self._active.pop(slot.token, None)

    async def find(self, token: str, name: str) -> Stored | None:
        """A file that was uploaded, by what its URL says; None where there is none."""
        found = await asyncio.to_thread(self.files.find, token)
        if found is None or found[1].name != name:
            return None
        expires = found[1].expires
        return Stored(*found) if expires is None or expires > self._host.now() else None

    # What there is

    async def used(self, owner: str) -> list[Used]:
        """The files of an account; those that are gone are listed no more."""
        store = self._host.stores.keyvalue
        tokens = await store.keys(owner, SPACE)
        found = await asyncio.to_thread(lambda: [self.files.size_and_time(t) for t in tokens])
        files: list[Used] = []
        for token, facts in zip(tokens, found, strict=True):
            if facts is not None:
                files.append(Used(token, *facts))
            else:
                await store.put(owner, SPACE, token, None)
        return files

    async def total(self) -> int:
        """How many bytes all files of the host have."""
        if self._total is None:
            self._total = await asyncio.to_thread(self.files.total)
        return self._total

    async def remove(self, owner: str, token: str) -> int:
        """Remove a file of an account; returns its size, 0 where there was none."""
        async with self._locks.of(owner):
            return await self._remove(owner, token)

    async def _remove(self, owner: str, token: str) -> int:
        size = await asyncio.to_thread(self.files.remove, token)
        if owner:
            await self._host.stores.keyvalue.put(owner, SPACE, token, None)
        if self._total is not None:
            self._total -= size
        return size

    async def erase(self, owner: str) -> tuple[int, int]:
        """Remove everything of an account; returns how many files, and how many bytes."""
        for slot in self._active.values():
            slot.dropped = slot.dropped or slot.owner == owner
        self._slots = {t: slot for t, slot in self._slots.items() if slot.owner != owner}
        async with self._locks.of(owner):
            files = await self.used(owner)
            for one in files:
                await self._remove(owner, one.token)
        return len(files), total(files)

    async def deleting(self, account: JID) -> None:
        """An account will be erased, and its files with it."""
        await self.erase(account.text)


def _essence(kind: str) -> str:
    """A media type without its parameters."""
    return kind.partition(";")[0].strip().lower()
