"""What a session with stream management remembers, and what comes back after a restart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.core.parcel import Parcel
from jabberd.core.turn import Turn
from jabberd.edge.sm import Bounds, Item, StreamManagement, unpack
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Flag, Journaled, Unit
from jabberd.xmpp.error import StreamCondition, StreamError

MODULUS = 2**32


class Custodian:
    """Counts what goes back to the log."""

    def __init__(self) -> None:
        self.returned_keys: list[int] = []

    def arrived(self, parcel: Parcel) -> None:
        raise AssertionError("a visible entry that does not wait needs no change")

    def waits(self, parcel: Parcel) -> None:
        raise AssertionError("nothing is held back here")

    def returned(self, parcel: Parcel) -> None:
        self.returned_keys.append(parcel.key)


def managed(*, durable: bool = True) -> StreamManagement:
    return StreamManagement(7, "the-id", 600, durable=durable)


def parcel(key: int, wire: bytes, turn: Turn | None = None) -> Parcel:
    one = Parcel("a@b", key, wire, turn or Turn(), int(Flag.VISIBLE), Custodian())
    one.holders = 1
    return one


def journal_of(sm: StreamManagement) -> tuple[list[Journaled], dict[int, int]]:
    unit = Unit()
    sm.pack(unit)
    return unit.journal, unit.forget


def keep(rows: list[Journaled], unit: tuple[list[Journaled], dict[int, int]]) -> list[Journaled]:
    """What a log does with a unit."""
    journal, forget = unit
    for place in forget.values():
        rows = [row for row in rows if row.first + row.stanzas > place]
    return sorted(rows + journal, key=lambda row: row.first)


def revived(
    handled: int, rows: list[Journaled], gone: frozenset[int] = frozenset()
) -> StreamManagement:
    """What the next process makes of it; entries of the log are their key as text."""
    sm = managed()
    placed = []
    behind = 0
    for row in rows:
        behind = row.first + row.stanzas
        for place, (key, data) in enumerate(unpack(row.items), row.first):
            if data:
                placed.append((place, Item(data, None)))
            elif key not in gone:
                wire = str(key).encode()
                placed.append((place, Item(wire, parcel(key, wire))))
    sm.restore(handled, placed, behind)
    return sm


def test_entries_are_journaled_by_key_and_the_rest_by_its_bytes() -> None:
    sm = managed()
    wire = b"<message/>"
    sm.push(wire, parcel(5, wire))
    sm.push(b"<presence/>", None)
    sm.push(b"<message>a copy of it</message>", parcel(5, wire))
    (row,), forget = journal_of(sm)
    assert (row.number, row.first, row.stanzas, forget) == (7, 0, 3, {})
    copy = b"<message>a copy of it</message>"
    assert unpack(row.items) == [(5, b""), (0, b"<presence/>"), (5, copy)]
    assert journal_of(sm) == ([], {})


def test_what_was_acknowledged_before_it_was_journaled_is_not() -> None:
    sm = managed()
    for number in range(4):
        sm.push(b"%d" % number, None)
    sm.acknowledge(3)
    (row,), _ = journal_of(sm)
    assert (row.first, unpack(row.items)) == (3, [(0, b"3")])
    sm.push(b"4", None)
    sm.acknowledge(5)
    journal, forget = journal_of(sm)
    assert (journal, forget[7] >= 5) == ([], True)


def test_a_session_that_ends_with_the_process_journals_nothing() -> None:
    sm = managed(durable=False)
    sm.push(b"<presence/>", None)
    assert journal_of(sm) == ([], {})


def test_more_than_was_sent_cannot_be_acknowledged() -> None:
    sm = managed()
    sm.push(b"0", None)
    with pytest.raises(StreamError) as error:
        sm.acknowledge(2)
    assert error.value.condition is StreamCondition.UNDEFINED_CONDITION
    assert error.value.app is not None
    assert error.value.app.attrs == {"h": "2", "send-count": "1"}
    assert len(sm.queue) == 1


def test_counts_wrap_around() -> None:
    sm = managed()
    sm.base = MODULUS - 1
    sm.push(b"last", None)
    sm.push(b"first", None)
    sm.acknowledge(0)
    assert [item.data for item in sm.queue] == [b"first"]
    sm.acknowledge(1)
    assert not sm.queue


def test_bounds() -> None:
    sm = managed()
    bounds = Bounds(seconds=1, stanzas=2, bytes=10)
    sm.push(b"12345", None)
    sm.push(b"12345", None)
    assert sm.within(bounds)
    sm.push(b"", None)
    assert not sm.within(bounds)
    sm.acknowledge(1)
    assert sm.within(bounds)
    sm.push(b"123456", None)
    assert not sm.within(bounds)


def test_what_could_not_be_written_was_never_sent() -> None:
    sm = managed()
    good, bad = Turn(), Turn()
    sm.push(b"one", parcel(1, b"one", good))
    rows = keep([], journal_of(sm))
    sm.push(b"lost", parcel(2, b"lost", bad))
    sm.push(b"two", parcel(3, b"two", good))
    bad.failed = StorageError("full")
    sm.discard(bad)
    assert [item.data for item in sm.queue] == [b"one", b"two"]
    rows = keep(rows, journal_of(sm))
    assert [(row.first, unpack(row.items)) for row in rows] == [(0, [(1, b""), (3, b"")])]
    sm.acknowledge(2)
    assert not sm.queue


def test_after_a_restart_the_count_of_the_client_decides() -> None:
    sm = managed()
    for key in range(5):
        wire = str(key).encode()
        sm.push(wire, parcel(key, wire))
    again = revived(3, keep([], journal_of(sm)))
    assert again.handled == 3
    again.resume(2)
    assert [item.data for item in again.queue] == [b"2", b"3", b"4"]
    again.acknowledge(5)
    assert not again.queue


def test_what_came_since_the_restart_was_never_sent() -> None:
    """A crash takes what was sent beyond the journal: the client's count may be ahead of ours."""
    sm = managed()
    sm.push(b"0", parcel(0, b"0"))
    rows = keep([], journal_of(sm))
    sm.push(b"<presence/>", None)  # the client gets it; the process dies before it is journaled
    again = revived(0, rows)
    again.push(b"new", parcel(9, b"new"))
    rows = keep(rows, journal_of(again))
    third = revived(0, rows)  # and dies once more, before the client is back
    for one in (again, third):
        one.resume(2)
        assert [item.parcel.key for item in one.queue if item.parcel] == [9]
        one.acknowledge(3)
        assert not one.queue


def test_what_came_since_the_restart_is_journaled_once_also_after_a_commit_that_failed() -> None:
    sm = managed()
    sm.push(b"0", parcel(0, b"0"))
    rows = keep([], journal_of(sm))
    again = revived(0, rows)
    again.push(b"1", parcel(1, b"1"))
    rows = keep(rows, journal_of(again))
    again.written()
    turn = Turn()
    again.push(b"2", parcel(2, b"2", turn))
    again.push(b"<presence/>", None)
    journal_of(again)  # in the same unit, which cannot be written
    turn.failed = StorageError("full")
    again.discard(turn)
    rows = keep(rows, journal_of(again))
    third = revived(0, rows)
    assert [item.data for item in third.queue] == [b"0", b"1", b"<presence/>"]
    assert len({row.first for row in rows}) == len(rows)


def test_a_place_is_not_given_twice_where_an_entry_is_gone() -> None:
    """Its owner has got it by another client meanwhile, and no archive keeps it."""
    sm = managed()
    rows = keep([], journal_of(sm))
    again = revived(0, rows)
    again.push(b"1", parcel(1, b"1"))
    rows = keep(rows, journal_of(again))
    third = revived(0, rows, frozenset({1}))
    third.push(b"2", parcel(2, b"2"))
    rows = keep(rows, journal_of(third))
    assert len({row.first for row in rows}) == len(rows) == 2


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.booleans()),
            st.tuples(st.just("ack"), st.floats(0, 1)),
            st.tuples(st.just("commit"), st.none()),
            st.tuples(st.just("die"), st.none()),
        ),
        max_size=60,
    )
)
def test_nothing_that_is_in_the_log_is_lost_or_doubled(steps: list[tuple[str, object]]) -> None:
    """A client reads everything that is sent; it acknowledges, and resumes after deaths."""
    sm = managed()
    rows: list[Journaled] = []
    read: list[bytes] = []  # what the client has, in the order in which it came
    said: list[bytes] = []  # messages of the log; they are journaled before they leave
    for number, (what, value) in enumerate(steps):
        if what == "send" and value:
            wire = str(number).encode()
            sm.push(wire, parcel(number, wire))
            rows = keep(rows, journal_of(sm))
            said.append(wire)
            read.append(wire)
        elif what == "send":
            sm.push(b"<presence/>", None)
            read.append(b"<presence/>")
        elif what == "ack" and isinstance(value, float):
            waiting = len(sm.queue)
            sm.acknowledge((sm.base + int(waiting * value)) % MODULUS)
        elif what == "commit":
            rows = keep(rows, journal_of(sm))
        else:
            sm = revived(0, rows)
            sm.resume(len(read) % MODULUS)
            read += [item.data for item in sm.queue]
            rows = keep(rows, journal_of(sm))
    assert [one for one in read if one != b"<presence/>"] == said
