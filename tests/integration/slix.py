"""slixmpp, a client library of today, made to wait for things with a deadline."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

import slixmpp
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

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
        plugins: of slixmpp, by their names: `xep_0198`.
        tls: use it; without, the server has to allow that.

    Attributes:
        client: slixmpp's own object.
    """

    def __init__(
        self,
        address: Address,
        jid: str,
        password: str,
        *,
        direct_tls: int | None = None,
        plugins: Sequence[str] = (),
        tls: bool = True,
    ) -> None:
        self.client: Any = slixmpp.ClientXMPP(jid, password)
        for plugin in plugins:
            self.client.register_plugin(plugin)
        self.client.auto_authorize = None  # subscriptions wait for `approve`
        context = self.client.ssl_context
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.client.enable_direct_tls = direct_tls is not None
        self.client.enable_starttls = tls and direct_tls is None
        self.client.enable_plaintext = not tls
        self.client.plugin["feature_mechanisms"].unencrypted_scram = not tls
        self._place = (address.host, direct_tls or address.port)
        self._seen: deque[tuple[str, Any]] = deque(maxlen=1000)
        self._news = asyncio.Event()
        for name in (
            "session_start",
            "failed_all_auth",
            "message",
            "message_error",
            "presence_subscribe",
            "presence_subscribed",
            "presence_available",
            "presence_chat",
            "presence_dnd",
            "presence_error",
            "presence_unavailable",
            "roster_update",
            "disconnected",
            "session_resumed",
            "sm_failed",
            "carbon_received",
            "carbon_sent",
            "receipt_received",
            "marker_displayed",
            "reactions",
            "chatstate_composing",
        ):
            self.client.add_event_handler(name, self._note(name))

    def _note(self, name: str) -> Callable[[Any], None]:
        def note(data: Any) -> None:
            self._seen.append((name, data))
            self._news.set()

        return note

    def watch(self, name: str, path: str) -> None:
        """Note stanzas that slixmpp has no event for, as events of this name.

        Args:
            name: to wait for by `event`.
            path: of elements, as "{jabber:client}message/{namespace}x".
        """
        handler = Callback(name, MatchXPath(path), self._note(name))
        self.client.register_handler(handler)

    async def event(self, name: str, wants: Callable[[Any], bool] = lambda _: True) -> Any:
        """Wait for an event of this kind; one that has come already counts, once."""
        return (await self._first({name}, wants))[1]

    async def _first(
        self, names: Collection[str], wants: Callable[[Any], bool] = lambda _: True
    ) -> tuple[str, Any]:
        async with asyncio.timeout(WAIT):
            while True:
                for index, (kind, data) in enumerate(self._seen):
                    if kind in names and wants(data):
                        del self._seen[index]
                        return kind, data
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

    async def back(self) -> None:
        """Resume after the connection broke; the server may not be there at once."""
        await self.event("disconnected")
        self.connect()
        while (await self._first({"session_resumed", "disconnected"}))[0] == "disconnected":
            await asyncio.sleep(0.1)  # as clients do, though they are more patient
            self.connect()

    async def message(self) -> Any:
        """The next message."""
        return await self.event("message")

    def write(self, to: str, *texts: str) -> None:
        """Send chat messages."""
        for text in texts:
            self.client.send_message(to, text, mtype="chat")

    async def settled(self) -> None:
        """Wait until the server has dealt with everything that was sent; takes `xep_0199`."""
        await self.client.plugin["xep_0199"].ping(self.client.boundjid.domain, timeout=WAIT)

    async def bodies(self, last: str) -> list[str]:
        """The texts of the messages up to the one that says this, in order."""
        heard: list[str] = []
        while last not in heard[-1:]:
            heard.append((await self.event("message", lambda stanza: stanza["body"]))["body"])
        return heard

    def seen(self, name: str) -> list[Any]:
        """The events of this kind that nobody has waited for yet."""
        return [data for kind, data in self._seen if kind == name]

    def forget(self, name: str) -> None:
        """Drop the events of this kind that nobody has waited for yet."""
        kept = [(kind, data) for kind, data in self._seen if kind != name]
        self._seen.clear()
        self._seen.extend(kept)

    async def leave(self) -> None:
        """Log out."""
        await self.client.disconnect(wait=5.0)


async def talk(one: Slix, other: Slix, texts: Sequence[str]) -> None:
    """They say these in turn, and each waits for what the other says."""
    for number, text in enumerate(texts):
        speaker, listener = (other, one) if number % 2 else (one, other)
        speaker.write(listener.client.boundjid.bare, text)
        assert await listener.bodies(text) == [text]
