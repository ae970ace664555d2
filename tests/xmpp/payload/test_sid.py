"""XEP-0359: identifiers, and those that nobody but us may give."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import sid
from jabberd.xmpp.stanza import Message
from tests.xmpp.documents import TEXTS, VALUES, frames_of

ROOM = JID.parse("room@muc.example.com")
ID = "de305d54-75b4-431b-adb2-eb6b9e546013"


def message(inside: str) -> Message:
    head = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'>"
    (_, stanza) = frames_of([f"{head}<message>{inside}</message>".encode()])
    assert isinstance(stanza, Message)
    return stanza


def test_the_example_of_the_text() -> None:
    written = sid.stanza_id(ROOM, ID)
    assert parse(written) == Element(ns.SID, "stanza-id", {"id": ID, "by": ROOM.text})
    assert Message.build([parse(written)]).children == (sid.STANZA_ID,)


def test_attributes_are_escaped() -> None:
    written = sid.stanza_id(JID.parse("a@b/o'neill & sons"), "a'<&")
    assert parse(written).attrs == {"id": "a'<&", "by": "a@b/o'neill & sons"}


# origin-id

A = "<origin-id xmlns='urn:xmpp:sid:0' id='a'/>"
PREFIXED = "<s:origin-id xmlns:s='urn:xmpp:sid:0' id='a'/>"


@pytest.mark.parametrize(
    ("inside", "id_"),
    [
        ("", ""),
        (f"<origin-id xmlns='urn:xmpp:sid:0' id='{ID}'/>", ID),
        (f'<body>b</body><origin-id id="{ID}" xmlns="urn:xmpp:sid:0"/><x/>', ID),
        (f"<origin-id\n xmlns='urn:xmpp:sid:0'\n id='{ID}' />", ID),
        ("<origin-id xmlns='urn:xmpp:sid:0' id='a&amp;&#98;'/>", "a&b"),
        ("<origin-id xmlns='urn:xmpp:sid:0' id='a\tb'/>", "a b"),
        ("<origin-id xmlns='urn:xmpp:sid:0' id=\"it's\"/>", "it's"),
        ("<origin-id xmlns='urn:xmpp:sid:0' id='äö'/>", "äö"),
        ("<origin-id xmlns='urn:xmpp:sid:0' x='1' id='2'/>", "2"),
        ("<origin-id xmlns='urn:xmpp:sid:0' id='a'></origin-id>", "a"),
        (PREFIXED, "a"),
        (A + A.replace("'a'", "'b'"), "a"),
        ("<origin-id xmlns='urn:xmpp:sid:0' id=''/>", ""),
        ("<origin-id xmlns='urn:xmpp:sid:0'/>", ""),
        ("<origin-id xmlns='urn:x' id='a'/>", ""),
        (f"<y xmlns='urn:y'>{A}</y>", ""),
        # What only looks like it.
        ("<body><![CDATA[<origin-id id='no'/>]]></body>" + A, "a"),
        ("<y xmlns='urn:y'><origin-id id='no'/></y>" + PREFIXED, "a"),
        ("<x a='origin-id'/>" + A, "a"),
    ],
)  # fmt: skip
def test_origin_ids(inside: str, id_: str) -> None:
    assert sid.origin_id(message(inside)) == id_


LOOKALIKES = st.sampled_from(
    ["", "<![CDATA[<origin-id id='no'/>]]>", "<y xmlns='urn:y'><origin-id id='no'/></y>",
     "origin-id", "<y a='origin-id'/>", "<origin-id xmlns='urn:y' id='no'/>"]
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(LOOKALIKES, TEXTS, VALUES, st.sampled_from(["", " xmlns='urn:xmpp:sid:0'"]), LOOKALIKES)
def test_the_short_way_finds_what_the_long_way_finds(
    before: str, text: str, value: str, declaration: str, after: str
) -> None:
    value = value.replace("'", "&#39;")
    stanza = message(f"{before}{text}<origin-id{declaration} id='{value}'/>{after}")
    element = stanza.child(ns.SID, "origin-id")
    assert sid.origin_id(stanza) == ("" if element is None else element.get("id"))


# Forged ones


def forged(*bys: str) -> str:
    return "".join(f"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='{by}'/>" for by in bys)


def test_all_of_ours_go_and_nothing_else() -> None:
    others = "<body>b</body><origin-id xmlns='urn:xmpp:sid:0' id='2'/>"
    stanza = message(
        forged("Room@MUC.example.com") + others + forged("a@b", "room@muc.example.com", "c@d", "@")
    )
    left = sid.strip(stanza, lambda by: by == ROOM.text)
    assert left.inner.decode() == others + forged("a@b", "c@d", "@")
    assert left.children == (
        "jabber:client body", "urn:xmpp:sid:0 origin-id", *["urn:xmpp:sid:0 stanza-id"] * 3,
    )  # fmt: skip


def test_those_inside_of_others_stay() -> None:
    # §3: only direct children count.
    inside = f"<y xmlns='urn:y'>{forged(ROOM.text)}</y>"
    left = sid.strip(message(inside + forged(ROOM.text)), lambda by: by == ROOM.text)
    assert left.inner.decode() == inside


@pytest.mark.parametrize("inside", ["<body>b</body>", forged("a@b"), forged(""), ""])
def test_nothing_to_do(inside: str) -> None:
    stanza = message(inside)
    assert sid.strip(stanza, lambda by: by == ROOM.text) is stanza


def test_without_such_a_child_nobody_is_asked() -> None:
    stanza = Message(inner=b"<broken", children=("jabber:client body",))
    assert sid.strip(stanza, lambda by: True) is stanza
