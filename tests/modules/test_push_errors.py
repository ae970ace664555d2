"""XEP-0357: restarts, errors, services that give up, and who looks after all that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from jabberd.core.accounts import AccountService
from jabberd.core.admin import all_commands
from jabberd.core.command import CommandError, CommandRegistry, Table
from jabberd.core.derive import Deriver
from jabberd.core.module import AccountEvent
from jabberd.core.ports import PushApi
from jabberd.core.verdict import Handled
from jabberd.modules import push
from jabberd.modules.push import backlog
from jabberd.storage.api import Account, StorageError
from jabberd.xmpp.error import Condition, ErrorType, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message, read_stanza
from tests.modules.host import START
from tests.modules.push_town import ENABLE, JULIET, NODE, ROMEO, SERVICE, USER, Phone, Town

pytestmark = pytest.mark.asyncio


# After a restart


async def test_the_first_message_after_a_restart(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    again = await town.again()
    again.world.sessions.add(phone)
    stanza = read_stanza(f"<message from='{JULIET}' to='{USER}'>{ROMEO}</message>".encode())
    for _ in range(3):  # while the registrations are being read
        again.world.host.undelivered(phone, stanza)
    await again.world.quiet()
    assert again.service.take() == [(NODE, 3)]


async def test_many_at_once_are_looked_at_in_turn(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = await town.enabled()
    await town.world.leaves(phone)
    again = await town.again()
    get = again.world.stores.keyvalue.get
    reading: list[str] = []

    async def one_by_one(owner: str, space: str, key: str) -> bytes | None:
        assert reading == []
        reading.append(owner)
        await asyncio.sleep(0)
        reading.clear()
        if owner.startswith("broken"):
            raise StorageError("it is broken")
        return await get(owner, space, key)

    monkeypatch.setattr(again.world.stores.keyvalue, "get", one_by_one)
    text = f"<message from='{JULIET}' to='x@example.com' type='chat'>{ROMEO}</message>"
    message = read_stanza(text.encode())
    assert isinstance(message, Message)
    with capture_logs() as logs:
        for name in ("broken1", "nobody", "broken2", "user"):
            again.world.host._waiting(JID.parse(f"{name}@example.com"), message)
        await again.world.quiet()
    assert [line["event"] for line in logs] == ["storage failed", "storage failed"]
    assert again.service.take() == [(NODE, 1)]
    # Who was not told for that reason is told the next time.
    again.world.host._waiting(JID.parse(USER), message)
    await again.later(30)
    assert again.service.take() == [(NODE, 2)]


async def test_too_many_at_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "_MOST", 1)
    await town.world.leaves(await town.enabled())
    again = await town.again()
    text = f"<message from='{JULIET}' to='{USER}' type='chat'>{ROMEO}</message>"
    message = read_stanza(text.encode())
    assert isinstance(message, Message)
    with capture_logs() as logs:
        again.world.host._waiting(JID.parse("first@example.com"), message)
        again.world.host._waiting(JID.parse(USER), message)
        await again.world.quiet()
    assert [line["event"] for line in logs] == ["too much waits: somebody is not notified"]
    assert again.service.take() == []
    again.world.host._waiting(JID.parse(USER), message)
    await again.world.quiet()
    assert again.service.take() == [(NODE, 2)]


async def test_what_cannot_be_read_is_no_registration(town: Town) -> None:
    await town.world.stores.keyvalue.put(USER, "push", "registrations", b'[{"node": 1}]')
    assert await town.push.devices(JID.parse(USER)) == []


# What goes wrong (§7.1)


@pytest.mark.parametrize(
    "error",
    [
        StanzaError(Condition.ITEM_NOT_FOUND),
        StanzaError(Condition.GONE),
        StanzaError(Condition.FORBIDDEN, "not yours"),
        StanzaError(Condition.CONFLICT),
        StanzaError(Condition.NOT_ACCEPTABLE),
    ],
)
async def test_what_is_for_ever_counts_at_once(town: Town, error: StanzaError) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    town.service.errors = [error]
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]
    device = await town.only()
    assert (device.error, device.failures) == (str(error), 1)
    assert (device.failed_at, device.off_at) == (START, START)
    # It is kept, and told nothing.
    await town.misses(phone)
    await town.later(86_399)
    await town.misses(phone)
    assert town.service.take() == []
    assert (await (await town.again()).only()).error == str(error)
    # After a day it is tried again, and all is well.
    await town.later(1)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 4)]
    device = await town.only()
    assert (device.error, device.failures, device.failed_at, device.off_at) == ("", 0, None, None)
    assert (device.sent, device.sent_at) == (1, START + 86_400)


@pytest.mark.parametrize(
    "error",
    [
        StanzaError(Condition.REMOTE_SERVER_TIMEOUT),
        StanzaError(Condition.REMOTE_SERVER_NOT_FOUND),
        StanzaError(Condition.SERVICE_UNAVAILABLE),
        StanzaError(Condition.INTERNAL_SERVER_ERROR),
        StanzaError(Condition.RESOURCE_CONSTRAINT),
        StanzaError(Condition.UNDEFINED_CONDITION, "try later", ErrorType.WAIT),
    ],
)
async def test_what_may_pass_is_tried_again(town: Town, error: StanzaError) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    town.service.errors = [error, error]
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]
    device = await town.only()
    assert (device.error, device.failures, device.off_at) == (str(error), 1, None)
    await town.later(59)
    assert town.service.take() == []
    await town.later(1)
    assert town.service.take() == [(NODE, 1)]
    # A pause that doubles; new messages do not make it shorter.
    await town.misses(phone)
    await town.later(119)
    assert town.service.take() == []
    await town.later(1)
    assert town.service.take() == [(NODE, 2)]
    device = await town.only()
    assert (device.error, device.failures, device.sent) == ("", 0, 1)
    await town.later(10_000)
    assert town.service.take() == []


async def test_so_many_times_and_no_more() -> None:
    town = Town(push.Options(failures=3))
    await town.world.account("user")
    phone = await town.enabled()
    await town.sleeps(phone)
    town.service.errors = [StanzaError(Condition.SERVICE_UNAVAILABLE)] * 3
    await town.misses(phone)
    for _ in range(5):
        await town.later(3600)
    assert town.service.take() == [(NODE, 1)] * 3
    device = await town.only()
    assert (device.failures, device.off_at) == (3, START + 7200)


async def test_nothing_is_tried_again_for_who_is_here(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    town.service.errors = [StanzaError(Condition.SERVICE_UNAVAILABLE)]
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1)]
    await town.resumes(phone)
    await town.later(1000)
    assert town.service.take() == []


async def test_to_ask_again_begins_anew(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    town.service.errors = [StanzaError(Condition.ITEM_NOT_FOUND)]
    await town.misses(phone)
    await town.resumes(phone)
    await town.asks(phone, ENABLE)
    device = await town.only()
    assert (device.error, device.failures, device.off_at) == ("", 0, None)
    await town.sleeps(phone)
    await town.misses(phone)
    assert town.service.take() == [(NODE, 1), (NODE, 1)]


async def test_no_service_at_all(town: Town) -> None:
    phone = await town.enabled(service="nowhere.example")
    await town.sleeps(phone)
    await town.misses(phone)
    device = await town.only()
    assert device.error.startswith("remote-server-not-found")
    assert device.off_at is None


async def test_a_long_error_is_cut(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    town.service.errors = [StanzaError(Condition.GONE, "x" * 5000)]
    await town.misses(phone)
    assert len((await town.only()).error) == 300


# The service says that it is over (§8)

OVER = (
    f"<message from='{SERVICE}' to='{USER}'>"
    f"<pubsub xmlns='http://jabber.org/protocol/pubsub' node='{NODE}'>"
    f"<affiliation jid='{USER}' affiliation='none'/></pubsub></message>"
)


async def test_the_service_ends_it(town: Town) -> None:
    phone = await town.enabled()
    available(phone)
    assert await town.world.arrives(OVER) == Handled("push", "screen")
    assert phone.take() == []
    device = await town.only()
    assert (device.error, device.off_at) == ("the service has ended it", START)
    await town.sleeps(phone)
    await town.misses(phone)
    assert town.service.take() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"from='{SERVICE}'", "from='push.evil.example'"),
        (f"from='{SERVICE}'", f"from='{SERVICE}/x'"),
        (NODE, "another"),
        ("affiliation='none'", "affiliation='publish-only'"),
        (f"jid='{USER}'", "jid='other@example.com'"),
    ],
)
async def test_others_end_nothing(town: Town, old: str, new: str) -> None:
    phone = await town.enabled()
    available(phone)
    await town.world.arrives(OVER.replace(old, new))
    assert len(phone.take()) == 1
    assert (await town.only()).off_at is None


def available(phone: Phone) -> None:
    """As if it had sent presence."""
    stanza = read_stanza(f"<presence from='{phone.jid}'/>".encode())
    phone.presence = stanza  # type: ignore[assignment]


# The end of an account


async def test_nothing_is_left_of_an_account(town: Town) -> None:
    phone = await town.enabled()
    await town.sleeps(phone)
    town.service.hold = asyncio.Event()
    stanza = read_stanza(f"<message from='{JULIET}' to='{USER}'>{ROMEO}</message>".encode())
    town.world.host.undelivered(phone, stanza)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(town.service.asked) == 1
    await town.world.host.emit_account(AccountEvent.DELETING, JID.parse(USER))
    await town.world.stores.erase(USER)
    town.service.hold.set()
    await town.world.quiet()
    assert await town.world.stores.keyvalue.keys(USER, "push") == []
    assert await town.push.devices(JID.parse(USER)) == []


# People who look after it


def registry(town: Town) -> CommandRegistry:
    """The commands of a server with this one host."""
    accounts = AccountService(
        town.world.stores, Deriver(), ["example.com", "example.org"], now=town.world.clock
    )
    hosts: dict[str, PushApi] = {"example.com": town.push}
    return CommandRegistry(
        all_commands(lambda: accounts, push=lambda account: hosts.get(account.domain))
    )


async def run(town: Town, *path: str, **arguments: object) -> Any:
    return await registry(town).run(path, {"account": USER, **arguments})


async def test_what_an_operator_sees(town: Town) -> None:
    columns = ("client", "service", "node", "since", "sent", "unread", "state")
    assert await run(town, "user", "push") == Table(columns, [])
    phone = await town.enabled(node="n" * 50)
    await town.sleeps(phone)
    await town.misses(phone)
    since = "2023-11-14 22:13:20Z"
    assert (await run(town, "user", "push")).rows == [
        ("mobile", SERVICE, "n" * 40 + "…", since, 1, 1, f"on, last {since}")
    ]
    shown = await run(town, "user", "show")
    assert ("push", f"mobile by {SERVICE}: on, last {since}") in shown.rows
    town.service.errors = [StanzaError(Condition.SERVICE_UNAVAILABLE, "oops\u202e")]
    await town.misses(phone)
    await town.later(60)
    state = "failures in a row: 1, last 2023-11-14 22:14:20Z: service-unavailable: oops\\u202e"
    assert (await run(town, "user", "push")).rows[0][-1] == state
    town.service.errors = [StanzaError(Condition.GONE)]
    await town.later(60)
    state = "off since 2023-11-14 22:15:20Z: gone"
    assert (await run(town, "user", "push")).rows[0][-1] == state
    shown = await run(town, "user", "show")
    assert ("push", f"mobile by {SERVICE}: {state}") in shown.rows


async def test_a_test_notification(town: Town) -> None:
    phone = await town.enabled(node="a")
    await town.asks(phone, ENABLE.replace(NODE, "b"))
    # Also to who is here, and to one that is off.
    town.service.errors = [StanzaError(Condition.GONE), StanzaError(Condition.GONE)]
    states = [row[-1] for row in (await run(town, "user", "push", test=True)).rows]
    assert states == ["off since 2023-11-14 22:13:20Z: gone"] * 2
    states = [row[-1] for row in (await run(town, "user", "push", test=True)).rows]
    assert states == ["on, last 2023-11-14 22:13:20Z"] * 2
    assert sorted(town.service.take()) == [("a", 1), ("a", 1), ("b", 1), ("b", 1)]


async def test_where_there_is_none(town: Town) -> None:
    with pytest.raises(CommandError, match="no account"):
        await run(town, "user", "push", account="nobody@example.com")
    await town.world.stores.accounts.create(Account("a@example.org", (), START))
    with pytest.raises(CommandError, match=r"example\.org sends no push notifications"):
        await run(town, "user", "push", account="a@example.org")
    shown = await run(town, "user", "show", account="a@example.org")
    assert "push" not in {what for what, _ in shown.rows}
