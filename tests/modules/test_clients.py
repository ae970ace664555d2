"""XEP-0494: the list, and taking access away."""

from __future__ import annotations

import re

import pytest
import pytest_asyncio

from jabberd.core.clients import ClientService
from jabberd.core.ports import ClientsApi
from jabberd.core.session import CLIENT_ID
from jabberd.core.tokens import Vault
from jabberd.modules import clients
from jabberd.xmpp.error import StreamCondition
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.keys import ScramKeys
from jabberd.xmpp.stream.authenticate import UserAgent
from jabberd.xmpp.stream.events import InlineWanted
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
ALICE = JID.parse("alice@example.com")
PHONE = "d4565fa7-4d72-4749-b3d3-740edbf87770"
TABLET = "a9cfc1a8-9f10-4b7d-a6b7-8d7d8c7c6f4e"
KEYS = (ScramKeys("sha256", b"salt", 4096, b"", b""),)
NONE = "HT-SHA-256-NONE"


class House:
    """A host with the module, and the clients behind it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clients = ClientService(
            world.stores, world.sessions, Vault(bytes(32)), now=world.clock
        )
        world.host.registry.ports[ClientsApi] = self.clients
        world.load("clients", clients.load(world.host, clients.Options()))

    async def signs_in(
        self, client: str, how: str = "PLAIN", *, ask: str = "", software: str = "Gajim"
    ) -> None:
        agent = UserAgent(client, software, "Juliet's laptop")
        wanted = InlineWanted(ALICE, how, agent, token_request=ask)
        await self.clients.logged_in(wanted, KEYS)

    async def only_a_token(self, client: str) -> None:
        """A client that has a token, and has never shown the password."""
        await self.signs_in(client, "EXTERNAL", ask=NONE)
        account = await self.world.stores.accounts.get(ALICE.text)
        assert account is not None
        (token,) = await self.clients.tokens(account, client)
        wanted = InlineWanted(ALICE, NONE, UserAgent(client), token=token)
        await self.clients.logged_in(wanted, KEYS)
        values = self.world.stores.keyvalue
        row = await values.get(ALICE.text, "clients", client)
        assert row is not None
        row = row.replace(b'"certificate": true', b'"certificate": false')
        await values.put(ALICE.text, "clients", client, row)

    async def says(self, session: RecordingSession, kind: str, inner: str, to: str = "") -> str:
        address = f" to='{to}'" if to else ""
        await self.world.says(session, f"<iq type='{kind}' id='1'{address}>{inner}</iq>")
        (text,) = session.take()
        return text


@pytest_asyncio.fixture
async def house(world: World) -> House:
    house = House(world)
    await world.stores.accounts.set_keys(ALICE.text, KEYS)
    return house


LIST = "<list xmlns='urn:xmpp:cam:0'/>"


def revoke(name: str) -> str:
    return f"<revoke xmlns='urn:xmpp:cam:0' id='{name}'/>"


def ids(answer: str) -> list[str]:
    return re.findall(r" id='([^']{16})'", answer)


async def test_the_list(house: House) -> None:
    await house.signs_in(PHONE, ask=NONE)
    house.world.clock.pass_(3600)
    alice = await house.world.login("alice/desk")
    answer = await house.says(alice, "get", LIST)
    desk, phone = ids(answer)
    # As in the first example of §3.1, in its order.
    assert answer == (
        "<iq to='alice@example.com/desk' type='result' id='1'><clients xmlns='urn:xmpp:cam:0'>"
        f"<client connected='true' id='{desk}' type='session'>"
        "<first-seen>2023-11-14T23:13:20.000Z</first-seen>"
        "<last-seen>2023-11-14T23:13:20.000Z</last-seen>"
        "<auth><password/></auth><permission status='unrestricted'/></client>"
        f"<client connected='false' id='{phone}' type='session'>"
        "<first-seen>2023-11-14T22:13:20.000Z</first-seen>"
        "<last-seen>2023-11-14T22:13:20.000Z</last-seen>"
        "<auth><password/><fast/></auth><permission status='unrestricted'/>"
        "<user-agent><software>Gajim</software><device>Juliet's laptop</device></user-agent>"
        "</client></clients></iq>"
    )


async def test_the_list_is_the_owners(house: House) -> None:
    await house.signs_in(PHONE)
    bob = await house.world.login("bob/home")
    assert len(ids(await house.says(bob, "get", LIST))) == 1  # his own
    answer = await house.says(bob, "get", LIST, "alice@example.com")
    assert "<service-unavailable" in answer
    alice = await house.world.login("alice/desk")
    assert len(ids(await house.says(alice, "get", LIST, "alice@example.com"))) == 2
    await house.world.arrives(
        "<iq type='get' id='x' from='eve@elsewhere.example/x' to='alice@example.com'>"
        "<list xmlns='urn:xmpp:cam:0'/></iq>"
    )
    assert alice.take() == []


async def test_a_client_without_the_password_is_revoked(house: House) -> None:
    await house.only_a_token(PHONE)
    phone = await house.world.login("alice/phone")
    phone.set(CLIENT_ID, PHONE)
    alice = await house.world.login("alice/desk")
    names = {n: "<fast/>" in part for n, part in parts(await house.says(alice, "get", LIST))}
    (name,) = [n for n, has_token in names.items() if has_token]
    answer = await house.says(alice, "set", revoke(name))
    assert answer == "<iq to='alice@example.com/desk' type='result' id='1'/>"
    assert phone.error is not None
    assert phone.error.condition is StreamCondition.NOT_AUTHORIZED
    assert not alice.ended
    account = await house.world.stores.accounts.get(ALICE.text)
    assert account is not None
    assert await house.clients.tokens(account, PHONE) == ()


def parts(answer: str) -> list[tuple[str, str]]:
    return [(ids(part)[0], part) for part in answer.split("<client ")[1:]]


async def test_who_revokes_itself_gets_the_result_first(house: House) -> None:
    await house.only_a_token(PHONE)
    phone = await house.world.login("alice/phone")
    phone.set(CLIENT_ID, PHONE)
    (name,) = ids(await house.says(phone, "get", LIST))
    assert "type='result'" in await house.says(phone, "set", revoke(name))
    assert phone.ended


async def test_a_client_that_knows_the_password_is_not(house: House) -> None:
    await house.signs_in(PHONE, ask=NONE)
    phone = await house.world.login("alice/phone")
    phone.set(CLIENT_ID, PHONE)
    (name,) = ids(await house.says(phone, "get", LIST))
    answer = await house.says(phone, "set", revoke(name))
    # The last example of §3.2.
    assert "<error type='cancel'" in answer
    assert "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" in answer
    assert "<password-reset-required xmlns='urn:xmpp:cam:0'/>" in answer
    assert not phone.ended
    account = await house.world.stores.accounts.get(ALICE.text)
    assert account is not None
    assert len(await house.clients.tokens(account, PHONE)) == 1


async def test_a_certificate_is_not_ours_to_revoke(house: House) -> None:
    await house.signs_in(TABLET, "EXTERNAL")
    alice = await house.world.login("alice/desk")
    names = dict(parts(await house.says(alice, "get", LIST)))
    (name,) = [n for n, part in names.items() if "<auth/>" in part]
    answer = await house.says(alice, "set", revoke(name))
    assert "<service-unavailable" in answer
    assert "password-reset-required" not in answer


@pytest.mark.parametrize(("name", "condition"), [("nobody", "item-not-found"), ("", "bad-request")])
async def test_who_is_not_there(house: House, name: str, condition: str) -> None:
    alice = await house.world.login("alice/desk")
    assert f"<{condition}" in await house.says(alice, "set", revoke(name))


async def test_somebody_elses_client_is_not_there(house: House) -> None:
    await house.only_a_token(PHONE)
    alice, bob = await house.world.login("alice/desk"), await house.world.login("bob/home")
    for name in ids(await house.says(alice, "get", LIST)):
        assert "<item-not-found" in await house.says(bob, "set", revoke(name))
        refused = await house.says(bob, "set", revoke(name), "alice@example.com")
        assert "<service-unavailable" in refused
    assert len(await house.clients.list(ALICE)) == 2


async def test_the_end_of_a_session_is_remembered(house: House) -> None:
    await house.signs_in(PHONE)
    phone = await house.world.login("alice/phone")
    phone.set(CLIENT_ID, PHONE)
    house.world.clock.pass_(86_400)
    await house.world.leaves(phone)
    (client,) = await house.clients.list(ALICE)
    assert (client.last_seen, client.connected) == (house.world.clock(), False)


async def test_how_it_is_discovered(world: World) -> None:
    module = clients.load(world.host, clients.Options())
    assert (module.features, module.account_features) == (["urn:xmpp:cam:0"], ["urn:xmpp:cam:0"])
