"""What a user's message says, for a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jabberd.gateways.events import File, Typing
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Message

_SECRET: Final = (ns.EME, ns.OMEMO, ns.OMEMO_1, ns.OMEMO_SIACS, ns.OPENPGP, ns.ENCRYPTED)
_STATES: Final = {
    "composing": Typing.COMPOSING,
    "paused": Typing.PAUSED,
    "active": Typing.STOPPED,
    "inactive": Typing.STOPPED,
    "gone": Typing.STOPPED,
}
_LONGEST_BODY: Final = 200_000
_MOST_EMOJIS: Final = 20


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a user, with names of messages as the user's client has them.

    Attributes:
        body: the text; what only repeats an answered message is left out where `replies` is kept.
        subject: where one was given.
        thread: where one was given.
        receipt: whether one is wanted (XEP-0184).
        replies_to: stanza id of the message that it answers (XEP-0461).
        replaces: stanza id of the message that it corrects (XEP-0308).
        files: by their URLs (XEP-0066).
        typing: the chat state (XEP-0085).
        read: stanza id up to which the user has read (XEP-0333).
        reacts_to: stanza id of a message that got reactions (XEP-0444).
        emojis: these reactions.
        retracts: stanza id of a message to take back (XEP-0424).
    """

    body: str = ""
    subject: str = ""
    thread: str = ""
    receipt: bool = False
    replies_to: str = ""
    replaces: str = ""
    files: tuple[File, ...] = ()
    typing: Typing | None = None
    read: str = ""
    reacts_to: str = ""
    emojis: tuple[str, ...] = ()
    retracts: str = ""


def read(message: Message, *, quotes: bool) -> Said:
    """What a message says.

    Args:
        message: of a user.
        quotes: leave in the body what repeats an answered message (XEP-0461 §3.1), for networks
            that cannot say otherwise what is answered.

    Raises:
        StanzaError: it is encrypted for somebody else, or too long.
    """
    elements = message.payload()
    if any(element.ns in _SECRET for element in elements):
        text = "a gateway cannot read end-to-end encrypted messages: switch encryption off"
        raise StanzaError(Condition.NOT_ACCEPTABLE, text)
    found: dict[tuple[str, str], Element] = {}
    for element in elements:
        found.setdefault((element.ns, element.name), element)
    body = _text(found, "body")
    if len(body) > _LONGEST_BODY:
        raise StanzaError(Condition.POLICY_VIOLATION, "the message is too long")
    reply = found.get((ns.REPLY, "reply"))
    if reply is not None and not quotes:
        body = _without_quote(body, elements)
    files = _files(elements)
    if len(files) == 1 and body.strip() == files[0].url:
        body = ""  # XEP-0066 §3: clients repeat the URL for those who know text only
    reactions = found.get((ns.REACTIONS, "reactions"))
    emojis = reactions.find_all(ns.REACTIONS, "reaction") if reactions is not None else []
    return Said(
        body=body,
        subject=_text(found, "subject"),
        thread=_text(found, "thread"),
        receipt=(ns.RECEIPTS, "request") in found and bool(message.id),
        replies_to=_id(reply),
        replaces=_id(found.get((ns.CORRECTION, "replace"))),
        files=files,
        typing=next((_STATES.get(e.name) for e in elements if e.ns == ns.CHAT_STATES), None),
        read=_id(found.get((ns.MARKERS, "displayed"))),
        reacts_to=_id(reactions),
        emojis=tuple(dict.fromkeys(e.text[:20] for e in emojis[:_MOST_EMOJIS] if e.text)),
        retracts=_id(found.get((ns.RETRACT, "retract"))),
    )


def _text(found: dict[tuple[str, str], Element], name: str) -> str:
    element = found.get((ns.CLIENT, name))
    return element.text if element is not None else ""


def _id(element: Element | None) -> str:
    return element.get("id") if element is not None else ""


def _files(elements: list[Element]) -> tuple[File, ...]:
    urls = [e.child_text(ns.OOB, "url") or "" for e in elements if (e.ns, e.name) == (ns.OOB, "x")]
    return tuple(File(url.strip()) for url in urls if url.strip())


def _without_quote(body: str, elements: list[Element]) -> str:
    """The body without the parts that stand for what is answered (XEP-0428)."""
    spans: list[tuple[int, int]] = []
    for fallback in elements:
        if (fallback.ns, fallback.name) != (ns.FALLBACK, "fallback"):
            continue
        if fallback.get("for") != ns.REPLY:
            continue
        for part in fallback.find_all(ns.FALLBACK, "body"):
            start, end = part.get("start", "0"), part.get("end", "")
            if start.isascii() and start.isdigit() and end.isascii() and end.isdigit():
                spans.append((int(start), int(end)))
    for first, last in sorted(spans, reverse=True):
        body = body[:first] + body[max(first, last) :]
    return body
