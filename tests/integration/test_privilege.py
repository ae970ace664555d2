"""XEP-0356 Privileged Entity: what a component does for users, and what it may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import pytest_asyncio
from slixmpp import stanza
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0356.privilege import PrivilegedIqError

from jabberd.embed import Server
from tests.integration.servant import PRIVILEGE, Servant
from tests.integration.slix import WAIT, Slix

pytestmark = pytest.mark.asyncio
TRUSTED: Final = "trusted.localhost"
OTHER: Final = "other.localhost"
PRIVILEGES: Final = {
    "roster": "both",
    "message": "outgoing",
    "presence": "managed_entity",
    "iq": {"vcard-temp": "get", "jabber:iq:private": "both"},
}
PLUGINS: Final = ("xep_0054", "xep_0199", "xep_0280", "xep_0313")
ROSTER: Final = "<query xmlns='jabber:iq:roster'/>"
ITEM: Final = "<query xmlns='jabber:iq:roster'><item jid='x@y.example'/></query>"
CARD: Final = "<vCard xmlns='vcard-temp'/>"
JULIET: Final = "juliet@localhost"
STANZAS: Any = stanza  # slixmpp's constructors have no types


@dataclass
class Town:
    """A server with juliet and romeo, and two components.

    Attributes:
        server: ours.
        clients: that were logged in.
        servants: that were connected.
    """

    server: Server
    clients: list[Slix] = field(default_factory=list)
    servants: list[Servant] = field(default_factory=list)

    async def client(self, name: str, resource: str = "one") -> Slix:
        """A user's client, online with carbons."""
        client = Slix(self.server, f"{name}@localhost/{resource}", name, plugins=PLUGINS)
        self.clients.append(client)
        await client.online()
        await client.client.plugin["xep_0280"].enable()
        return client

    async def servant(self, domain: str = TRUSTED) -> Servant:
        """A component, connected."""
        servant = Servant(self.server.component_port, domain, domain)
        self.servants.append(servant)
        await servant.connect()
        return servant

    async def trusted(self) -> Servant:
        """The component that has privileges, and has been told so."""
        servant = await self.servant()
        await servant.advertised()
        return servant


@pytest_asyncio.fixture
async def town() -> AsyncIterator[Town]:
    values: dict[str, Any] = {
        "listen": {"component": ["127.0.0.1:0"]},
        "component": {
            TRUSTED: {"secret": TRUSTED, "privileges": PRIVILEGES},
            OTHER: {"secret": OTHER},
        },
    }
    async with Server(config=values) as server:
        for name in ("juliet", "romeo"):
            await server.add_user(name, name)
        made = Town(server)
        try:
            yield made
        finally:
            for client in made.clients:
                await client.leave()
            for servant in made.servants:
                await servant.leave()


async def test_a_component_is_told_what_it_may_do(town: Town) -> None:
    servant = await town.servant()
    assert await servant.advertised() == [
        {"access": "roster", "type": "both", "push": "false"},
        {"access": "message", "type": "outgoing"},
        {"access": "presence", "type": "managed_entity"},
        {"access": "iq"},
        {"ns": "vcard-temp", "type": "get"},
        {"ns": "jabber:iq:private", "type": "both"},
    ]


async def test_one_without_privileges_is_told_nothing(town: Town) -> None:
    other, juliet = await town.servant(OTHER), await town.client("juliet")
    juliet.write(OTHER, "the first that it hears")
    assert (await other.event("message"))["body"] == "the first that it hears"


async def pushed(client: Slix, jid: str) -> tuple[str, str, list[str]]:
    """What a push says of a contact."""
    push = await client.event("roster_update", lambda iq: jid in iq["roster"]["items"])
    item = push["roster"]["items"][jid]
    return item["name"], item["subscription"], sorted(item["groups"])


async def test_rosters(town: Town) -> None:
    servant = await town.trusted()
    clients = [await town.client("juliet", "one"), await town.client("juliet", "two")]
    nurse = f"nurse@{TRUSTED}"
    items = {nurse: {"name": "Nurse", "subscription": "both", "groups": ["Verona", "House"]}}
    await servant.privileged.set_roster(JULIET, items)
    for client in clients:
        assert await pushed(client, nurse) == ("Nurse", "both", ["House", "Verona"])
    found = (await servant.privileged.get_roster(JULIET))["roster"]["items"]
    assert list(found) == [nurse]
    assert (found[nurse]["name"], found[nurse]["subscription"]) == ("Nurse", "both")
    # The subscription is a real one: presence goes there, without anybody being asked.
    clients[0].client.send_presence(pstatus="in the orchard")
    while (presence := await servant.event("presence"))["to"] != nurse or not presence["status"]:
        pass
    assert (presence["from"], presence["status"]) == (f"{JULIET}/one", "in the orchard")
    # A change without a subscription leaves the one that there is.
    renamed = f"<item jid='{nurse}' name='Angelica'/>"
    await servant.ask("set", JULIET, f"<query xmlns='jabber:iq:roster'>{renamed}</query>")
    for client in clients:
        assert await pushed(client, nurse) == ("Angelica", "both", [])
    await servant.privileged.set_roster(JULIET, {nurse: {"subscription": "remove"}})
    for client in clients:
        assert (await pushed(client, nurse))[1] == "remove"
    assert not (await servant.privileged.get_roster(JULIET))["roster"]["items"]


def speech(to: str, text: str) -> Any:
    """A message of juliet's."""
    message: Any = STANZAS.Message(sto=to, sfrom=JULIET, stype="chat")
    message["body"] = text
    return message


def question(to: str) -> Any:
    """Juliet asks for somebody's card."""
    iq: Any = STANZAS.Iq(sto=to, sfrom=JULIET, stype="get")
    iq.enable("vcard_temp")
    return iq


async def test_a_message_in_the_name_of_a_user(town: Town) -> None:
    servant = await town.trusted()
    clients = [await town.client("juliet", "one"), await town.client("juliet", "two")]
    nurse = f"nurse@{TRUSTED}"
    said = speech(nurse, "Go thy ways, wench")
    servant.privileged.send_privileged_message(said)
    for client in clients:
        carbon = (await client.event("carbon_sent"))["carbon_sent"]
        assert (carbon["from"], carbon["to"], carbon["body"]) == (JULIET, nurse, said["body"])
    found = clients[0].client.plugin["xep_0313"].iterate(with_jid=nurse)
    kept = [one["mam_result"]["forwarded"]["stanza"]["body"] async for one in found]
    assert kept == ["Go thy ways, wench"]
    # It does not come back to the component, which knows.
    clients[0].write(nurse, "the first that it hears")
    assert (await servant.event("message"))["body"] == "the first that it hears"


async def test_a_message_to_another_user(town: Town) -> None:
    servant = await town.trusted()
    juliet, romeo = await town.client("juliet"), await town.client("romeo")
    said = speech("romeo@localhost", "My ears have not yet drunk")
    servant.privileged.send_privileged_message(said)
    heard = await romeo.event("message", lambda m: m["body"])
    assert (heard["from"], heard["body"]) == (JULIET, said["body"])
    await juliet.event("carbon_sent")


async def test_a_request_in_the_name_of_a_user(town: Town) -> None:
    servant, juliet = await town.trusted(), await town.client("juliet")
    card = juliet.client.plugin["xep_0054"].make_vcard()
    card["FN"] = "Juliet Capulet"
    await juliet.client.plugin["xep_0054"].publish_vcard(card, timeout=WAIT)
    answer = await servant.privileged.send_privileged_iq(question(JULIET))
    assert (answer["type"], answer["from"]) == ("result", JULIET)
    assert answer["vcard_temp"]["FN"] == "Juliet Capulet"
    # What the other side refuses is an error here, too.
    with pytest.raises(PrivilegedIqError) as refused:
        await servant.privileged.send_privileged_iq(question(f"nobody@{OTHER}"))
    assert refused.value.condition == "remote-server-timeout"


async def test_presence(town: Town) -> None:
    juliet = await town.client("juliet")
    servant = await town.trusted()
    known = await servant.event("presence")  # who was there before it
    assert (known["from"], known["to"]) == (f"{JULIET}/one", TRUSTED)
    romeo = await town.client("romeo")
    assert (await servant.event("presence"))["from"] == "romeo@localhost/one"
    juliet.client.send_presence(pshow="away", pstatus="at church")
    changed = await servant.event("presence")
    assert (changed["show"], changed["status"]) == ("away", "at church")
    # Subscriptions are nothing of its business.
    romeo.client.send_presence(pto=JULIET, ptype="subscribe")
    await juliet.event("presence_subscribe")
    await juliet.leave()
    gone = await servant.event("presence")
    assert (gone["from"], gone["type"]) == (f"{JULIET}/one", "unavailable")


def wrapped(payload: str, kind: str = "get", more: str = "", space: str = "jabber:client") -> str:
    """A request to be made in a user's name."""
    inner = f"<iq xmlns='{space}' type='{kind}' id='i' {more}>{payload}</iq>"
    return f"<privileged_iq xmlns='{PRIVILEGE}'>{inner}</privileged_iq>"


@pytest.mark.parametrize(
    ("domain", "kind", "to", "payload", "condition"),
    [
        pytest.param(OTHER, "get", JULIET, ROSTER, "forbidden", id="roster get, no grant"),
        pytest.param(OTHER, "set", JULIET, ITEM, "forbidden", id="roster set, no grant"),
        pytest.param(OTHER, "get", JULIET, wrapped(CARD), "forbidden", id="iq, no grant"),
        pytest.param(
            TRUSTED, "get", "nobody@localhost", ROSTER, "item-not-found", id="no such user"
        ),
        pytest.param(
            TRUSTED, "set", "nobody@localhost", ITEM, "item-not-found", id="set, no such user"
        ),
        pytest.param(
            TRUSTED, "get", "nobody@localhost", wrapped(CARD), "forbidden", id="iq, no such user"
        ),
        pytest.param(TRUSTED, "set", JULIET, wrapped(CARD, "set"), "forbidden", id="iq type"),
        pytest.param(
            TRUSTED, "get", JULIET, wrapped("<query xmlns='jabber:iq:last'/>"), "forbidden",
            id="iq namespace",
        ),
        pytest.param(
            TRUSTED, "set", JULIET, wrapped(CARD, "get"), "forbidden", id="iq types differ"
        ),
        pytest.param(
            TRUSTED, "get", JULIET, wrapped(CARD, more="from='romeo@localhost'"), "forbidden",
            id="iq from another user",
        ),
        pytest.param(
            TRUSTED, "get", JULIET, wrapped(CARD, more=f"from='{JULIET}/one'"), "forbidden",
            id="iq from a full JID",
        ),
        pytest.param(
            TRUSTED, "get", JULIET, wrapped(CARD, space="jabber:server"), "forbidden",
            id="iq of another namespace",
        ),
    ],
)  # fmt: skip
async def test_refused_requests(
    town: Town, domain: str, kind: str, to: str, payload: str, condition: str
) -> None:
    servant = await town.servant(domain)
    with pytest.raises(IqError) as refused:
        await servant.ask(kind, to, payload)
    assert refused.value.condition == condition


async def test_a_request_to_a_full_jid_is_the_clients(town: Town) -> None:
    """The server does nothing with it: it goes to the client, which does not know it."""
    servant, juliet = await town.trusted(), await town.client("juliet")
    for payload in (ROSTER, wrapped(CARD)):
        with pytest.raises(IqError) as refused:
            await servant.ask("get", str(juliet.client.boundjid), payload)
        assert refused.value.condition in {"feature-not-implemented", "service-unavailable"}


@pytest.mark.parametrize(
    ("domain", "sender"),
    [
        pytest.param(OTHER, JULIET, id="no grant"),
        pytest.param(TRUSTED, f"{JULIET}/one", id="a full JID"),
        pytest.param(TRUSTED, "juliet@elsewhere.example", id="a user of another server"),
        pytest.param(TRUSTED, "nobody@localhost", id="no such user"),
        pytest.param(TRUSTED, "localhost", id="the server itself"),
    ],
)
async def test_refused_messages(town: Town, domain: str, sender: str) -> None:
    servant, romeo = await town.servant(domain), await town.client("romeo")
    inner = f"<message xmlns='jabber:client' from='{sender}' to='romeo@localhost' type='chat'>"
    servant.say(
        "localhost",
        f"<privilege xmlns='{PRIVILEGE}'><forwarded xmlns='urn:xmpp:forward:0'>{inner}"
        "<body>I am not who I am</body></message></forwarded></privilege>",
    )
    assert (await servant.event("message_error"))["error"]["condition"] == "forbidden"
    await romeo.settled()
    assert romeo.seen("message") == []
