"""What both roles of a stream share: framing, output, and closing (RFC 6120 §4)."""

from __future__ import annotations

from typing import Final, TypeVar

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, escape_attr, escape_text
from jabberd.xmpp.error import LocalError, StreamCondition, StreamError
from jabberd.xmpp.framer import Framer
from jabberd.xmpp.frames import (
    BadAddress,
    Broken,
    Frame,
    Limits,
    Nonza,
    StreamEnd,
    StreamOpened,
    parse_in_scope,
)
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza, qname
from jabberd.xmpp.stream.events import Closed, Event

S = TypeVar("S", bound=Stanza)
STREAM_END: Final = b"</stream:stream>"
_STANZAS: Final = frozenset({Message, Presence, Iq})


class Stream:
    """One XML stream. Bytes and answers go in, bytes (`take`) and events come out.

    During negotiation one frame is read at a time, and none while a question waits for its
    answer: what was sent ahead keeps until then.

    Args:
        content: the content namespace: `ns.CLIENT` or another.
        limits: for what is received.
        pool: parsers shared with other streams of the same thread; its own unless given.
    """

    __slots__ = ("_content", "_framer", "_open", "_output", "_pending", "_ready", "_waiting",
                 "closed")  # fmt: skip

    def __init__(self, content: str, limits: Limits, pool: Pool | None = None) -> None:
        self._content = content
        self._framer = Framer(limits, pool)
        self._output: list[bytes] = []
        self._pending = b""
        self._waiting = False
        self._ready = False
        self._open = False
        self.closed = False

    @property
    def is_ready(self) -> bool:
        """Whether stanzas may flow."""
        return self._ready

    @property
    def waits(self) -> bool:
        """Whether a question waits for its answer: the peer should not be read from."""
        return self._waiting

    def take(self) -> bytes:
        """The bytes to write, and forget them."""
        if not self._output:
            return b""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer, and return what follows from them."""
        if self.closed:
            return []
        if not self._ready:
            self._pending += data
            if len(self._pending) > 2 * self._framer.limits.stanza_bytes + 65_536:
                too_much = StreamError(StreamCondition.POLICY_VIOLATION, "too much sent ahead")
                return [self._fail(too_much)]
            return self._negotiate()
        frames = self._framer.feed(data)
        # Only the end of a stream has to be looked at here, and it is always the last frame.
        if frames and not _flows_on(frames[-1]):
            return [event for frame in frames for event in self._flowing(frame)]
        return frames  # type: ignore[return-value]  # what is left are events themselves

    def eof(self) -> list[Event]:
        """The peer closed the connection; where it closed its stream first, nothing happens."""
        if self.closed:
            return []
        self.closed = True
        return [Closed(None, by_peer=True)]

    def close(self, error: StreamError | None = None) -> list[Event]:
        """Close the stream from our side, with a stream error where one is given."""
        if self.closed:
            return []
        return [self._end(error, by_peer=False)]

    def send(self, stanza: Stanza) -> bytes:
        """A stanza as bytes for this stream."""
        return stanza.to_bytes(self._content)

    def _negotiate(self) -> list[Event]:
        events: list[Event] = []
        while self._pending and not self._waiting and not self.closed:
            if self._ready:
                data, self._pending = self._pending, b""
                events += self.receive(data)
                break
            frames, self._pending = self._framer.feed_one(self._pending)
            if not frames:
                break
            for frame in frames:
                try:
                    events += self._frame(frame)
                except StreamError as error:
                    events.append(self._fail(error))
        return events

    def _answer(self) -> None:
        if not self._waiting:
            raise LocalError("no question waits for an answer")
        self._waiting = False

    def _ask(self, event: Event) -> list[Event]:
        self._waiting = True
        return [event]

    def _frame(self, frame: Frame) -> list[Event]:
        """Take one frame during negotiation.

        Raises:
            StreamError: the peer broke a rule.
        """
        if isinstance(frame, StreamOpened):
            return self._opened(frame)
        if isinstance(frame, StreamEnd):
            return [self._end(None, by_peer=True)]
        if isinstance(frame, Broken):
            raise frame.error
        if isinstance(frame, Nonza) and (frame.ns, frame.name) == (ns.STREAM, "error"):
            return [self._peer_failed(frame)]
        return self._said(frame)

    def _opened(self, header: StreamOpened) -> list[Event]:
        """The peer's stream header; a role's own business.

        Raises:
            StreamError: the stream cannot go on.
        """
        raise LocalError(f"a role says what {header!r} means")

    def _said(self, frame: Nonza | Stanza | BadAddress) -> list[Event]:
        """What the peer says during negotiation; a role's own business.

        Raises:
            StreamError: the peer broke a rule.
        """
        raise LocalError(f"a role says what {frame!r} means")

    def _flowing(self, frame: Frame) -> list[Event]:
        """A frame once stanzas flow."""
        if self.closed:
            return []
        if isinstance(frame, StreamEnd):
            return [self._end(None, by_peer=True)]
        if isinstance(frame, Broken):
            return [self._fail(frame.error)]
        if isinstance(frame, Nonza) and (frame.ns, frame.name) == (ns.STREAM, "error"):
            return [self._peer_failed(frame)]
        return [frame]  # type: ignore[list-item]  # headers are never framed inside a stream

    def _fail(self, error: StreamError) -> Closed:
        return self._end(error, by_peer=True)

    def _peer_failed(self, nonza: Nonza) -> Closed:
        """The peer sent a stream error: nothing is left but to close (RFC 6120 §4.9.1.1)."""
        self._end(None, by_peer=True)
        return Closed(read_stream_error(nonza), by_peer=True)

    def _end(self, error: StreamError | None, *, by_peer: bool) -> Closed:
        self.closed = True
        self._pending = b""
        if not self._open:
            self._write_header("")  # RFC 6120 §4.9.1.2: an error has a header before it
        if error is not None:
            self._output.append(stream_error(error))
        self._output.append(STREAM_END)
        return Closed(error, by_peer)

    def _write_header(self, attrs: str) -> None:
        self._open = True
        self._output.append(
            f"<?xml version='1.0'?><stream:stream xmlns='{self._content}'"
            f" xmlns:stream='{ns.STREAM}'{attrs}>".encode()
        )

    def _restart(self) -> None:
        """Both sides begin a new stream on the same connection (RFC 6120 §4.3.3)."""
        self._framer.restart()
        self._open = False

    def _write(self, element: Element) -> None:
        self._output.append(element.to_bytes(self._content))


def _flows_on(frame: Frame) -> bool:
    return type(frame) in _STANZAS or (isinstance(frame, Nonza) and frame.ns != ns.STREAM)


def rescoped(stanza: S, content: str) -> S:
    """The stanza with its payload in jabber:client, also where it names this stream's namespace.

    What inherits the default namespace needs nothing done; what says it in so many words, by
    xmlns or by a prefix, would keep it on its way to a client.

    Args:
        stanza: as it came on the stream.
        content: the stream's content namespace.
    """
    name = content.encode()
    if name not in stanza.inner and name not in stanza.extra:
        return stanza
    scope = f" xmlns='{content}'".encode()
    tree = parse_in_scope(b"<x%s>%s</x>" % (stanza.extra, stanza.inner), scope)
    inner = b"".join(
        escape_text(child).encode() if isinstance(child, str) else child.to_bytes(content)
        for child in tree.children
    )
    names = ((ns.CLIENT if c.ns == content else c.ns, c.name) for c in tree)
    return stanza.with_payload(inner, tuple(qname(*each) for each in names))


def attr(name: str, value: str) -> str:
    """One attribute of a stream header; nothing for an empty value."""
    return f" {name}='{escape_attr(value)}'" if value else ""


def stream_error(error: StreamError) -> bytes:
    """`<stream:error/>`, inside a stream that declares the prefix (RFC 6120 §4.9.2)."""
    inner = Element(ns.STREAM_ERRORS, error.condition.value).to_bytes()
    if error.text:
        text = Element(ns.STREAM_ERRORS, "text", {f"{ns.XML} lang": "en"}, [error.text])
        inner += text.to_bytes()
    if error.app is not None:
        inner += error.app.to_bytes()
    return b"<stream:error>%s</stream:error>" % inner


def read_stream_error(nonza: Nonza) -> StreamError:
    """The error that a `<stream:error/>` names; undefined-condition where it names none."""
    condition, text = StreamCondition.UNDEFINED_CONDITION, ""
    app: Element | None = None
    for child in nonza.element():
        if child.ns != ns.STREAM_ERRORS:
            app = child if app is None else app
        elif child.name == "text":
            text = child.text
        else:
            try:
                condition = StreamCondition(child.name)
            except ValueError:  # RFC 6120 §4.9.3: conditions may be added
                condition = StreamCondition.UNDEFINED_CONDITION
    return StreamError(condition, text, app)


def features(children: bytes) -> bytes:
    """`<stream:features/>`, inside a stream that declares the prefix (RFC 6120 §4.3.2)."""
    return b"<stream:features>%s</stream:features>" % children
