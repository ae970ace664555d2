"""One connection of a play, and what it takes for granted; see `player` for the language."""

from __future__ import annotations

import re
from collections import deque
from typing import Final, Self
from xml.etree.ElementTree import Element, tostring

from tests.integration.wire import BIND, CLIENT, SASL, STREAM, StreamEnd, Wire

SM: Final = "{urn:xmpp:sm:3}"
_BOUND: Final = frozenset({f"{BIND}bind", f"{SM}resumed", "{urn:xmpp:bind:0}bound"})
_COUNTED: Final = frozenset({f"{SM}enabled", f"{SM}resumed"})
_ANSWERS: Final = frozenset({f"{CLIENT}iq", "{urn:xmpp:sasl:2}success", *_COUNTED})
_OPTIONAL: Final = frozenset({f"{SM}r", f"{STREAM}features"})
_REQUEST: Final = "<r xmlns='urn:xmpp:sm:3'/>"
_REQUESTS: Final = re.compile(r"""<r\s+xmlns=['"]urn:xmpp:sm:3['"]\s*/>""")
STAGES: Final = ("tls", "login")
"""How far a connection may come before the play goes on by hand."""


class Actor:
    """One connection on the stage, with what it has received and nobody has looked at.

    Attributes:
        wire: the connection.
        bound: whether it has a resource; without one it may not send stanzas.
        inbox: in the order of arrival.
    """

    def __init__(self, wire: Wire, *, bound: bool) -> None:
        self.wire = wire
        self.bound = bound
        self.inbox: deque[Element] = deque()
        self._counted = False  # whether stanzas are counted (XEP-0198)
        self._asked = 0  # acknowledgements that were asked for and have not come

    @classmethod
    async def enter(cls, address: tuple[str, int], account: str, resource: str, to: str) -> Self:
        """Connect, and log in as far as wanted; the password is the localpart.

        Args:
            address: of the server.
            account: the bare JID.
            resource: to bind.
            to: one of `STAGES`; empty: to the end.
        """
        wire = await Wire.connect(*address)
        local, _, domain = account.partition("@")
        try:
            if not to:
                await wire.login(account, local, resource)
            else:
                await wire.open(domain)
                await wire.features()
                await wire.start_tls(domain)
                if to == "login":
                    await wire.features()
                    answer = await wire.plain(local, local)
                    assert answer.tag == f"{SASL}success", tostring(answer)
                    await wire.open(domain)
        except BaseException:
            await wire.cut()
            raise
        return cls(wire, bound=not to)

    async def send(self, text: str) -> None:
        """Write exactly this."""
        self._asked += len(_REQUESTS.findall(text))
        await self.wire.send(text)

    async def next(self, wanted: str, wait: float) -> Element:
        """The next thing that it receives; what is optional only if that is wanted.

        Args:
            wanted: the name that is expected.
            wait: seconds.
        """
        while True:
            found = self.inbox.popleft() if self.inbox else await self.receive(wait)
            if found.tag == wanted or found.tag not in _OPTIONAL:
                return found

    async def receive(self, wait: float) -> Element:
        """What comes next on the wire, whatever is in the inbox."""
        found = await self.wire.next(wait)
        if found.tag == f"{SM}a":
            self._asked -= 1
        elif found.tag in _ANSWERS:
            names = {element.tag for element in found.iter()}
            self.bound = self.bound or not names.isdisjoint(_BOUND)
            self._counted = self._counted or not names.isdisjoint(_COUNTED)
        return found

    def unnamed(self) -> Element | None:
        """The first thing in the inbox that somebody has to name; what is optional goes."""
        self.inbox = deque(one for one in self.inbox if one.tag not in _OPTIONAL)
        return self.inbox[0] if self.inbox else None

    async def fence(self, domain: str, name: str, wait: float) -> None:
        """Wait until all that is on its way has come; it goes to the inbox.

        A ping would be counted by both sides. Where stanzas are, it asks for an acknowledgement.
        """
        if self._counted:
            await self.send(_REQUEST)
            while (found := await self.receive(wait)).tag != f"{SM}a" or self._asked > 0:
                self.inbox.append(found)
            return
        await self.send(
            f"<iq type='get' id='{name}' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        while (found := await self.receive(wait)).get("id") != name:
            self.inbox.append(found)

    async def ended(self, wait: float) -> StreamEnd:
        """Wait until the server ends the stream; what comes before goes to the inbox.

        An acknowledgement may be the last thing (XEP-0198 §4) and is not kept.
        """
        try:
            while True:
                self.inbox.append(await self.receive(wait))
        except StreamEnd as end:
            if self.inbox and self.inbox[-1].tag == f"{SM}a":
                self.inbox.pop()
            return end
