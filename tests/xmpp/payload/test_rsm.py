"""XEP-0059: the examples of the text, and requests that make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.payload import rsm
from jabberd.xmpp.payload.rsm import SetRequest
from tests.xmpp.payload.trees import MANY, trees


def query(inside: str) -> Element:
    text = (
        f"<query xmlns='urn:q'><set xmlns='http://jabber.org/protocol/rsm'>{inside}</set></query>"
    )
    return parse(text.encode())


@pytest.mark.parametrize(
    ("inside", "page"),
    [
        ("<max>10</max>", SetRequest(max=10)),
        ("<max>10</max><after>peter@pixyland.org</after>",
         SetRequest(10, after="peter@pixyland.org")),
        ("<max>10</max><before>a &amp; b</before>", SetRequest(10, before="a & b")),
        ("<max>10</max><before/>", SetRequest(10, before="")),
        ("<max>10</max><index>371</index>", SetRequest(10, index=371)),
        ("<max>0</max>", SetRequest(0)),
        ("<max>\n 10 </max>", SetRequest(10)),
        ("<max>2147483647</max>", SetRequest(2**31 - 1)),
        ("<after/>", SetRequest()),
        ("<before/><after/>", SetRequest(before="")),
        ("<novel/><max xmlns='urn:x'>x</max>", SetRequest()),
        ("", SetRequest()),
    ],
)  # fmt: skip
def test_pages(inside: str, page: SetRequest) -> None:
    assert rsm.read(query(inside)) == page


def test_no_page() -> None:
    assert rsm.read(Element("urn:q", "query", {}, [Element("urn:x", "set")])) is None


@pytest.mark.parametrize(
    "inside",
    ["<max/>", "<max>-1</max>", "<max>many</max>", "<max>1.5</max>", "<max>2147483648</max>",
     "<index/>", "<index>-1</index>", "<before/><index>1</index>",
     "<after>a</after><index>1</index>", "<before>a</before><after>b</after>"],
)  # fmt: skip
def test_pages_that_make_no_sense(inside: str) -> None:
    with pytest.raises(StanzaError) as caught:
        rsm.read(query(inside))
    assert caught.value.condition is Condition.BAD_REQUEST


@MANY
@given(
    trees(
        [("urn:q", "query")],
        [(ns.RSM, name) for name in ("set", "max", "before", "after", "index")],
        ["index"],
    )
)
def test_nothing_asked_does_harm(element: Element) -> None:
    try:
        rsm.read(element)
    except StanzaError:
        return


def test_answers() -> None:
    page = rsm.result("stpeter@jabber.org", "a < b", index=0, count=800)
    assert page.to_bytes().decode() == (
        "<set xmlns='http://jabber.org/protocol/rsm'><first index='0'>stpeter@jabber.org</first>"
        "<last>a &lt; b</last><count>800</count></set>"
    )
    assert rsm.result("a", "b").to_bytes().decode() == (
        "<set xmlns='http://jabber.org/protocol/rsm'><first>a</first><last>b</last></set>"
    )


def test_a_page_without_items() -> None:
    assert rsm.result(count=790).to_bytes().decode() == (
        "<set xmlns='http://jabber.org/protocol/rsm'><count>790</count></set>"
    )
    assert rsm.result() == Element(ns.RSM, "set")
