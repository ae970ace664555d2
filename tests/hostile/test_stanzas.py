"""Stanzas of a user who means harm: forged senders, bad addresses, abused IQs, loops, logs.

RFC 6120 §8 and §10, RFC 6121 §2, §4 and §8.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.hostile.conftest import Connect
from tests.hostile.kit import CLIENT, PING, STANZAS, Client, error_of
from tests.hostile.server import Server

BODY = "<body>x</body>"
SETTINGS = """
[host.localhost.modules]
offline = { keep = 20 }
presence = { max_directed = 20 }
"""

SPOOFED = {
    "another user": "bob@localhost",
    "another user's resource": "bob@localhost/test",
    "another resource of one's own": "alice@localhost/other",
    "host": "localhost",
    "another host": "alice@example.com/test",
    "no address at all": "@@",
    "empty": "",
    "look-alike": "\u0430lice@localhost/test",
}


@pytest.mark.parametrize("name", SPOOFED)
@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
def test_spoofed_from(alice: Client, bob: Client, name: str, kind: str) -> None:
    # RFC 6120 §4.9.3.9.
    sender = SPOOFED[name]
    stanza = {
        "message": f"<message from='{sender}' to='bob@localhost/test'>{BODY}</message>",
        "presence": f"<presence from='{sender}' to='bob@localhost/test'/>",
        "iq": f"<iq from='{sender}' to='bob@localhost/test' type='get' id='1'><x xmlns='x'/></iq>",
    }
    alice.send(stanza[kind])
    assert alice.stream_error() == "invalid-from"
    assert bob.ping() == []


def test_from_in_another_spelling_is_not_passed_on(alice: Client, bob: Client) -> None:
    # §8.1.2.1: the server stamps its own idea of the sender.
    alice.send(f"<message from='ALICE@LocalHost' to='bob@localhost/test'>{BODY}</message>")
    message = bob.next()
    assert message is not None
    assert message.get("from") == "alice@localhost/test"


def test_forged_roster_push(alice: Client, bob: Client) -> None:
    """A request that pretends to be the server's arrives, if at all, under its real name."""
    push = (
        "<query xmlns='jabber:iq:roster'><item jid='evil@localhost' subscription='both'/></query>"
    )
    answer = alice.ask(f"<iq type='set' id='{{}}' to='bob@localhost/test'>{push}</iq>")
    assert error_of(answer) == ("cancel", "service-unavailable")  # RFC 6121 §8.5.3.1
    assert bob.ping() == []


BAD_ADDRESSES = {
    "no domain": "bob@",
    "two at signs": "a@b@localhost",
    "nothing before the at": "@localhost",
    "nothing behind the slash": "bob@localhost/",
    "space": "bo b@localhost",
    "quotation mark": "bo&quot;b@localhost",
    "long localpart": f"{'a' * 1024}@localhost",
    "long domain": f"bob@{'a' * 1024}",
    "long resource": f"bob@localhost/{'a' * 1024}",
    "long label": f"bob@{'a' * 64}.example",
    "line end in the resource": "bob@localhost/&#10;",
    "delete character in the resource": "bob@localhost/&#127;",
    "mixed directions": "\u0627a@localhost",
    "domain of nothing": "bob@..",
    "private use": "\ue000@localhost",
    "slash first": "/bob",
}


@pytest.mark.parametrize("name", BAD_ADDRESSES)
@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
def test_invalid_jid(alice: Client, name: str, kind: str) -> None:
    # §8.3.3.8; the stream goes on.
    to = BAD_ADDRESSES[name]
    stanza = {
        "message": f"<message to='{to}' id='bad'>{BODY}</message>",
        "presence": f"<presence to='{to}' id='bad'/>",
        "iq": f"<iq to='{to}' id='bad' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
    }
    alice.send(stanza[kind])
    assert error_of(alice.answer("bad")) == ("modify", "jid-malformed")
    alice.ping()


def test_an_error_to_an_invalid_jid_is_not_answered(alice: Client) -> None:
    alice.send("<message to='@@' type='error'/><iq to='@@' id='1' type='result'/>")
    assert alice.ping() == []


ELSEWHERE = ["bob@example.com", "example.com", "bob@example.com/x", "[::1]", "bob@sub.localhost"]


@pytest.mark.parametrize("to", ELSEWHERE)
def test_other_hosts(alice: Client, to: str) -> None:
    # §8.3.3.16.
    alice.send(f"<message to='{to}' id='away'>{BODY}</message>")
    assert error_of(alice.answer("away")) == ("cancel", "remote-server-not-found")


# §8.2.3.
BAD_IQS = {
    "no type": "<iq id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    "unknown type": "<iq id='1' type='subscribe'><ping xmlns='urn:xmpp:ping'/></iq>",
    "type in capitals": "<iq id='1' type='GET'><ping xmlns='urn:xmpp:ping'/></iq>",
    "no child": "<iq id='1' type='get'/>",
    "no child but text": "<iq id='1' type='set'>x</iq>",
    "two children": (
        "<iq id='1' type='get'><ping xmlns='urn:xmpp:ping'/><query xmlns='jabber:iq:roster'/></iq>"
    ),
    "two children, to somebody": "<iq id='1' type='get' to='bob@localhost/test'><a/><b/></iq>",
    "unknown type, to somebody": "<iq id='1' type='x' to='bob@localhost/test'><a/></iq>",
}


@pytest.mark.parametrize("name", BAD_IQS)
def test_bad_iq(alice: Client, bob: Client, name: str) -> None:
    alice.send(BAD_IQS[name])
    assert error_of(alice.answer("1")) == ("modify", "bad-request")
    assert bob.ping() == []


def test_iq_without_id(alice: Client) -> None:
    alice.send("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    answer = alice.next()
    assert answer is not None
    assert error_of(answer) == ("modify", "bad-request")


UNKNOWN = {
    "unknown namespace": "<query xmlns='urn:evil'/>",
    "known namespace, unknown element": "<evil xmlns='urn:xmpp:ping'/>",
    "no namespace": "<ping xmlns=''/>",
    "namespace of the stream": "<query/>",
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("to", ["to='localhost'", "", "to='bob@localhost'"])
def test_request_that_nobody_understands(alice: Client, name: str, to: str) -> None:
    # §8.3.3.3 and §8.3.3.19; RFC 6121 §8.5.2.1.3.
    answer = alice.ask(f"<iq type='get' id='{{}}' {to}>{UNKNOWN[name]}</iq>")
    assert error_of(answer) in {
        ("cancel", "service-unavailable"),
        ("cancel", "feature-not-implemented"),
    }


UNANSWERED = {
    "result to nobody": "<iq type='result' id='1' to='localhost'/>",
    "result to oneself": "<iq type='result' id='1'/>",
    "result to a resource that is not there": "<iq type='result' id='1' to='bob@localhost/x'/>",
    "result to another host": "<iq type='result' id='1' to='example.com'/>",
    "error to the server": "<iq type='error' id='1' to='localhost'><error type='cancel'/></iq>",
    "error to another host": "<iq type='error' id='1' to='example.com'><error type='cancel'/></iq>",
    "error message to nobody": f"<message type='error' to='nobody@localhost'>{BODY}</message>",
    "error message to the server": f"<message type='error' to='localhost'>{BODY}</message>",
    "error message to another host": f"<message type='error' to='example.com'>{BODY}</message>",
    "error message to who is away": f"<message type='error' to='carol@localhost'>{BODY}</message>",
    "error presence to nobody": "<presence type='error' to='nobody@localhost'/>",
    "error presence to another host": "<presence type='error' to='a@example.com'/>",
    "error with two children": "<iq type='error' id='1' to='localhost'><a/><b/></iq>",
}


@pytest.mark.parametrize("name", UNANSWERED)
def test_an_error_is_never_answered(alice: Client, name: str) -> None:
    # §8.3.1: "MUST NOT respond to an error stanza with a further error stanza".
    alice.send(UNANSWERED[name])
    assert alice.ping() == []


def test_two_who_answer_everything_by_errors_do_not_loop(connect: Connect) -> None:
    one = connect().login("user10")
    two = connect().login("user11")
    one.send("<message to='user11@localhost/test' type='error'/>")
    assert len(two.ping()) == 1
    two.send("<message to='user10@localhost/gone' type='error'/>")
    assert two.ping() == []
    assert one.ping() == []


PRESENCES = {
    "priority too high": ("<presence id='1'><priority>128</priority></presence>"),
    "priority too low": ("<presence id='1'><priority>-129</priority></presence>"),
    "priority no number": ("<presence id='1'><priority>high</priority></presence>"),
    "priority of many digits": (f"<presence id='1'><priority>{'9' * 5000}</priority></presence>"),
    "unknown type": ("<presence id='1' type='evil'/>"),
    "subscription to nobody": ("<presence id='1' type='subscribe'/>"),
}


@pytest.mark.parametrize("name", PRESENCES)
def test_bad_presence(alice: Client, name: str) -> None:
    # RFC 6121 §4.7.1 and §4.7.2.3 (an integer from -128 to +127).
    alice.send(PRESENCES[name])
    assert error_of(alice.answer("1")) == ("modify", "bad-request")
    alice.ping()


ROSTER = "<iq type='set' id='{{}}' {}><query xmlns='jabber:iq:roster'>{}</query></iq>"
# RFC 6121 §2.3.3 and §2.5.3.
ROSTERS = {
    "of another": ("to='bob@localhost'", "<item jid='a@localhost'/>", "auth", {"forbidden"}),
    "two items": ("", "<item jid='a@b'/><item jid='b@b'/>", "modify", {"bad-request"}),
    "no item": ("", "", "modify", {"bad-request"}),
    "no jid": ("", "<item/>", "modify", {"bad-request"}),
    "bad jid": ("", "<item jid='@@'/>", "modify", {"bad-request", "jid-malformed"}),
    "same group twice": (
        "",
        "<item jid='a@b'><group>x</group><group>x</group></item>",
        "modify",
        {"bad-request"},
    ),
    "group without a name": ("", "<item jid='a@b'><group/></item>", "modify", {"not-acceptable"}),
    "name too long": ("", f"<item jid='a@b' name='{'n' * 50000}'/>", "modify", {"not-acceptable"}),
    "group too long": (
        "",
        f"<item jid='a@b'><group>{'n' * 50000}</group></item>",
        "modify",
        {"not-acceptable"},
    ),
    "removal of what is not there": (
        "",
        "<item jid='c@b' subscription='remove'/>",
        "modify",
        {"item-not-found"},
    ),
}


@pytest.mark.parametrize("name", ROSTERS)
def test_roster_abuse(alice: Client, name: str) -> None:
    to, items, kind, conditions = ROSTERS[name]
    found_type, found = error_of(alice.ask(ROSTER.format(to, items)))
    assert found in conditions
    assert found_type == kind


@pytest.mark.parametrize("subscription", ["both", "to", "from"])
def test_nobody_gives_themselves_a_subscription(alice: Client, subscription: str) -> None:
    # RFC 6121 §2.1.2.5: the server MUST ignore it.
    item = f"<item jid='carol@localhost' subscription='{subscription}' ask='subscribe'/>"
    alice.ask(ROSTER.format("", item))
    roster = alice.ask("<iq type='get' id='{}'><query xmlns='jabber:iq:roster'/></iq>")
    for found in roster.iter("{jabber:iq:roster}item"):
        if found.get("jid") == "carol@localhost":
            assert found.get("subscription") == "none"
            assert found.get("ask") is None
            break
    else:
        raise AssertionError("the item is not there")


def test_somebody_else_s_data_cannot_be_had(alice: Client) -> None:
    for payload in (
        "<query xmlns='jabber:iq:roster'/>",
        "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>",
        "<query xmlns='jabber:iq:last'/>",
        "<query xmlns='jabber:iq:register'/>",
    ):
        answer = alice.ask(f"<iq type='get' id='{{}}' to='bob@localhost'>{payload}</iq>")
        assert error_of(answer)[1] in {"forbidden", "service-unavailable"}, payload


# Control characters cannot come in XML 1.0, save for line ends, tabs and C1; but bidirectional
# overrides can, and markup that means something to a terminal or a log reader can.
EVIL = "x&#10;{&quot;level&quot;: &quot;error&quot;}&#13;&#9;&#x85;&#x9b;31m&#x202e;&#x2066;[red]"
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def test_log_and_trace_have_no_control_characters(
    alice: Client, connect: Connect, server: Server
) -> None:
    alice.send(f"<message id='{EVIL}' type='{EVIL}' to='nobody@localhost/\u202d'>{BODY}</message>")
    alice.send(f"<message id='{EVIL}' to='bob@example.com'>{BODY}</message>")
    alice.send(f"<presence id='{EVIL}' type='{EVIL}'/>")
    alice.send(f"<iq id='{EVIL}' type='{EVIL}'><x xmlns='urn:&#x202e;&#x9b;'/></iq>")
    alice.ping()
    for user in ("ev\u202eil", "e\u0085vil", "\x7fevil", "evil\n{}"):
        client = connect()
        client.open()
        client.scram(user)
    client = connect()
    client.open()
    client.auth("\u202eEVIL&#10;\u009b", "")
    client.sasl_failure()
    client.send(f"<{'x' * 100} xmlns='urn:&#x202e;&#x9b;'/>")
    client.stream_error()
    for words in ((), ("--json",)):
        shown = server.jabberd("trace", "alice@localhost", *words)
        assert shown.returncode == 0, shown.stderr
        assert not RAW.search(shown.stdout), shown.stdout
    assert "\\n{" in server.jabberd("trace", "alice@localhost").stdout
    for entry in server.check():
        assert entry["level"] != "error"
        assert "\n" not in json.dumps(entry)


def test_resource_with_the_terminal_s_words(connect: Connect, server: Server) -> None:
    client = connect()
    client.login("user12", "\U0001f600 [bold]%s{0}")
    client.send(f"<message to='example.com'>{BODY}</message>")
    client.ping()
    shown = server.jabberd("sessions")
    assert shown.returncode == 0, shown.stderr
    assert "[bold]%s{0}" in shown.stdout


def test_error_text_does_not_carry_markup_back(alice: Client) -> None:
    """What an answer quotes of a request is escaped: the answer stays well-formed."""
    alice.send(f"<message id='&lt;/message&gt;' to='&lt;x/&gt;@localhost'>{BODY}</message>")
    answer = alice.answer("</message>")
    assert error_of(answer) == ("modify", "jid-malformed")
    assert answer.find(f"{{{CLIENT}}}x") is None
    assert answer.find(f".//{{{STANZAS}}}jid-malformed") is not None


def test_directed_presence_is_bounded(alice: Client) -> None:
    alice.send("<presence/>")
    alice.send("".join(f"<presence to='p{n}@localhost'/>" for n in range(21)))
    answers = [one for one in alice.ping() if one.get("type") == "error"]
    assert [error_of(one) for one in answers] == [("wait", "resource-constraint")]


def test_offline_messages_are_bounded(connect: Connect) -> None:
    sender = connect().login("user13")
    text = "".join(
        f"<message id='m{n}' type='chat' to='user14@localhost'>{BODY}</message>" for n in range(23)
    )
    sender.send(text)
    errors = [one for one in sender.ping() if one.get("type") == "error"]
    assert [one.get("id") for one in errors] == ["m20", "m21", "m22"]
    # XEP-0160 §2 and RFC 6121 §8.5.2.2.1.
    assert {error_of(one) for one in errors} == {("cancel", "service-unavailable")}


def test_ping_of_a_stanza_with_foreign_attributes(alice: Client) -> None:
    alice.send(PING.format("f").replace("<iq ", "<iq xmlns:e='urn:e' e:from='x' e:type='error' "))
    assert alice.answer("f").get("type") == "result"
