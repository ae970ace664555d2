"""A component by slixmpp that acts for users (XEP-0356), made to wait with a deadline."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import slixmpp
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.integration.slix import WAIT

PRIVILEGE: Final = "urn:xmpp:privilege:2"
_SLIXMPP: Any = slixmpp  # its constructors have no types


class Servant:
    """One component.

    Args:
        port: of the server, for components, on 127.0.0.1.
        domain: of the component.
        secret: of the component.

    Attributes:
        component: slixmpp's own object.
        privileged: its plugin for XEP-0356.
    """

    def __init__(self, port: int, domain: str, secret: str) -> None:
        # Without the last, slixmpp does not understand errors that come over such a stream.
        self.component: Any = _SLIXMPP.ComponentXMPP(
            domain, secret, "127.0.0.1", port, fix_error_ns=True
        )
        self.component.register_plugin("xep_0356")
        self.privileged: Any = self.component.plugin["xep_0356"]
        self.privileged.granted_privileges.clear()  # all components of a process share it
        self._seen: deque[tuple[str, Any]] = deque(maxlen=1000)
        self._news = asyncio.Event()
        for name in ("session_start", "message", "message_error", "presence"):
            self.component.add_event_handler(name, self._note(name))
        path = f"{{jabber:component:accept}}message/{{{PRIVILEGE}}}privilege"
        told = Callback("told", MatchXPath(path), self._note("told"))
        self.component.register_handler(told)

    def _note(self, name: str) -> Callable[[Any], None]:
        def note(data: Any) -> None:
            self._seen.append((name, data))
            self._news.set()

        return note

    async def event(self, name: str) -> Any:
        """The next event of this kind; one that has come already counts, once."""
        async with asyncio.timeout(WAIT):
            while True:
                for index, (kind, data) in enumerate(self._seen):
                    if kind == name:
                        del self._seen[index]
                        return data
                self._news.clear()
                await self._news.wait()

    async def connect(self) -> None:
        """Connect; returns after the handshake."""
        self.component.connect()
        await self.event("session_start")

    async def advertised(self) -> list[dict[str, str]]:
        """What the server has granted, as it says it."""
        told = await self.event("told")
        assert told["from"] == "localhost"
        privilege = told.xml.find(f"{{{PRIVILEGE}}}privilege")
        return [one.attrib for one in privilege.iter() if one is not privilege]

    async def ask(self, kind: str, to: str, payload: str) -> Any:
        """Send a request with this in it, whatever the plugin would say to that."""
        iq = self.component.make_iq(ito=to, itype=kind, ifrom=self.component.boundjid.bare)
        iq.xml.append(ET.fromstring(payload))
        return await iq.send(timeout=WAIT)

    def say(self, to: str, payload: str) -> None:
        """Send a message with this in it."""
        message = self.component.make_message(to, mfrom=self.component.boundjid.bare)
        message.xml.append(ET.fromstring(payload))
        message.send()

    async def leave(self) -> None:
        """Disconnect."""
        await self.component.disconnect(wait=5.0)
