"""A server of ours, biboumi beside it as a component, and an IRC server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slixmpp.xmlstream import ET

from jabberd.embed import Server
from tests.gateways.others.irc import IrcClient, ngircd
from tests.gateways.others.program import Program, running, where
from tests.integration.slix import WAIT, Slix

GATEWAY: Final = "biboumi.localhost"
IRC: Final = f"127.0.0.1@{GATEWAY}"
ROOM: Final = f"#verona%127.0.0.1@{GATEWAY}"
PLUGINS: Final = ("xep_0004", "xep_0030", "xep_0045", "xep_0050", "xep_0199")
_MUC: Final = "http://jabber.org/protocol/muc"
_SECRET: Final = "between us"
_CONFIG: Final = """\
hostname={gateway}
password={secret}
xmpp_server_ip=127.0.0.1
port={port}
db_name={folder}/biboumi.sqlite
policy_directory={folder}
identd_port=0
log_level=1
"""


@dataclass
class BiboumiPlace:
    """All three together.

    Attributes:
        server: ours.
        irc: the port of the IRC server.
    """

    server: Server
    irc: int
    _clients: list[Slix] = field(default_factory=list)
    _people: list[IrcClient] = field(default_factory=list)

    async def client(self, name: str) -> Slix:
        """A user's client, online; it has told biboumi which port the IRC server has."""
        client = Slix(self.server, f"{name}@localhost/one", "secret", plugins=PLUGINS)
        self._clients.append(client)
        client.watch("room", "{jabber:client}presence/{http://jabber.org/protocol/muc#user}x")
        client.watch("subject", "{jabber:client}message/{jabber:client}subject")
        await client.online()
        await self._configure(client)
        return client

    async def person(self, nick: str) -> IrcClient:
        """Somebody on IRC, in the channel."""
        person = await IrcClient.log_in(self.irc, nick)
        self._people.append(person)
        person.say("JOIN #verona")
        await person.line(" 366 ")
        return person

    async def leave(self) -> None:
        """Log everybody out."""
        for client in self._clients:
            await client.leave()
        for person in self._people:
            await person.close()

    async def _configure(self, client: Slix) -> None:
        commands = client.client.plugin["xep_0050"]
        begun = await commands.send_command(IRC, "configure", timeout=WAIT)
        form = client.client.plugin["xep_0004"].make_form("submit")
        form.add_field(var="ports", ftype="text-multi", value=[str(self.irc)])
        form.add_field(var="tls_ports", ftype="text-multi", value=[])
        form.add_field(var="throttle_limit", ftype="text-single", value="-1")  # no limit
        session = begun["command"]["sessionid"]
        done = await commands.send_command(
            IRC, "configure", sessionid=session, action="complete", payload=form, timeout=WAIT
        )
        assert done["command"]["status"] == "completed", done


def join(client: Slix, nick: str) -> None:
    """Ask to enter the room (XEP-0045 §7.2)."""
    presence: Any = client.client.make_presence(pto=f"{ROOM}/{nick}")
    ET.SubElement(presence.xml, f"{{{_MUC}}}x")
    presence.send()


@contextlib.asynccontextmanager
async def biboumi_place(folder: Path) -> AsyncIterator[BiboumiPlace]:
    """A server with juliet and romeo on it, biboumi, and an IRC server."""
    values: dict[str, Any] = {
        "listen": {"component": ["127.0.0.1:0"]},
        "component": {GATEWAY: {"secret": _SECRET}},
    }
    home = folder / "biboumi"
    home.mkdir()
    file = home / "biboumi.cfg"
    async with Server(config=values) as server, ngircd(folder) as irc:
        for name in ("juliet", "romeo"):
            await server.add_user(name, "secret")
        port = server.component_port
        file.write_text(_CONFIG.format(gateway=GATEWAY, secret=_SECRET, port=port, folder=home))
        program = Program(home, [where("biboumi"), str(file)])
        async with running(program, "Authenticated with the XMPP server"):
            here = BiboumiPlace(server, irc)
            try:
                yield here
            finally:
                await here.leave()
