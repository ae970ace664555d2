"""What goes into an archive (XEP-0313 §6.1.1), and what users say about it (XEP-0441)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal

import pytest
import pytest_asyncio

from jabberd.core.eager import settle
from jabberd.core.module import AccountEvent
from jabberd.core.session import SessionFacts
from jabberd.modules import mam
from jabberd.storage.api import RosterItem
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, read_error, read_stanza
from tests.modules.archive import ask, load
from tests.modules.host import START, RecordingSession, World

pytestmark = pytest.mark.asyncio
JULIET, ROMEO = "alice@example.com", "bob@example.com"
ALICE = JID.parse(JULIET)
GET = "<prefs xmlns='urn:xmpp:mam:2'/>"


@pytest_asyncio.fixture
async def house(world: World) -> World:
    load(world)
    return world


def prefs(default: str, always: str = "", never: str = "") -> str:
    def listed(name: str, jids: str) -> str:
        inside = "".join(f"<jid>{jid}</jid>" for jid in jids.split())
        return f"<{name}>{inside}</{name}>" if inside else f"<{name}/>"

    return (
        f"<prefs xmlns='urn:xmpp:mam:2' default='{default}'>"
        f"{listed('always', always)}{listed('never', never)}</prefs>"
    )


async def say(world: World, session: RecordingSession, payload: str, kind: str = "set") -> Iq:
    session.inbox.clear()
    await world.says(session, f"<iq type='{kind}' id='juliet2'>{payload}</iq>")
    (iq,) = session.take_all(Iq)
    return iq


async def know(world: World, contact: str, *, listed: bool = True) -> None:
    """Put somebody into Juliet's roster."""
    item = RosterItem(contact, listed=listed, pending_in=None if listed else b"<presence/>")
    await world.stores.roster.change(JULIET, contact, lambda _: item)


# §6.1.1; the rule itself is tested in tests/xmpp/payload/test_keeping.py


@pytest.mark.parametrize(
    ("inner", "kind", "archived"),
    [
        ("<body>m</body>", "chat", True),
        ("<body>m</body>", "normal", True),
        ("<body>m</body>", "headline", False),
        ("<active xmlns='http://jabber.org/protocol/chatstates'/>", "chat", False),
        ("<received xmlns='urn:xmpp:receipts' id='i'/>", "chat", True),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='i'/>", "chat", True),
        ("<reactions xmlns='urn:xmpp:reactions:0' id='i'/>", "chat", True),
        ("<body>m</body><no-permanent-store xmlns='urn:xmpp:hints'/>", "chat", False),
        ("<x xmlns='urn:x'/><store xmlns='urn:xmpp:hints'/>", "chat", True),
    ],
)
async def test_what_both_archives_keep(house: World, inner: str, kind: str, archived: bool) -> None:
    alice = await house.login("alice/desk", "<presence/>")
    bob = await house.login("bob/home", "<presence/>")
    await house.says(alice, f"<message to='{ROMEO}' type='{kind}'>{inner}</message>")
    (message,) = bob.take_all(Message)
    assert message.has("urn:xmpp:sid:0", "stanza-id") is archived
    for session in (alice, bob):
        assert len((await ask(house, session)).results) == archived


async def test_several_clients_one_entry(house: World) -> None:
    # §6.1.1: irrespective of multiple connected clients receiving copies.
    bobs = [await house.login(f"bob/{name}", "<presence/>") for name in "abc"]
    alice = await house.login("alice/desk")
    await house.says(alice, f"<message to='{ROMEO}' type='chat'><body>m</body></message>")
    assert [len(bob.take_all(Message)) for bob in bobs] == [1, 1, 1]
    for session in (alice, *bobs):
        assert (await ask(house, session)).bodies == ["m"]


async def test_what_was_refused_is_not_in_the_archive_of_who_refused_it(house: World) -> None:
    alice = await house.login("alice/desk", "<presence/>")
    await house.says(alice, "<message to='bob@example.com/x'><body>m</body></message>")
    bob = await house.login("bob/home")
    assert (await ask(house, bob)).bodies == []


# XEP-0441 §2.1


async def test_the_examples(house: World) -> None:
    alice = await house.login("alice/desk")
    assert (await say(house, alice, GET, "get")).inner.decode() == prefs("always")
    wish = prefs("roster", "romeo@montague.lit", "montague@montague.lit")
    assert (await say(house, alice, wish)).inner.decode() == wish
    assert (await say(house, alice, GET, "get")).inner.decode() == wish
    bob = await house.login("bob/home")
    assert (await say(house, bob, GET, "get")).inner.decode() == prefs("always")


async def test_missing_lists_are_empty(house: World) -> None:
    alice = await house.login("alice/desk")
    await say(house, alice, prefs("always", "a@b", "c@d"))
    got = await say(house, alice, "<prefs xmlns='urn:xmpp:mam:2' default='never'/>")
    assert got.inner.decode() == prefs("never")


@pytest.mark.parametrize(
    ("payload", "condition"),
    [
        ("<prefs xmlns='urn:xmpp:mam:2'/>", "bad-request"),
        ("<prefs xmlns='urn:xmpp:mam:2' default='sometimes'/>", "bad-request"),
        (prefs("always", "@b"), "jid-malformed"),
        (prefs("always", " ".join(f"a{n}@b" for n in range(1001))), "policy-violation"),
    ],
)
async def test_wishes_that_are_wrong_change_nothing(
    house: World, payload: str, condition: str
) -> None:
    alice = await house.login("alice/desk")
    await say(house, alice, prefs("never"))
    assert read_error(await say(house, alice, payload)).condition.value == condition
    assert (await say(house, alice, GET, "get")).inner.decode() == prefs("never")


@pytest.mark.parametrize("default", ["always", "roster", "never"])
async def test_the_default_of_the_host(
    world: World, default: Literal["always", "roster", "never"]
) -> None:
    load(world, mam.Options(default=default))
    await know(world, ROMEO)
    alice = await world.login("alice/desk", "<presence/>")
    assert (await say(world, alice, GET, "get")).inner.decode() == prefs(default)
    for name in ("bob", "carol"):
        await world.arrives(
            f"<message from='{name}@example.com/x' to='{JULIET}' type='chat'>"
            f"<body>{name}</body></message>"
        )
        await world.says(
            alice,
            f"<message to='{name}@example.com' type='chat'><body>to {name}</body></message>",
        )
    both, none = ["bob", "to bob", "carol", "to carol"], list[str]()
    wanted = {"always": both, "roster": both[:2], "never": none}[default]
    assert (await ask(world, alice)).bodies == wanted


# XEP-0441 §2.3


@pytest.mark.parametrize(
    ("wish", "archived"),
    [
        (prefs("always"), "home work carol"),
        (prefs("always", never=ROMEO), "carol"),
        (prefs("always", never=f"{ROMEO}/work"), "home carol"),
        (prefs("never", always=ROMEO), "home work"),
        (prefs("never", always=f"{ROMEO}/work"), "work"),
        (prefs("never", always=ROMEO, never=f"{ROMEO}/work"), "home"),
        (prefs("roster"), "carol"),
        (prefs("roster", always=f"{ROMEO}/home", never="carol@example.com"), "home"),
    ],
)
@pytest.mark.parametrize("outgoing", [False, True])
async def test_who_is_meant(house: World, wish: str, archived: str, outgoing: bool) -> None:
    await know(house, "carol@example.com")
    await know(house, ROMEO, listed=False)  # asks to be, and has no answer
    alice = await house.login("alice/desk", "<presence/>")
    await say(house, alice, wish)
    for jid in (f"{ROMEO}/home", f"{ROMEO}/work", "carol@example.com/carol"):
        body = f"<body>{jid.partition('/')[2]}</body>"
        if outgoing:
            await house.says(alice, f"<message to='{jid}' type='chat'>{body}</message>")
        else:
            await house.arrives(f"<message from='{jid}' to='{JULIET}' type='chat'>{body}</message>")
    assert (await ask(house, alice)).bodies == archived.split()


@pytest.mark.parametrize(("default", "notes"), [("roster", ["note"]), ("never", [])])
async def test_oneself(house: World, default: str, notes: list[str]) -> None:
    alice = await house.login("alice/desk", "<presence/>")
    await say(house, alice, prefs(default))
    await house.says(alice, f"<message to='{JULIET}' type='chat'><body>note</body></message>")
    assert (await ask(house, alice)).bodies == notes


async def test_the_other_side_decides_for_itself(house: World) -> None:
    alice = await house.login("alice/desk", "<presence/>")
    bob = await house.login("bob/home", "<presence/>")
    await say(house, alice, prefs("never"))
    await house.says(alice, f"<message to='{ROMEO}' type='chat'><body>m</body></message>")
    assert (await ask(house, alice)).bodies == []
    assert (await ask(house, bob)).bodies == ["m"]


async def test_what_is_not_archived_still_waits_for_its_owner(house: World) -> None:
    alice = await house.login("alice/desk")
    bob = await house.login("bob/home")
    await say(house, bob, prefs("never"))
    await house.leaves(bob)
    await house.says(alice, f"<message to='{ROMEO}' type='chat'><body>m</body></message>")
    bob = await house.login("bob/home")
    assert (await ask(house, bob)).bodies == []
    await house.says(bob, "<presence/>")
    assert [message.body() for message in bob.take_all(Message)] == ["m"]


# In memory


def seen(world: World, account: JID = ALICE) -> bool | Awaitable[bool]:
    message = read_stanza(
        f"<message from='{ROMEO}/x' to='{account}' type='chat'><body>m</body></message>".encode()
    )
    assert isinstance(message, Message)
    rules = world.host.keeper.rules
    assert rules is not None
    return rules.visible(message, account, outgoing=False)


async def test_nobody_waits_for_what_a_session_wants(house: World) -> None:
    await house.login("alice/desk")
    assert seen(house) is True
    unknown = seen(house, JID.parse(ROMEO))
    assert not isinstance(unknown, bool)
    assert await unknown is True
    assert seen(house, JID.parse(ROMEO)) is True


async def test_the_cache_is_bounded(world: World) -> None:
    load(world, mam.Options(cache=3))
    accounts = [JID.parse(f"user{number}@example.com") for number in range(4)]
    for account in accounts[:3]:
        await settle(seen(world, account))
    assert seen(world, accounts[0]) is True  # and is the newest by that
    await settle(seen(world, accounts[3]))
    forgotten = seen(world, accounts[1])
    assert not isinstance(forgotten, bool)
    assert await forgotten
    assert seen(world, accounts[0]) is True
    # Lists take room as well; who has more in them than there is room for is alone.
    await world.account("user0")
    session = await world.login("user0/x")
    await say(world, session, prefs("never", never="a@b c@d e@f"))
    assert seen(world, accounts[0]) is False
    other = seen(world, accounts[3])
    assert not isinstance(other, bool)
    assert await other


async def test_an_account_that_is_made_again_wants_nothing(house: World) -> None:
    alice = await house.login("alice/desk")
    await say(house, alice, prefs("never"))
    assert seen(house) is False
    await house.leaves(alice)
    await house.host.emit_account(AccountEvent.DELETING, ALICE)
    # Its wish is still in the database, and somebody may write to it just now.
    assert await settle(seen(house)) is True
    await house.stores.erase(JULIET)
    await house.account("alice")
    alice = await house.login("alice/desk")
    assert (await say(house, alice, GET, "get")).inner.decode() == prefs("always")


async def test_a_wish_is_newer_than_what_is_being_read(
    house: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, go_on = house.stores.keyvalue.get, asyncio.Event()

    async def slowly(owner: str, space: str, key: str) -> bytes | None:
        value = await read(owner, space, key)
        await go_on.wait()
        return value

    monkeypatch.setattr(house.stores.keyvalue, "get", slowly)
    bob = JID.parse(ROMEO)
    reading = asyncio.ensure_future(settle(seen(house, bob)))
    await asyncio.sleep(0)
    monkeypatch.setattr(house.stores.keyvalue, "get", read)
    session = RecordingSession(bob.with_resource("home"))
    stanza = read_stanza(f"<iq type='set' id='1'>{prefs('never')}</iq>".encode())
    await settle(house.router.submit(stanza.replace(from_=session.jid), session))
    go_on.set()
    assert await asyncio.wait_for(reading, 5) is False
    assert seen(house, bob) is False


# Accounts that end with their session


async def temporary(world: World) -> RecordingSession:
    await world.account("guest")
    session = RecordingSession(JID.parse("guest@example.com/x"))
    session.facts = SessionFacts("127.0.0.1", START, "ANONYMOUS", "TLSv1.3", temporary=True)
    await settle(world.host.bind(session))
    return session


async def test_temporary_accounts_have_no_archive(house: World) -> None:
    alice = await house.login("alice/desk", "<presence/>")
    guest = await temporary(house)
    await house.says(guest, "<presence/>")
    await house.says(guest, f"<message to='{JULIET}' type='chat'><body>m</body></message>")
    await house.says(alice, f"<message to='{guest.jid}' type='chat'><body>back</body></message>")
    assert (await ask(house, alice)).bodies == ["m", "back"]
    assert (await ask(house, guest)).bodies == []
    assert (await say(house, guest, GET, "get")).inner.decode() == prefs("never")
    refused = await say(house, guest, prefs("always"))
    assert read_error(refused).condition.value == "forbidden"
    await house.leaves(guest)
    assert await house.stores.log.owners("example.com") == [JULIET]
    # Somebody may be called so later.
    await house.account("guest")
    guest = await house.login("guest/x")
    await house.says(guest, f"<message to='{JULIET}' type='chat'><body>m</body></message>")
    assert (await ask(house, guest)).bodies == ["m"]
