"""Who reads the archive gets no offline messages for what was in it (XEP-0313 §6.1.1)."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from jabberd.core.eager import settle
from jabberd.core.parcel import Parcel
from jabberd.core.ports import MessagesApi
from jabberd.core.session import READS_ARCHIVE
from jabberd.storage.log_api import ArchivePage, ArchiveQuery, Flag
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message, Stanza, read_stanza
from tests.modules.archive import ask, form, load, put, rsm
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
JULIET, ROMEO, NURSE = "alice@example.com", "bob@example.com", "carol@example.com"
BOTH = int(Flag.VISIBLE | Flag.AWAITING)


@pytest_asyncio.fixture
async def house(world: World) -> World:
    load(world)
    return world


class Acknowledging(RecordingSession):
    """A client that has what it is sent only when it says so (XEP-0198)."""

    def __init__(self, jid: JID) -> None:
        super().__init__(jid)
        self.sent: list[Parcel] = []

    def _emit(self, stanza: Stanza, parcel: Parcel | None) -> None:
        self.write(stanza)
        if parcel is not None:
            parcel.holders += 1
            self.sent.append(parcel)

    def keys(self) -> frozenset[int]:
        return frozenset(parcel.key for parcel in self.sent)

    def acknowledge(self) -> None:
        """It has everything."""
        parcels, self.sent = self.sent, []
        for parcel in parcels:
            parcel.arrive()

    def abandon(self) -> None:
        parcels, self.sent = self.sent, []
        for parcel in parcels:
            parcel.drop()


async def absent(world: World, count: int = 3) -> list[str]:
    """Romeo gets messages while he is not there; their identifiers."""
    ids = []
    for number in range(count):
        ids.append(put(world, ROMEO, JULIET, f"m{number}", flags=BOTH))
        world.clock.pass_(1)
    return ids


def bodies(session: RecordingSession) -> list[str | None]:
    return [message.body() for message in session.take_all(Message)]


async def waiting(world: World) -> int:
    counted = await world.waiting(ROMEO)
    assert await world.host.require(MessagesApi).waiting(JID.parse(ROMEO)) == counted
    return counted


async def test_an_archived_message_waits_too(house: World) -> None:
    alice = await house.login("alice/desk")
    await house.says(alice, f"<message to='{ROMEO}' type='chat'><body>m</body></message>")
    assert await waiting(house) == 1
    bob = await house.login("bob/home")
    await house.says(bob, "<presence/>")
    (message,) = bob.take_all(Message)
    assert [element.name for element in message.payload()] == ["body", "delay", "stanza-id"]
    assert await waiting(house) == 0
    assert (await ask(house, bob)).bodies == ["m"]


@pytest.mark.parametrize(
    "inside",
    [
        "",
        form(start="2023-11-14T22:13:20Z"),
        rsm("<before/>"),
        rsm("<max>3</max>") + "<flip-page/>",
    ],
)
async def test_what_was_read_is_not_delivered_again(house: World, inside: str) -> None:
    await absent(house)
    bob = await house.login("bob/home")
    assert sorted(map(str, (await ask(house, bob, inside)).bodies)) == ["m0", "m1", "m2"]
    await house.quiet()
    assert await waiting(house) == 0
    await house.says(bob, "<presence/>")
    assert bodies(bob) == []
    assert (await ask(house, bob)).bodies == ["m0", "m1", "m2"]


async def test_only_what_was_read(house: World) -> None:
    await absent(house)
    bob = await house.login("bob/home")
    assert (await ask(house, bob, rsm("<max>2</max>"))).bodies == ["m0", "m1"]
    await house.says(bob, "<presence/>")
    assert bodies(bob) == ["m2"]


@pytest.mark.parametrize(
    "inside",
    [form(with_=JULIET), form(text="m0"), form(ids="ID"), rsm("<max>0</max>")],
)
async def test_who_looks_for_something_is_still_told_of_everything(
    house: World, inside: str
) -> None:
    (one, *_) = await absent(house)
    bob = await house.login("bob/home")
    await ask(house, bob, inside.replace("ID", one))
    await house.says(bob, "<presence/>")
    assert bodies(bob) == ["m0", "m1", "m2"]


async def test_what_was_not_acknowledged_goes_to_the_next(house: World) -> None:
    await absent(house)
    bob = Acknowledging(JID.parse(f"{ROMEO}/phone"))
    await settle(house.host.bind(bob))
    assert (await ask(house, bob)).bodies == ["m0", "m1", "m2"]
    assert await waiting(house) == 3
    # They are on their way: not once more to this client, nor to another one meanwhile.
    other = await house.login("bob/home")
    await house.says(other, "<presence/>")
    await house.says(bob, "<presence/>")
    assert (bodies(other), bodies(bob)) == ([], [])
    await house.leaves(bob)
    assert bodies(other) == ["m0", "m1", "m2"]
    assert await waiting(house) == 0


async def test_what_was_acknowledged_waits_no_more(house: World) -> None:
    await absent(house)
    bob = Acknowledging(JID.parse(f"{ROMEO}/phone"))
    await settle(house.host.bind(bob))
    await ask(house, bob)
    bob.acknowledge()
    await house.quiet()
    assert await waiting(house) == 0
    await house.leaves(bob)
    assert await waiting(house) == 0


async def test_two_clients_that_read_at_the_same_time(house: World) -> None:
    await absent(house)
    assert await waiting(house) == 3
    phones = [Acknowledging(JID.parse(f"{ROMEO}/{name}")) for name in "ab"]
    for phone in phones:
        await settle(house.host.bind(phone))
        assert (await ask(house, phone)).bodies == ["m0", "m1", "m2"]
    put(house, ROMEO, NURSE, "m3", flags=BOTH)
    phones[0].acknowledge()
    phones[1].acknowledge()
    await house.quiet()
    assert await waiting(house) == 1


async def test_a_client_that_is_gone_has_nothing(
    house: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await absent(house)
    read, go_on = house.stores.log.page, asyncio.Event()

    async def slowly(owner: str, query: ArchiveQuery) -> ArchivePage:
        page = await read(owner, query)
        await go_on.wait()
        return page

    monkeypatch.setattr(house.stores.log, "page", slowly)
    bob = await house.login("bob/home")
    query = read_stanza(b"<iq type='set' id='q1'><query xmlns='urn:xmpp:mam:2'/></iq>")
    asking = house.router.submit(query.replace(from_=bob.jid), bob)
    assert isinstance(asking, asyncio.Task)
    await asyncio.sleep(0)
    house.host.unbind(bob)
    go_on.set()
    await asyncio.wait_for(asking, 5)
    await house.quiet()
    assert bodies(bob) == []
    assert await waiting(house) == 3


# Clients that live by the archive (XEP-0386)


async def reader(world: World) -> RecordingSession:
    session = await world.login("bob/phone")
    session.set(READS_ARCHIVE, True)
    await world.says(session, "<presence/>")
    assert bodies(session) == []
    return session


async def test_a_client_that_reads_gets_no_offline_messages(house: World) -> None:
    await absent(house)
    phone = await reader(house)
    assert (await ask(house, phone)).bodies == ["m0", "m1", "m2"]
    await house.quiet()
    assert await waiting(house) == 0


@pytest.mark.parametrize("field", [False, True])
async def test_what_it_has_waits_no_more(house: World, field: bool) -> None:
    # It has got them before its last connection broke, and could not say so.
    ids = await absent(house, 4)
    phone = await reader(house)
    inside = form(after_id=ids[1]) if field else rsm(f"<max>1</max><after>{ids[1]}</after>")
    got = await ask(house, phone, inside)
    assert got.bodies == (["m2", "m3"] if field else ["m2"])
    await house.quiet()
    assert await waiting(house) == (0 if field else 1)


async def test_what_it_has_may_be_much(house: World) -> None:
    put(house, ROMEO, JULIET, "in no archive", flags=int(Flag.AWAITING))
    ids = await absent(house, 250)
    phone = await house.login("bob/phone")
    phone.set(READS_ARCHIVE, True)
    got = await ask(house, phone, rsm(f"<max>1</max><after>{ids[239]}</after>"))
    assert got.bodies == ["m240"]
    await house.quiet()
    assert await waiting(house) == 10  # nine are behind it, and one it cannot have read
    await house.says(phone, "<presence/>")
    assert bodies(phone) == ["in no archive"]


@pytest.mark.parametrize(
    "inside",
    [
        form(with_=JULIET, after_id="ID"),
        form(text="x", after_id="ID"),
        rsm("<max>0</max><before>ID</before>"),
        form(before_id="ID") + rsm("<max>0</max>"),
        "<order xmlns='urn:xmpp:order-by:1' by='creation' desc='1'/>"
        + rsm("<max>0</max><after>ID</after>"),
    ],
)
async def test_who_says_something_else_need_not_have_it(house: World, inside: str) -> None:
    ids = await absent(house)
    phone = await reader(house)
    assert (await ask(house, phone, inside.replace("ID", ids[1]))).iq.type == "result"
    await house.quiet()
    assert await waiting(house) == 3


async def test_other_clients_need_not_have_it_either(house: World) -> None:
    ids = await absent(house)
    bob = await house.login("bob/home")
    assert (await ask(house, bob, rsm(f"<after>{ids[1]}</after>"))).bodies == ["m2"]
    await house.says(bob, "<presence/>")
    assert bodies(bob) == ["m0", "m1"]
