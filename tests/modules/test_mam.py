"""XEP-0313 §4, §5 and §7: the requests of the text's examples, and what is said around them."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from jabberd.core.verdict import Handled
from jabberd.modules import disco, mam
from jabberd.storage.log_api import Unit
from jabberd.xmpp import ns
from jabberd.xmpp.element import parse
from jabberd.xmpp.stanza import Iq, Message, Stanza, read_error, read_stanza
from tests.modules.archive import Answer, answer, ask, form, load, put, rsm
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
ROMEO, NURSE = "bob@example.com", "carol@example.com"
JULIET = "alice@example.com"


@pytest_asyncio.fixture
async def house(world: World) -> World:
    load(world)
    return world


@pytest_asyncio.fixture
async def alice(house: World) -> RecordingSession:
    return await house.login("alice/balcony", "<presence/>")


async def talk(world: World, count: int, peer: str = ROMEO) -> list[str]:
    """Messages m0, m1 … in Juliet's archive, one a second; their identifiers."""
    ids = []
    for number in range(count):
        ids.append(put(world, JULIET, peer, f"m{number}"))
        world.clock.pass_(1)
    return ids


async def request(world: World, session: RecordingSession, xml: str) -> Iq:
    session.inbox.clear()
    await world.says(session, xml)
    (iq,) = session.take_all(Iq)
    return iq


# §4: results and their end


async def test_results_come_before_the_answer(house: World, alice: RecordingSession) -> None:
    bob = await house.login("bob/orchard", "<presence/>")
    await house.says(
        bob, f"<message to='{JULIET}' type='chat'><body>Call me but love</body></message>"
    )
    house.clock.pass_(0.5)
    await house.says(
        alice,
        f"<message to='{ROMEO}/orchard' type='chat' id='8a54s'>"
        "<body>What man art thou</body></message>",
    )
    got = await ask(house, alice, attrs="queryid='f27'")
    assert got.bodies == ["Call me but love", "What man art thou"]
    assert [result.stamp for result in got.results] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:20.500Z",
    ]
    assert {result.queryid for result in got.results} == {"f27"}
    assert {result.to for result in got.results} == {"alice@example.com/balcony"}
    assert {result.sender for result in got.results} == {JULIET}
    assert [result.message.attrs for result in got.results] == [
        {"from": "bob@example.com/orchard", "to": JULIET, "type": "chat"},
        {
            "from": "alice@example.com/balcony",
            "to": "bob@example.com/orchard",
            "type": "chat",
            "id": "8a54s",
        },
    ]
    assert (got.iq.id, got.iq.type, got.complete) == ("q1", "result", True)
    assert [got.first, got.last] == got.ids
    assert len(set(got.ids)) == 2


async def test_a_result_on_the_wire(house: World, alice: RecordingSession) -> None:
    one = put(house, JULIET, ROMEO, "a &lt; b")
    await house.says(alice, "<iq type='set' id='j1'><query xmlns='urn:xmpp:mam:2'/></iq>")
    result, end = alice.take()
    assert result == (
        f"<message from='{JULIET}' to='{JULIET}/balcony'><result xmlns='urn:xmpp:mam:2' id='{one}'>"
        "<forwarded xmlns='urn:xmpp:forward:0'>"
        "<delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20.000Z'/>"
        f"<message xmlns='jabber:client' from='{ROMEO}/home' to='{JULIET}' type='chat'>"
        "<body>a &lt; b</body></message></forwarded></result></message>"
    )
    assert end == (
        f"<iq to='{JULIET}/balcony' type='result' id='j1'><fin xmlns='urn:xmpp:mam:2'"
        " complete='true'><set xmlns='http://jabber.org/protocol/rsm'>"
        f"<first index='0'>{one}</first><last>{one}</last><count>1</count></set></fin></iq>"
    )


async def test_an_empty_archive(house: World, alice: RecordingSession) -> None:
    got = await ask(house, alice, to=JULIET)
    assert (got.results, got.complete, got.first, got.last, got.count) == (
        [],
        True,
        None,
        None,
        "0",
    )
    assert got.iq.from_ == alice.jid.bare


async def test_the_identifier_is_the_one_that_came_with_the_message(
    house: World, alice: RecordingSession
) -> None:
    # §3.5: in the recipient's copy, by the recipient's archive; never in what its sender gets.
    bob = await house.login("bob/orchard", "<presence/>")
    await house.says(bob, f"<message to='{JULIET}'><body>m</body></message>")
    (message,) = alice.take_all(Message)
    stamp = message.child(ns.SID, "stanza-id")
    assert stamp is not None
    assert stamp.get("by") == JULIET
    assert (await ask(house, alice)).ids == [stamp.get("id")]
    assert (await ask(house, bob)).ids != [stamp.get("id")]


async def test_what_was_just_sent_is_found(
    house: World, alice: RecordingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, write = asyncio.Event(), house.stores.log.commit

    async def slowly(unit: Unit) -> None:
        await disk.wait()
        write(unit)

    monkeypatch.setattr(
        house.stores.log, "commit", lambda unit: asyncio.ensure_future(slowly(unit))
    )
    sent = read_stanza(f"<message to='{ROMEO}' type='chat'><body>m</body></message>".encode())
    house.router.submit(sent.replace(from_=alice.jid), alice)
    query = read_stanza(b"<iq type='set' id='q1'><query xmlns='urn:xmpp:mam:2'/></iq>")
    asking = house.router.submit(query.replace(from_=alice.jid), alice)
    await asyncio.sleep(0)
    disk.set()
    assert isinstance(asking, asyncio.Task)
    assert await asyncio.wait_for(asking, 5) == Handled("mam")
    assert answer(alice).bodies == ["m"]
    await house.quiet()


async def test_nothing_holds_results_back_or_keeps_them(
    house: World, alice: RecordingSession
) -> None:
    await talk(house, 3)
    alice.hold()
    kept: list[Stanza] = []

    def keep(stanza: Stanza) -> bool:
        kept.append(stanza)
        return False

    alice.filter(keep)
    await house.says(alice, "<iq type='set' id='q1'><query xmlns='urn:xmpp:mam:2'/></iq>")
    assert [stanza.tag for stanza in alice.inbox] == ["message"] * 3
    alice.release()
    assert answer(alice).bodies == ["m0", "m1", "m2"]
    assert [stanza.tag for stanza in kept] == ["iq"]


# §4.1: filters


async def test_filtering_by_address(house: World, alice: RecordingSession) -> None:
    put(house, JULIET, ROMEO, "home")
    put(house, JULIET, ROMEO, "work", resource="work")
    put(house, JULIET, NURSE, "nurse")
    await house.says(
        alice, f"<message to='{ROMEO}/work' type='chat'><body>to work</body></message>"
    )
    await house.says(alice, f"<message to='{NURSE}' type='chat'><body>to nurse</body></message>")
    assert (await ask(house, alice, form(with_=ROMEO))).bodies == ["home", "work", "to work"]
    assert (await ask(house, alice, form(with_="BOB@Example.com"))).bodies[0] == "home"
    assert (await ask(house, alice, form(with_=f"{ROMEO}/work"))).bodies == ["work", "to work"]
    assert (await ask(house, alice, form(with_=f"{ROMEO}/Work"))).bodies == []
    assert (await ask(house, alice, form(with_=NURSE))).bodies == ["nurse", "to nurse"]
    assert (await ask(house, alice, form(with_="nobody@example.org"))).complete


async def test_notes_to_oneself(house: World, alice: RecordingSession) -> None:
    # §4.1.1: both addresses have to be the account's, or every message would match. §6.1.1: once.
    put(house, JULIET, ROMEO, "not this")
    await house.says(alice, f"<message to='{JULIET}' type='chat'><body>note</body></message>")
    await house.says(alice, "<message type='chat'><body>to nobody</body></message>")
    assert (await ask(house, alice, form(with_=JULIET))).bodies == ["note", "to nobody"]
    assert (await ask(house, alice)).bodies == ["not this", "note", "to nobody"]


async def test_filtering_by_time(house: World, alice: RecordingSession) -> None:
    await talk(house, 5)  # from 22:13:20 to 22:13:24
    for fields, bodies in (
        ({"start": "2023-11-14T22:13:21Z", "end": "2023-11-14T22:13:23Z"}, ["m1", "m2", "m3"]),
        ({"start": "2023-11-14T22:13:23.000001Z"}, ["m4"]),
        ({"start": "2023-11-14T23:13:23+01:00"}, ["m3", "m4"]),
        ({"end": "2023-11-14T22:13:20.999Z"}, ["m0"]),
        ({"end": "2010-07-07T13:23:54Z"}, []),
        ({"start": "9999-08-07T00:00:00Z"}, []),
        ({"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z"},
         ["m0", "m1", "m2", "m3", "m4"]),
    ):  # fmt: skip
        assert (await ask(house, alice, form(**fields))).bodies == bodies, fields


@pytest.mark.parametrize("fraction", [0.1239, 0.123, 0.1234999, 0.12399951, 0.9999, 0.0000004])
async def test_a_message_is_found_by_the_time_that_was_told(
    house: World, alice: RecordingSession, fraction: float
) -> None:
    house.clock.pass_(fraction)
    put(house, JULIET, ROMEO, "m")
    (result,) = (await ask(house, alice)).results
    for fields in ({"start": result.stamp}, {"end": result.stamp}):
        assert (await ask(house, alice, form(**fields))).bodies == ["m"], fields
    later = result.stamp.replace("Z", "001Z")
    assert (await ask(house, alice, form(start=later))).bodies == []
    assert (await ask(house, alice, form(end=later))).bodies == ["m"]


async def test_filtering_by_identifier(house: World, alice: RecordingSession) -> None:
    ids = await talk(house, 5)
    assert (await ask(house, alice, form(after_id=ids[2]))).bodies == ["m3", "m4"]
    assert (await ask(house, alice, form(before_id=ids[2]))).bodies == ["m0", "m1"]
    between = await ask(house, alice, form(after_id=ids[0], before_id=ids[3]))
    assert (between.bodies, between.complete, between.count) == (["m1", "m2"], True, "2")
    assert (await ask(house, alice, form(after_id=ids[3], before_id=ids[0]))).bodies == []
    assert (await ask(house, alice, form(ids=ids[3]))).bodies == ["m3"]
    # §4.2: in chronological order, whatever order they are asked for in.
    assert (await ask(house, alice, form(ids=(ids[4], ids[0], ids[4])))).bodies == ["m0", "m4"]
    assert (await ask(house, alice, form(ids=ids[1], with_=NURSE))).bodies == []
    assert (await ask(house, alice, form(ids=ids[1], after_id=ids[1]))).bodies == []


UNKNOWN = "28482-98726-73623"


@pytest.mark.parametrize(
    "inside",
    [
        form(after_id=UNKNOWN),
        form(before_id=UNKNOWN),
        form(ids=UNKNOWN),
        rsm(f"<after>{UNKNOWN}</after>"),
        rsm(f"<before>{UNKNOWN}</before>"),
        rsm(f"<max>0</max><after>{UNKNOWN}</after>"),
    ],
)
@pytest.mark.parametrize("unknown", [UNKNOWN, "0" * 32, "é" * 16, "gone", "invisible", "theirs"])
async def test_messages_that_are_not_there(
    house: World, alice: RecordingSession, inside: str, unknown: str
) -> None:
    # §4.1.3 and §4.3.2.
    ids = await talk(house, 2)
    if unknown == "gone":
        unknown = ids[0]
        assert await house.stores.log.prune(JULIET, house.clock() - 1) == 1
    elif unknown == "invisible":
        unknown = put(house, JULIET, ROMEO, "m", flags=2)
    elif unknown == "theirs":
        unknown = put(house, ROMEO, JULIET, "m")
    got = await ask(house, alice, inside.replace(UNKNOWN, unknown))
    assert (got.results, got.error) == ([], "item-not-found")
    assert read_error(got.iq).type.value == "cancel"


async def test_one_unknown_identifier_among_others(house: World, alice: RecordingSession) -> None:
    ids = await talk(house, 250)
    assert len((await ask(house, alice, form(ids=tuple(ids)))).results) == 50
    assert (await ask(house, alice, form(ids=(*ids, "0" * 32)))).error == "item-not-found"
    gone = put(house, ROMEO, JULIET, "m")
    assert (await ask(house, alice, form(ids=(*ids, gone)))).error == "item-not-found"


@pytest.mark.parametrize("value", ["true", "false", "1", "0"])
async def test_messages_of_rooms_are_in_no_archive(
    house: World, alice: RecordingSession, value: str
) -> None:
    await talk(house, 1)
    await house.arrives(
        f"<message from='room@muc.example.com/n' to='{JULIET}/balcony' type='groupchat'>"
        "<body>x</body></message>"
    )
    assert (await ask(house, alice, form(include_groupchat=value))).bodies == ["m0"]


async def test_the_form(house: World, alice: RecordingSession) -> None:
    got = await request(
        house, alice, "<iq type='get' id='form1'><query xmlns='urn:xmpp:mam:2'/></iq>"
    )
    query = got.child(ns.MAM, "query")
    assert query is not None
    (x,) = query
    assert x.get("type") == "form"
    assert [(field.get("type"), field.get("var")) for field in x] == [
        ("hidden", "FORM_TYPE"),
        ("jid-single", "with"),
        ("text-single", "start"),
        ("text-single", "end"),
        ("text-single", "before-id"),
        ("text-single", "after-id"),
        ("list-multi", "ids"),
        ("boolean", "include-groupchat"),
        ("text-single", "{urn:xmpp:fulltext:0}fulltext"),
    ]
    assert b"<required" not in got.to_bytes()


async def test_fields_that_we_do_not_know(house: World, alice: RecordingSession) -> None:
    field = "<field var='{http://example.com/}stanza-content'><value>x</value></field>"
    inside = form(start="2010-08-07T00:00:00Z").replace("</x>", f"{field}</x>")
    assert (await ask(house, alice, inside)).error == "feature-not-implemented"


# §4.3: pages


async def test_pages_forwards(house: World, alice: RecordingSession) -> None:
    ids = await talk(house, 7)
    start = form(start="2010-08-07T00:00:00Z")
    one = await ask(house, alice, start, rsm("<max>3</max>"))
    assert (one.ids, one.complete) == (ids[:3], False)
    assert (one.first, one.last, one.index, one.count) == (ids[0], ids[2], "0", None)
    two = await ask(house, alice, start, rsm(f"<max>3</max><after>{one.last}</after>"))
    assert (two.ids, two.complete) == (ids[3:6], False)
    three = await ask(house, alice, start, rsm(f"<max>3</max><after>{two.last}</after>"))
    assert (three.ids, three.complete) == (ids[6:], True)
    four = await ask(house, alice, start, rsm(f"<max>3</max><after>{three.last}</after>"))
    assert (four.ids, four.complete, four.first) == ([], True, None)


async def test_a_page_that_is_just_full_is_complete(house: World, alice: RecordingSession) -> None:
    await talk(house, 3)
    got = await ask(house, alice, rsm("<max>3</max>"))
    assert (got.bodies, got.complete) == (["m0", "m1", "m2"], True)


async def test_pages_backwards(house: World, alice: RecordingSession) -> None:
    ids = await talk(house, 7)
    one = await ask(house, alice, rsm("<max>3</max><before/>"))
    assert (one.ids, one.complete) == (ids[4:], False)
    assert (one.first, one.last, one.index, one.count) == (ids[4], ids[6], None, None)
    all_ = await ask(house, alice, rsm("<max>7</max><before/>"))
    assert (all_.ids, all_.complete, all_.index, all_.count) == (ids, True, "0", "7")
    two = await ask(house, alice, rsm(f"<max>3</max><before>{one.first}</before>"))
    assert (two.ids, two.complete) == (ids[1:4], False)
    three = await ask(house, alice, rsm(f"<max>3</max><before>{two.first}</before>"))
    assert (three.ids, three.complete) == (ids[:1], True)


async def test_flipped_pages(house: World, alice: RecordingSession) -> None:
    # §4.3.4: the same messages, in another order.
    ids = await talk(house, 7)
    for inside in (
        rsm(f"<max>3</max><after>{ids[1]}</after>"),
        rsm("<max>3</max><before/>"),
        form(after_id=ids[4]),
    ):
        straight = await ask(house, alice, inside)
        flipped = await ask(house, alice, inside, "<flip-page/>")
        assert flipped.ids == straight.ids[::-1]
        assert flipped.iq.to_bytes() == straight.iq.to_bytes()


async def test_pages_within_a_filter(house: World, alice: RecordingSession) -> None:
    ids = await talk(house, 9)
    put(house, JULIET, NURSE, "nurse")
    inside = form(with_=ROMEO, after_id=ids[1], before_id=ids[7])
    one = await ask(house, alice, inside, rsm("<max>3</max>"))
    assert (one.ids, one.complete, one.index, one.count) == (ids[2:5], False, "0", None)
    two = await ask(house, alice, inside, rsm(f"<max>3</max><after>{one.last}</after>"))
    assert (two.ids, two.complete) == (ids[5:7], True)
    back = await ask(house, alice, inside, rsm(f"<max>3</max><before>{ids[3]}</before>"))
    assert (back.ids, back.complete) == (ids[2:3], True)
    assert (await ask(house, alice, form(after_id=ids[5]), rsm(f"<after>{ids[2]}</after>"))).ids[
        0
    ] == ids[6]


async def test_the_number_of_messages(house: World, alice: RecordingSession) -> None:
    # XEP-0059 §2.7.
    await talk(house, 3)
    put(house, JULIET, NURSE, "nurse")
    got = await ask(house, alice, rsm("<max>0</max>"))
    assert (got.results, got.complete, got.first, got.count) == ([], False, None, "4")
    assert (await ask(house, alice, form(with_=NURSE), rsm("<max>0</max>"))).count == "1"
    none = await ask(house, alice, form(with_="x@example.org"), rsm("<max>0</max>"))
    assert (none.complete, none.count) == (True, "0")


async def test_pages_by_number(house: World, alice: RecordingSession) -> None:
    # XEP-0059 §2.6: 501 where it would be expensive; the first page never is.
    ids = await talk(house, 3)
    assert (await ask(house, alice, rsm("<max>2</max><index>0</index>"))).ids == ids[:2]
    got = await ask(house, alice, rsm("<max>2</max><index>371</index>"))
    assert got.error == "feature-not-implemented"


async def test_how_many_come_at_once(house: World, alice: RecordingSession) -> None:
    ids = await talk(house, 300)
    assert (await ask(house, alice)).ids == ids[:50]
    assert (await ask(house, alice, rsm("<before/>"))).ids == ids[-50:]
    most = await ask(house, alice, rsm("<max>1000</max>"))
    assert (most.ids, most.complete, most.last) == (ids[:250], False, ids[249])
    most = await ask(house, alice, rsm("<max>1000</max><before/>"))
    assert (most.ids, most.complete, most.index, most.count) == (ids[50:], False, None, None)
    rest = await ask(house, alice, rsm(f"<max>1000</max><after>{ids[249]}</after>"))
    assert (rest.ids, rest.complete) == (ids[250:], True)


async def test_a_smaller_bound(world: World) -> None:
    load(world, mam.Options(page=2))
    ids = await talk(world, 3)
    alice = await world.login("alice/balcony")
    for inside in ("", rsm("<max>3</max>")):
        assert (await ask(world, alice, inside)).ids == ids[:2]


async def _walk(world: World, alice: RecordingSession, back: bool) -> tuple[list[str], int]:
    """Every page of an archive; returns the identifiers and the number of the pages."""
    ids: list[str] = []
    place = "<before/>" if back else ""
    for page in range(1, 100):
        got: Answer = await ask(world, alice, rsm(f"<max>250</max>{place}"))
        assert got.results
        ids[0 if back else len(ids) : 0 if back else len(ids)] = got.ids
        if got.complete:
            return ids, page
        place = f"<before>{got.first}</before>" if back else f"<after>{got.last}</after>"
    raise AssertionError("there is no end to it")


@pytest.mark.parametrize("back", [False, True])
async def test_large_messages_make_short_pages(
    house: World, alice: RecordingSession, back: bool
) -> None:
    ids = [put(house, JULIET, ROMEO, "x" * 100_000) for _ in range(12)]
    ids += [put(house, JULIET, ROMEO, "x" * 600_000)]
    ids += [put(house, JULIET, ROMEO, "x") for _ in range(120)]
    found, pages = await _walk(house, alice, back)
    assert found == ids
    assert pages == 5  # of 5, 5, 2, 1 and 120 messages; or the other way round


# §5: metadata


async def test_metadata(house: World, alice: RecordingSession) -> None:
    xml = "<iq type='get' id='jui8921rr9'><metadata xmlns='urn:xmpp:mam:2'/></iq>"
    empty = await request(house, alice, xml)
    assert empty.inner == b"<metadata xmlns='urn:xmpp:mam:2'/>"
    ids = await talk(house, 3)
    put(house, JULIET, ROMEO, "waits, and is not in the archive", flags=2)
    got = await request(house, alice, xml)
    assert got.inner.decode() == (
        "<metadata xmlns='urn:xmpp:mam:2'>"
        f"<start id='{ids[0]}' timestamp='2023-11-14T22:13:20.000Z'/>"
        f"<end id='{ids[2]}' timestamp='2023-11-14T22:13:22.000Z'/></metadata>"
    )


# §7, §8


async def test_features(house: World, alice: RecordingSession) -> None:
    house.load("disco", disco.load(house.host, disco.Options()))

    async def features(to: str) -> set[str]:
        got = await request(
            house,
            alice,
            f"<iq type='get' id='disco1' to='{to}'><query xmlns='{ns.DISCO_INFO}'/></iq>",
        )
        (query,) = parse(got.to_bytes())
        return {feature.get("var") for feature in query.find_all(ns.DISCO_INFO, "feature")}

    account = await features(JULIET)
    assert account >= {
        "urn:xmpp:mam:2",
        "urn:xmpp:mam:2#extended",
        "urn:xmpp:mam:2#groupchat-field",
        "http://jabber.org/protocol/rsm",
        "urn:xmpp:sid:0",
        "urn:xmpp:fulltext:0",
        "urn:xmpp:order-by:1",
        "urn:xmpp:order-by:1@urn:xmpp:mam:2",
        "urn:xmpp:message-retract:1",
        "urn:xmpp:message-retract:1#tombstone",
    }
    assert "urn:xmpp:mam:2#groupchat-available" not in account
    server = await features("example.com")
    assert {"urn:xmpp:order-by:1", "urn:xmpp:message-retract:1"} <= server
    assert "urn:xmpp:mam:2" not in server  # it has no archive of its own


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("set", "<query xmlns='urn:xmpp:mam:2'/>"),
        ("get", "<query xmlns='urn:xmpp:mam:2'/>"),
        ("get", "<metadata xmlns='urn:xmpp:mam:2'/>"),
        ("get", "<prefs xmlns='urn:xmpp:mam:2'/>"),
        ("set", "<prefs xmlns='urn:xmpp:mam:2' default='never'/>"),
    ],
)
@pytest.mark.parametrize("to", [ROMEO, "nobody@example.com"])
async def test_other_peoples_archives(
    house: World, alice: RecordingSession, kind: str, payload: str, to: str
) -> None:
    put(house, ROMEO, JULIET, "m")
    got = await request(house, alice, f"<iq type='{kind}' id='q1' to='{to}'>{payload}</iq>")
    assert read_error(got).condition.value == "forbidden"
    assert not await house.stores.keyvalue.keys(to, "mam")


async def test_the_server_has_no_archive(house: World, alice: RecordingSession) -> None:
    got = await ask(house, alice, to="example.com")
    assert got.error == "feature-not-implemented"


async def test_a_stranger_gets_nothing(house: World) -> None:
    put(house, JULIET, ROMEO, "m")
    component = house.domain("muc.example.com")
    await house.arrives(
        f"<iq type='set' id='q1' from='room@muc.example.com/n' to='{JULIET}'>"
        "<query xmlns='urn:xmpp:mam:2'/></iq>"
    )
    (text,) = component.take()
    assert "<forbidden" in text
