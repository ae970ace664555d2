"""Both roles of a stream in memory, with somebody who answers their questions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import SaslError, StanzaError, StreamCondition
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import ht, offer
from jabberd.xmpp.sasl.mechanism import Credentials, Token
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Iq, read_stanza
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.authenticate import Authenticate
from jabberd.xmpp.stream.base import Stream
from jabberd.xmpp.stream.events import Closed, Event, InlineResult, InlineWanted
from jabberd.xmpp.stream.initiating import InitiatingStream
from jabberd.xmpp.stream.initiating2 import Sasl2InitiatingStream
from jabberd.xmpp.stream.login import Login
from jabberd.xmpp.stream.policy import HostPolicy, Inline
from jabberd.xmpp.stream.receiving import ReceivingStream
from tests.xmpp.documents import tree_of
from tests.xmpp.sasl.kit import ACCOUNTS, BINDINGS, ITERATIONS, PASSWORD, SECRET, counter

DOMAIN = "example.com"
PLAIN_TEXT = Channel(secure=False)
TLS = Channel(secure=True, bindings=BINDINGS)
ALL_INLINE = Inline(
    bind=("urn:xmpp:carbons:2", "urn:xmpp:csi:0", "urn:xmpp:sm:3"),
    resume=True,
    fast=tuple(ht.BINDINGS),
    upgrades=("SCRAM-SHA-512", "SCRAM-SHA-256"),
)
CLIENT = "d4565fa7-4d72-4749-b3d3-740edbf87770"  # as in the examples of XEP-0388
TOKENS: Final[Mapping[tuple[str, str, str], tuple[Token, ...]]] = {
    ("juliet", CLIENT, "HT-SHA-256-EXPR"): (
        Token("t0k3n-new", "HT-SHA-256-EXPR", id="new"),
        Token("t0k3n-old", "HT-SHA-256-EXPR", id="current"),
        Token("t0k3n-gone", "HT-SHA-256-EXPR", expired=True),
    ),
    ("juliet", CLIENT, "HT-SHA-256-NONE"): (Token("t0k3n-none", "HT-SHA-256-NONE"),),
}
BEFORE = Limits(stanza_bytes=8_192)
AFTER = Limits()


def policy(domain: str = DOMAIN, **changes: Any) -> HostPolicy:
    """How the host wants to be logged in to: everything is allowed unless changed."""
    enabled = changes.pop("enabled", offer.MECHANISMS)
    values: dict[str, Any] = {
        "starttls": True,
        "tls_required": False,
        "legacy_auth": True,
        "before_login": bytes,
        "after_login": bytes,
    }
    sasl = offer.Policy(domain, SECRET, ITERATIONS, enabled)
    return HostPolicy(domain=JID("", domain), sasl=sasl, **(values | changes))


def inline_result(wanted: InlineWanted) -> InlineResult:
    """What a server makes of inline requests: it knows the session "known", and has tokens."""
    token = b""
    if wanted.token_request:
        values = {"expiry": "2020-03-12T14:36:15Z", "token": f"for {wanted.token_request}"}
        token = Element(ns.FAST, "token", values).to_bytes()
    failed = b""
    if wanted.resume is not None:
        if wanted.resume.get("previd") == "known":
            values = {"h": "345", "previd": "known"}
            resumed = Element(ns.SM, "resumed", values).to_bytes()
            return InlineResult(wanted.account.with_resource("old"), resumed, token=token)
        reason = Element(ns.STANZA_ERRORS, "item-not-found")
        failed = Element(ns.SM, "failed", {"h": "7"}, [reason]).to_bytes()
    if wanted.bind is None:
        return InlineResult(failed=failed, token=token)
    enabled = any((e.ns, e.name) == (ns.SM, "enable") for e in wanted.bind.features)
    jid = wanted.account.with_resource(wanted.bind.resource("made"))
    bound = Element(ns.SM, "enabled", {"id": "some"}).to_bytes() if enabled else b""
    return InlineResult(jid, failed=failed, bound=bound, token=token)


class Talk:
    """A stream, what it has written, and what it has told.

    Args:
        stream: the stream.
        answers: whether its questions are answered at once.
        channel: what TLS will settle.
    """

    def __init__(self, stream: Stream, *, answers: bool = True, channel: Channel = TLS) -> None:
        self.stream = stream
        self.answers = answers
        self.channel = channel
        self.events: list[Event] = []
        self.due = b""
        self.written = b""  # since the last stream header
        self.refusal: StanzaError | None = None
        self.accounts: Mapping[str, Credentials] = ACCOUNTS
        self.inline: Callable[[InlineWanted], InlineResult | SaslError] = inline_result

    def say(self, *pieces: str | bytes) -> str:
        """Let the peer say something; returns what it is answered."""
        before = self.take()
        assert not before
        for piece in pieces:
            data = piece.encode() if isinstance(piece, str) else piece
            self.hear(self.stream.receive(data))
        return self.take().decode()

    def hear(self, found: list[Event]) -> None:
        """Keep events, and answer questions."""
        for event in found:
            self.events.append(event)
            if self.answers:
                self.hear(self.answer(event))

    def answer(self, event: Event) -> list[Event]:
        """What follows from the answer to an event, if it is a question."""
        stream = self.stream
        if isinstance(event, events.DeriveKey):
            assert isinstance(stream, ReceivingStream | InitiatingStream)
            return stream.derived(derive(event))
        if isinstance(event, events.UpgradeToTls):
            assert isinstance(stream, ReceivingStream | InitiatingStream)
            self.due = self.take()  # goes out before the handshake
            return stream.secured(self.channel)
        if not isinstance(stream, ReceivingStream):
            return []
        if isinstance(event, events.CredentialsWanted):
            return stream.credentials(self.accounts.get(event.account.local))
        if isinstance(event, events.BindWanted):
            if self.refusal is not None:
                return stream.refuse_bind(self.refusal)
            return stream.bound(event.account.with_resource(event.resource or "made"))
        if isinstance(event, events.RegisterWanted):
            return stream.reply(event.iq.result())
        return self.answer2(stream, event)

    def answer2(self, stream: ReceivingStream, event: Event) -> list[Event]:
        """The same, for the questions that come with SASL2 and XEP-0198."""
        if isinstance(event, events.TokensWanted):
            key = (event.account.local, event.client, event.mechanism)
            return stream.tokens(TOKENS.get(key, ()))
        if isinstance(event, events.KeysUpgraded):
            return stream.stored()
        if isinstance(event, events.InlineWanted):
            result = self.inline(event)
            if isinstance(result, SaslError):
                return stream.refuse_login(result)
            return stream.inlined(result)
        if isinstance(event, events.ResumeWanted):
            if event.nonza.attrs.get("previd") == "known":
                return stream.resumed(b"<resumed xmlns='urn:xmpp:sm:3' h='345' previd='known'/>")
            return stream.resume_failed(b"<failed xmlns='urn:xmpp:sm:3'/>")
        return []

    def take(self) -> bytes:
        """What the stream wrote; together with what came before it must be a document."""
        data, self.due = self.due + self.stream.take(), b""
        at = data.rfind(b"<?xml")
        self.written = self.written + data if at < 0 else data[at:]
        if self.stream.closed and self.written:
            assert tree_of(self.written) is not None
        return data

    @property
    def closed(self) -> Closed:
        """How the stream ended."""
        last = self.events[-1]
        assert isinstance(last, Closed)
        assert sum(isinstance(event, Closed) for event in self.events) == 1
        assert self.stream.closed
        return last

    @property
    def condition(self) -> StreamCondition | None:
        """The stream error that it ended with."""
        return self.closed.error.condition if self.closed.error else None

    def kinds(self) -> list[type]:
        """Of the events, their types."""
        return [type(event) for event in self.events]

    def of(self, kind: type) -> list[Any]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]


def derive(question: events.DeriveKey) -> bytes:
    """Answer the question."""
    return hashlib.pbkdf2_hmac(question.hash, question.password, question.salt, question.iterations)


def receiving(
    channel: Channel = PLAIN_TEXT,
    *,
    answers: bool = True,
    later: Channel = TLS,
    **changes: Any,
) -> Talk:
    """A server's end, for example.com and, with the same policy, example.org."""
    token = changes.pop("token", None) or counter("server")
    hosts = {name: policy(name, **changes) for name in (DOMAIN, "example.org")}
    stream = ReceivingStream(
        hosts=lambda jid: hosts.get(jid.domain),
        channel=channel,
        before=BEFORE,
        after=AFTER,
        token=token,
    )
    return Talk(stream, answers=answers, channel=later)


def initiating(
    channel: Channel = PLAIN_TEXT, *, answers: bool = True, later: Channel = TLS, **login: Any
) -> Talk:
    """A client's end."""
    values: dict[str, Any] = {"account": JID("juliet", DOMAIN), "password": PASSWORD}
    stream = InitiatingStream(
        login=Login(**(values | login)), channel=channel, limits=AFTER, token=counter("client")
    )
    stream.start()
    return Talk(stream, answers=answers, channel=later)


def initiating2(
    channel: Channel = TLS,
    *,
    answers: bool = True,
    request: Authenticate | None = None,
    fast: Token | None = None,
    **login: Any,
) -> Talk:
    """A client's end that knows SASL2."""
    values: dict[str, Any] = {"account": JID("juliet", DOMAIN), "password": PASSWORD}
    stream = Sasl2InitiatingStream(
        login=Login(**(values | login)),
        channel=channel,
        limits=AFTER,
        token=counter("client"),
        request=request or Authenticate(""),
        fast=fast,
    )
    stream.start()
    return Talk(stream, answers=answers)


def converse(client: Talk, server: Talk, size: int = 1_000_000) -> None:
    """Let both talk, in pieces of that size, until both are silent."""
    while True:
        there, back = client.take(), server.take()
        if not there and not back:
            return
        for talk, data in ((server, there), (client, back)):
            for at in range(0, len(data), size):
                talk.hear(talk.stream.receive(data[at : at + size]))


def header(to: str = DOMAIN, rest: str = " version='1.0'", content: str = "jabber:client") -> str:
    """A client's stream header."""
    at = f" to='{to}'" if to else ""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}'"
        f" xmlns:stream='http://etherx.jabber.org/streams'{at}{rest}>"
    )


def elements_of(said: str) -> list[Element]:
    """What a stream said after its header, as trees."""
    inside = said.rpartition("version='1.0' xml:lang='en'>")[2]
    outer = f"<x xmlns='jabber:client' xmlns:stream='{ns.STREAM}'>{inside}</x>"
    return list(parse(outer.encode()))


def printed(text: str) -> Element:
    """An element as a XEP prints it, without the white space that is there for the reader."""
    return _stripped(parse(text.strip().encode()))


def _stripped(element: Element) -> Element:
    children: list[Element | str] = []
    for child in element.children:
        if isinstance(child, Element):
            children.append(_stripped(child))
        elif child.strip():
            children.append(child.strip())
    return Element(element.ns, element.name, element.attrs, children)


def one_of(said: str, name: str) -> Element:
    """The one element of that name."""
    (found,) = (element for element in elements_of(said) if element.name == name)
    return found


def result_of(text: str) -> Iq:
    """The one IQ that was answered."""
    stanza = read_stanza(text.encode())
    assert isinstance(stanza, Iq)
    return stanza
