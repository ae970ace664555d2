"""XEP-0313: the examples of the text, and queries that are wrong in each way it names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import forms, mam, rsm
from jabberd.xmpp.payload.mam import End, Order, Query
from jabberd.xmpp.payload.rsm import SetRequest
from jabberd.xmpp.stanza import Message
from tests.xmpp.payload.trees import MANY, TEXTS, trees

FULLTEXT = "{urn:xmpp:fulltext:0}fulltext"
TYPE = "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"


def query(inside: str, attrs: str = "") -> Element:
    return parse(f"<query xmlns='urn:xmpp:mam:2' {attrs}>{inside}</query>".encode())


def form(fields: str, attrs: str = "type='submit'") -> str:
    return f"<x xmlns='jabber:x:data' {attrs}>{fields}</x>"


def field(var: str, *values: str) -> str:
    inside = "".join(f"<value>{value}</value>" for value in values)
    return f"<field var='{var}'>{inside}</field>"


def refused(element: Element, **options: Any) -> Condition:
    with pytest.raises(StanzaError) as caught:
        mam.read(element, **options)
    return caught.value.condition


# Queries


def test_everything() -> None:
    assert mam.read(query("")) == Query()
    assert mam.read(query("", "queryid='f27' node='n'")) == Query(queryid="f27", node="n")
    assert mam.read(query(form(TYPE))) == Query()


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        (field("with", "Juliet@capulet.lit"), Query(with_=JID.parse("juliet@capulet.lit"))),
        (field("with", "juliet@capulet.lit/b"), Query(with_=JID.parse("juliet@capulet.lit/b"))),
        (field("start", "2010-06-07T00:00:00Z") + field("end", "2010-07-07T15:23:54.5+02:00"),
         Query(start=1275868800.0, end=1278509034.5)),
        (field("after-id", "28482-98726-73623") + field("before-id", "09af3-cc343-b409f"),
         Query(after_id="28482-98726-73623", before_id="09af3-cc343-b409f")),
        (field("ids", "b", "a", "b"), Query(ids=("b", "a"))),
        (field("include-groupchat", "true"), Query(groupchat=True)),
        (field("include-groupchat", "0"), Query(groupchat=False)),
        (field(FULLTEXT, "Where arth thou, my Juliet?"), Query(text="Where arth thou, my Juliet?")),
        # Not filled in.
        (field("with", "") + field("start") + field("ids", "") + field(FULLTEXT, ""), Query()),
        (field("with", "a@b") + field("with", "c@d"), Query(with_=JID.parse("a@b"))),
    ],
)  # fmt: skip
def test_filters(fields: str, wish: Query) -> None:
    assert mam.read(query(form(TYPE + fields))) == wish


def test_pages() -> None:
    page = "<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><before/></set>"
    assert mam.read(query(page)) == Query(rsm=SetRequest(10, before=""))
    assert mam.read(query(page + "<flip-page/>")).flip_page
    assert not mam.read(query("<flip-page xmlns='urn:x'/>")).flip_page


def test_order() -> None:
    # XEP-0413 §4.3, §4.4 and §7.
    wish = mam.read(
        query(
            "<order xmlns='urn:xmpp:order-by:1' by='creation'/>"
            "<order xmlns='urn:xmpp:order-by:1' by='modification' desc='1'/>"
        )
    )
    assert wish.order == (Order("creation", False), Order("modification", True))


@pytest.mark.parametrize(
    ("inside", "condition"),
    [
        (form(""), "bad-request"),
        (form(field("FORM_TYPE", "urn:x")), "bad-request"),
        (form(TYPE, ""), "bad-request"),
        (form(TYPE, "type='form'"), "bad-request"),
        (form(TYPE + field("start", "yesterday")), "bad-request"),
        (form(TYPE + field("end", "2010-07-07T13:23:54")), "bad-request"),
        (form(TYPE + field("with", "a@b", "c@d")), "bad-request"),
        (form(TYPE + field("with", "@b")), "jid-malformed"),
        (form(TYPE + field("before-id", "a", "b")), "bad-request"),
        (form(TYPE + field("include-groupchat", "maybe")), "bad-request"),
        (form(TYPE + field("{http://example.com/}stanza-content", "x")), "feature-not-implemented"),
        (form(TYPE + field("withtext")), "feature-not-implemented"),
        (form(TYPE + field("ids", *map(str, range(1001)))), "policy-violation"),
        ("<order xmlns='urn:xmpp:order-by:1' by='{urn:x}size'/>", "feature-not-implemented"),
        ("<order xmlns='urn:xmpp:order-by:1'/>", "feature-not-implemented"),
        ("<order xmlns='urn:xmpp:order-by:1' by='creation' desc='x'/>", "bad-request"),
        ("<set xmlns='http://jabber.org/protocol/rsm'><max>x</max></set>", "bad-request"),
    ],
)
def test_queries_that_are_wrong(inside: str, condition: str) -> None:
    assert refused(query(inside)).value == condition


def test_full_text_can_be_off() -> None:
    asked = query(form(TYPE + field(FULLTEXT, "x")))
    assert refused(asked, fulltext=False) is Condition.FEATURE_NOT_IMPLEMENTED


def test_as_many_as_may_be_named() -> None:
    assert len(mam.read(query(form(TYPE + field("ids", *map(str, range(1000)))))).ids) == 1000


def filled_in(fields: list[tuple[str, list[str]]], order: dict[str, str]) -> Element:
    given = {"FORM_TYPE": ["urn:xmpp:mam:2"]} | dict(fields)
    made = [forms.Field(var, values=values).to_element() for var, values in given.items()]
    x = Element(ns.DATA_FORMS, "x", {"type": "submit"}, made)
    return Element(ns.MAM, "query", {}, [x, Element(ns.ORDER_BY, "order", order)])


VARS = ["start", "end", "with", "before-id", "after-id", "ids", "include-groupchat", FULLTEXT, "x"]


@MANY
@given(
    st.lists(st.tuples(st.sampled_from(VARS), st.lists(TEXTS, max_size=2)), max_size=3).map(
        lambda fields: filled_in(fields, {"by": "creation"})
    )
    | st.dictionaries(st.sampled_from(["by", "desc"]), TEXTS | st.just("modification")).map(
        lambda order: filled_in([], order)
    )
    | trees(
        [(ns.MAM, "query")],
        [(ns.DATA_FORMS, "x"), (ns.DATA_FORMS, "field"), (ns.DATA_FORMS, "value"),
         (ns.ORDER_BY, "order"), (ns.RSM, "set"), (ns.RSM, "max"), (ns.MAM, "flip-page")],
        ["var", "type", "by", "desc", "queryid"],
        ["FORM_TYPE", "urn:xmpp:mam:2", "submit", "with", "start", "ids", FULLTEXT, "creation"],
    )
)  # fmt: skip
def test_nothing_asked_does_harm(element: Element) -> None:
    try:
        mam.read(element)
    except StanzaError:
        return


# The form


def test_the_form() -> None:
    # §4.1.5, with the field of XEP-0431.
    fields = (
        "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"
        "<field var='with' type='jid-single'/><field var='start' type='text-single'/>"
        "<field var='end' type='text-single'/><field var='before-id' type='text-single'/>"
        "<field var='after-id' type='text-single'/><field var='ids' type='list-multi'>"
        "<validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'><open/>"
        "</validate></field><field var='include-groupchat' type='boolean'/>"
    )
    text = "<field var='{urn:xmpp:fulltext:0}fulltext' type='text-single'/>"
    expected = "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='form'>{}</x></query>"
    assert mam.form().to_bytes().decode() == expected.format(fields + text)
    assert mam.form(fulltext=False).to_bytes().decode() == expected.format(fields)


# Answers


def test_a_result() -> None:
    # The second example of §4.
    message = Message.build(
        [Element(ns.CLIENT, "body", {}, ["Hail to thee"])],
        from_=JID.parse("witch@shakespeare.lit"),
        to=JID.parse("macbeth@shakespeare.lit"),
    )
    written = mam.result("f27", "28482-98726-73623", 1278803305.0, message.in_namespace())
    assert written.decode() == (
        "<result xmlns='urn:xmpp:mam:2' queryid='f27' id='28482-98726-73623'>"
        "<forwarded xmlns='urn:xmpp:forward:0'>"
        "<delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25.000Z'/>"
        "<message xmlns='jabber:client' from='witch@shakespeare.lit' to='macbeth@shakespeare.lit'>"
        "<body>Hail to thee</body></message></forwarded></result>"
    )
    assert Message.build([parse(written)]).children == (mam.RESULT,)


def test_a_result_of_a_query_without_an_identifier() -> None:
    assert mam.result("", "1", 0.0, b"").startswith(b"<result xmlns='urn:xmpp:mam:2' id='1'>")
    assert parse(mam.result("it's <", "&", 0.0, b"")).attrs == {"queryid": "it's <", "id": "&"}


def test_the_end_of_the_results() -> None:
    page = rsm.result("a", "b", index=0)
    inside = (
        "<set xmlns='http://jabber.org/protocol/rsm'><first index='0'>a</first><last>b</last></set>"
    )
    assert mam.fin(page, complete=False).to_bytes().decode() == (
        f"<fin xmlns='urn:xmpp:mam:2'>{inside}</fin>"
    )
    assert mam.fin(page, complete=True).to_bytes().decode() == (
        f"<fin xmlns='urn:xmpp:mam:2' complete='true'>{inside}</fin>"
    )


def test_metadata() -> None:
    # §5, but that our times have milliseconds.
    ends = (End("YWxwaGEg", 1219439344.0), End("b21lZ2Eg", 1587393261.25))
    assert mam.metadata(ends).to_bytes().decode() == (
        "<metadata xmlns='urn:xmpp:mam:2'>"
        "<start id='YWxwaGEg' timestamp='2008-08-22T21:09:04.000Z'/>"
        "<end id='b21lZ2Eg' timestamp='2020-04-20T14:34:21.250Z'/></metadata>"
    )
    assert mam.metadata(None).to_bytes() == b"<metadata xmlns='urn:xmpp:mam:2'/>"
