"""slixmpp, a client library of today, made to wait for things with a deadline."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import slixmpp

WAIT: Final = 20.0


class Address(Protocol):
    """Where a server listens."""

    @property
    def host(self) -> str:
        """Its IP address."""

    @property
    def port(self) -> int:
        """Its port for clients."""


class Slix:
    """One slixmpp client; it logs in over STARTTLS and accepts any certificate.

    Args:
        address: of the server.
        jid: the account, with the resource if it shall have a certain one.
        password: of the account.
        direct_tls: a port to log in at with TLS from the first byte instead.

    Attributes:
        client: slixmpp's own object.
    """

    def __init__(
        self, address: Address, jid: str, password: str, *, direct_tls: int | None = None
    ) -> None:
        self.client: Any = slixmpp.ClientXMPP(jid, password)
        self.client.auto_authorize = None  # subscriptions wait for `approve`
        context = self.client.ssl_context
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.client.enable_direct_tls = direct_tls is not None
        self.client.enable_starttls = direct_tls is None
        self._place = (address.host, direct_tls or address.port)
        self._seen: deque[tuple[str, Any]] = deque(maxlen=1000)
        self._news = asyncio.Event()
        for name in (
            "session_start",
            "failed_all_auth",
            "message",
            "presence_subscribe",
            "presence_subscribed",
            "presence_available",
            "presence_dnd",
            "presence_unavailable",
            "roster_update",
            "disconnected",
        ):
            self.client.add_event_handler(name, self._note(name))

    def _note(self, name: str) -> Callable[[Any], None]:
        def note(data: Any) -> None:
            self._seen.append((name, data))
            self._news.set()

        return note

    async def event(self, name: str, wants: Callable[[Any], bool] = lambda _: True) -> Any:
        """Wait for an event of this kind; one that has come already counts, once."""
        async with asyncio.timeout(WAIT):
            while True:
                for index, (kind, data) in enumerate(self._seen):
                    if kind == name and wants(data):
                        del self._seen[index]
                        return data
                self._news.clear()
                await self._news.wait()

    def connect(self) -> None:
        """Begin to log in."""
        self.client.connect(*self._place)

    async def online(self, *, presence: bool = True) -> None:
        """Log in, fetch the roster, and send presence; returns when the server has echoed it."""
        self.connect()
        await self.event("session_start")
        await self.client.get_roster(timeout=WAIT)
        if presence:
            self.client.send_presence()
            own = str(self.client.boundjid)
            await self.event("presence_available", lambda stanza: str(stanza["from"]) == own)

    async def message(self) -> Any:
        """The next message."""
        return await self.event("message")

    async def leave(self) -> None:
        """Log out."""
        await self.client.disconnect(wait=5.0)
