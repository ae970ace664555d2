"""XEP-0280 and XEP-0352 together with sessions that outlive their connections (XEP-0198)."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, tostring

import pytest

import jabberd
from tests.integration.wire import CLIENT, SASL, Wire

pytestmark = pytest.mark.asyncio

HOST = "localhost"
SM, CARBONS, FORWARD = "{urn:xmpp:sm:3}", "{urn:xmpp:carbons:2}", "{urn:xmpp:forward:0}"
ON_DISK = {"storage": "sqlite:"}
PRESENCE, MESSAGE = f"{CLIENT}presence", f"{CLIENT}message"


class Client(Wire):
    """A client that can come back to its session."""

    session = ""
    handled = 0

    async def arrive(self, name: str, resource: str) -> None:
        """Log in, with stream management and carbons."""
        await self.login(f"{name}@{HOST}", name, resource)
        await self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        enabled = await self.next()
        assert enabled.tag == f"{SM}enabled"
        self.session = enabled.get("id", "")
        await self.send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
        assert (await self.stanza()).get("type") == "result"

    async def stanza(self) -> Element:
        """The next stanza."""
        while True:
            found = await self.next()
            if found.tag.startswith(CLIENT):
                self.handled += 1
                return found
            assert found.tag in {f"{SM}r", f"{SM}a"}, tostring(found)

    async def quiet(self) -> list[Element]:
        """What comes before the answer to a ping."""
        await self.send(f"<iq type='get' id='p' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>")
        found: list[Element] = []
        while (stanza := await self.stanza()).get("id") != "p":
            found.append(stanza)
        return found

    async def resume(self, old: Client, name: str) -> None:
        """Take over what another connection had."""
        await self.authenticated(name)
        self.session, self.handled = old.session, old.handled
        await self.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{old.session}' h='{old.handled}'/>")
        assert (await self.next()).tag == f"{SM}resumed"

    async def authenticated(self, name: str) -> Element:
        """Log in, but bind nothing; the features then."""
        await self.open(HOST)
        await self.features()
        await self.start_tls(HOST)
        await self.features()
        assert (await self.plain(name, name)).tag == f"{SASL}success"
        await self.open(HOST)
        return await self.features()


async def connect(server: jabberd.Server) -> Client:
    return await Client.connect(server.host, server.port)


async def test_csi_is_offered_after_login_and_not_before() -> None:
    async with jabberd.Server(HOST) as server:
        await server.add_user("alice", "alice")
        async with await connect(server) as wire:
            features = await wire.authenticated("alice")
            assert features.find("{urn:xmpp:csi:0}csi") is not None
            assert wire.raw.count(b"<csi ") == 1


async def test_an_inactive_client_that_is_cut_off() -> None:
    """What was held back comes with the resumed stream, which is active (XEP-0352 §5.2)."""
    async with jabberd.Server(HOST) as server:
        await server.add_user("alice", "alice")
        async with await connect(server) as phone, await connect(server) as desk:
            await phone.arrive("alice", "phone")
            await phone.send("<presence/>")
            assert (await phone.stanza()).tag == PRESENCE
            await phone.send("<inactive xmlns='urn:xmpp:csi:0'/>")
            assert await phone.quiet() == []
            await desk.arrive("alice", "desk")
            for show in ("away", "dnd"):
                await desk.send(f"<presence><show>{show}</show></presence>")
            await desk.quiet()
            assert await phone.quiet() == []
            await phone.cut()
            async with await connect(server) as again:
                await again.resume(phone, "alice")
                (presence,) = await again.quiet()
                assert presence.findtext(f"{CLIENT}show") == "dnd"
                await desk.send("<presence><show>xa</show></presence>")
                await desk.quiet()
                (presence,) = await again.quiet()
                assert presence.findtext(f"{CLIENT}show") == "xa"


async def test_carbons_go_on_after_a_restart(tmp_path: Path) -> None:
    async with jabberd.Server(HOST, data=tmp_path, config=ON_DISK) as server:
        for name in ("alice", "bob"):
            await server.add_user(name, name)
        phone = await connect(server)
        await phone.arrive("alice", "phone")
        async with await connect(server) as desk, await connect(server) as bob:
            await desk.arrive("alice", "desk")
            await bob.arrive("bob", "home")
            await bob.send(
                f"<message to='alice@{HOST}/desk' type='chat'><body>one</body></message>"
            )
            assert (await desk.stanza()).findtext(f"{CLIENT}body") == "one"
            assert _copied(await phone.stanza()) == "one"
            # This one is a copy that nobody has acknowledged when the server ends.
            await bob.send(
                f"<message to='alice@{HOST}/desk' type='chat'><body>two</body></message>"
            )
            assert (await desk.stanza()).findtext(f"{CLIENT}body") == "two"
    async with (
        jabberd.Server(HOST, data=tmp_path, config=ON_DISK) as server,
        await connect(server) as again,
        await connect(server) as desk,
        await connect(server) as bob,
    ):
        await again.resume(phone, "alice")
        assert _copied(await again.stanza()) == "two"
        await desk.arrive("alice", "desk")
        await bob.arrive("bob", "home")
        await bob.send(f"<message to='alice@{HOST}/desk' type='chat'><body>three</body></message>")
        assert (await desk.stanza()).findtext(f"{CLIENT}body") == "three"
        assert _copied(await again.stanza()) == "three"
        assert await again.quiet() == []
    await phone.cut()


def _copied(stanza: Element) -> str:
    """The body inside a copy of what was received."""
    assert stanza.tag == MESSAGE, tostring(stanza)
    inside = stanza.find(f"{CARBONS}received/{FORWARD}forwarded/{MESSAGE}")
    assert inside is not None, tostring(stanza)
    return inside.findtext(f"{CLIENT}body") or ""
