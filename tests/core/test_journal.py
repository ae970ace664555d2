"""The verdict journal: what it keeps, what it does not, and its bounds."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from jabberd.core.journal import Journal
from jabberd.core.verdict import Bounced, Delivered, Dropped, Handled, Relayed, Verdict
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza

ALICE = JID.parse("alice@example.org")
BOB = JID.parse("bob@example.org")
DESK = JID.parse("alice@example.org/desk")
DELIVERED = Delivered(("bob@example.org/phone",))


def message(id_: str = "m", to: JID = BOB) -> Message:
    return Message(to=to, from_=DESK, id=id_, type="chat", inner=b"<body>the secret</body>")


def test_an_entry_is_one_line_without_the_body() -> None:
    journal = Journal()
    journal.record(1_700_000_000.25, message("m1"), DELIVERED, ALICE.text)
    (entry,) = journal.entries(ALICE)
    assert str(entry) == (
        "2023-11-14 22:13:20.250Z message/chat id=m1 alice@example.org/desk → bob@example.org: "
        "delivered to bob@example.org/phone"
    )
    assert journal.entries(BOB) == []


def test_one_ending_can_concern_two_accounts() -> None:
    journal = Journal()
    journal.record(1, message("both"), DELIVERED, ALICE.text, BOB.text)
    journal.record(2, message("note to self"), DELIVERED, ALICE.text, ALICE.text)
    assert [entry.id for entry in journal.entries(ALICE)] == ["both", "note to self"]
    assert [entry.id for entry in journal.entries(BOB)] == ["both"]


def test_what_peers_chose_is_escaped_and_cut() -> None:
    journal = Journal()
    stanza = Message(to=BOB, from_=DESK, id="\x1b[2J\nid" + "x" * 500, type="ch\u202eat")
    journal.record(0, stanza, Dropped("router", "a \x9b rule"), ALICE.text)
    (entry,) = journal.entries(ALICE)
    assert str(entry).isprintable()
    assert "message/ch\\u202eat id=\\x1b[2J\\nidxxx" in str(entry)
    assert len(entry.id) == 128


def test_the_last_ones_are_kept() -> None:
    journal = Journal(keep=3)
    for number in range(5):
        journal.record(number, message(str(number)), DELIVERED, ALICE.text)
    assert [entry.id for entry in journal.entries(ALICE)] == ["2", "3", "4"]


def test_the_account_not_heard_of_for_longest_is_forgotten() -> None:
    journal = Journal(accounts=2)
    for owner in ("a@h", "b@h", "a@h", "c@h"):
        journal.record(0, message(), DELIVERED, owner)
    kept = [name for name in ("a@h", "b@h", "c@h") if journal.entries(JID.parse(name))]
    assert kept == ["a@h", "c@h"]


@pytest.mark.parametrize("tag", [Presence, Iq])
def test_routine_endings_share_one_ring(tag: type[Stanza]) -> None:
    journal = Journal(routine=2)
    journal.record(0, message("first"), DELIVERED, ALICE.text)
    for number in range(5):
        journal.record(1 + number, tag(id=str(number)), Handled("roster"), ALICE.text)
    assert [entry.id for entry in journal.entries(ALICE)] == ["first", "3", "4"]


@pytest.mark.parametrize(
    "verdict",
    [
        Dropped("blocking, phase screen", "the contact is blocked"),
        Bounced("router", StanzaError(Condition.SERVICE_UNAVAILABLE, "nobody there")),
    ],
)
def test_trouble_is_kept_per_account_whatever_the_stanza(verdict: Verdict) -> None:
    journal = Journal(routine=1)
    journal.record(0, Iq(id="bad", type="get"), verdict, ALICE.text)
    for _ in range(3):
        journal.record(1, Presence(), Handled("presence"), BOB.text)
    (entry,) = journal.entries(ALICE)
    assert str(entry).endswith(f"iq/get id=bad - → -: {verdict}")


def test_nothing_of_a_stanza_or_an_exception_is_kept_alive() -> None:
    class Watched(Message):
        """A message that can be watched."""

    journal = Journal()
    stanza = Watched(to=BOB, from_=DESK, id="m")
    gone = weakref.ref(stanza)
    try:
        raise StanzaError(Condition.FORBIDDEN, "no")
    except StanzaError as error:
        journal.record(0, stanza, Bounced("router", error), ALICE.text)
        lost = weakref.ref(error)
    del stanza
    gc.collect()
    assert gone() is None
    assert lost() is None
    assert "returned by router: forbidden: no" in str(journal.entries(ALICE)[0])


def test_only_what_concerns_one_address() -> None:
    journal = Journal()
    carol = JID.parse("carol@example.org")
    carols = JID.parse("carol@example.org/x")
    for number, to in enumerate([BOB, carol, carols, JID.parse("carol@example.organic")]):
        journal.record(number, message(str(number), to), Relayed("s2s"), ALICE.text)
    assert [entry.id for entry in journal.entries(ALICE, carol)] == ["1", "2"]
    assert [entry.id for entry in journal.entries(ALICE, DESK)] == ["0", "1", "2", "3"]


def test_forgetting_an_account() -> None:
    journal = Journal()
    for owner in (ALICE, BOB):
        journal.record(0, message(), DELIVERED, owner.text)
        journal.record(0, Presence(), Handled("presence"), owner.text)
    journal.forget(ALICE.text)
    assert journal.entries(ALICE) == []
    assert len(journal.entries(BOB)) == 2


@pytest.mark.asyncio
async def test_following() -> None:
    journal = Journal()
    journal.record(0, message("past"), DELIVERED, ALICE.text)
    lines = journal.follow(ALICE, past=True)
    assert "id=past" in str(await anext(lines))
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    journal.record(1, message("not hers"), DELIVERED, BOB.text)
    journal.record(2, message("new"), DELIVERED, ALICE.text)
    assert "id=new" in str(await waiting)
    await lines.aclose()
    assert not journal._followers


@pytest.mark.asyncio
async def test_a_slow_reader_is_told_what_it_missed() -> None:
    journal = Journal()
    lines = journal.follow(ALICE)
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    for number in range(300):
        journal.record(number, message(str(number)), DELIVERED, ALICE.text)
    assert str(await waiting) == "(44 entries were left out: too many at once)"
    assert "id=44 " in str(await anext(lines))
    await lines.aclose()


@pytest.mark.asyncio
async def test_so_many_may_follow() -> None:
    journal = Journal()
    journal.record(0, message(), DELIVERED, ALICE.text)
    readers = [journal.follow(ALICE, past=True) for _ in range(17)]
    for reader in readers[:16]:
        await anext(reader)
    with pytest.raises(RuntimeError, match="16 readers follow"):
        await anext(readers[16])
    for reader in readers:
        await reader.aclose()
