"""XEP-0297."""

from __future__ import annotations

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.forward import forwarded
from jabberd.xmpp.stanza import Message

BODY = Element(ns.CLIENT, "body", {}, ["Yet I should kill thee with much cherishing."])
MESSAGE = Message.build([BODY], to=JID.parse("romeo@montague.lit"), id="0202197", type="chat")


def test_the_example_of_the_text() -> None:
    written = forwarded(MESSAGE.in_namespace(), 1278803305.0)
    delay, message = parse(written)
    assert parse(written).ns == "urn:xmpp:forward:0"
    assert delay == Element("urn:xmpp:delay", "delay", {"stamp": "2010-07-10T23:08:25.000Z"})
    assert (message.ns, message.name, list(message)) == ("jabber:client", "message", [BODY])
    assert message.attrs == {"to": "romeo@montague.lit", "id": "0202197", "type": "chat"}


def test_without_a_time() -> None:
    (message,) = parse(forwarded(MESSAGE.in_namespace()))
    assert message.name == "message"


def test_bytes_are_not_read() -> None:
    assert forwarded(b"100 %s").endswith(b">100 %s</forwarded>")
