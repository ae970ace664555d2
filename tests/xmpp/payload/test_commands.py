"""XEP-0050: requests, answers and errors as they are on the wire."""

from __future__ import annotations

import pytest

from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import Condition, ErrorType, StanzaError
from jabberd.xmpp.payload import commands
from jabberd.xmpp.payload.commands import Action, Specific, Status


def _command(attrs: str, inner: str = "") -> Element:
    return parse(
        f"<command xmlns='http://jabber.org/protocol/commands' {attrs}>{inner}</command>".encode()
    )


def test_execute_is_implied() -> None:
    request = commands.read(_command("node='list'"))
    assert (request.node, request.action, request.sessionid) == ("list", Action.EXECUTE, None)
    assert (request.lang, request.form) == ("", None)


def test_a_following_stage() -> None:
    request = commands.read(
        _command(
            "node='config' sessionid='s1' action='prev' xml:lang='en-us' status='executing'",
            "<x xmlns='jabber:x:data' type='cancel'/>",
        )
    )
    assert (request.action, request.sessionid, request.lang) == (Action.PREV, "s1", "en-us")
    assert request.form is not None


@pytest.mark.parametrize(
    ("attrs", "inner", "specific"),
    [
        ("action='execute'", "", None),
        ("node=''", "", None),
        ("node='list' action='jump'", "", "malformed-action"),
        ("node='list' action=''", "", "malformed-action"),
        ("node='list'", "<x xmlns='jabber:x:data' type='form'/>", "bad-payload"),
        ("node='list'", "<x xmlns='jabber:x:data'/>", "bad-payload"),
    ],
)
def test_malformed_requests(attrs: str, inner: str, specific: str | None) -> None:
    with pytest.raises(StanzaError) as caught:
        commands.read(_command(attrs, inner))
    error = caught.value
    assert (error.condition, error.type) == (Condition.BAD_REQUEST, ErrorType.MODIFY)
    assert (error.app.name if error.app else None) == specific


# XEP-0050 §4.4, transcribed.
@pytest.mark.parametrize(
    ("specific", "condition", "kind"),
    [
        ("malformed-action", "bad-request", "modify"),
        ("bad-action", "bad-request", "modify"),
        ("bad-locale", "bad-request", "modify"),
        ("bad-payload", "bad-request", "modify"),
        ("bad-sessionid", "bad-request", "modify"),
        ("session-expired", "not-allowed", "cancel"),
    ],
)
def test_failures(specific: str, condition: str, kind: str) -> None:
    error = commands.failure(Specific(specific), "words")
    assert (error.condition.value, error.type.value, error.text) == (condition, kind, "words")
    assert error.app == Element("http://jabber.org/protocol/commands", specific)


def test_an_answer_of_a_stage() -> None:
    answer = commands.answer(
        "config",
        "s1",
        Status.EXECUTING,
        [
            commands.actions(Action.COMPLETE, [Action.PREV, Action.COMPLETE]),
            commands.note("Nearly."),
            commands.note("Oops.", failed=True),
        ],
    )
    assert answer.to_bytes().decode() == (
        "<command xmlns='http://jabber.org/protocol/commands' node='config' sessionid='s1'"
        " status='executing' xml:lang='en'>"
        "<actions execute='complete'><prev/><complete/></actions>"
        "<note type='info'>Nearly.</note><note type='error'>Oops.</note></command>"
    )
