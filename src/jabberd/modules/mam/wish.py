"""From a query on the wire (XEP-0313 §4, XEP-0059, XEP-0413) to what the log is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jabberd.storage.log_api import ArchiveQuery
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.payload.mam import Query

_USUAL: Final = 50  # messages of a page, where the client names no number
_LONGEST: Final = 256  # characters of a queryid: it is repeated in every result


@dataclass(frozen=True, slots=True)
class Wish:
    """What a query wants.

    Attributes:
        query: for the log; its limit is that of the page.
        queryid: to be repeated in each result.
        named: keys of the messages that the query names, each once: they have to be there.
        descending: the result begins with the newest message (XEP-0413).
        flipped: the page is sent newest first.
        whole: no cursor cuts the result: the page is its beginning or its end.
        from_end: the page is the end of the result, or ends before a cursor.
        synchronises: nothing but time and place limits what is wanted, so that a client that
            goes on like this has everything in the end.
        has: such a client has everything up to this key; 0 where that is not known.
    """

    query: ArchiveQuery
    queryid: str
    named: tuple[int, ...]
    descending: bool
    flipped: bool
    whole: bool
    from_end: bool
    synchronises: bool
    has: int


def wish_of(asked: Query, key_of: Callable[[str], int | None], most: int) -> Wish:
    """What a query wants.

    All messages of an archive differ in their key, which is in the order of their creation; none
    of them is ever modified in the sense of XEP-0413 (a tombstone is no new message). So the
    first `<order/>` decides, and only its direction matters.

    Args:
        asked: the query.
        key_of: the key of an identifier (`MessagesApi.key_of`).
        most: messages on one page.

    Raises:
        StanzaError: item-not-found for a made-up identifier and for nodes (XEP-0442);
            feature-not-implemented for a place by number (XEP-0059 §2.6), but for the first;
            policy-violation for a long queryid.
    """
    _refuse(asked)
    page = asked.rsm
    descending = bool(asked.order) and asked.order[0].descending
    behind, ahead = _key(page.after, key_of), _key(page.before, key_of)
    lower, upper = _key(asked.after_id, key_of), _key(asked.before_id, key_of)
    ids = [key for text in asked.ids if (key := _key(text, key_of))]
    synchronises = not (asked.with_ or asked.text or ids)
    whole = not (behind or ahead)
    limit = min(most, _USUAL if page.max is None else page.max)
    # The cursors go by the order of the result, the fields by the time.
    least, greatest = (ahead, behind) if descending else (behind, ahead)
    from_end = page.before is not None
    query = ArchiveQuery(
        peer=asked.with_.bare_text if asked.with_ else "",
        resource=asked.with_.resource if asked.with_ else "",
        start=_start(asked.start),
        end=_end(asked.end),
        after=max(lower, least) or None,
        before=min(upper or greatest, greatest or upper) or None,
        keys=tuple(ids) or None,
        text=asked.text,
        backwards=from_end != descending,
        limit=limit,
        # To count what a query finds takes longer than to find a page of it; and the log counts
        # whatever the cursors say, so it cannot where the query itself has some.
        count=limit == 0 and not (lower or upper),
    )
    return Wish(
        query,
        asked.queryid,
        tuple(sorted({behind, ahead, lower, upper, *ids} - {0})),
        descending,
        descending != asked.flip_page,
        whole,
        from_end,
        synchronises,
        max(lower, 0 if descending else behind) if synchronises else 0,
    )


def _refuse(asked: Query) -> None:
    if len(asked.queryid) > _LONGEST:
        text = f"a queryid has {_LONGEST} characters at most"
        raise StanzaError(Condition.POLICY_VIOLATION, text)
    if asked.node:
        raise StanzaError(Condition.ITEM_NOT_FOUND, "an account has no nodes")
    if asked.rsm.index:
        text = "pages are found by their first or last message"
        raise StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, text)


def _key(text: str | None, key_of: Callable[[str], int | None]) -> int:
    """The key of an identifier; 0 where none is given."""
    if not text:
        return 0
    key = key_of(text)
    if not key:
        raise StanzaError(Condition.ITEM_NOT_FOUND, "there is no such message")
    return key


# What clients know of times is what they were told: milliseconds, cut off. A message of
# 12:00:00.1239 is one of 12:00:00.123, and has to be found by that. Microseconds are rounded
# when a time is written (`payload.delay.stamp`), hence the halves.


def _start(at: float | None) -> float | None:
    """The least time that is written as this one, or as a later one."""
    return None if at is None else (-(-round(at * 1e6) // 1000) * 1000 - 0.5) / 1e6


def _end(at: float | None) -> float | None:
    """The greatest time that is written as this one, or as an earlier one."""
    return None if at is None else (round(at * 1e6) // 1000 * 1000 + 999.5) / 1e6
