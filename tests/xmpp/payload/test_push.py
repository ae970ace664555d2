"""XEP-0357: the examples of the text, requests that are wrong, and what is worth telling."""

from __future__ import annotations

import pytest
from hypothesis import given

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import carbons, push
from jabberd.xmpp.payload.push import Disable, Enable, Summary
from jabberd.xmpp.stanza import Message, read_stanza
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
        "<field var='last-message-sender'><value>juliet@capulet.example/balcony</value></field>"
        "<field var='last-message-body'><value>Wherefore art thou, Romeo?</value></field>"
    )
    sender = JID.parse("juliet@capulet.example/balcony")
    summary = Summary(0, sender, "Wherefore art thou, Romeo?")
    enabled = read(f"<enable {HEAD}>{OPTIONS}</enable>")
    assert isinstance(enabled, Enable)
    written = push.publish(NODE, summary, enabled.options).to_bytes().decode()
    assert written == notification(fields, f"<publish-options>{OPTIONS}</publish-options>")


def test_a_notification_without_a_summary() -> None:
    assert push.publish("", Summary()).to_bytes().decode() == (
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish><item>"
        "<notification xmlns='urn:xmpp:push:0'/></item></publish></pubsub>"
    )


# What a client is told of

OWNER = JID.parse("user@example.com")
BODY = "<body>b</body>"
STORE = "<store xmlns='urn:xmpp:hints'/>"
OMEMO = "<encrypted xmlns='eu.siacs.conversations.axolotl'/>"
RECEIPT = "<received xmlns='urn:xmpp:receipts' id='1'/>"
MARKER = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"


def message(inside: str, kind: str = "chat", from_: str = "juliet@capulet.example/x") -> Message:
    text = f"<message from='{from_}' to='user@example.com/y' type='{kind}'>{inside}</message>"
    stanza = read_stanza(text.encode())
    assert isinstance(stanza, Message)
    return stanza


@pytest.mark.parametrize(
    ("kind", "inside", "told"),
    [
        ("chat", BODY, True),
        ("normal", BODY, True),
        ("groupchat", BODY, True),
        ("error", BODY + STORE, False),
        ("chat", OMEMO, True),
        ("chat", "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:x'/>", True),
        ("chat", COMPOSING, False),
        ("chat", RECEIPT, False),
        ("chat", RECEIPT + STORE, False),
        ("chat", MARKER + STORE, False),
        ("chat", MARKER + BODY, True),
        ("chat", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>" + STORE, True),
        ("chat", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>", False),
        ("normal", "<result xmlns='urn:xmpp:mam:2'><body>b</body></result>", False),
        ("chat", "", False),
    ],
)
def test_what_is_worth_a_notification(kind: str, inside: str, told: bool) -> None:
    stanza = message(inside, kind)
    assert push.worth(stanza, OWNER) is (stanza if told else None)
    own = message(inside, kind, "user@example.com/z")
    assert push.worth(own, OWNER) is None


@pytest.mark.parametrize("inside", [BODY, OMEMO, COMPOSING])
def test_copies(inside: str) -> None:
    original = message(inside)
    assert push.worth(carbons.copy(original, OWNER, outgoing=True), OWNER) is None
    found = push.worth(carbons.copy(original, OWNER, outgoing=False), OWNER)
    if inside == COMPOSING:
        assert found is None
    else:
        assert found is not None
        assert (found.from_, found.children) == (original.from_, original.children)


AFFILIATION = "<affiliation jid='user@example.com' affiliation='none' />"
PUBSUB = (
    f"<pubsub xmlns='http://jabber.org/protocol/pubsub' node='yxs32uqsflafdk3iuqo'>{AFFILIATION}"
)


@pytest.mark.parametrize(
    ("inside", "node"),
    [
        (f"{PUBSUB}</pubsub>", "yxs32uqsflafdk3iuqo"),
        (f"{PUBSUB}</pubsub>".replace(" node='yxs32uqsflafdk3iuqo'", ""), ""),
        (f"{PUBSUB}</pubsub>".replace("none", "publish-only"), None),
        (f"{PUBSUB}</pubsub>".replace("user@", "other@"), None),
        (f"{PUBSUB}</pubsub>".replace("pubsub'", "pubsub#event'"), None),
        (f"<x xmlns='urn:x'>{PUBSUB}</pubsub></x>", None),
        (BODY, None),
    ],
)
def test_a_service_that_gives_up(inside: str, node: str | None) -> None:
    assert push.read_end(message(inside, "normal", "push-5.client.example"), OWNER) == node
