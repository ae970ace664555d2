"""Each rule holds for a history in which all is well, and finds what is wrong in one where it is.

Alice has two clients with an archive, Carol one, Bob one without. The phone says two messages to
Bob and one to Carol; Bob says one to Alice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.invariants import checks
from tests.invariants.history import (
    Archived,
    ClientHistory,
    Entry,
    History,
    How,
    Key,
    Said,
    Seen,
    Session,
)

ONE, TWO = Key("alice", "phone", "bob", 1), Key("alice", "phone", "bob", 2)
HERS = Key("alice", "phone", "carol", 1)
HIS = Key("bob", "desk", "alice", 1)


def got(key: Key, how: How, number: int, stanza_id: str | None = None, session: int = 1) -> Seen:
    return Seen(key, key.body, how, stanza_id, session, number, float(number))


def kept(stanza_id: str, key: Key) -> Archived:
    return Archived(stanza_id, key, key.body)


def well() -> History:
    """A run in which all is well."""
    phone = ClientHistory("alice", "phone", archive=True)
    phone.said = [Said(key, 0.0, [1], acknowledged=1.0) for key in (ONE, TWO, HERS)]
    phone.seen = [got(HIS, How.LIVE, 1, "a4")]
    phone.timeline = [*(Entry(key, None) for key in (ONE, TWO, HERS)), Entry(HIS, "a4")]
    phone.sessions = [Session(1, 1, 1, certain=1)]
    desk = ClientHistory("alice", "desk", archive=True)
    desk.seen = [
        got(ONE, How.SENT, 1, "a1"),
        got(TWO, How.ARCHIVE, 2, "a2"),
        got(HERS, How.ARCHIVE, 3, "a3"),
        got(HIS, How.RECEIVED, 4, "a4"),
    ]
    desk.timeline = [Entry(ONE, "a1"), Entry(TWO, "a2"), Entry(HERS, "a3"), Entry(HIS, "a4")]
    desk.sessions = [Session(1, 1, 1, certain=4)]
    bob = ClientHistory("bob", "desk", archive=False)
    bob.said = [Said(HIS, 0.0, [1], acknowledged=1.0)]
    bob.seen = [got(ONE, How.LIVE, 1, "b1"), got(TWO, How.LIVE, 2, "b2")]
    bob.sessions = [Session(1, 1, 1, certain=2), Session(2, 1, 1)]
    carol = ClientHistory("carol", "desk", archive=True)
    carol.seen = [got(HERS, How.LIVE, 1, "c1")]
    carol.timeline = [Entry(HERS, "c1")]
    carol.sessions = [Session(1, 1, 1, certain=1)]
    return History(
        [phone, desk, bob, carol],
        {
            "alice": [kept("a1", ONE), kept("a2", TWO), kept("a3", HERS), kept("a4", HIS)],
            "bob": [kept("b1", ONE), kept("b2", TWO), kept("b3", HIS)],
            "carol": [kept("c1", HERS)],
        },
    )


def test_all_is_well() -> None:
    assert checks.check(well()) == {}
    assert not checks.unseen(well())
    assert checks.delivered(well()) == 4


Change = Callable[[History], object]


def clients(history: History) -> tuple[ClientHistory, ClientHistory, ClientHistory, ClientHistory]:
    phone, desk, bob, carol = history.clients
    return phone, desk, bob, carol


def again_in_the_next_session(history: History) -> None:
    _, _, bob, _ = clients(history)
    bob.seen.append(got(ONE, How.LIVE, 1, "b1", session=2))


def refuse(history: History) -> None:
    clients(history)[0].said[2].refused = "service-unavailable"


def swap_bob(history: History) -> None:
    clients(history)[2].seen.reverse()


def forget_everywhere(history: History) -> None:
    """Nobody has the message to Carol."""
    _, desk, _, carol = clients(history)
    del history.archives["alice"][2]
    history.archives["carol"].clear()
    del desk.seen[2]
    del desk.timeline[2]
    carol.seen.clear()
    carol.timeline.clear()


# What is changed, the rule that must find it, and what it says.
WRONG: list[tuple[Change, str, str]] = [
    (
        lambda run: run.archives["bob"].pop(0),
        "archived once",
        "alice/phone>bob:1 is 0 times in the archive of bob; its client wrote it in sessions [1]",
    ),
    (
        lambda run: run.archives["alice"].pop(0),
        "archived once",
        "alice/phone>bob:1 is 0 times in the archive of alice; its client wrote it in sessions [1]",
    ),
    (
        lambda run: run.archives["bob"].append(kept("b4", ONE)),
        "archived once",
        "alice/phone>bob:1 is 2 times in the archive of bob; its client wrote it in sessions [1]",
    ),
    (
        lambda run: clients(run)[3].timeline.clear(),
        "seen once",
        "carol/desk never saw alice/phone>carol:1",
    ),
    (
        lambda run: clients(run)[2].seen.pop(),
        "seen once",
        "bob/desk never saw alice/phone>bob:2",
    ),
    (
        lambda run: clients(run)[3].timeline.append(Entry(HERS, "c2")),
        "seen once",
        "carol/desk has alice/phone>carol:1 2 times",
    ),
    (
        swap_bob,
        "seen once",
        "bob/desk: alice/phone>bob:1 comes after alice/phone>bob:2",
    ),
    (
        lambda run: clients(run)[2].seen.append(got(TWO, How.LIVE, 3, "b2")),
        "no copies",
        "bob/desk got alice/phone>bob:2 in session 1 (live) and in session 1 (live)",
    ),
    (
        lambda run: clients(run)[1].seen.append(got(HIS, How.LIVE, 5, "a4")),
        "no copies",
        "alice/desk got bob/desk>alice:1 in session 1 (received) and in session 1 (live)",
    ),
    (
        again_in_the_next_session,
        "no copies",
        "bob/desk got alice/phone>bob:1 in session 1 (live) and in session 2 (live)",
    ),
    (
        lambda run: clients(run)[1].timeline.pop(0),
        "devices agree",
        "alice/phone has alice/phone>bob [1], and alice/desk does not",
    ),
    (
        lambda run: clients(run)[1].timeline.insert(0, clients(run)[1].timeline.pop(1)),
        "devices agree",
        f"alice/phone and alice/desk differ in {ONE.pair} after 0 alike: [1, 2] and [2, 1]",
    ),
    (
        lambda run: clients(run)[1].timeline.append(Entry(ONE, "a1")),
        "devices agree",
        "alice/phone and alice/desk do not have alice/phone>bob equally often",
    ),
    (forget_everywhere, "nothing lost", "alice/phone>carol:1 is nowhere"),
    (
        lambda run: run.archives["bob"].append(kept("b1", HIS)),
        "ids hold",
        "bob: the id b1 is 2 times in the archive",
    ),
    (
        lambda run: clients(run)[3].seen.append(got(HERS, How.ARCHIVE, 2, "c9")),
        "ids hold",
        "carol/desk: the id c9 of 'alice/phone>carol:1' is not in the archive any more",
    ),
    (
        lambda run: clients(run)[1].seen.append(got(TWO, How.ARCHIVE, 9, "a1")),
        "ids hold",
        "alice/desk: the id a1 means 'alice/phone>bob:2', and meant 'alice/phone>bob:1'",
    ),
    (
        lambda run: run.archives["carol"].append(Archived("c2", None, "alice/phone>car")),
        "no strangers",
        "the archive of carol: nobody said 'alice/phone>car'",
    ),
    (
        lambda run: clients(run)[3].seen.append(got(replace(HERS, number=2), How.LIVE, 2)),
        "no strangers",
        f"carol/desk: nobody said {replace(HERS, number=2).body!r}",
    ),
    (
        lambda run: clients(run)[3].seen.append(got(ONE, How.LIVE, 2)),
        "no strangers",
        "carol/desk: alice/phone>bob:1 is none of its business",
    ),
    (
        lambda run: run.archives["bob"].insert(0, run.archives["bob"].pop(1)),
        "archives in order",
        "the archive of bob: alice/phone>bob:1 comes after alice/phone>bob:2",
    ),
    (
        refuse,
        "refused is nowhere",
        "alice/phone>carol:1 was refused (service-unavailable), and is with carol/desk",
    ),
    (
        refuse,
        "refused is nowhere",
        "alice/phone>carol:1 was refused (service-unavailable), and is in the archive of alice",
    ),
    (
        lambda run: setattr(clients(run)[0].said[1], "acknowledged", None),
        "came to rest",
        "alice/phone>bob:2 was never acknowledged",
    ),
    (lambda run: run.rest.append("bob/desk: gone"), "came to rest", "bob/desk: gone"),
    (lambda run: clients(run)[2].faults.append("h=9"), "nothing absurd", "h=9"),
    (lambda run: run.log.append("Traceback"), "log is clean", "Traceback"),
]


@pytest.mark.parametrize(("change", "rule", "text"), WRONG)
def test_what_is_wrong_is_found(change: Change, rule: str, text: str) -> None:
    history = well()
    change(history)
    assert text in checks.check(history)[rule]


def test_every_rule_was_violated() -> None:
    assert {rule for _, rule, _ in WRONG} == set(checks.RULES)


def test_missing_is_worth_waiting_for() -> None:
    history = well()
    clients(history)[2].seen.pop()
    assert checks.unseen(history)
    history = well()
    clients(history)[3].timeline.clear()
    assert checks.unseen(history)


# Copies that a server cannot avoid


def test_a_copy_of_what_was_not_acknowledged_is_excused() -> None:
    history = well()
    again_in_the_next_session(history)
    clients(history)[2].sessions[0].certain = 0
    assert checks.check(history) == {}
    assert checks.excused(history) == {
        "copies excused: the acknowledgement may not have come through": 1
    }


def test_it_is_not_within_a_session() -> None:
    """The client says at each resumption what it has: there is no excuse."""
    history = well()
    bob = clients(history)[2]
    bob.seen.append(got(ONE, How.LIVE, 3, "b1"))
    bob.sessions[0].certain = 0
    assert set(checks.check(history)) == {"no copies"}


def test_a_copy_after_a_kill_is_excused_unless_strict() -> None:
    history = well()
    again_in_the_next_session(history)
    clients(history)[2].sessions[1].first = clients(history)[2].sessions[1].last = 2
    assert set(checks.check(history)) == {"no copies"}  # it was restarted in good order
    history.killed.add(1)
    assert checks.check(history) == {}
    assert checks.excused(history) == {"copies excused: the server was killed": 1}
    assert len(checks.no_copies(history, strict=True)) == 1


def test_a_resumption_after_a_kill_ends_the_excuse() -> None:
    history = well()
    again_in_the_next_session(history)
    bob = clients(history)[2]
    bob.sessions[0].last = 2  # it was resumed in the second life
    bob.sessions[1].first = bob.sessions[1].last = 2
    history.killed.add(1)
    assert set(checks.check(history)) == {"no copies"}


def test_clients_with_an_archive_remove_copies_across_sessions() -> None:
    history = well()
    carol = clients(history)[3]
    carol.sessions.append(Session(2, 1, 1))
    carol.seen.append(got(HERS, How.LIVE, 1, "c1", session=2))
    assert checks.check(history) == {}


# What is not promised


def test_what_was_refused_need_not_be_anywhere() -> None:
    history = well()
    forget_everywhere(history)
    refuse(history)
    assert checks.check(history) == {}


def test_what_was_not_acknowledged_need_not_be_anywhere() -> None:
    history = well()
    forget_everywhere(history)
    clients(history)[0].said[2].acknowledged = None
    assert set(checks.check(history)) == {"came to rest", "devices agree"}


def test_a_gap_is_no_inversion() -> None:
    history = well()
    del history.archives["bob"][0]
    assert "archives in order" not in checks.check(history)


def test_a_copy_is_no_inversion() -> None:
    history = well()
    history.archives["bob"].append(kept("b4", ONE))
    assert "archives in order" not in checks.check(history)


# Keys


@pytest.mark.parametrize("key", [replace(ONE, number=number) for number in range(8)])
def test_a_key_is_read_from_its_body(key: Key) -> None:
    assert Key.read(key.body) == key
    assert Key.parse(str(key)) == key


@pytest.mark.parametrize(
    "body",
    ["", "alice/phone>bob:", "alice/phone>bob:1x", f"{ONE.body} ", f"{ONE.body}x", "bob:1"],
)
def test_a_damaged_body_has_no_key(body: str) -> None:
    assert Key.read(body) is None
