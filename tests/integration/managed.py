"""A client with stream management (XEP-0198) that counts stanzas as it should."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, tostring

from tests.integration.wire import CLIENT, SASL, Wire

SM: Final = "{urn:xmpp:sm:3}"
ENABLE: Final = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
REQUEST: Final = "<r xmlns='urn:xmpp:sm:3'/>"


class Client(Wire):
    """A client with stream management.

    Attributes:
        account: its bare JID.
        session: the identifier of its session.
        handled: stanzas of the server that it has read.
    """

    account = ""
    session = ""
    handled = 0

    async def arrive(self, name: str, resource: str, *, resume: bool = True) -> None:
        """Log in, with stream management and presence."""
        self.account = f"{name}@example.com"
        await self.login(self.account, name, resource)
        await self.send(ENABLE if resume else ENABLE.replace("true", "false"))
        enabled = await self.next()
        assert enabled.tag == f"{SM}enabled"
        self.session = enabled.get("id", "")
        await self.send("<presence/>")
        presence = await self.stanza()
        assert presence.tag == f"{CLIENT}presence"

    async def stanza(self) -> Element:
        """The next stanza; requests for acknowledgements are left unanswered."""
        while True:
            found = await self.next()
            if found.tag.startswith(CLIENT):
                self.handled += 1
                return found
            assert found.tag in {f"{SM}r", f"{SM}a"}, tostring(found)

    async def nothing(self, domain: str = "example.com") -> None:
        """Make sure that no stanza is on its way: the next one answers a ping."""
        await self.send(
            f"<iq type='get' id='still' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        answer = await self.stanza()
        assert (answer.get("id"), answer.get("type")) == ("still", "result"), tostring(answer)

    async def acknowledge(self) -> None:
        """Tell the server what has arrived."""
        await self.send(f"<a xmlns='urn:xmpp:sm:3' h='{self.handled}'/>")

    async def count(self) -> int:
        """Ask the server what has arrived."""
        await self.send(REQUEST)
        while True:
            found = await self.next()
            if found.tag == f"{SM}a":
                return int(found.get("h", ""))
            assert found.tag == f"{SM}r", tostring(found)

    async def authenticate(self, account: str) -> None:
        """Log in, but bind no resource."""
        name, _, domain = account.partition("@")
        await self.open(domain)
        await self.features()
        await self.start_tls(domain)
        await self.features()
        answer = await self.plain(name, name)
        assert answer.tag == f"{SASL}success", tostring(answer)
        await self.open(domain)
        features = await self.features()
        assert features.find(f"{SM}sm") is not None

    async def resume(self, old: Client) -> Element:
        """Log in and take over what another connection had; the server's answer."""
        await self.authenticate(old.account)
        self.account, self.session, self.handled = old.account, old.session, old.handled
        await self.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{old.session}' h='{old.handled}'/>")
        return await self.next()

    async def write(self, to: str, body: str) -> None:
        """Send a chat message."""
        await self.send(f"<message to='{to}' type='chat' id='{body}'><body>{body}</body></message>")


def body(stanza: Element) -> str:
    """The text of a message."""
    assert stanza.tag == f"{CLIENT}message", tostring(stanza)
    return stanza.findtext(f"{CLIENT}body") or ""
