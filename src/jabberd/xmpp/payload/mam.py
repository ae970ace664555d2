"""XEP-0313 Message Archive Management: queries and what answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jabberd.xmpp import lexical, ns
from jabberd.xmpp.element import Element, escape_attr
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.payload import forms, rsm
from jabberd.xmpp.payload.delay import stamp
from jabberd.xmpp.payload.forms import Field
from jabberd.xmpp.payload.forward import forwarded
from jabberd.xmpp.payload.rsm import SetRequest
from jabberd.xmpp.stanza import qname

RESULT: Final = qname(ns.MAM, "result")
"""The name of what `result` writes, for the `children` of a message."""

MAX_IDS: Final = 1000
"""How many messages one query may name; the XEP sets no bound."""

FULLTEXT: Final = f"{{{ns.FULLTEXT}}}fulltext"
"""The field of XEP-0431."""

_ORDERS: Final = frozenset({"creation", "modification"})
_EVERYTHING: Final = SetRequest()
# The fields of a query and their types, as the form shows them (§4.1.5).
_FIELDS: Final = {
    "with": "jid-single",
    "start": "text-single",
    "end": "text-single",
    "before-id": "text-single",
    "after-id": "text-single",
    "ids": "list-multi",
    "include-groupchat": "boolean",
}


@dataclass(frozen=True, slots=True)
class Order:
    """XEP-0413: one level of an order.

    Attributes:
        by: "creation" or "modification".
        descending: whether the latest comes first.
    """

    by: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """Which messages are asked for; all conditions have to be met.

    Attributes:
        queryid: to be repeated in each result; may be empty.
        node: of a pubsub archive (XEP-0442); may be empty.
        start: not before this time, seconds since the epoch.
        end: not after this time, seconds since the epoch.
        with_: to or from this address; from or to any of its clients too, where it is bare.
        before_id: before the message of this identifier.
        after_id: after the message of this identifier.
        ids: the messages of these identifiers; empty where nothing is said about them.
        groupchat: whether messages of rooms are wanted; None leaves it to us.
        text: with these words (XEP-0431); empty where nothing is said about them.
        order: the order of the whole result, most significant first (XEP-0413); empty for
            chronological.
        flip_page: whether each page is sent in reverse; the same messages are in it (§4.3.4).
        rsm: which page (§4.3).
    """

    queryid: str = ""
    node: str = ""
    start: float | None = None
    end: float | None = None
    with_: JID | None = None
    before_id: str | None = None
    after_id: str | None = None
    ids: tuple[str, ...] = ()
    groupchat: bool | None = None
    text: str = ""
    order: tuple[Order, ...] = ()
    flip_page: bool = False
    rsm: SetRequest = _EVERYTHING


def read(query: Element, *, fulltext: bool = True) -> Query:
    """What the `<query/>` of an IQ of type "set" asks for (§4).

    A field that is there but empty is a field of the form that was not filled in.

    Args:
        query: the element.
        fulltext: whether there is a field for words to search for (XEP-0431).

    Raises:
        StanzaError: bad-request, where a value is not what its field takes; jid-malformed;
            feature-not-implemented for a field or an order that we do not know (§4.1.5);
            policy-violation past `MAX_IDS`.
    """
    given = _submission(query, _known(fulltext))
    ids = tuple(dict.fromkeys(given.get("ids", ())))
    if len(ids) > MAX_IDS:
        raise StanzaError(Condition.POLICY_VIOLATION, f"one query may name {MAX_IDS} messages")
    return Query(
        queryid=query.get("queryid"),
        node=query.get("node"),
        start=_time(given, "start"),
        end=_time(given, "end"),
        with_=_address(given, "with"),
        before_id=_single(given, "before-id"),
        after_id=_single(given, "after-id"),
        ids=ids,
        groupchat=_truth(given, "include-groupchat"),
        text=_single(given, FULLTEXT) or "",
        order=tuple(_order(element) for element in query.find_all(ns.ORDER_BY, "order")),
        flip_page=query.find(ns.MAM, "flip-page") is not None,
        rsm=rsm.read(query) or _EVERYTHING,
    )


def _known(fulltext: bool) -> Mapping[str, str]:
    return _FIELDS | {FULLTEXT: "text-single"} if fulltext else _FIELDS


def _submission(query: Element, known: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    # The fields that have values, without empty ones and without FORM_TYPE.
    form = query.find(ns.DATA_FORMS, "x")
    if form is None:
        return {}
    if form.get("type") != "submit" or forms.form_type(form) != ns.MAM:
        raise StanzaError(Condition.BAD_REQUEST, f"a submission of the form {ns.MAM} is expected")
    given = forms.answers(form)
    del given[forms.FORM_TYPE]
    if unknown := given.keys() - known.keys():
        text = f"no such field: {min(unknown)[:100]}"
        raise StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, text)
    return {var: tuple(value for value in values if value) for var, values in given.items()}


def _single(given: Mapping[str, Sequence[str]], var: str) -> str | None:
    values = given.get(var, ())
    if len(values) > 1:
        raise StanzaError(Condition.BAD_REQUEST, f"{var} has one value")
    return values[0] if values else None


def _time(given: Mapping[str, Sequence[str]], var: str) -> float | None:
    text = _single(given, var)
    if text is None:
        return None
    at = lexical.date_time(text)
    if at is None:
        raise StanzaError(Condition.BAD_REQUEST, f"{var} is a time like 2002-09-10T23:08:25Z")
    return at


def _address(given: Mapping[str, Sequence[str]], var: str) -> JID | None:
    text = _single(given, var)
    if text is None:
        return None
    try:
        return JID.parse(text)
    except InvalidJID as error:
        raise StanzaError(Condition.JID_MALFORMED, str(error)) from None


def _truth(given: Mapping[str, Sequence[str]], var: str) -> bool | None:
    text = _single(given, var)
    if text is None:
        return None
    value = lexical.boolean(text)
    if value is None:
        raise StanzaError(Condition.BAD_REQUEST, f"{var} is true or false")
    return value


def _order(element: Element) -> Order:
    by = element.get("by")
    if by not in _ORDERS:
        raise StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, f"no such order: {by[:100]}")
    descending = lexical.boolean(element.get("desc", "false"))
    if descending is None:
        raise StanzaError(Condition.BAD_REQUEST, "desc is true or false")
    return Order(by, descending)


def form(*, fulltext: bool = True) -> Element:
    """The `<query/>` that answers one of type "get": which fields there are (§4.1.5).

    Args:
        fulltext: whether there is a field for words to search for (XEP-0431).
    """
    known = _known(fulltext)
    fields = forms.form([Field(var, kind) for var, kind in known.items()], form_type=ns.MAM)
    for field in fields:
        if field.get("var") == "ids":
            # XEP-0122 §3.2.2: the options of the list are not told; any value may be one.
            open_ = Element(ns.FORM_VALIDATION, "open")
            attrs = {"datatype": "xs:string"}
            field.add(Element(ns.FORM_VALIDATION, "validate", attrs, [open_]))
    return Element(ns.MAM, "query", {}, [fields])


def result(queryid: str, id: str, at: float, stanza: bytes) -> bytes:  # noqa: A002 -- as on the wire
    """The `<result/>` around one message (§4.2); a page has many.

    Args:
        queryid: of the query; may be empty.
        id: of the message in the archive.
        at: when the archive got it, seconds since the epoch.
        stanza: the message, as `Stanza.in_namespace` gives it.
    """
    asked = f" queryid='{escape_attr(queryid)}'" if queryid else ""
    head = f"<result xmlns='{ns.MAM}'{asked} id='{escape_attr(id)}'>"
    return b"%s%s</result>" % (head.encode(), forwarded(stanza, at))


def fin(page: Element, *, complete: bool) -> Element:
    """The `<fin/>` behind the results (§4.3.2).

    Args:
        page: what `rsm.result` says of the page.
        complete: whether no page comes after this one.
    """
    return Element(ns.MAM, "fin", {"complete": "true" if complete else None}, [page])


@dataclass(frozen=True, slots=True)
class End:
    """The first or the last message of an archive.

    Attributes:
        id: its identifier.
        at: its time, seconds since the epoch.
    """

    id: str
    at: float


def metadata(ends: tuple[End, End] | None) -> Element:
    """The `<metadata/>` of an archive: its first and its last message; None if it is empty (§5)."""
    element = Element(ns.MAM, "metadata")
    for name, end in zip(("start", "end"), ends or (), strict=False):
        element.add(Element(ns.MAM, name, {"id": end.id, "timestamp": stamp(end.at)}))
    return element
