"""Files of a gateway: up to the server's HTTP upload service (XEP-0363), and down from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import structlog

from jabberd.gateways.desk import Desk
from jabberd.gateways.events import Attachment, Trouble
from jabberd.gateways.transport import NotDone
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.payload import privilege
from jabberd.xmpp.stanza import Iq

_log: Final = structlog.get_logger("jabberd.gateway")
_SECONDS: Final = 60.0
_HEADERS: Final = frozenset({"authorization", "cookie", "expires"})  # XEP-0363 §5
_AT_ONCE: Final = 4


@dataclass(slots=True)
class Uploads:
    """The files of one gateway.

    Attributes:
        desk: of the gateway.
        verify: whether the certificate of the upload service is checked; not where it is this
            very process that answers.
        nearby: the address by which the gateway reaches what has this URL for everybody.
    """

    desk: Desk
    verify: bool = True
    nearby: Callable[[str], str] = str
    _service: JID | None = None
    _origins: set[str] = field(default_factory=set)
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def payload(self, user: JID, attachment: Attachment) -> list[Element]:
        """What a message has that brings a user a file; words, where it cannot be uploaded."""
        name = attachment.name or "file"
        if len(attachment.data) > self.desk.rules.file_bytes:
            return [_body(f"[{name}: {len(attachment.data)} bytes are too many for this gateway]")]
        try:
            async with self._gate:
                url = await self._upload(user, attachment, name)
        except (StanzaError, NotDone) as error:
            _log.warning("cannot upload a file", gateway=self.desk.domain.text, why=str(error))
            size = len(attachment.data)
            return [_body(f"[{name}, {size} bytes: it could not be uploaded: {error}]")]
        oob = Element(ns.OOB, "x", None, [Element(ns.OOB, "url", None, [url])])
        return [_body(url), oob]

    async def fetch(self, url: str, most: int) -> bytes:
        """See `transport.Site.fetch`."""
        origin = _origin(url)
        if not origin or origin not in await self._known_origins():
            raise NotDone(Trouble.NOT_ACCEPTABLE, "the file is not on this server")
        return await self._get(url, most)

    # Inside

    async def _known_origins(self) -> set[str]:
        if not self._origins:
            user = next(iter(self.desk.users), None)
            if user is None:
                return set()
            try:
                await self._slot(user.jid, "probe.txt", 1, "text/plain")
            except StanzaError as error:
                raise NotDone(Trouble.NOT_SUPPORTED, str(error)) from None
        return self._origins

    async def _upload(self, user: JID, attachment: Attachment, name: str) -> str:
        import httpx  # noqa: PLC0415 -- a gateway without files does without it

        slot = await self._slot(user, name, len(attachment.data), attachment.media_type)
        put, get = slot.find(ns.HTTP_UPLOAD, "put"), slot.find(ns.HTTP_UPLOAD, "get")
        if put is None or get is None:
            raise StanzaError(Condition.UNDEFINED_CONDITION, "the upload service gave no address")
        headers = {
            header.get("name"): header.text.replace("\n", "").replace("\r", "")
            for header in put.find_all(ns.HTTP_UPLOAD, "header")
            if header.get("name").lower() in _HEADERS
        }
        headers["Content-Type"] = attachment.media_type
        url = self.nearby(put.get("url"))
        try:
            async with httpx.AsyncClient(verify=self.verify, timeout=_SECONDS) as client:
                answer = await client.put(url, content=attachment.data, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotDone(Trouble.TIMEOUT, f"the upload failed: {error}") from None
        if answer.status_code not in {200, 201}:
            raise NotDone(Trouble.UNREACHABLE, f"the upload failed: HTTP {answer.status_code}")
        return get.get("url")

    async def _get(self, url: str, most: int) -> bytes:
        import httpx  # noqa: PLC0415 -- as above

        data = bytearray()
        try:
            async with (
                asyncio.timeout(_SECONDS),
                httpx.AsyncClient(verify=self.verify, timeout=_SECONDS) as client,
                client.stream("GET", self.nearby(url)) as answer,
            ):
                if answer.status_code != 200:
                    raise NotDone(Trouble.NO_SUCH_CONTACT, f"HTTP {answer.status_code}")
                async for part in answer.aiter_bytes():
                    data += part
                    if len(data) > most:
                        raise NotDone(Trouble.TOO_LARGE, "the file is too large")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise NotDone(Trouble.TIMEOUT, f"the file cannot be had: {error}") from None
        return bytes(data)

    async def _slot(self, user: JID, name: str, size: int, media_type: str) -> Element:
        service = await self._find()
        attrs = {"filename": name, "size": str(size), "content-type": media_type}
        children = [Element(ns.HTTP_UPLOAD, "request", attrs)]
        if self.desk.grants.upload:
            # So the room is the user's own, and what is there counts for nobody else.
            inner = Iq.build(children, from_=user, to=service, id=self.desk.token(), type="get")
            asking = privilege.asking(inner, self.desk.domain)
            answer = privilege.read_answer(await self.desk.link.ask(asking))
        else:
            asking = Iq.build(children, from_=self.desk.domain, to=service, type="get")
            answer = await self.desk.link.ask(asking)
        slot = answer.child(ns.HTTP_UPLOAD, "slot")
        if slot is None:
            raise StanzaError(Condition.UNDEFINED_CONDITION, "the upload service gave no slot")
        get = slot.find(ns.HTTP_UPLOAD, "get")
        if get is not None and (origin := _origin(get.get("url"))):
            self._origins.add(origin)
        return slot

    async def _find(self) -> JID:
        """The upload service of the server: itself, or one of its items (XEP-0363 §3)."""
        if self._service is None:
            server = self.desk.link.server
            candidates = [server, *await self._items(server)]
            for candidate in candidates[:20]:
                if await self._offers(candidate):
                    self._service = candidate
                    break
            else:
                text = "the server has no file upload"
                raise StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, text)
        return self._service

    async def _items(self, server: JID) -> list[JID]:
        query = await self._ask(server, Element(ns.DISCO_ITEMS, "query"))
        found = []
        for item in query.find_all(ns.DISCO_ITEMS, "item") if query is not None else []:
            try:
                jid = JID.parse(item.get("jid"))
            except InvalidJID:
                continue
            if jid != self.desk.domain:
                found.append(jid)
        return found

    async def _offers(self, service: JID) -> bool:
        query = await self._ask(service, Element(ns.DISCO_INFO, "query"))
        if query is None:
            return False
        names = {feature.get("var") for feature in query.find_all(ns.DISCO_INFO, "feature")}
        return ns.HTTP_UPLOAD in names

    async def _ask(self, to: JID, child: Element) -> Element | None:
        iq = Iq.build([child], from_=self.desk.domain, to=to, type="get")
        try:
            answer = await self.desk.link.ask(iq, 10.0)
        except StanzaError:
            return None
        return answer.child(child.ns, child.name)


def _body(text: str) -> Element:
    return Element(ns.CLIENT, "body", None, [text])


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port or ''}"
