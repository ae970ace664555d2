"""The client's own parts, without a server: its outbox (XEP-0198) and its timeline (XEP-0313)."""

from __future__ import annotations

import pytest

from tests.invariants.history import Entry, Key, Said
from tests.invariants.outbox import Item, Outbox, Wrong
from tests.invariants.timeline import Timeline

ONE, TWO, THREE = (Key("alice", "phone", "bob", number) for number in (1, 2, 3))
HIS, HERS = Key("bob", "desk", "alice", 1), Key("carol", "desk", "alice", 1)


def item(name: str) -> Item:
    return Item(name, Said(Key("alice", "phone", "bob", int(name)), 0.0))


def names(items: list[Item]) -> list[str]:
    return [one.xml for one in items]


def filled() -> Outbox:
    """Three messages written, and a fourth that waits."""
    outbox = Outbox()
    for name in "123":
        outbox.add(item(name))
    assert names(outbox.write()) == ["1", "2", "3"]
    outbox.add(item("4"))
    return outbox


def test_h_covers_what_was_written_first() -> None:
    outbox = filled()
    assert names(outbox.acknowledge(0)) == []
    assert names(outbox.acknowledge(2)) == ["1", "2"]
    assert names(outbox.acknowledge(2)) == []
    assert names(outbox.again()) == ["3"]
    assert len(outbox) == 2
    assert outbox.unacknowledged


@pytest.mark.parametrize("handled", [4, 2**32 - 1])
def test_h_beyond_what_was_written(handled: int) -> None:
    with pytest.raises(Wrong):
        filled().acknowledge(handled)


def test_h_that_is_taken_back() -> None:
    outbox = filled()
    outbox.acknowledge(2)
    with pytest.raises(Wrong):
        outbox.acknowledge(1)


def test_h_wraps() -> None:
    outbox = Outbox()
    outbox.handled = 2**32 - 1
    outbox.add(item("1"))
    outbox.add(item("2"))
    outbox.write()
    assert names(outbox.acknowledge(1)) == ["1", "2"]


def test_a_new_session_begins_with_the_messages_of_the_old_one() -> None:
    outbox = filled()
    outbox.write_now(Item("<iq/>"))
    outbox.acknowledge(1)
    outbox.renew()
    assert outbox.handled == 0
    assert not outbox.unacknowledged
    outbox.write_now(Item("<presence/>"))
    assert names(outbox.write()) == ["2", "3", "4"]
    assert names(outbox.acknowledge(2)) == ["<presence/>", "2"]


def test_a_refused_message_is_not_written_in_another_session() -> None:
    outbox = filled()
    for one in (*outbox.again(), *outbox.waiting()):
        if one.xml in {"2", "4"}:
            assert one.said is not None
            outbox.refused(one.said)
    assert len(outbox) == 2
    assert names(outbox.again()) == ["1", "2", "3"]  # this session's count goes on
    outbox.renew()
    assert names(outbox.write()) == ["1", "3"]


# The timeline


def filled_timeline() -> tuple[Timeline, list[Entry]]:
    entries: list[Entry] = []
    return Timeline("alice", entries), entries


def test_the_archive_goes_before_what_comes_meanwhile() -> None:
    timeline, entries = filled_timeline()
    timeline.begin()
    timeline.live(HERS, "9")
    timeline.result(ONE, "7")
    timeline.result(HIS, "8")
    assert entries == [Entry(ONE, "7"), Entry(HIS, "8")]
    timeline.result(HERS, "9")
    timeline.complete()
    assert entries == [Entry(ONE, "7"), Entry(HIS, "8"), Entry(HERS, "9")]
    assert timeline.last == "9"


def test_a_message_is_known_by_its_id() -> None:
    timeline, entries = filled_timeline()
    timeline.live(HIS, "8")
    timeline.live(HIS, "8")
    timeline.result(HIS, "8")
    assert entries == [Entry(HIS, "8")]
    timeline.live(HIS, "9")  # the same in the archive twice: that is seen
    assert entries == [Entry(HIS, "8"), Entry(HIS, "9")]


def test_an_own_message_is_known_by_the_id_that_it_was_given_when_it_was_said() -> None:
    timeline, entries = filled_timeline()
    timeline.live(ONE, None)
    timeline.result(ONE, "7")
    assert entries == [Entry(ONE, None)]
    assert timeline.last == "7"


def test_it_reads_on_behind_what_it_knows() -> None:
    timeline, _ = filled_timeline()
    timeline.live(HIS, "8")
    timeline.live(HERS, None)  # in no archive
    assert timeline.last == "8"
    timeline.begin()
    timeline.live(HIS, "8")  # an old one comes once more
    timeline.result(TWO, "9")
    timeline.complete()
    assert timeline.last == "9"
