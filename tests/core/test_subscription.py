"""Every cell of RFC 6121 Appendix A; the tables below are the RFC's own text."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from jabberd.core.subscription import State, Step, inbound, outbound, state_of, visible
from jabberd.storage.api import RosterItem, Subscription

CONTACT = "romeo@example.net"
REQUEST = b"<presence type='subscribe'/>"

# §A.1: how each state looks in the roster, and whether a request of the contact is noted.
STATES = {
    "None": RosterItem(CONTACT),
    "None + Pending Out": RosterItem(CONTACT, ask=True),
    "None + Pending In": RosterItem(CONTACT, pending_in=REQUEST),
    "None + Pending Out+In": RosterItem(CONTACT, ask=True, pending_in=REQUEST),
    "To": RosterItem(CONTACT, subscription=Subscription.TO),
    "To + Pending In": RosterItem(CONTACT, subscription=Subscription.TO, pending_in=REQUEST),
    "From": RosterItem(CONTACT, subscription=Subscription.FROM),
    "From + Pending Out": RosterItem(CONTACT, subscription=Subscription.FROM, ask=True),
    "Both": RosterItem(CONTACT, subscription=Subscription.BOTH),
}

OUTBOUND = {
    "subscribe": """
   |  "None"                  |  MUST [1] |  "None + Pending Out"     |
   |  "None + Pending Out"    |  MUST     |  no state change          |
   |  "None + Pending In"     |  MUST [1] |  "None + Pending Out+In"  |
   |  "None + Pending Out+In" |  MUST     |  no state change          |
   |  "To"                    |  MUST     |  no state change          |
   |  "To + Pending In"       |  MUST     |  no state change          |
   |  "From"                  |  MUST [1] |  "From + Pending Out"     |
   |  "From + Pending Out"    |  MUST     |  no state change          |
   |  "Both"                  |  MUST     |  no state change          |
""",
    "unsubscribe": """
   |  "None"                  |  MUST    |  no state change          |
   |  "None + Pending Out"    |  MUST    |  "None"                   |
   |  "None + Pending In"     |  MUST    |  no state change          |
   |  "None + Pending Out+In" |  MUST    |  "None + Pending In"      |
   |  "To"                    |  MUST    |  "None"                   |
   |  "To + Pending In"       |  MUST    |  "None + Pending In"      |
   |  "From"                  |  MUST    |  no state change          |
   |  "From + Pending Out"    |  MUST    |  "From"                   |
   |  "Both"                  |  MUST    |  "From"                   |
""",
    "subscribed": """
   |  "None"                  |  M.N.    |  pre-approval [1]         |
   |  "None + Pending Out"    |  M.N.    |  pre-approval [1]         |
   |  "None + Pending In"     |  MUST    |  "From"                   |
   |  "None + Pending Out+In" |  MUST    |  "From + Pending Out"     |
   |  "To"                    |  M.N.    |  pre-approval [1]         |
   |  "To + Pending In"       |  MUST    |  "Both"                   |
   |  "From"                  |  M.N.    |  no state change          |
   |  "From + Pending Out"    |  M.N.    |  no state change          |
   |  "Both"                  |  M.N.    |  no state change          |
""",
    "unsubscribed": """
   |  "None"                  |  S.N.    |  no state change [1]      |
   |  "None + Pending Out"    |  S.N.    |  no state change [1]      |
   |  "None + Pending In"     |  MUST    |  "None"                   |
   |  "None + Pending Out+In" |  MUST    |  "None + Pending Out"     |
   |  "To"                    |  S.N.    |  no state change [1]      |
   |  "To + Pending In"       |  MUST    |  "To"                     |
   |  "From"                  |  MUST    |  "None"                   |
   |  "From + Pending Out"    |  MUST    |  "None + Pending Out"     |
   |  "Both"                  |  MUST    |  "To"                     |
""",
}

INBOUND = {
    "subscribe": """
   |  "None"                  |  MUST [1]  |  "None + Pending In"     |
   |  "None + Pending Out"    |  MUST      |  "None + Pending Out+In" |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  S.N.      |  no state change         |
   |  "To"                    |  MUST      |  "To + Pending In"       |
   |  "To + Pending In"       |  S.N.      |  no state change         |
   |  "From"                  |  S.N. [2]  |  no state change         |
   |  "From + Pending Out"    |  S.N. [2]  |  no state change         |
   |  "Both"                  |  S.N. [2]  |  no state change         |
""",
    "unsubscribe": """
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  S.N.      |  no state change         |
   |  "None + Pending In"     |  MUST [1]  |  "None"                  |
   |  "None + Pending Out+In" |  MUST [1]  |  "None + Pending Out"    |
   |  "To"                    |  S.N.      |  no state change         |
   |  "To + Pending In"       |  MUST [1]  |  "To"                    |
   |  "From"                  |  MUST [1]  |  "None"                  |
   |  "From + Pending Out"    |  MUST [1]  |  "None + Pending Out"    |
   |  "Both"                  |  MUST [1]  |  "To"                    |
""",
    "subscribed": """
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  MUST      |  "To"                    |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  MUST      |  "To + Pending In"       |
   |  "To"                    |  S.N.      |  no state change         |
   |  "To + Pending In"       |  S.N.      |  no state change         |
   |  "From"                  |  S.N.      |  no state change         |
   |  "From + Pending Out"    |  MUST      |  "Both"                  |
   |  "Both"                  |  S.N.      |  no state change         |
""",
    "unsubscribed": """
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  MUST      |  "None"                  |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  MUST      |  "None + Pending In"     |
   |  "To"                    |  MUST      |  "None"                  |
   |  "To + Pending In"       |  MUST      |  "None + Pending In"     |
   |  "From"                  |  S.N.      |  no state change         |
   |  "From + Pending Out"    |  MUST      |  "From"                  |
   |  "Both"                  |  MUST      |  "From"                  |
""",
}
# Note [2] of table 6 and note [1] of table 7.
REPLIES = {("subscribe", "[2]"): "subscribed", ("unsubscribe", "[1]"): "unsubscribed"}


def _cells(tables: dict[str, str]) -> list[tuple[str, str, str, str]]:
    cells = []
    for kind, table in tables.items():
        for line in table.strip().splitlines():
            _, state, action, new, _ = (part.strip() for part in line.split("|"))
            cells.append((kind, state.strip('"'), action, new.strip('"')))
    return cells


def _expected(state: str, new: str) -> str:
    return state if new.startswith(("no state change", "pre-approval")) else new


@pytest.mark.parametrize(("kind", "state", "route", "new"), _cells(OUTBOUND))
def test_outbound(kind: str, state: str, route: str, new: str) -> None:
    item = STATES[state]
    step = outbound(item, CONTACT, kind)
    after = replace(STATES[_expected(state, new)], approved=new.startswith("pre-approval"))
    assert step.item == after
    assert step.passes is (route.split(maxsplit=1)[0] == "MUST")
    assert step.reply == ""
    assert (step.before.value, step.after.value) == (state, _expected(state, new))
    assert step.push is (visible(after) != visible(item))


@pytest.mark.parametrize(("kind", "state", "deliver", "new"), _cells(INBOUND))
def test_inbound(kind: str, state: str, deliver: str, new: str) -> None:
    item = STATES[state]
    step = inbound(item, CONTACT, kind, REQUEST)
    after = STATES[_expected(state, new)]
    word, _, note = deliver.partition(" ")
    assert step.item == after
    assert step.passes is (word == "MUST")
    assert step.reply == REPLIES.get((kind, note), "")
    assert (step.before.value, step.after.value) == (state, _expected(state, new))
    assert step.push is (visible(after) != visible(item))


def test_tables_are_whole() -> None:
    whole = set(product(OUTBOUND, STATES))
    assert len(whole) == 36
    assert {(kind, state) for kind, state, _, _ in _cells(OUTBOUND)} == whole
    assert {(kind, state) for kind, state, _, _ in _cells(INBOUND)} == whole


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_recognised(state: str) -> None:
    assert state_of(STATES[state]).value == state


def test_unknown_contacts_are_in_state_none() -> None:
    assert state_of(None) is State.NONE


def test_flags_that_a_subscription_outdates_mean_nothing() -> None:
    assert state_of(RosterItem(CONTACT, subscription=Subscription.BOTH, ask=True)) is State.BOTH
    stale = RosterItem(CONTACT, subscription=Subscription.FROM, pending_in=REQUEST)
    assert state_of(stale) is State.FROM


# §3.4.2: requests that were approved before they came


@pytest.mark.parametrize(
    ("state", "new"),
    [("None", "From"), ("None + Pending Out", "From + Pending Out"), ("To", "Both")],
)
def test_preapproved_request_is_answered_and_not_delivered(state: str, new: str) -> None:
    item = replace(STATES[state], approved=True)
    step = inbound(item, CONTACT, "subscribe", REQUEST)
    assert step.item == replace(STATES[new], approved=True)
    assert (step.passes, step.reply, step.granted) == (False, "subscribed", True)


@pytest.mark.parametrize("state", STATES)
def test_unsubscribed_ends_preapproval_in_every_state(state: str) -> None:
    step = outbound(replace(STATES[state], approved=True), CONTACT, "unsubscribed")
    assert step.item is not None
    assert not step.item.approved
    assert step.push


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe", "subscribed"])
def test_other_stanzas_keep_preapproval(kind: str) -> None:
    step = outbound(replace(STATES["None"], approved=True), CONTACT, kind)
    assert step.item is not None
    assert step.item.approved


def test_preapproval_of_a_stranger_makes_an_item() -> None:
    step = outbound(None, CONTACT, "subscribed")
    assert step.item == RosterItem(CONTACT, approved=True)
    assert (step.passes, step.push) == (False, True)


# §3.1.3: a request of a stranger is noted outside the roster

UNLISTED = RosterItem(CONTACT, pending_in=REQUEST, listed=False)


def test_request_of_a_stranger_is_not_in_the_roster() -> None:
    step = inbound(None, CONTACT, "subscribe", REQUEST)
    assert step.item == UNLISTED
    assert (step.passes, step.push) == (True, False)


def test_first_of_several_requests_is_kept() -> None:
    step = inbound(UNLISTED, CONTACT, "subscribe", b"<presence type='subscribe' id='2'/>")
    assert step.item == UNLISTED
    assert not step.passes


@pytest.mark.parametrize(
    ("step", "item", "push"),
    [
        (outbound(UNLISTED, CONTACT, "subscribed"), STATES["From"], True),
        (outbound(UNLISTED, CONTACT, "subscribe"), STATES["None + Pending Out+In"], True),
        (outbound(UNLISTED, CONTACT, "unsubscribed"), None, False),
        (inbound(UNLISTED, CONTACT, "unsubscribe", b""), None, False),
        (outbound(UNLISTED, CONTACT, "unsubscribe"), UNLISTED, False),
    ],
)
def test_what_becomes_of_an_unlisted_request(
    step: Step, item: RosterItem | None, push: bool
) -> None:
    assert step.item == item
    assert step.push is push


@pytest.mark.parametrize("kind", ["unsubscribe", "unsubscribed"])
def test_nothing_is_remembered_of_strangers(kind: str) -> None:
    assert outbound(None, CONTACT, kind).item is None
    assert inbound(None, CONTACT, kind, b"").item is None


@pytest.mark.parametrize(("kind", "state"), list(product(OUTBOUND, STATES)))
def test_granted_and_revoked_follow_the_contacts_view(kind: str, state: str) -> None:
    sees = {"From", "From + Pending Out", "Both"}
    for step in (
        outbound(STATES[state], CONTACT, kind),
        inbound(STATES[state], CONTACT, kind, REQUEST),
    ):
        assert step.granted is (state not in sees and step.after.value in sees)
        assert step.revoked is (state in sees and step.after.value not in sees)
