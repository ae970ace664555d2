"""XEP-0313 §4.3 and XEP-0059: pages of an archive."""

from __future__ import annotations

import pytest
import pytest_asyncio

from jabberd.modules import mam
from tests.modules.archive import Answer, ask, form, load, put, rsm
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


async def talk(world: World, count: int) -> list[str]:
    """Messages m0, m1 … in Juliet's archive, one a second; their identifiers."""
    ids = []
    for number in range(count):
        ids.append(put(world, JULIET, ROMEO, f"m{number}"))
        world.clock.pass_(1)
    return ids


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
