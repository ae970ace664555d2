"""XEP-0050 Ad-Hoc Commands: requests, answers, and their specific errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, ErrorType, StanzaError

_LANG = f"{ns.XML} lang"


class Action(Enum):
    """XEP-0050 §4.1: what a requester wants."""

    EXECUTE = "execute"
    CANCEL = "cancel"
    PREV = "prev"
    NEXT = "next"
    COMPLETE = "complete"


class Status(Enum):
    """XEP-0050 §4.1: how things stand."""

    EXECUTING = "executing"
    COMPLETED = "completed"
    CANCELED = "canceled"


class Specific(Enum):
    """XEP-0050 §4.4: the specific conditions that accompany a general one."""

    MALFORMED_ACTION = "malformed-action"
    BAD_ACTION = "bad-action"
    BAD_LOCALE = "bad-locale"
    BAD_PAYLOAD = "bad-payload"
    BAD_SESSIONID = "bad-sessionid"
    SESSION_EXPIRED = "session-expired"


@dataclass(frozen=True, slots=True)
class Request:
    """A `<command/>` from a requester.

    Attributes:
        node: which command.
        action: what to do; EXECUTE where it says nothing.
        sessionid: of the execution it belongs to; None for a new one.
        lang: the language that this command asks for, or an empty string.
        form: the submitted data form, if there is one.
    """

    node: str
    action: Action
    sessionid: str | None
    lang: str
    form: Element | None


def read(command: Element) -> Request:
    """What a request says.

    Raises:
        StanzaError: bad-request without a node; malformed-action; bad-payload for a form that
            is not a submission. A form of type "cancel" counts as one (§3.5.1).
    """
    node = command.get("node")
    if not node:
        raise StanzaError(Condition.BAD_REQUEST, "a command has a node")
    try:
        action = Action(command.get("action", "execute"))
    except ValueError:
        raise failure(Specific.MALFORMED_ACTION) from None
    form = command.find(ns.DATA_FORMS, "x")
    if form is not None and form.get("type") not in {"submit", "cancel"}:
        raise failure(Specific.BAD_PAYLOAD, "a data form of type submit is expected")
    return Request(node, action, command.attrs.get("sessionid"), command.get(_LANG), form)


def answer(node: str, sessionid: str, status: Status, children: Sequence[Element] = ()) -> Element:
    """The `<command/>` of a responder; this server speaks English."""
    attrs = {"node": node, "sessionid": sessionid, "status": status.value, _LANG: "en"}
    return Element(ns.COMMANDS, "command", attrs, children)


def actions(default: Action, allowed: Sequence[Action]) -> Element:
    """The `<actions/>` of a stage: what is allowed, and what "execute" means (§4.2)."""
    return Element(
        ns.COMMANDS,
        "actions",
        {"execute": default.value},
        [Element(ns.COMMANDS, action.value) for action in allowed],
    )


def note(text: str, *, failed: bool = False) -> Element:
    """A sentence for the person (§4.3)."""
    return Element(ns.COMMANDS, "note", {"type": "error" if failed else "info"}, [text])


def failure(specific: Specific, text: str = "") -> StanzaError:
    """The error of §4.4 with this specific condition."""
    app = Element(ns.COMMANDS, specific.value)
    if specific is Specific.SESSION_EXPIRED:
        return StanzaError(Condition.NOT_ALLOWED, text, ErrorType.CANCEL, app)
    return StanzaError(Condition.BAD_REQUEST, text, ErrorType.MODIFY, app)
