"""XEP-0030: elements as the examples have them."""

from __future__ import annotations

from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import disco


def test_info() -> None:
    query = disco.info(
        [
            disco.identity("conference", "text", "Play-Specific Chatrooms"),
            disco.identity("directory", "chatroom", "Räume", "de"),
            *disco.features(["b", "a", "b"]),
        ],
        "music",
    )
    assert query.to_bytes().decode() == (
        "<query xmlns='http://jabber.org/protocol/disco#info' node='music'>"
        "<identity category='conference' type='text' name='Play-Specific Chatrooms'/>"
        "<identity category='directory' type='chatroom' name='Räume' xml:lang='de'/>"
        "<feature var='a'/><feature var='b'/></query>"
    )


def test_items() -> None:
    shop = JID("", "catalog.shakespeare.lit")
    query = disco.items([disco.item(shop, "Books", "books"), disco.item(shop)])
    assert query.to_bytes().decode() == (
        "<query xmlns='http://jabber.org/protocol/disco#items'>"
        "<item jid='catalog.shakespeare.lit' node='books' name='Books'/>"
        "<item jid='catalog.shakespeare.lit'/></query>"
    )


def test_nothing_is_an_empty_query() -> None:
    assert disco.items([]).to_bytes() == b"<query xmlns='http://jabber.org/protocol/disco#items'/>"
