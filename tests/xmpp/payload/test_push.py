"""XEP-0357: the examples of the text, and requests that are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import push
from jabberd.xmpp.payload.push import Disable, Enable, Summary
from tests.xmpp.payload.trees import MANY, trees

SERVICE, NODE = JID.parse("push-5.client.example"), "yxs32uqsflafdk3iuqo"
HEAD = f"xmlns='urn:xmpp:push:0' jid='{SERVICE}' node='{NODE}'"
TYPE = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
OPTIONS = (
    f"<x xmlns='jabber:x:data' type='submit'>{TYPE}"
    "<field var='secret'><value>eruio234vzxc2kla-91</value></field></x>"
)


def read(text: str) -> Enable | Disable:
    return push.read(parse(text.encode()))


def test_enabling() -> None:
    assert read(f"<enable {HEAD}/>") == Enable(SERVICE, NODE, None)
    assert read(f"<enable xmlns='urn:xmpp:push:0' jid='{SERVICE}'/>") == Enable(SERVICE, "", None)
    assert read(f"<enable {HEAD}>{OPTIONS}</enable>") == Enable(
        SERVICE, NODE, parse(OPTIONS.encode())
    )


def test_disabling() -> None:
    assert read(f"<disable {HEAD}/>") == Disable(SERVICE, NODE)
    assert read(f"<disable xmlns='urn:xmpp:push:0' jid='{SERVICE}'/>") == Disable(SERVICE, "")


LONG = "x" * 4096


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("<enable xmlns='urn:xmpp:push:0' node='n'/>", "bad-request"),
        ("<disable xmlns='urn:xmpp:push:0'/>", "bad-request"),
        ("<notification xmlns='urn:xmpp:push:0' jid='a'/>", "bad-request"),
        ("<enable xmlns='urn:x' jid='a'/>", "bad-request"),
        ("<enable xmlns='urn:xmpp:push:0' jid='@'/>", "jid-malformed"),
        (f"<enable {HEAD}><x xmlns='jabber:x:data' type='submit'/></enable>", "bad-request"),
        (f"<enable {HEAD}><x xmlns='jabber:x:data' type='form'>{TYPE}</x></enable>", "bad-request"),
        (f"<enable {HEAD}>{OPTIONS.replace('eruio', LONG)}</enable>", "not-acceptable"),
        (f"<disable xmlns='urn:xmpp:push:0' jid='a' node='{LONG}'/>", "not-acceptable"),
    ],
)
def test_requests_that_are_wrong(text: str, condition: str) -> None:
    with pytest.raises(StanzaError) as caught:
        read(text)
    assert caught.value.condition.value == condition


@MANY
@given(
    trees(
        [(ns.PUSH, "enable"), (ns.PUSH, "disable"), (ns.PUSH, "x")],
        [(ns.DATA_FORMS, "x"), (ns.DATA_FORMS, "field"), (ns.DATA_FORMS, "value")],
        ["jid", "node", "type", "var"],
        ["submit", "FORM_TYPE", ns.PUBLISH_OPTIONS],
    )
)
def test_nothing_asked_does_harm(element: Element) -> None:
    try:
        push.read(element)
    except StanzaError:
        return


def notification(fields: str, options: str = "") -> str:
    """The request of §7, which says no type of the form; XEP-0004 §3.1 requires one."""
    x = (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>urn:xmpp:push:summary</value></field>{fields}</x>"
    )
    return (
        f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{NODE}'><item>"
        f"<notification xmlns='urn:xmpp:push:0'>{x}</notification></item></publish>"
        f"{options}</pubsub>"
    )


def test_a_notification_tells_little() -> None:
    fields = "<field var='message-count'><value>1</value></field>"
    assert push.publish(NODE, Summary(messages=1)).to_bytes().decode() == notification(fields)


def test_a_notification_with_everything() -> None:
    fields = (
        "<field var='message-count'><value>0</value></field>"
        "<field var='pending-subscription-count'><value>2</value></field>"
        "<field var='last-message-sender'><value>juliet@capulet.example/balcony</value></field>"
        "<field var='last-message-body'><value>Wherefore art thou, Romeo?</value></field>"
    )
    sender = JID.parse("juliet@capulet.example/balcony")
    summary = Summary(0, 2, sender, "Wherefore art thou, Romeo?")
    enabled = read(f"<enable {HEAD}>{OPTIONS}</enable>")
    assert isinstance(enabled, Enable)
    written = push.publish(NODE, summary, enabled.options).to_bytes().decode()
    assert written == notification(fields, f"<publish-options>{OPTIONS}</publish-options>")


def test_a_notification_without_a_summary() -> None:
    assert push.publish("", Summary()).to_bytes().decode() == (
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish><item>"
        "<notification xmlns='urn:xmpp:push:0'/></item></publish></pubsub>"
    )
