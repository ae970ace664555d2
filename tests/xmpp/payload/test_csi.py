"""XEP-0352."""

from __future__ import annotations

import pytest

from jabberd.xmpp.payload import csi
from jabberd.xmpp.stanza import Message, Presence, read_stanza

ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"


@pytest.mark.parametrize(
    ("kind", "inside", "waits"),
    [
        ("chat", ACTIVE, True),
        ("normal", ACTIVE, True),
        ("groupchat", ACTIVE, True),
        ("chat", f"{ACTIVE}<thread>t</thread>", True),
        ("chat", f"{ACTIVE}<no-store xmlns='urn:xmpp:hints'/>", True),
        ("chat", f"{ACTIVE}<origin-id xmlns='urn:xmpp:sid:0' id='1'/>", True),
        ("chat", f"{ACTIVE}<store xmlns='urn:xmpp:hints'/>", False),
        ("chat", f"{ACTIVE}<body>b</body>", False),
        ("chat", f"{ACTIVE}<x xmlns='urn:x'/>", False),
        ("error", ACTIVE, False),
        ("chat", "<thread>t</thread>", False),
        ("chat", "", False),
    ],
)
def test_chat_states(kind: str, inside: str, waits: bool) -> None:
    stanza = read_stanza(f"<message type='{kind}'>{inside}</message>".encode())
    assert isinstance(stanza, Message)
    assert csi.is_chat_state(stanza) is waits


@pytest.mark.parametrize(
    ("inside", "own"),
    [
        ("<x xmlns='{}'><item/><status code='110'/></x>", True),
        ("<x xmlns='{}'><status code='100'/><status code='110'/></x><show>away</show>", True),
        ("<x xmlns='{}'><status code='100'/></x>", False),
        ("<x xmlns='{}'><status code='100'/></x><status>110</status>", False),
        ("<x xmlns='{}'><status>110</status></x>", False),
        ("<x xmlns='urn:x'><status code='110'/></x>", False),
        ("<status>110</status>", False),
        ("", False),
    ],
)
def test_the_own_presence_in_a_room(inside: str, own: bool) -> None:
    text = inside.format("http://jabber.org/protocol/muc#user")
    stanza = read_stanza(f"<presence>{text}</presence>".encode())
    assert isinstance(stanza, Presence)
    assert csi.is_own_in_room(stanza) is own
