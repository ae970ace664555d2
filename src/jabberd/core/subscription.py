"""The subscription states of RFC 6121 Appendix A, as its tables.

Everything here is pure: a function takes a roster item as it is and the type of a presence
stanza, and says what the item becomes and what has to be done. `None` stands for "not in the
roster", which the RFC counts as the state "None".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

from jabberd.storage.api import RosterItem, Subscription


class State(Enum):
    """The nine states of §A.1, from the point of view of the owner of the roster."""

    NONE = "None"
    NONE_OUT = "None + Pending Out"
    NONE_IN = "None + Pending In"
    NONE_OUT_IN = "None + Pending Out+In"
    TO = "To"
    TO_IN = "To + Pending In"
    FROM = "From"
    FROM_OUT = "From + Pending Out"
    BOTH = "Both"


class _Fields(NamedTuple):
    """How an item says its state."""

    subscription: Subscription
    ask: bool
    pending_in: bool


class _Out(NamedTuple):
    """A row of tables 2 to 5: is the stanza routed, what is the new state, is it pre-approval."""

    route: bool
    state: State
    approve: bool = False


class _In(NamedTuple):
    """A row of tables 6 to 9: is it delivered, what is the new state, what is answered."""

    deliver: bool
    state: State
    reply: str = ""


_FIELDS: Final[Mapping[State, _Fields]] = {
    State.NONE: _Fields(Subscription.NONE, False, False),
    State.NONE_OUT: _Fields(Subscription.NONE, True, False),
    State.NONE_IN: _Fields(Subscription.NONE, False, True),
    State.NONE_OUT_IN: _Fields(Subscription.NONE, True, True),
    State.TO: _Fields(Subscription.TO, False, False),
    State.TO_IN: _Fields(Subscription.TO, False, True),
    State.FROM: _Fields(Subscription.FROM, False, False),
    State.FROM_OUT: _Fields(Subscription.FROM, True, False),
    State.BOTH: _Fields(Subscription.BOTH, False, False),
}
_STATES: Final = {fields: state for state, fields in _FIELDS.items()}

_OUTBOUND: Final[Mapping[str, Mapping[State, _Out]]] = {
    # §A.2.1, table 2
    "subscribe": {
        State.NONE: _Out(True, State.NONE_OUT),
        State.NONE_OUT: _Out(True, State.NONE_OUT),
        State.NONE_IN: _Out(True, State.NONE_OUT_IN),
        State.NONE_OUT_IN: _Out(True, State.NONE_OUT_IN),
        State.TO: _Out(True, State.TO),
        State.TO_IN: _Out(True, State.TO_IN),
        State.FROM: _Out(True, State.FROM_OUT),
        State.FROM_OUT: _Out(True, State.FROM_OUT),
        State.BOTH: _Out(True, State.BOTH),
    },
    # §A.2.2, table 3
    "unsubscribe": {
        State.NONE: _Out(True, State.NONE),
        State.NONE_OUT: _Out(True, State.NONE),
        State.NONE_IN: _Out(True, State.NONE_IN),
        State.NONE_OUT_IN: _Out(True, State.NONE_IN),
        State.TO: _Out(True, State.NONE),
        State.TO_IN: _Out(True, State.NONE_IN),
        State.FROM: _Out(True, State.FROM),
        State.FROM_OUT: _Out(True, State.FROM),
        State.BOTH: _Out(True, State.FROM),
    },
    # §A.2.3, table 4
    "subscribed": {
        State.NONE: _Out(False, State.NONE, approve=True),
        State.NONE_OUT: _Out(False, State.NONE_OUT, approve=True),
        State.NONE_IN: _Out(True, State.FROM),
        State.NONE_OUT_IN: _Out(True, State.FROM_OUT),
        State.TO: _Out(False, State.TO, approve=True),
        State.TO_IN: _Out(True, State.BOTH),
        State.FROM: _Out(False, State.FROM),
        State.FROM_OUT: _Out(False, State.FROM_OUT),
        State.BOTH: _Out(False, State.BOTH),
    },
    # §A.2.4, table 5; it also ends a pre-approval (§3.4.2)
    "unsubscribed": {
        State.NONE: _Out(False, State.NONE),
        State.NONE_OUT: _Out(False, State.NONE_OUT),
        State.NONE_IN: _Out(True, State.NONE),
        State.NONE_OUT_IN: _Out(True, State.NONE_OUT),
        State.TO: _Out(False, State.TO),
        State.TO_IN: _Out(True, State.TO),
        State.FROM: _Out(True, State.NONE),
        State.FROM_OUT: _Out(True, State.NONE_OUT),
        State.BOTH: _Out(True, State.TO),
    },
}

_INBOUND: Final[Mapping[str, Mapping[State, _In]]] = {
    # §A.3.1, table 6
    "subscribe": {
        State.NONE: _In(True, State.NONE_IN),
        State.NONE_OUT: _In(True, State.NONE_OUT_IN),
        State.NONE_IN: _In(False, State.NONE_IN),
        State.NONE_OUT_IN: _In(False, State.NONE_OUT_IN),
        State.TO: _In(True, State.TO_IN),
        State.TO_IN: _In(False, State.TO_IN),
        State.FROM: _In(False, State.FROM, "subscribed"),
        State.FROM_OUT: _In(False, State.FROM_OUT, "subscribed"),
        State.BOTH: _In(False, State.BOTH, "subscribed"),
    },
    # §A.3.2, table 7
    "unsubscribe": {
        State.NONE: _In(False, State.NONE),
        State.NONE_OUT: _In(False, State.NONE_OUT),
        State.NONE_IN: _In(True, State.NONE, "unsubscribed"),
        State.NONE_OUT_IN: _In(True, State.NONE_OUT, "unsubscribed"),
        State.TO: _In(False, State.TO),
        State.TO_IN: _In(True, State.TO, "unsubscribed"),
        State.FROM: _In(True, State.NONE, "unsubscribed"),
        State.FROM_OUT: _In(True, State.NONE_OUT, "unsubscribed"),
        State.BOTH: _In(True, State.TO, "unsubscribed"),
    },
    # §A.3.3, table 8
    "subscribed": {
        State.NONE: _In(False, State.NONE),
        State.NONE_OUT: _In(True, State.TO),
        State.NONE_IN: _In(False, State.NONE_IN),
        State.NONE_OUT_IN: _In(True, State.TO_IN),
        State.TO: _In(False, State.TO),
        State.TO_IN: _In(False, State.TO_IN),
        State.FROM: _In(False, State.FROM),
        State.FROM_OUT: _In(True, State.BOTH),
        State.BOTH: _In(False, State.BOTH),
    },
    # §A.3.4, table 9
    "unsubscribed": {
        State.NONE: _In(False, State.NONE),
        State.NONE_OUT: _In(True, State.NONE),
        State.NONE_IN: _In(False, State.NONE_IN),
        State.NONE_OUT_IN: _In(True, State.NONE_IN),
        State.TO: _In(True, State.NONE),
        State.TO_IN: _In(True, State.NONE_IN),
        State.FROM: _In(False, State.FROM),
        State.FROM_OUT: _In(True, State.FROM),
        State.BOTH: _In(True, State.FROM),
    },
}

# §3.4.2 and note 1 of table 6: a request that was approved before it came is answered, not
# delivered. In the other states there is no pre-approval left to use.
_APPROVED: Final[Mapping[State, _In]] = {
    State.NONE: _In(False, State.FROM, "subscribed"),
    State.NONE_OUT: _In(False, State.FROM_OUT, "subscribed"),
    State.TO: _In(False, State.BOTH, "subscribed"),
}
_SEEN_BY_CONTACT: Final = frozenset({State.FROM, State.FROM_OUT, State.BOTH})


@dataclass(frozen=True, slots=True)
class Step:
    """What one subscription stanza does to one roster item.

    Attributes:
        before: the state it met.
        after: the state it left.
        item: the item now; None where nothing has to be remembered.
        passes: an outbound stanza is routed to the contact, an inbound one delivered to the user.
        reply: the type of the presence that answers for the user; empty where there is none.
        push: the roster, as its owner sees it, changed.
    """

    before: State
    after: State
    item: RosterItem | None
    passes: bool
    reply: str
    push: bool

    @property
    def granted(self) -> bool:
        """The contact sees the user's presence from now on."""
        return self.after in _SEEN_BY_CONTACT and self.before not in _SEEN_BY_CONTACT

    @property
    def revoked(self) -> bool:
        """The contact saw the user's presence until now."""
        return self.before in _SEEN_BY_CONTACT and self.after not in _SEEN_BY_CONTACT


def state_of(item: RosterItem | None) -> State:
    """The state that an item is in."""
    if item is None:
        return State.NONE
    subscription = item.subscription
    # A subscription that exists leaves nothing pending in its own direction.
    ask = item.ask and subscription in {Subscription.NONE, Subscription.FROM}
    pending = item.pending_in is not None and subscription in {Subscription.NONE, Subscription.TO}
    return _STATES[_Fields(subscription, ask, pending)]


def visible(item: RosterItem | None) -> RosterItem | None:
    """The item as its owner's clients may see it: a request alone is not in the roster (§A.1)."""
    if item is None or not item.listed:
        return None
    return item if item.pending_in is None else replace(item, pending_in=None)


def outbound(item: RosterItem | None, contact: str, kind: str) -> Step:
    """The user sends a subscription stanza (§A.2).

    Args:
        item: of the contact in the user's roster.
        contact: the bare JID of the contact.
        kind: the type of the presence: subscribe, subscribed, unsubscribe or unsubscribed.
    """
    before = state_of(item)
    row = _OUTBOUND[kind][before]
    approved = row.approve or (item is not None and item.approved and kind != "unsubscribed")
    after = _apply(item, contact, row.state, approved, None)
    return Step(before, row.state, after, row.route, "", visible(item) != visible(after))


def inbound(item: RosterItem | None, contact: str, kind: str, stanza: bytes) -> Step:
    """The contact sends a subscription stanza (§A.3).

    Args:
        item: of the contact in the user's roster.
        contact: the bare JID of the contact.
        kind: the type of the presence: subscribe, subscribed, unsubscribe or unsubscribed.
        stanza: the whole presence; it is kept where it is a request that waits for an answer.
    """
    before = state_of(item)
    row = _INBOUND[kind][before]
    approved = item is not None and item.approved
    if approved and kind == "subscribe":
        row = _APPROVED.get(before, row)
    after = _apply(item, contact, row.state, approved, stanza)
    return Step(before, row.state, after, row.deliver, row.reply, visible(item) != visible(after))


def _apply(
    item: RosterItem | None, contact: str, state: State, approved: bool, stanza: bytes | None
) -> RosterItem | None:
    fields = _FIELDS[state]
    old = item or RosterItem(contact, listed=False)
    # §3.1.3: of several requests the first is kept, and only one is ever delivered.
    waiting = stanza if old.pending_in is None else old.pending_in
    after = replace(
        old,
        subscription=fields.subscription,
        ask=fields.ask,
        pending_in=waiting if fields.pending_in else None,
        approved=approved,
        listed=old.listed or fields.ask or approved or fields.subscription != Subscription.NONE,
    )
    return after if after.listed or after.pending_in is not None else None
