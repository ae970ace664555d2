"""The initiating role of an external component (XEP-0114 §3): it connects to its server."""

from __future__ import annotations

from enum import Enum, auto

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import LocalError, StreamCondition, StreamError
from jabberd.xmpp.frames import BadAddress, Frame, Limits, Nonza, StreamOpened
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.base import Stream, attr, rescoped
from jabberd.xmpp.stream.component import HANDSHAKE, digest
from jabberd.xmpp.stream.events import Event


class State(Enum):
    """How far the negotiation has come."""

    NEW = auto()  # nothing has been sent
    HEADER = auto()  # the server's header is due
    HANDSHAKE = auto()  # its answer to the handshake is due
    READY = auto()  # stanzas flow


class ComponentInitiatingStream(Stream):
    """The component's end of its stream.

    Call `start` once the connection is up. Its events are `Authenticated` (with the component's
    domain as account), then stanzas, each with `to` and `from`, `BadAddress`, `Nonza` (of
    XEP-0198), and `Closed`, which has the error that the server named: not-authorized for a
    wrong secret, host-unknown where it knows no such component, conflict where that is
    connected already.

    Args:
        domain: of the component.
        secret: which it shares with the server.
        before: limits until the handshake is done.
        after: limits from then on.

    Attributes:
        offers_sm: the server has stream management on this stream: its header declares the
            namespace, as XEP-0220 §2.4.1 has it for dialback, since there are no features here.
    """

    __slots__ = ("_after", "_domain", "_secret", "_state", "offers_sm")

    def __init__(self, *, domain: JID, secret: str, before: Limits, after: Limits) -> None:
        super().__init__(ns.COMPONENT, before)
        self._domain = domain
        self._secret = secret
        self._after = after
        self._state = State.NEW
        self.offers_sm = False

    def start(self) -> None:
        """Open the stream.

        Raises:
            LocalError: it has been opened before.
        """
        if self._state is not State.NEW:
            raise LocalError("the stream has been opened")
        self._write_header(attr("to", self._domain.text))
        self._state = State.HEADER

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer, and return what follows from them."""
        if self.closed or not self._ready:
            return super().receive(data)
        return [event for frame in self._framer.feed(data) for event in self._flowing(frame)]

    # Before the handshake is answered

    def _opened(self, header: StreamOpened) -> list[Event]:
        if header.namespace != self._content:
            text = f"this is a stream for {self._content}"
            raise StreamError(StreamCondition.INVALID_NAMESPACE, text)
        # An error may follow a header without an id: the handshake does no harm then.
        proof = digest(header.id, self._secret)
        self._write(Element(ns.COMPONENT, HANDSHAKE, {}, [proof]))
        self._state = State.HANDSHAKE
        return []

    def _said(self, frame: Nonza | Stanza | BadAddress) -> list[Event]:
        if isinstance(frame, Nonza) and (frame.ns, frame.name) == (ns.COMPONENT, HANDSHAKE):
            self.offers_sm = f"'{ns.SM}'".encode() in frame.scope
            self._state = State.READY
            self._ready = True
            self._framer.limits = self._after
            return [events.Authenticated(self._domain, HANDSHAKE)]
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, "this was not its turn")

    # After it

    def _flowing(self, frame: Frame) -> list[Event]:
        if self.closed:
            return []
        if isinstance(frame, Message | Presence | Iq):
            if frame.to is None or frame.from_ is None:  # XEP-0114 §3
                text = "a stanza has 'to' and 'from' on this stream"
                return [self._fail(StreamError(StreamCondition.IMPROPER_ADDRESSING, text))]
            return [rescoped(frame, ns.COMPONENT)]
        if isinstance(frame, Nonza) and frame.ns not in {ns.SM, ns.STREAM}:
            text = f"<{frame.name[:50]}/> is not understood here"
            return [self._fail(StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text))]
        return super()._flowing(frame)
