"""RFC 6121 §8.5: which resources get a message. Tables, and two functions to read them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Final

from jabberd.core.session import Session


class Action(Enum):
    """What becomes of a message; the comment has the letter that RFC 6121 Table 1 uses."""

    EXACT = "deliver to the resource"  # D
    MOST = "deliver to the most available resources"  # M
    ALL = "deliver to all non-negative resources"  # A
    STORE = "store offline"  # O; the sender gets an error where nothing stores
    BOUNCE = "return an error"  # E
    IGNORE = "silently ignore"  # S


# Numbers, because every message looks something up by them, and a plain Enum is slow to hash.


class Target(IntEnum):
    """What the address names."""

    BARE = 0
    MATCH = 1
    """A full JID that a connected resource has."""
    NO_MATCH = 2
    """A full JID that no resource has."""


class Presence(IntEnum):
    """What is known of the account."""

    UNKNOWN = 0
    """There is no such account."""
    ABSENT = 1
    """It has no available resource."""
    NEGATIVE = 2
    """It has only resources of negative priority."""
    HERE = 3
    """It has a resource of non-negative priority."""


_KINDS: Final = ("normal", "chat", "groupchat", "headline", "error")
_D, _M, _A = Action.EXACT, Action.MOST, Action.ALL
_O, _E, _S = Action.STORE, Action.BOUNCE, Action.IGNORE

# RFC 6121 Table 1, with a column for errors from the text of §8.5. Where the table leaves a
# choice: messages to the bare JID go to the most available resources (several where priorities
# are equal), what cannot be kept is returned to its sender rather than lost in silence, and a
# headline is only news.
_ROWS: Final = {
    (Presence.UNKNOWN, Target.BARE): (_E, _E, _E, _S, _S),
    (Presence.UNKNOWN, Target.NO_MATCH): (_E, _E, _E, _S, _S),
    (Presence.ABSENT, Target.BARE): (_O, _O, _E, _S, _S),
    (Presence.ABSENT, Target.MATCH): (_D, _D, _D, _D, _D),
    (Presence.ABSENT, Target.NO_MATCH): (_E, _O, _E, _S, _S),
    (Presence.NEGATIVE, Target.BARE): (_O, _O, _E, _S, _S),
    (Presence.NEGATIVE, Target.MATCH): (_D, _D, _D, _D, _D),
    (Presence.NEGATIVE, Target.NO_MATCH): (_E, _O, _E, _S, _S),
    (Presence.HERE, Target.BARE): (_M, _M, _E, _A, _S),
    (Presence.HERE, Target.MATCH): (_D, _D, _D, _D, _D),
    (Presence.HERE, Target.NO_MATCH): (_E, _M, _E, _S, _S),
}
_TABLE: Final = {
    (presence, target, kind): action
    for (presence, target), actions in _ROWS.items()
    for kind, action in zip(_KINDS, actions, strict=True)
}


def decide(presence: Presence, target: Target, kind: str) -> Action:
    """The action for a message of this kind (`Message.kind`)."""
    return _TABLE[presence, target, kind]


WORDS: Final = {
    Presence.UNKNOWN: "no such account",
    Presence.ABSENT: "no available resource",
    Presence.NEGATIVE: "only resources of negative priority",
    Presence.HERE: "a resource of non-negative priority",
}


def absence_of(sessions: Sequence[Session]) -> Presence:
    """The state of an account that exists and has no resource of non-negative priority."""
    for session in sessions:
        if session.presence is not None:
            return Presence.NEGATIVE
    return Presence.ABSENT


def non_negative(sessions: tuple[Session, ...]) -> tuple[Session, ...]:
    """The available resources of non-negative priority."""
    if len(sessions) == 1:  # as nearly always
        only = sessions[0]
        return sessions if only.presence is not None and only.priority >= 0 else ()
    return tuple([s for s in sessions if s.presence is not None and s.priority >= 0])


def most_available(here: tuple[Session, ...]) -> tuple[Session, ...]:
    """Of resources of non-negative priority, those of the highest; several where it is equal."""
    if len(here) < 2:
        return here
    highest = max(session.priority for session in here)
    return tuple([session for session in here if session.priority == highest])
