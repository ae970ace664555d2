"""XEP-0202 Entity Time, in the formats of XEP-0082."""

from __future__ import annotations

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload.delay import stamp


def offset(seconds: int) -> str:
    """An offset from UTC, east is positive, as an XEP-0082 time zone definition."""
    sign = "-" if seconds < 0 else "+"
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{sign}{hours:02}:{minutes:02}"


def element(now: float, east: int) -> Element:
    """The answer: the time now, and how many seconds our zone is east of UTC."""
    return Element(
        ns.TIME,
        "time",
        None,
        [
            Element(ns.TIME, "tzo", None, [offset(east)]),
            Element(ns.TIME, "utc", None, [stamp(now)]),
        ],
    )
