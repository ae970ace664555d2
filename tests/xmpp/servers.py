"""Both roles of a stream between servers in memory, with somebody who answers their questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jabberd.xmpp import dialback, ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Closed, Event, Pair
from jabberd.xmpp.stream.login import Tls
from jabberd.xmpp.stream.server import ServerPolicy, ServerStream
from jabberd.xmpp.stream.server_initiating import Purpose, ServerInitiatingStream
from jabberd.xmpp.stream.server_receiving import ServerReceivingStream
from tests.xmpp.documents import tree_of

CAPULET: Final = "capulet.example"  # it opens the stream
MONTAGUE: Final = "montague.example"  # it is opened to
ROOMS: Final = "rooms.montague.example"  # served by the same
OURS: Final = Pair(MONTAGUE, CAPULET)  # as the receiving side sees it
THEIRS: Final = Pair(CAPULET, MONTAGUE)  # as the initiating side does
SECRET: Final = b"s3cr3tf0rd14lb4ck"
ID: Final = "D60000229F"
BEFORE: Final = Limits(stanza_bytes=2_000)
AFTER: Final = Limits(stanza_bytes=8_000)
LIMITS: Final = Element(
    ns.LIMITS, "limits", {}, [Element(ns.LIMITS, "max-bytes", {}, ["8000"])]
).to_bytes()
END: Final = "</stream:stream>"
STARTTLS: Final = f"<starttls xmlns='{ns.TLS}'/>"
PROCEED: Final = f"<proceed xmlns='{ns.TLS}'/>"
BIDI: Final = f"<bidi xmlns='{ns.BIDI}'/>"
BIDI_OFFER: Final = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>"
DIALBACK_OFFER: Final = f"<dialback xmlns='{ns.DIALBACK_FEATURE}'><errors/></dialback>"
EXTERNAL_OFFER: Final = (
    f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
)
SUCCESS: Final = f"<success xmlns='{ns.SASL}'/>"
FAILURE: Final = f"<failure xmlns='{ns.SASL}'><not-authorized/></failure>"


class ServerTalk:
    """A stream, what it has told, and what it is answered.

    Attributes:
        external: the certificate of the peer is good for its domain.
        answers: questions on which the stream waits are answered at once.
    """

    def __init__(self, stream: ServerStream) -> None:
        self.stream = stream
        self.external = True
        self.answers = True
        self.events: list[Event] = []
        self.due = b""
        self.written = b""  # since the last stream header

    @property
    def receiving(self) -> ServerReceivingStream:
        """The stream, which is of this role."""
        assert isinstance(self.stream, ServerReceivingStream)
        return self.stream

    @property
    def initiating(self) -> ServerInitiatingStream:
        """The stream, which is of this role."""
        assert isinstance(self.stream, ServerInitiatingStream)
        return self.stream

    def say(self, *pieces: str) -> str:
        """Let the peer say something; returns what it is answered."""
        assert not self.take()
        for piece in pieces:
            self.hear(self.stream.receive(piece.encode()))
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
        if isinstance(event, events.UpgradeToTls):
            self.due = self.take()  # goes out before the handshake
            return stream.secured()  # type: ignore[attr-defined,no-any-return]  # both have it
        if isinstance(event, events.PeerWanted):
            if isinstance(stream, ServerInitiatingStream):
                return stream.peer()
            return self.receiving.peer(external=self.external)
        if isinstance(event, events.VerifyAsked):
            ours = dialback.matches(SECRET, event.remote, event.local, event.stream_id, event.key)
            return self.receiving.verify_answer(event, ours)
        return []

    def take(self) -> bytes:
        """What the stream wrote; together with what came before it must be a document."""
        data, self.due = self.due + self.stream.take(), b""
        at = data.rfind(b"<?xml")
        self.written = self.written + data if at < 0 else data[at:]
        if self.stream.closed and self.written:
            assert tree_of(self.written) is not None
        return data

    def last(self) -> Event:
        """The newest event."""
        return self.events[-1]

    def ready(self) -> bool:
        """Whether stanzas may flow."""
        return self.stream.is_ready

    def can_verify(self) -> bool:
        """Whether the peer can be asked about keys."""
        return self.initiating.can_verify

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

    def of(self, kind: type) -> list[Any]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def proved(self) -> list[tuple[Pair, str]]:
        """Which pairs were proved, and how."""
        return [(event.pair, event.how) for event in self.of(events.PairProved)]


def nobody(pair: Pair) -> StreamError | None:
    """Nobody is turned away."""
    return None


def receiving(
    *,
    secure: bool = True,
    external: bool = True,
    allowed: Callable[[Pair], StreamError | None] = nobody,
    most_pairs: int = 50,
    **policy: Any,
) -> ServerTalk:
    """The end of montague.example, which serves rooms.montague.example too."""
    values = {"features": LIMITS} | policy
    hosts = {name: ServerPolicy(name, **values) for name in (MONTAGUE, ROOMS)}
    numbers = iter(range(1, 100))
    stream = ServerReceivingStream(
        hosts=hosts.get,
        allowed=allowed,
        secure=secure,
        before=BEFORE,
        after=AFTER,
        token=lambda: f"id{next(numbers)}",
        most_pairs=most_pairs,
    )
    talk = ServerTalk(stream)
    talk.external = external
    return talk


def initiating(**changes: Any) -> ServerTalk:
    """The end of capulet.example; it has a certificate, and may use dialback."""
    values: dict[str, Any] = {
        "pair": THEIRS,
        "purpose": Purpose.FULL,
        "secure": True,
        "tls": Tls.REQUIRED,
        "external": True,
        "dialback_key": key,
        "bidi": True,
        "limits": BEFORE,
        "after": AFTER,
        "token": lambda: "t",
    }
    stream = ServerInitiatingStream(**(values | changes))
    stream.start()
    return ServerTalk(stream)


def key(stream_id: str, pair: Pair) -> str:
    """The key of a pair."""
    return dialback.key(SECRET, pair.remote, pair.local, stream_id)


def header(
    to: str = MONTAGUE,
    from_: str = CAPULET,
    rest: str = " version='1.0'",
    content: str = ns.SERVER,
    db: str = f" xmlns:db='{ns.DIALBACK}'",
) -> str:
    """A stream header of the peer."""
    named = "".join(f" {k}='{v}'" for k, v in (("to", to), ("from", from_)) if v)
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}'{db}"
        f" xmlns:stream='{ns.STREAM}'{named}{rest}>"
    )


def response(rest: str = " version='1.0'", db: str = f" xmlns:db='{ns.DIALBACK}'") -> str:
    """A stream header of the peer, as the answer to one."""
    return header(CAPULET, MONTAGUE, f" id='{ID}'{rest}", db=db)


def features(*offered: str) -> str:
    """Stream features of the peer."""
    return f"<stream:features>{''.join(offered)}</stream:features>"


def db(name: str, inside: str = "", **attrs: str) -> str:
    """An element of dialback."""
    text = "".join(f" {key.rstrip('_')}='{value}'" for key, value in attrs.items())
    return f"<db:{name}{text}>{inside}</db:{name}>"


def inside(said: str) -> list[Element]:
    """What a stream said after its header, as trees."""
    at = said.find("<stream:stream")
    body = said[said.index(">", at) + 1 :] if at >= 0 else said
    body = body.removesuffix(END)
    outer = f"<x xmlns='{ns.SERVER}' xmlns:db='{ns.DIALBACK}' xmlns:stream='{ns.STREAM}'>{body}</x>"
    return list(parse(outer.encode()))


def offered(said: str) -> set[tuple[str, str]]:
    """The names of the features that a stream said last."""
    found = [element for element in inside(said) if element.name == "features"]
    return {(child.ns, child.name) for child in found[-1]}


def converse(one: ServerTalk, other: ServerTalk, size: int = 1_000_000) -> None:
    """Let both talk, in pieces of that size, until both are silent."""
    while True:
        there, back = one.take(), other.take()
        if not there and not back:
            return
        for talk, data in ((other, there), (one, back)):
            for at in range(0, len(data), size):
                talk.hear(talk.stream.receive(data[at : at + size]))
