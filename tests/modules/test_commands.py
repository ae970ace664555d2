"""XEP-0050: discovery, stages, every error, and the administration commands' face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import pytest
import pytest_asyncio

from jabberd.core.adhoc import AdHoc, AdHocDone, AdHocForm, Answers
from jabberd.core.command import Command, CommandError, CommandRegistry, Doc, Result, Table
from jabberd.core.module import Module
from jabberd.modules import commands, disco
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import forms
from tests.modules.host import RecordingSession, World

NS = "http://jabber.org/protocol/commands"
INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"
DATA = "jabber:x:data"
SERVICE = forms.form(
    [forms.Field("service", "list-single", options=[("httpd", ""), ("jabberd", "")], required=True)]
)
STATE = forms.form([forms.Field("state", "list-single", options=[("on", ""), ("off", "")])])


async def _list(_asker: JID, _given: Sequence[Answers]) -> AdHocDone:
    return AdHocDone(payload=[forms.table(["service"], [["httpd"]])])


async def _configure(_asker: JID, given: Sequence[Answers]) -> AdHocForm | AdHocDone:
    """The example of §2.4.2: two stages."""
    if not given:
        return AdHocForm(SERVICE, last=False)
    if len(given) == 1:
        return AdHocForm(STATE)
    state = given[1].get("state", ("?",))[0]
    if state == "off":
        raise forms.FormError("it cannot be switched off")
    return AdHocDone(f"Service '{given[0]['service'][0]}' is {state}.")


async def _broken(_asker: JID, _given: Sequence[Answers]) -> AdHocDone:
    raise StanzaError(Condition.CONFLICT, "no")


async def _endless(_asker: JID, _given: Sequence[Answers]) -> AdHocDone:
    await asyncio.Event().wait()
    return AdHocDone()


def _everybody(_jid: JID) -> bool:
    return True


def _only_bob(jid: JID) -> bool:
    return jid.local == "bob"


ADHOC = [
    AdHoc("list", "List Services", _everybody, _list),
    AdHoc("config", "Configure Service", _everybody, _configure),
    AdHoc("reset", "Reset", _only_bob, _list),
    AdHoc("broken", "Broken", _everybody, _broken),
    AdHoc("endless", "Endless", _everybody, _endless),
]


def _open(world: World, options: commands.Options) -> World:
    world.load("commands", commands.load(world.host, options))
    world.load("disco", disco.load(world.host, disco.Options()))
    world.load("service", Module(adhoc=ADHOC))
    return world


@pytest.fixture
def house(world: World) -> World:
    return _open(world, commands.Options(keep_seconds=60, run_seconds=0.01, max_open_per_account=2))


@pytest_asyncio.fixture
async def alice(house: World) -> RecordingSession:
    return await house.login("alice/desk")


async def _disco(world: World, session: RecordingSession, ns: str, node: str = "") -> Element:
    attr = f" node='{node}'" if node else ""
    await world.says(
        session, f"<iq type='get' id='1' to='example.com'><query xmlns='{ns}'{attr}/></iq>"
    )
    (text,) = session.take()
    return next(iter(parse(text.encode())))


async def _send(world: World, session: RecordingSession, attrs: str, inner: str = "") -> Element:
    """Send a command; its answer, or the error element."""
    await world.says(
        session,
        f"<iq type='set' id='1' to='example.com'>"
        f"<command xmlns='{NS}' {attrs}>{inner}</command></iq>",
    )
    (text,) = session.take()
    return next(iter(parse(text.encode())))


def _submit(**fields: str) -> str:
    values = "".join(f"<field var='{k}'><value>{v}</value></field>" for k, v in fields.items())
    return f"<x xmlns='{DATA}' type='submit'>{values}</x>"


def _error(error: Element) -> str:
    """Type, condition and specific condition of §4.4."""
    assert error.name == "error", error
    conditions = [child.name for child in error if child.name != "text"]
    return " ".join([error.get("type"), *conditions])


def _stage(answer: Element) -> tuple[str, str, list[str]]:
    """Status, what execute means, and what is allowed."""
    assert answer.name == "command", answer
    actions = answer.find(NS, "actions")
    if actions is None:
        return answer.get("status"), "", []
    return answer.get("status"), actions.get("execute"), [child.name for child in actions]


# Discovery


@pytest.mark.asyncio
async def test_support(house: World, alice: RecordingSession) -> None:
    query = await _disco(house, alice, INFO)
    features = {feature.get("var") for feature in query.find_all(INFO, "feature")}
    assert {NS, DATA} <= features


@pytest.mark.asyncio
async def test_the_list_of_commands(house: World, alice: RecordingSession) -> None:
    query = await _disco(house, alice, INFO, NS)
    (identity,) = query.find_all(INFO, "identity")
    assert identity.attrs == {"category": "automation", "type": "command-list"}
    query = await _disco(house, alice, ITEMS, NS)
    assert query.get("node") == NS
    assert [(item.get("jid"), item.get("node"), item.get("name")) for item in query] == [
        ("example.com", "list", "List Services"),
        ("example.com", "config", "Configure Service"),
        ("example.com", "broken", "Broken"),
        ("example.com", "endless", "Endless"),
    ]
    bob = await house.login("bob/home")
    assert "reset" in [item.get("node") for item in await _disco(house, bob, ITEMS, NS)]


@pytest.mark.asyncio
async def test_information_on_a_command(house: World, alice: RecordingSession) -> None:
    query = await _disco(house, alice, INFO, "config")
    assert query.to_bytes().decode() == (
        f"<query xmlns='{INFO}' node='config'>"
        "<identity category='automation' type='command-node' name='Configure Service'/>"
        f"<feature var='{NS}'/><feature var='{INFO}'/><feature var='{DATA}'/></query>"
    )
    assert await _disco(house, alice, ITEMS, "config") == Element(
        ITEMS, "query", {"node": "config"}
    )
    assert _error(await _disco(house, alice, INFO, "reset")) == "cancel forbidden"
    assert _error(await _disco(house, alice, INFO, "nothing")) == "cancel item-not-found"


# Execution


@pytest.mark.asyncio
@pytest.mark.parametrize("action", ["", " action='execute'"])
async def test_simple_execution(house: World, alice: RecordingSession, action: str) -> None:
    answer = await _send(house, alice, f"node='list'{action}")
    assert _stage(answer) == ("completed", "", [])
    assert answer.get("node") == "list"
    assert answer.get("sessionid")
    assert answer.get("http://www.w3.org/XML/1998/namespace lang") == "en"
    assert [child.get("type") for child in answer.find_all(DATA, "x")] == ["result"]


@pytest.mark.asyncio
async def test_several_stages(house: World, alice: RecordingSession) -> None:
    first = await _send(house, alice, "node='config' action='execute'")
    assert _stage(first) == ("executing", "next", ["next"])
    assert first.find(DATA, "x") == SERVICE
    session = f"node='config' sessionid='{first.get('sessionid')}'"
    second = await _send(house, alice, session, _submit(service="httpd"))
    assert _stage(second) == ("executing", "complete", ["prev", "complete"])
    assert second.find(DATA, "x") == STATE
    assert second.get("sessionid") == first.get("sessionid")
    third = await _send(house, alice, session, _submit(state="on"))
    assert _stage(third) == ("completed", "", [])
    (note,) = third.find_all(NS, "note")
    assert (note.get("type"), note.text) == ("info", "Service 'httpd' is on.")


@pytest.mark.asyncio
async def test_named_actions_and_going_back(house: World, alice: RecordingSession) -> None:
    first = await _send(house, alice, "node='config'")
    session = f"node='config' sessionid='{first.get('sessionid')}'"
    await _send(house, alice, f"{session} action='next'", _submit(service="httpd"))
    back = await _send(house, alice, f"{session} action='prev'")
    assert _stage(back) == ("executing", "next", ["next"])
    assert back.find(DATA, "x") == SERVICE
    await _send(house, alice, f"{session} action='next'", _submit(service="jabberd"))
    done = await _send(house, alice, f"{session} action='complete'", _submit(state="on"))
    (note,) = done.find_all(NS, "note")
    assert note.text == "Service 'jabberd' is on."


@pytest.mark.asyncio
async def test_cancel(house: World, alice: RecordingSession) -> None:
    first = await _send(house, alice, "node='config'")
    session = f"node='config' sessionid='{first.get('sessionid')}'"
    assert _stage(await _send(house, alice, f"{session} action='cancel'")) == ("canceled", "", [])
    assert _error(await _send(house, alice, session)) == "cancel not-allowed session-expired"


@pytest.mark.asyncio
async def test_a_form_of_type_cancel_is_a_submission(house: World, alice: RecordingSession) -> None:
    first = await _send(house, alice, "node='config'")
    session = f"node='config' sessionid='{first.get('sessionid')}'"
    form = _submit(service="httpd").replace("'submit'", "'cancel'")
    assert _stage(await _send(house, alice, session, form))[0] == "executing"


# Errors


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("attrs", "error"),
    [
        ("", "modify bad-request"),
        ("node='nothing'", "cancel item-not-found"),
        ("node='reset'", "cancel forbidden"),
        ("node='list' action='jump'", "modify bad-request malformed-action"),
        ("node='config' action='next'", "modify bad-request bad-action"),
        ("node='config' action='prev'", "modify bad-request bad-action"),
        ("node='config' action='complete'", "modify bad-request bad-action"),
        ("node='config' action='cancel'", "modify bad-request bad-action"),
        ("node='list' xml:lang='fr-ca'", "modify bad-request bad-locale"),
        ("node='list' sessionid=''", "modify bad-request bad-sessionid"),
        ("node='list' sessionid='mine'", "modify bad-request bad-sessionid"),
        ("node='list' sessionid='mine.é'", "modify bad-request bad-sessionid"),
        ("node='broken'", "cancel conflict"),
    ],
)
async def test_errors(house: World, alice: RecordingSession, attrs: str, error: str) -> None:
    assert _error(await _send(house, alice, attrs)) == error


@pytest.mark.asyncio
async def test_english_and_the_language_of_the_stream_are_fine(
    house: World, alice: RecordingSession
) -> None:
    assert _stage(await _send(house, alice, "node='list' xml:lang='en-US'"))[0] == "completed"
    await house.says(
        alice,
        "<iq type='set' id='1' to='example.com' xml:lang='de'>"
        f"<command xmlns='{NS}' node='list'/></iq>",
    )
    (text,) = alice.take()
    assert "status='completed'" in text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("attrs", "inner", "error"),
    [
        ("action='prev'", "", "modify bad-request bad-action"),
        ("action='complete'", _submit(service="httpd"), "modify bad-request bad-action"),
        ("", "", "modify bad-request bad-payload"),
        ("", _submit(), "modify bad-request bad-payload"),
        ("", _submit(service="smtpd"), "modify bad-request bad-payload"),
        ("", f"<x xmlns='{DATA}' type='result'/>", "modify bad-request bad-payload"),
    ],
)
async def test_whoever_made_a_mistake_may_try_again(
    house: World, alice: RecordingSession, attrs: str, inner: str, error: str
) -> None:
    first = await _send(house, alice, "node='config'")
    session = f"node='config' sessionid='{first.get('sessionid')}'"
    assert _error(await _send(house, alice, f"{session} {attrs}", inner)) == error
    answer = await _send(house, alice, session, _submit(service="httpd"))
    assert _stage(answer) == ("executing", "complete", ["prev", "complete"])


@pytest.mark.asyncio
async def test_answers_that_the_command_does_not_take(
    house: World, alice: RecordingSession
) -> None:
    first = await _send(house, alice, "node='config'")
    session = f"node='config' sessionid='{first.get('sessionid')}'"
    await _send(house, alice, session, _submit(service="httpd"))
    refused = await _send(house, alice, session, _submit(state="off"))
    assert _error(refused) == "modify bad-request bad-payload"
    assert "it cannot be switched off" in refused.to_bytes().decode()
    refused = await _send(house, alice, f"{session} action='next'", _submit(state="on"))
    assert _error(refused) == "modify bad-request bad-action"
    assert _stage(await _send(house, alice, session, _submit(state="on")))[0] == "completed"


@pytest.mark.asyncio
async def test_a_session_belongs_to_one_requester_and_one_command(
    house: World, alice: RecordingSession
) -> None:
    first = await _send(house, alice, "node='config'")
    sessionid = first.get("sessionid")
    phone, bob = await house.login("alice/phone"), await house.login("bob/home")
    for session, node in ((phone, "config"), (bob, "config"), (alice, "list")):
        answer = await _send(house, session, f"node='{node}' sessionid='{sessionid}'")
        assert _error(answer) == "modify bad-request bad-sessionid"


@pytest.mark.asyncio
async def test_a_completed_session_is_expired(house: World, alice: RecordingSession) -> None:
    done = await _send(house, alice, "node='list'")
    again = await _send(house, alice, f"node='list' sessionid='{done.get('sessionid')}'")
    assert _error(again) == "cancel not-allowed session-expired"


@pytest.mark.asyncio
async def test_sessions_time_out(house: World, alice: RecordingSession) -> None:
    first = await _send(house, alice, "node='config'")
    session = f"node='config' sessionid='{first.get('sessionid')}'"
    house.clock.pass_(59)
    await _send(house, alice, session, _submit(service="httpd"))
    house.clock.pass_(59)  # each stage has its own time
    assert _stage(await _send(house, alice, f"{session} action='prev'"))[0] == "executing"
    house.clock.pass_(60)
    answer = await _send(house, alice, session, _submit(service="httpd"))
    assert _error(answer) == "cancel not-allowed session-expired"


@pytest.mark.asyncio
async def test_sessions_end_with_the_client(house: World, alice: RecordingSession) -> None:
    first = await _send(house, alice, "node='config'")
    await house.leaves(alice)
    alice = await house.login("alice/desk")
    answer = await _send(house, alice, f"node='config' sessionid='{first.get('sessionid')}'")
    assert _error(answer) == "cancel not-allowed session-expired"


@pytest.mark.asyncio
async def test_open_commands_are_bounded_per_person(house: World, alice: RecordingSession) -> None:
    phone = await house.login("alice/phone")
    first = await _send(house, alice, "node='config'")
    await _send(house, phone, "node='config'")
    assert _error(await _send(house, alice, "node='config'")) == "cancel not-allowed"
    assert _stage(await _send(house, alice, "node='list'"))[0] == "completed"
    bob = await house.login("bob/home")
    assert _stage(await _send(house, bob, "node='config'"))[0] == "executing"
    await _send(house, alice, f"node='config' sessionid='{first.get('sessionid')}' action='cancel'")
    assert _stage(await _send(house, alice, "node='config'"))[0] == "executing"


@pytest.mark.asyncio
async def test_open_commands_are_bounded_in_all(world: World) -> None:
    _open(world, commands.Options(max_open=1))
    alice, bob = await world.login("alice/desk"), await world.login("bob/home")
    await _send(world, alice, "node='config'")
    assert _error(await _send(world, bob, "node='config'")) == "wait resource-constraint"
    world.clock.pass_(600)
    assert _stage(await _send(world, bob, "node='config'"))[0] == "executing"


@pytest.mark.asyncio
async def test_commands_that_hang_are_given_up(house: World, alice: RecordingSession) -> None:
    answer = await _send(house, alice, "node='endless'")
    assert _stage(answer) == ("completed", "", [])
    assert [note.get("type") for note in answer.find_all(NS, "note")] == ["error"]


# The administration commands


class Users:
    """Commands with every kind of parameter and every kind of result."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    async def add(
        self,
        account: Annotated[str, Doc("the account")],
        *,
        password: Annotated[str, Doc("the password", secret=True)],
        quota: Annotated[int, Doc("the quota")] = 10,
        share: Annotated[float, Doc("the share")] = 0.5,
        note: Annotated[str | None, Doc("a note")] = None,
        admin: Annotated[bool, Doc("rights")] = False,
    ) -> Result:
        """Add an account.

        With more words
        about it.
        """
        self.calls.append((account, password, quota, share, note, admin))
        if account == "taken":
            raise CommandError("there is one already")
        return f"{account} was added."

    async def list(self) -> Result:
        """List accounts."""
        return Table(("name", "age", "active"), [("a", 1, True), ("b", None, False)])

    async def follow(self) -> Result:
        """Follow."""

        async def lines() -> AsyncIterator[str]:
            yield "line"

        return lines()


class Admin:
    """A host whose only administrator is bob."""

    def __init__(self, world: World) -> None:
        self.world = _open(world, commands.Options(admins=("Bob@example.com",)))
        self.users = Users()
        world.host.registry.ports[CommandRegistry] = CommandRegistry(
            [
                Command(("user", "add"), self.users.add),
                Command(("user", "list"), self.users.list),
                Command(("follow",), self.users.follow),
            ]
        )


@pytest.fixture
def admin(world: World) -> Admin:
    return Admin(world)


@pytest.mark.asyncio
async def test_only_admins_see_and_run_them(admin: Admin) -> None:
    alice, bob = await admin.world.login("alice/desk"), await admin.world.login("bob/home")
    seen = [item.get("node") for item in await _disco(admin.world, alice, ITEMS, NS)]
    assert not [node for node in seen if node.startswith("admin/")]
    assert _error(await _send(admin.world, alice, "node='admin/user/add'")) == "cancel forbidden"
    shown = {
        item.get("node"): item.get("name") for item in await _disco(admin.world, bob, ITEMS, NS)
    }
    assert shown["admin/user/add"] == "Add an account."
    assert shown["admin/follow"] == "Follow."


@pytest.mark.asyncio
async def test_parameters_become_a_form(admin: Admin) -> None:
    bob = await admin.world.login("bob/home")
    answer = await _send(admin.world, bob, "node='admin/user/add'")
    assert _stage(answer) == ("executing", "complete", ["complete"])
    form = answer.find(DATA, "x")
    assert form is not None
    assert form.to_bytes().decode() == (
        f"<x xmlns='{DATA}' type='form'><title>user add</title>"
        "<instructions>Add an account. With more words about it.</instructions>"
        "<field var='account' type='text-single' label='the account'><required/></field>"
        "<field var='password' type='text-private' label='the password'><required/></field>"
        "<field var='quota' type='text-single' label='the quota'><value>10</value></field>"
        "<field var='share' type='text-single' label='the share'><value>0.5</value></field>"
        "<field var='note' type='text-single' label='a note'/>"
        "<field var='admin' type='boolean' label='rights'><value>false</value></field></x>"
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "call"),
    [
        ({}, ("carol", "pw", 10, 0.5, None, False)),
        (
            {"quota": "7", "share": "1", "note": "x", "admin": "1"},
            ("carol", "pw", 7, 1.0, "x", True),
        ),
        ({"quota": "", "note": "", "admin": "false"}, ("carol", "pw", 10, 0.5, None, False)),
    ],
)
async def test_answers_become_arguments(
    admin: Admin, given: dict[str, str], call: tuple[object, ...]
) -> None:
    bob = await admin.world.login("bob/home")
    first = await _send(admin.world, bob, "node='admin/user/add'")
    session = f"node='admin/user/add' sessionid='{first.get('sessionid')}'"
    done = await _send(admin.world, bob, session, _submit(account="carol", password="pw", **given))
    assert admin.users.calls == [call]
    (note,) = done.find_all(NS, "note")
    assert (note.get("type"), note.text) == ("info", "carol was added.")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "given",
    [
        {"account": "carol"},
        {"account": "carol", "password": "pw", "quota": "many"},
        {"account": "carol", "password": "pw", "quota": "9" * 5000},
        {"account": "carol", "password": "pw", "share": "half"},
        {"account": "carol", "password": "pw", "admin": "yes"},
    ],
)
async def test_answers_that_are_no_arguments(admin: Admin, given: dict[str, str]) -> None:
    bob = await admin.world.login("bob/home")
    first = await _send(admin.world, bob, "node='admin/user/add'")
    session = f"node='admin/user/add' sessionid='{first.get('sessionid')}'"
    answer = await _send(admin.world, bob, session, _submit(**given))
    assert _error(answer) == "modify bad-request bad-payload"
    assert admin.users.calls == []


@pytest.mark.asyncio
async def test_a_failed_command_has_an_error_note(admin: Admin) -> None:
    bob = await admin.world.login("bob/home")
    first = await _send(admin.world, bob, "node='admin/user/add'")
    session = f"node='admin/user/add' sessionid='{first.get('sessionid')}'"
    done = await _send(admin.world, bob, session, _submit(account="taken", password="pw"))
    assert done.get("status") == "completed"
    (note,) = done.find_all(NS, "note")
    assert (note.get("type"), note.text) == ("error", "there is one already")


@pytest.mark.asyncio
async def test_tables(admin: Admin) -> None:
    bob = await admin.world.login("bob/home")
    done = await _send(admin.world, bob, "node='admin/user/list'")
    form = done.find(DATA, "x")
    assert form is not None
    rows = [
        [field.child_text(DATA, "value") for field in item] for item in form.find_all(DATA, "item")
    ]
    assert rows == [["a", "1", "True"], ["b", "", "False"]]


@pytest.mark.asyncio
async def test_what_never_ends_is_for_the_command_line(admin: Admin) -> None:
    bob = await admin.world.login("bob/home")
    done = await _send(admin.world, bob, "node='admin/follow'")
    (note,) = done.find_all(NS, "note")
    assert note.get("type") == "error"


@pytest.mark.asyncio
async def test_a_host_without_administration_commands(world: World) -> None:
    _open(world, commands.Options(admins=("bob@example.com",)))
    bob = await world.login("bob/home")
    assert len(list(await _disco(world, bob, ITEMS, NS))) == len(ADHOC)


@pytest.mark.parametrize("admin", ["", "example.com", "bob@example.com/home", "@example.com"])
def test_admins_are_addresses_of_accounts(admin: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        commands.Options(admins=(admin,))
