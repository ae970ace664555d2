"""XEP-0441: the lists as they are written and read, and whom they match."""

from __future__ import annotations

import pytest
from hypothesis import given

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import mam_prefs
from jabberd.xmpp.payload.mam_prefs import Default, Prefs
from tests.xmpp.payload.trees import MANY, trees

ROMEO, MONTAGUE = JID.parse("romeo@montague.lit"), JID.parse("montague@montague.lit")


def element(inside: str, attrs: str = "default='roster'") -> Element:
    return parse(f"<prefs xmlns='urn:xmpp:mam:2' {attrs}>{inside}</prefs>".encode())


def listed(name: str, *jids: str) -> str:
    inside = "".join(f"<jid>{jid}</jid>" for jid in jids)
    return f"<{name}>{inside}</{name}>"


def test_the_example_of_the_text() -> None:
    asked = element(listed("always", "romeo@montague.lit") + listed("never", str(MONTAGUE)))
    prefs = Prefs(Default.ROSTER, frozenset({ROMEO}), frozenset({MONTAGUE}))
    assert mam_prefs.read(asked) == prefs
    assert mam_prefs.write(prefs) == asked


def test_lists_that_are_missing_are_empty() -> None:
    prefs = Prefs(Default.ALWAYS)
    assert mam_prefs.read(element("", "default='always'")) == prefs
    assert mam_prefs.write(prefs).to_bytes() == (
        b"<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never/></prefs>"
    )


def test_addresses_are_prepared_and_written_in_order() -> None:
    prefs = mam_prefs.read(element(listed("never", "Zoe@b", " amy@b\n", "zoe@b")))
    assert prefs.never == {JID.parse("amy@b"), JID.parse("zoe@b")}
    assert [jid.text for jid in list(mam_prefs.write(prefs))[1]] == ["amy@b", "zoe@b"]


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        (element("", ""), "bad-request"),
        (element("", "default='sometimes'"), "bad-request"),
        (element(listed("always", "@b")), "jid-malformed"),
        (element(listed("never", "")), "jid-malformed"),
        (element(listed("never", *(f"u{n}@b" for n in range(1001)))), "policy-violation"),
    ],
)
def test_what_is_refused(asked: Element, condition: str) -> None:
    with pytest.raises(StanzaError) as caught:
        mam_prefs.read(asked)
    assert caught.value.condition.value == condition


@MANY
@given(
    trees(
        [(ns.MAM, "prefs")],
        [(ns.MAM, "always"), (ns.MAM, "never"), (ns.MAM, "jid")],
        ["default"],
        ["always", "never", "roster"],
    )
)
def test_nothing_asked_does_harm(asked: Element) -> None:
    try:
        mam_prefs.read(asked)
    except StanzaError:
        return


@pytest.mark.parametrize(
    ("always", "never", "peer", "archived"),
    [
        ("", "", "a@b/c", None),
        ("a@b", "", "a@b/c", True),
        ("a@b", "", "a@b", True),
        ("a@b/c", "", "a@b/c", True),
        ("a@b/c", "", "a@b/d", None),
        ("a@b/c", "", "a@b", None),
        ("", "a@b", "a@b/c", False),
        ("", "a@b/c", "a@b/c", False),
        ("", "a@b/c", "a@b/d", None),
        ("a@b", "a@b", "a@b", False),
        ("b", "", "a@b", None),
    ],
)
def test_who_is_meant(always: str, never: str, peer: str, archived: bool | None) -> None:
    # §2.3.1
    lists = [frozenset({JID.parse(jid)} if jid else ()) for jid in (always, never)]
    assert Prefs(Default.ROSTER, *lists).archives(JID.parse(peer)) is archived
    everybody = True if archived is None else archived
    nobody = False if archived is None else archived
    assert Prefs(Default.ALWAYS, *lists).archives(JID.parse(peer)) is everybody
    assert Prefs(Default.NEVER, *lists).archives(JID.parse(peer)) is nobody
