"""Who gets what, what users may use up, parts of texts, and delivery reports."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.gateways.events import Arrived, Event, Failed, Received, Trouble
from jabberd.gateways.sms.backend import Fragment, Incoming, Outcome, Receipt
from jabberd.gateways.sms.reassembly import Group
from jabberd.gateways.sms.segments import Part, split
from jabberd.gateways.transport import Lost, NotDone, NotTaken
from tests.gateways.sms.far import Far, hub, part
from tests.gateways.sms.site import Place, text

JULIET = "juliet@example.org"
NURSE = "nurse@example.org"
HERS = "+491700000001"
SHARED = "+491700000009"
ROMEO = "+491711234567"


def place(*, shared: bool = False) -> Place:
    here = Place()
    here.register(JULIET, "" if shared else HERS)
    here.register(NURSE, "" if shared else "+491700000002")
    return here


def bodies(here: Place) -> list[tuple[str, str]]:
    return [(user, event.body) for user, event in here.events if isinstance(event, Arrived)]


# Quotas


@pytest.mark.asyncio
async def test_the_limit_of_a_day_counts_parts_and_outlasts_a_restart() -> None:
    here, far = place(), Far()
    first = await hub(here, far, per_day=4)
    await first.send(JULIET, HERS, ROMEO, text("a" * 400))  # three parts
    await first.stop()
    await here.records.erase(JULIET)  # as when somebody unregisters
    again = await hub(here, far, per_day=4)
    with pytest.raises(NotDone, match="limit of 4 SMS a day") as caught:
        await again.send(JULIET, HERS, ROMEO, text("a" * 200))
    assert caught.value.trouble is Trouble.NOT_ALLOWED
    await again.send(JULIET, HERS, ROMEO, text("a"))
    await again.send(NURSE, "+491700000002", ROMEO, text("a"))
    here.clock += 86_400
    await again.send(JULIET, HERS, ROMEO, text("a"))
    here.clock += 10 * 86_400
    await again.tidy()
    await again.stop()
    assert here.records.spaces() == set()
    assert len(far.sent) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("trouble", "counts"),
    [
        (Lost("away"), False),
        (NotDone(Trouble.NO_SUCH_CONTACT), False),
        (NotDone(Trouble.UNKNOWN_FATE), True),
    ],
)
async def test_what_was_not_sent_does_not_count(trouble: Exception, counts: bool) -> None:
    here, far = place(), Far(trouble=trouble)
    made = await hub(here, far, per_day=1)
    with pytest.raises(type(trouble)):
        await made.send(JULIET, HERS, ROMEO, text("a"))
    if counts:
        with pytest.raises(NotDone, match="limit"):
            await made.send(JULIET, HERS, ROMEO, text("a"))
    else:
        await made.send(JULIET, HERS, ROMEO, text("a"))
    await made.stop()


@pytest.mark.asyncio
async def test_what_is_not_sent_at_all() -> None:
    here, far = place(), Far()
    made = await hub(here, far)
    for to, said, trouble in (
        (ROMEO, "a" * 500, Trouble.TOO_LARGE),
        (ROMEO, " ", Trouble.NOT_ACCEPTABLE),
        ("DHL", "hello", Trouble.NOT_ALLOWED),
        ("+499001234567", "hello", Trouble.NOT_ALLOWED),
    ):
        with pytest.raises(NotDone) as caught:
            await made.send(JULIET, HERS, to, text(said))
        assert caught.value.trouble is trouble
    await made.stop()
    assert far.sent == []


# Whose it is


@pytest.mark.asyncio
async def test_answers_to_a_shared_number_go_to_who_wrote_last() -> None:
    here, far = place(shared=True), Far()
    made = await hub(here, far, shared=SHARED)
    with pytest.raises(NotTaken) as caught:
        await made.incoming(Incoming(ROMEO, SHARED, "who are you?"))
    assert caught.value.lasting
    await made.send(JULIET, SHARED, ROMEO, text("a"))
    await made.incoming(Incoming(ROMEO, SHARED, "to juliet"))
    await made.send(NURSE, SHARED, ROMEO, text("b"))
    await made.incoming(Incoming(ROMEO, SHARED, "to her nurse"))
    assert bodies(here) == [(JULIET, "to juliet"), (NURSE, "to her nurse")]
    with pytest.raises(NotTaken):
        await made.incoming(Incoming(ROMEO, "+491700000077", "another number"))
    del here.logins[NURSE]
    with pytest.raises(NotTaken):
        await made.incoming(Incoming(ROMEO, SHARED, "she is gone"))
    await made.send(JULIET, SHARED, ROMEO, text("c"))
    here.clock += 7 * 86_400 + 1
    with pytest.raises(NotTaken):
        await made.incoming(Incoming(ROMEO, SHARED, "a week later"))
    await made.stop()


# Parts


@pytest.mark.asyncio
async def test_parts_outlast_a_restart() -> None:
    here = place()
    first = await hub(here, Far())
    await first.incoming(part(2, 3, b"two "))
    await first.incoming(part(2, 3, b"two "))  # once more
    await first.incoming(part(3, 3, b"three"))
    await first.stop()
    assert here.events == []
    again = await hub(here, Far())
    await again.incoming(part(1, 3, b"one "))
    assert bodies(here) == [(JULIET, "one two three")]
    await again.stop()


@pytest.mark.asyncio
async def test_a_last_part_that_comes_again_since_its_answer_was_lost() -> None:
    here = place()
    first = await hub(here, Far())
    await first.incoming(part(1, 2, b"one "))
    await first.incoming(part(2, 2, b"two"))
    await first.stop()
    again = await hub(here, Far())
    await again.incoming(part(2, 2, b"two"))
    here.clock += 7_200
    await again.tidy()
    assert bodies(here) == [(JULIET, "one two")]
    await again.incoming(part(1, 2, b"one "))  # the same text, sent anew
    await again.incoming(part(2, 2, b"two"))
    assert len(bodies(here)) == 2
    here.clock += 7_200
    await again.tidy()
    await again.stop()
    assert here.records.spaces() == set()


@pytest.mark.asyncio
async def test_a_text_that_its_user_does_not_take_now() -> None:
    here = place()
    made = await hub(here, Far())
    await made.incoming(part(1, 2, b"one "))
    here.refuse = [NotTaken("away")]
    with pytest.raises(NotTaken):
        await made.incoming(part(2, 2, b"two"))
    await made.incoming(part(2, 2, b"two"))
    assert bodies(here) == [(JULIET, "one two")]
    here.refuse = [NotTaken("blocked", lasting=True)]
    await made.incoming(part(1, 2, b"one ", ref=8))
    with pytest.raises(NotTaken):
        await made.incoming(part(2, 2, b"two", ref=8))
    here.clock += 7_200
    await made.tidy()
    await made.stop()
    assert len(here.events) == 1
    assert here.records.spaces() == set()


@pytest.mark.asyncio
async def test_what_is_missing_when_time_is_up() -> None:
    here = place()
    made = await hub(here, Far())
    await made.incoming(part(2, 4, b"two "))
    await made.incoming(part(4, 4, b"four"))
    here.clock += 3_599
    await made.tidy()
    assert here.events == []
    here.clock += 1
    here.refuse = [NotTaken("away")]
    await made.tidy()
    await made.tidy()
    await made.stop()
    assert bodies(here) == [(JULIET, "[part 1 missing]two [part 3 missing]four")]
    assert here.records.spaces() == set()


@pytest.mark.asyncio
async def test_a_number_of_a_text_that_is_used_again() -> None:
    here = place()
    made = await hub(here, Far())
    await made.incoming(part(1, 2, b"old"))
    here.refuse = [NotTaken("away")]
    with pytest.raises(NotTaken):  # nothing of the old one is lost
        await made.incoming(part(1, 2, b"new "))
    await made.incoming(part(1, 2, b"new "))
    await made.incoming(part(2, 2, b"one"))
    await made.stop()
    assert bodies(here) == [(JULIET, "old[part 2 missing]"), (JULIET, "new one")]


@pytest.mark.asyncio
async def test_a_sender_of_parts_has_a_limit() -> None:
    here = place()
    made = await hub(here, Far())
    for ref in range(25):
        await made.incoming(part(1, 2, b"%d" % ref, ref=ref))
    await made.stop()
    assert bodies(here) == [(JULIET, f"{ref}[part 2 missing]") for ref in range(5)]
    assert len(here.records.kept) == 20


@given(st.text(min_size=150, max_size=400), st.randoms(use_true_random=False))
def test_parts_in_any_order(said: str, order: object) -> None:
    segments = split(said, "udh8", ref=1, most=255)
    group = Group(ROMEO, HERS, 1, len(segments), 0.0)
    for number in sorted(range(len(segments)), key=lambda _: order.random()):  # type: ignore[attr-defined]  # hypothesis's own kind
        one = segments[number]
        where = one.part or Part(1, 1, 1)
        group.parts[where.number] = Fragment(where, one.data, one.coding)
    assert group.whole
    whole = b"".join(one.data for one in segments)
    assert group.text("gsm") == Group(
        ROMEO, HERS, 1, 1, 0.0, {1: Fragment(Part(1, 1, 1), whole, segments[0].coding)}
    ).text("gsm")


def test_a_character_that_a_sender_cut_in_two() -> None:
    emoji = "😀".encode("utf-16-be")
    group = Group(ROMEO, HERS, 1, 3, 0.0)
    halves = [(emoji[:2], 8), (emoji[2:], 8), (b"\x1b\x65", 0)]
    for number, (data, coding) in enumerate(halves, 1):
        where = Part(1, 3, number)
        group.parts[number] = Fragment(where, data, coding)
    assert group.text("gsm") == "😀€"


# Reports


@pytest.mark.asyncio
async def test_a_report_that_is_not_taken_comes_again() -> None:
    here = place()
    made = await hub(here, Far())
    name = await made.send(JULIET, HERS, ROMEO, text("a"))
    here.refuse = [NotTaken("away")]
    receipt = Receipt(name, Outcome.DELIVERED)
    with pytest.raises(NotTaken):
        await made.receipt(receipt)
    await made.receipt(receipt)
    assert here.events == [(JULIET, Received(ROMEO, name))]
    await made.stop()


@pytest.mark.asyncio
async def test_reports_for_those_who_have_gone() -> None:
    here = place()
    made = await hub(here, Far())
    name = await made.send(JULIET, HERS, ROMEO, text("a"))
    del here.logins[JULIET]
    await made.receipt(Receipt(name, Outcome.DELIVERED))
    await made.stop()
    assert here.events == []


@pytest.mark.asyncio
@pytest.mark.parametrize("order", list(itertools.permutations([0, 1, 2])))
async def test_a_text_has_arrived_when_all_its_parts_have(order: tuple[int, ...]) -> None:
    here = place()
    made = await hub(here, Far(named=lambda number: f"{number + 0x1000:x}"))
    name = await made.send(JULIET, HERS, ROMEO, text("a" * 400))
    assert name == "1001"
    for number in order:
        assert here.events == []
        decimal = str(number + 0x1001)
        receipt = Receipt(decimal, Outcome.DELIVERED, contact=ROMEO)
        await made.receipt(Receipt(decimal, Outcome.PENDING, contact=ROMEO))
        await made.receipt(receipt)
    assert here.events == [(JULIET, Received(ROMEO, name))]
    await made.stop()


@pytest.mark.asyncio
async def test_early_reports_are_held_for_a_minute() -> None:
    here = place()
    made = await hub(here, Far())
    await made.receipt(Receipt("1", Outcome.UNDELIVERABLE, "UNDELIV"))
    here.clock += 59
    await made.tidy()
    name = await made.send(JULIET, HERS, ROMEO, text("a"))
    _, failed = await here.told(Failed)
    assert (failed.id, failed.trouble) == (name, Trouble.UNREACHABLE)
    await made.receipt(Receipt("2", Outcome.DELIVERED))
    here.clock += 61
    await made.send(JULIET, HERS, ROMEO, text("b"))
    await made.tidy()
    await made.stop()
    events: list[tuple[str, Event]] = []
    assert here.events == events
