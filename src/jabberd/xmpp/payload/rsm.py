"""XEP-0059 Result Set Management: a result in pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jabberd.xmpp import lexical, ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError

_HIGHEST: Final = 2**31 - 1  # xs:int


@dataclass(frozen=True, slots=True)
class SetRequest:
    """Which page is asked for.

    Attributes:
        max: how many items at most; None leaves it to us. 0 asks for the count alone (§2.7).
        before: the page ends before the item of this identifier; the last page, where it is an
            empty string (§2.5).
        after: the page begins after the item of this identifier.
        index: the page begins with the item at this place, counted from 0 (§2.6).
    """

    max: int | None = None
    before: str | None = None
    after: str | None = None
    index: int | None = None


def read(parent: Element) -> SetRequest | None:
    """The `<set/>` inside an element; None where there is none.

    An empty `<after/>` means the beginning, as if it were not there.

    Raises:
        StanzaError: bad-request, where `max` or `index` is no number, or where more than one
            place is named to begin at: the XEP gives that no meaning.
    """
    element = parent.find(ns.RSM, "set")
    if element is None:
        return None
    asked = SetRequest(
        max=_number(element, "max"),
        before=element.child_text(ns.RSM, "before"),
        after=element.child_text(ns.RSM, "after") or None,
        index=_number(element, "index"),
    )
    if [asked.before, asked.after, asked.index].count(None) < 2:
        raise StanzaError(Condition.BAD_REQUEST, "only one of before, after and index has a sense")
    return asked


def result(
    first: str | None = None,
    last: str | None = None,
    *,
    index: int | None = None,
    count: int | None = None,
) -> Element:
    """The `<set/>` of an answer (§2.2).

    Args:
        first: the identifier of the first item of the page; None for a page without items.
        last: that of the last one.
        index: the place of the first item in the whole result, counted from 0.
        count: how many items the whole result has.
    """
    element = Element(ns.RSM, "set")
    if first is not None and last is not None:
        attrs = {"index": None if index is None else str(index)}
        element.add(Element(ns.RSM, "first", attrs, [first]), Element(ns.RSM, "last", {}, [last]))
    if count is not None:
        element.add(Element(ns.RSM, "count", {}, [str(count)]))
    return element


def _number(element: Element, name: str) -> int | None:
    text = element.child_text(ns.RSM, name)
    if text is None:
        return None
    number = lexical.unsigned(text, _HIGHEST)
    if number is None:
        raise StanzaError(Condition.BAD_REQUEST, f"{name} is a number from 0 to {_HIGHEST}")
    return number
