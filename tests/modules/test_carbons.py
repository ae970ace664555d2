"""XEP-0280: the examples, who gets a copy of what, and who never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from jabberd.core.module import Module
from jabberd.core.ports import ArchiveRules, CarbonsApi
from jabberd.core.verdict import Bounced, Delivered
from jabberd.modules import carbons, offline
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import ArchiveQuery, Entry, Unit
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.keeping import archivable
from jabberd.xmpp.stanza import Message, Presence, read_error, read_stanza
from tests.modules.host import Domain, RecordingSession, World

pytestmark = pytest.mark.asyncio

ENABLE = "<iq type='set' id='enable1'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
DISABLE = "<iq type='set' id='disable1'><disable xmlns='urn:xmpp:carbons:2'/></iq>"
ROMEO, JULIET = "romeo@montague.example", "juliet@capulet.example/balcony"
GARDEN, HOME = f"{ROMEO}/garden", f"{ROMEO}/home"
COUNSEL = (
    "<body>What man art thou that, thus bescreen'd in night, so stumblest on my counsel?</body>"
    "<thread>0e3141cd80894871a68e6fe6b1ec56fa</thread>"
)
NEITHER = (
    "<body>Neither, fair saint, if either thee dislike.</body>"
    "<thread>0e3141cd80894871a68e6fe6b1ec56fa</thread>"
)
PRIVATE = "<private xmlns='urn:xmpp:carbons:2'/>"
NO_COPY = "<no-copy xmlns='urn:xmpp:hints'/>"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
ROOM = "<x xmlns='http://jabber.org/protocol/muc#user'/>"


class Verona:
    """Romeo's server and its world; Juliet's is elsewhere."""

    def __init__(self) -> None:
        self.world = World("montague.example")
        self.capulet: Domain = self.world.domain("capulet.example")
        self.world.load("carbons", carbons.load(self.world.host, carbons.Options()))

    async def login(self, resource: str, *, priority: int = 0) -> RecordingSession:
        """One of Romeo's clients, available and with carbons."""
        session = await self.world.login(f"romeo/{resource}")
        await self.world.says(session, ENABLE)
        session.take()
        available(session, priority)
        return session

    async def arrives(self, to: str, inside: str = COUNSEL, kind: str = "chat") -> None:
        """Juliet sends a message."""
        await self.world.arrives(
            f"<message from='{JULIET}' to='{to}' type='{kind}'>{inside}</message>"
        )


def available(session: RecordingSession, priority: int = 0) -> None:
    """As if it had sent this presence."""
    session.presence, session.priority = Presence(from_=session.jid), priority


@pytest_asyncio.fixture
async def verona() -> AsyncIterator[Verona]:
    verona = Verona()
    await verona.world.account("romeo", "mercutio")
    yield verona
    await verona.world.host.close()


def wrapped(direction: str, to: str, stanza: str, kind: str = "chat") -> str:
    """The carbon for one client of Romeo's."""
    inside = stanza.replace("<message", "<message xmlns='jabber:client'", 1)
    return (
        f"<message from='{ROMEO}' to='{to}' type='{kind}'><{direction} xmlns='urn:xmpp:carbons:2'>"
        f"<forwarded xmlns='urn:xmpp:forward:0'>{inside}</forwarded></{direction}></message>"
    )


# Enabling and disabling (§4, §5, §10.1)


async def test_enabled_and_disabled_as_often_as_one_likes(verona: Verona) -> None:
    world = verona.world
    home = await world.login("romeo/home")
    for request, name, state in (
        (DISABLE, "disable1", False),
        (ENABLE, "enable1", True),
        (ENABLE, "enable1", True),
        (DISABLE, "disable1", False),
        (DISABLE, "disable1", False),
        (ENABLE, "enable1", True),
    ):
        await world.says(home, request)
        assert home.take() == [f"<iq to='{HOME}' type='result' id='{name}'/>"]
        assert home.get(carbons.ENABLED) is state


async def test_the_own_account_may_be_named(verona: Verona) -> None:
    home = await verona.world.login("romeo/home")
    await verona.world.says(home, ENABLE.replace("<iq", f"<iq to='{ROMEO}'"))
    assert home.take() == [f"<iq from='{ROMEO}' to='{HOME}' type='result' id='enable1'/>"]


@pytest.mark.parametrize("request_", [ENABLE, DISABLE])
@pytest.mark.parametrize("other", ["mercutio@montague.example", "nobody@montague.example"])
async def test_not_for_other_accounts(verona: Verona, request_: str, other: str) -> None:
    home = await verona.world.login("romeo/home")
    await verona.world.says(home, request_.replace("<iq", f"<iq to='{other}'"))
    (text,) = home.take()
    assert "<error type='cancel' code='405'><not-allowed " in text


async def test_not_for_clients_of_other_servers(verona: Verona) -> None:
    home = await verona.world.login("romeo/home")
    await verona.world.arrives(ENABLE.replace("<iq", f"<iq from='{JULIET}' to='{ROMEO}'"))
    (text,) = verona.capulet.take()
    assert "<not-allowed " in text
    assert home.get(carbons.ENABLED) is False


async def test_by_the_port_and_across_a_restart(verona: Verona) -> None:
    home = await verona.world.login("romeo/home")
    verona.world.host.require(CarbonsApi).enable(home)
    assert home.kept_slots() == {"carbons.enabled": True}


async def test_features(verona: Verona) -> None:
    module = carbons.load(verona.world.host, carbons.Options())
    assert module.features == ["urn:xmpp:carbons:2", "urn:xmpp:carbons:rules:0"]


# Receiving (§7)


async def test_what_one_client_receives_the_others_see(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    await verona.arrives(GARDEN)
    received = f"<message from='{JULIET}' to='{GARDEN}' type='chat'>{COUNSEL}</message>"
    assert garden.take() == [received]
    assert home.take() == [wrapped("received", HOME, received)]


async def test_to_the_account(verona: Verona) -> None:
    garden = await verona.login("garden", priority=5)
    home = await verona.login("home", priority=1)
    below = await verona.login("below", priority=-1)
    await verona.arrives(ROMEO)
    received = f"<message from='{JULIET}' to='{ROMEO}' type='chat'>{COUNSEL}</message>"
    assert garden.take() == [received]
    assert home.take() == [wrapped("received", HOME, received)]
    assert below.take() == [wrapped("received", f"{ROMEO}/below", received)]


async def test_nobody_gets_a_message_and_its_copy(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    await verona.arrives(ROMEO)  # equal priorities
    assert [len(garden.take()), len(home.take())] == [1, 1]


async def test_only_who_asked_gets_copies(verona: Verona) -> None:
    garden = await verona.login("garden")
    silent = await verona.world.login("romeo/silent")
    former = await verona.login("former")
    await verona.world.says(former, DISABLE)
    former.take()
    await verona.arrives(GARDEN)
    assert len(garden.take()) == 1
    assert (silent.take(), former.take()) == ([], [])


async def test_who_is_not_available_yet_sees_copies_as_well(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    home.presence = None
    await verona.arrives(GARDEN)
    assert [len(garden.take()), len(home.take())] == [1, 1]


async def test_what_waits_is_not_copied_but_comes(verona: Verona) -> None:
    world = verona.world
    world.load("offline", offline.load(world.host, offline.Options()))
    below = await verona.login("below", priority=-1)
    await verona.arrives(ROMEO)
    assert below.take() == []
    assert await world.waiting(ROMEO) == 1


# Sending (§8)


async def test_what_one_client_sends_the_others_see(verona: Verona) -> None:
    garden = await verona.login("garden")
    home = await verona.world.login("romeo/home")  # need not have carbons itself
    await verona.world.says(home, f"<message to='{JULIET}' type='chat'>{NEITHER}</message>")
    sent = f"<message from='{HOME}' to='{JULIET}' type='chat'>{NEITHER}</message>"
    assert verona.capulet.take() == [sent]
    assert garden.take() == [wrapped("sent", GARDEN, sent)]
    assert home.take() == []


async def test_the_sender_gets_no_copy(verona: Verona) -> None:
    home = await verona.login("home")
    await verona.world.says(home, f"<message to='{JULIET}' type='chat'>{NEITHER}</message>")
    assert home.take() == []


async def test_what_is_refused_is_not_copied(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    verdict = await verona.world.says(
        home, f"<message to='paris@verona.example' type='chat'>{NEITHER}</message>"
    )
    assert isinstance(verdict, Bounced)
    assert garden.take() == []


async def test_both_sides_on_one_server(verona: Verona) -> None:
    world = verona.world
    garden, home = await verona.login("garden"), await verona.login("home")
    tomb, street = await world.login("mercutio/tomb"), await world.login("mercutio/street")
    for session in (tomb, street):
        await world.says(session, ENABLE)
        session.take()
    verdict = await world.says(home, f"<message to='{tomb.jid}' type='chat'>{NEITHER}</message>")
    assert verdict == Delivered((str(tomb.jid),))
    sent = f"<message from='{HOME}' to='{tomb.jid}' type='chat'>{NEITHER}</message>"
    assert garden.take() == [wrapped("sent", GARDEN, sent)]
    assert tomb.take() == [sent]
    (copy,) = street.take()
    assert copy == wrapped("received", str(street.jid), sent).replace(
        f"from='{ROMEO}' to='{street.jid}'", f"from='mercutio@montague.example' to='{street.jid}'"
    )
    assert home.take() == []


async def test_the_type_is_kept(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    await verona.world.says(home, f"<message to='{JULIET}'>{NEITHER}</message>")
    sent = f"<message from='{HOME}' to='{JULIET}'>{NEITHER}</message>"
    assert garden.take() == [wrapped("sent", GARDEN, sent).replace(" type='chat'", "")]


# Notes to oneself


@pytest.mark.parametrize("to", [ROMEO, GARDEN, None])
async def test_a_note_to_oneself_is_copied_once(verona: Verona, to: str | None) -> None:
    garden = await verona.login("garden", priority=5)
    home, tomb = await verona.login("home"), await verona.login("tomb")
    address = f" to='{to}'" if to else ""
    await verona.world.says(home, f"<message{address} type='chat'><body>Buy roses</body></message>")
    note = f"<message from='{HOME}' to='{to or ROMEO}' type='chat'><body>Buy roses</body></message>"
    assert garden.take() == [note]
    assert tomb.take() == [wrapped("received", f"{ROMEO}/tomb", note)]
    assert home.take() == []


async def test_a_note_to_the_very_same_client(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    await verona.world.says(home, f"<message to='{HOME}' type='chat'><body>1</body></message>")
    note = f"<message from='{HOME}' to='{HOME}' type='chat'><body>1</body></message>"
    assert home.take() == [note]
    assert garden.take() == [wrapped("received", GARDEN, note)]


# Which messages (§6, §9)


@pytest.mark.parametrize(
    ("kind", "inside", "copied"),
    [
        ("chat", "<body>b</body>", True),
        ("chat", COMPOSING, True),
        ("normal", "<body>b</body>", True),
        ("normal", "<subject>s</subject>", False),
        ("normal", "<received xmlns='urn:xmpp:receipts' id='1'/>", True),
        ("normal", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", True),
        ("headline", "<body>b</body>", False),
        ("groupchat", "<body>b</body>", False),
        ("chat", f"<body>b</body>{PRIVATE}{NO_COPY}", False),
        ("chat", f"<body>b</body>{PRIVATE}", False),
        ("chat", f"<body>b</body>{NO_COPY}", False),
        ("normal", "<x xmlns='jabber:x:conference' jid='ball@chat.capulet.example'/>", True),
        ("error", "<body>b</body><error type='cancel'/>", True),
    ],
)
@pytest.mark.parametrize("outgoing", [True, False])
async def test_eligible(
    verona: Verona, outgoing: bool, kind: str, inside: str, copied: bool
) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    if outgoing:
        await verona.world.says(home, f"<message to='{JULIET}' type='{kind}'>{inside}</message>")
        assert len(verona.capulet.take()) == 1
    else:
        await verona.arrives(HOME, inside, kind)
        (received,) = home.take()
        # Nothing is taken away (§9, the note on interoperability).
        assert inside in received
    assert bool(garden.take()) is copied


async def test_an_answer_that_is_an_error_is_seen_by_all(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    error = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    await verona.arrives(HOME, error, "error")
    (text,) = garden.take()
    assert text.startswith(f"<message from='{ROMEO}' to='{GARDEN}' type='error'><received ")
    assert len(home.take()) == 1
    # §10.3: a client that answers a copy by an error answers its own account, and reaches nobody.
    bounce = f"<message to='{ROMEO}' type='error'>{error}</message>"
    await verona.world.says(garden, bounce)
    assert (verona.capulet.take(), home.take(), garden.take()) == ([], [], [])


async def test_private_messages_in_rooms(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    occupant = "ball@capulet.example/juliet"
    await verona.world.says(
        home, f"<message to='{occupant}' type='chat'><body>b</body>{ROOM}</message>"
    )
    assert len(garden.take()) == 1
    await verona.world.arrives(
        f"<message from='{occupant}' to='{HOME}' type='chat'><body>b</body>{ROOM}</message>"
    )
    assert (len(home.take()), garden.take()) == (1, [])


async def test_invitations_by_a_room(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    invite = ROOM.replace("/>", f"><invite from='{JULIET}'/></x>")
    await verona.world.arrives(
        f"<message from='ball@capulet.example' to='{HOME}'>{invite}</message>"
    )
    assert (len(home.take()), len(garden.take())) == (1, 1)


# Forgery (§11)


@pytest.mark.parametrize("direction", ["sent", "received"])
async def test_forged_copies_are_taken_apart(verona: Verona, direction: str) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    thou = (
        f"<message from='{JULIET}' to='{GARDEN}' type='chat'>"
        "<body>Thou shall meet me tonite, at our house's hall!</body></message>"
    )
    forged = wrapped(direction, ROMEO, thou).partition(">")[2].removesuffix("</message>")
    for sender in ("tybalt@capulet.example/home", "mercutio@montague.example/street"):
        await verona.world.arrives(
            f"<message from='{sender}' to='{GARDEN}' type='chat'>{forged}</message>"
        )
        bare = f"<message from='{sender}' to='{GARDEN}' type='chat'/>"
        assert garden.take() == [bare]
        assert home.take() == [wrapped("received", HOME, bare)]


async def test_not_even_the_own_clients_can_forge_one(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    thou = f"<message from='{JULIET}' to='{GARDEN}' type='chat'><body>b</body></message>"
    forged = wrapped("received", ROMEO, thou).partition(">")[2]
    await verona.world.says(home, f"<message to='{GARDEN}' type='chat'>{forged}")
    assert garden.take() == [f"<message from='{HOME}' to='{GARDEN}' type='chat'/>"]


async def test_strangers_with_the_same_resource_get_nothing(verona: Verona) -> None:
    garden, home = await verona.login("garden"), await verona.login("home")
    other = await verona.world.login("mercutio/garden")
    other.set(carbons.ENABLED, True)
    await verona.arrives(HOME)
    await verona.world.says(home, f"<message to='{JULIET}' type='chat'>{NEITHER}</message>")
    assert (len(garden.take()), other.take()) == (2, [])


# Together with the log


class Kept:
    """What the archive keeps by the rules of XEP-0313."""

    searchable = False

    def visible(self, message: Message, account: JID, *, outgoing: bool) -> bool:
        """By `archivable`."""
        return archivable(message, outgoing=outgoing)


async def archive(world: World) -> Sequence[Entry]:
    """Everything in Romeo's archive."""
    return (await world.stores.log.page(ROMEO, ArchiveQuery())).entries


async def test_copies_have_the_id_of_their_own_accounts_archive(verona: Verona) -> None:
    world = verona.world
    world.load("archive", Module(provides={ArchiveRules: Kept()}))
    garden, home = await verona.login("garden"), await verona.login("home")
    await world.says(home, f"<message to='{JULIET}' type='chat'>{NEITHER}</message>")
    (entry,) = await archive(world)
    name = world.ledger.ids.id_of(entry.key)
    identifier = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{ROMEO}' id='{name}'/>"
    (carbon,) = garden.take()
    assert carbon == wrapped(
        "sent",
        GARDEN,
        f"<message from='{HOME}' to='{JULIET}' type='chat'>{NEITHER}{identifier}</message>",
    )
    (sent,) = verona.capulet.take()
    assert "stanza-id" not in sent


async def test_two_devices_agree(verona: Verona) -> None:
    """Each of two clients has every message once, whoever sent it, by the same id, in order."""
    world = verona.world
    world.load("archive", Module(provides={ArchiveRules: Kept()}))
    garden, home = await verona.login("garden", priority=1), await verona.login("home")
    for number in range(6):
        sender = (garden, home)[number % 2]
        text = f"<message to='{JULIET}' type='chat'><body>{number}</body></message>"
        await world.says(sender, text)
        await verona.arrives((ROMEO, GARDEN, HOME)[number % 3], f"<body>re {number}</body>")
    entries = await archive(world)
    assert len(entries) == 12
    for session in (garden, home):
        own = f"<message from='{session.jid}'".encode()
        known = [
            world.ledger.ids.id_of(entry.key)
            for entry in entries
            if not entry.stanza.startswith(own)
        ]
        seen = [
            text.partition(f"by='{ROMEO}' id='")[2].partition("'")[0] for text in session.take()
        ]
        assert seen == known


async def test_nothing_leaves_before_it_is_durable(verona: Verona) -> None:
    world = verona.world
    world.load("archive", Module(provides={ArchiveRules: Kept()}))
    garden, home = await verona.login("garden"), await verona.login("home")
    commit = world.stores.log.commit
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    under_way = asyncio.Event()

    def slow(unit: Unit) -> asyncio.Future[None]:
        commit(unit)
        under_way.set()
        return done

    world.stores.log.commit = slow  # type: ignore[method-assign]
    message = read_stanza(f"<message to='{JULIET}' type='chat'>{NEITHER}</message>".encode())
    world.router.submit(message.replace(from_=home.jid), home)
    await under_way.wait()
    assert garden.take() == []
    done.set_result(None)
    await world.quiet()
    assert len(garden.take()) == 1


async def test_what_could_not_be_stored_is_not_copied(verona: Verona) -> None:
    world = verona.world
    world.load("archive", Module(provides={ArchiveRules: Kept()}))
    garden, home = await verona.login("garden"), await verona.login("home")

    def full(unit: Unit) -> asyncio.Future[None]:
        raise StorageError("the disk is full")

    world.stores.log.commit = full  # type: ignore[method-assign]
    await world.says(home, f"<message to='{GARDEN}' type='chat'>{NEITHER}</message>")
    assert garden.take() == []
    (error,) = home.take_all(Message)
    assert read_error(error).condition.value == "resource-constraint"
