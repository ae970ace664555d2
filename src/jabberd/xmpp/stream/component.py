"""The accepting role towards an external component (XEP-0114 §3).

No features, no TLS and no SASL: a stream header in ``jabber:component:accept`` that names the
component, then one `<handshake/>`. Stanzas are as between servers: each has `to` and `from`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import (
    LocalError,
    SaslCondition,
    SaslError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.frames import (
    BadAddress,
    Frame,
    Limits,
    Nonza,
    StreamOpened,
)
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.base import Stream, attr, rescoped
from jabberd.xmpp.stream.events import Event

HANDSHAKE: Final = "handshake"
"""What stands in place of a SASL mechanism's name in the events of this stream."""
_SM: Final = f" xmlns:sm='{ns.SM}'"


class ComponentStream(Stream):
    """The server's end of a component's stream.

    Besides `Closed`, its events are `AuthenticationFailed` (the stream is closed next),
    `Authenticated` (with the component's domain as account), and then stanzas, whose `from` is
    of that domain, `BadAddress` for stanzas whose `to` is no address, and `Nonza` (of XEP-0198).

    Args:
        secret: of a component, by its domain; raises StreamError to turn it away:
            host-unknown where there is no such component. Asked twice: at the stream header
            and at the handshake.
        taken: whether the component has a connection already; asked after its handshake.
        before: limits until the handshake is done.
        after: limits from then on.
        token: makes unpredictable strings, at least 128 bits.
    """

    __slots__ = ("_after", "_domain", "_id", "_secret", "_taken", "_token")

    def __init__(
        self,
        *,
        secret: Callable[[JID], str],
        taken: Callable[[JID], bool],
        before: Limits,
        after: Limits,
        token: Callable[[], str],
    ) -> None:
        super().__init__(ns.COMPONENT, before)
        self._secret = secret
        self._taken = taken
        self._after = after
        self._token = token
        self._id = ""
        self._domain: JID | None = None

    @property
    def domain(self) -> JID:
        """Which component the peer says it is, and is once the stream is ready.

        Raises:
            LocalError: it has not said so yet.
        """
        if self._domain is None:
            raise LocalError("no stream header yet")
        return self._domain

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer, and return what follows from them."""
        if self.closed or not self._ready:
            return super().receive(data)
        return [event for frame in self._framer.feed(data) for event in self._flowing(frame)]

    # Before the handshake

    def _said(self, frame: Nonza | Stanza | BadAddress) -> list[Event]:
        if isinstance(frame, Nonza) and (frame.ns, frame.name) == (ns.COMPONENT, "handshake"):
            return self._handshake(frame)
        raise StreamError(StreamCondition.NOT_AUTHORIZED, "a handshake comes first")

    def _opened(self, header: StreamOpened) -> list[Event]:
        domain, error = self._choose(header)
        self._id = self._token()
        # XEP-0114 §3, example 2: neither a version nor features. That there is stream management
        # is told by a prefix, as with dialback (XEP-0220 §2.4.1): who does not look for it does
        # not notice.
        self._write_header(_SM + attr("from", domain.text if domain else "") + attr("id", self._id))
        if error is not None:
            raise error
        self._domain = domain
        return []

    def _choose(self, header: StreamOpened) -> tuple[JID | None, StreamError | None]:
        if header.namespace != self._content:
            text = f"this port is for {self._content}"
            return None, StreamError(StreamCondition.INVALID_NAMESPACE, text)
        if not header.to:
            text = "the stream has no 'to': it names the component"
            return None, StreamError(StreamCondition.IMPROPER_ADDRESSING, text)
        try:
            domain = JID.parse(header.to)
        except InvalidJID as error:
            return None, StreamError(StreamCondition.IMPROPER_ADDRESSING, str(error))
        if domain.local or domain.resource:
            text = "a component is named by a domain alone"
            return None, StreamError(StreamCondition.HOST_UNKNOWN, text)
        try:
            self._secret(domain)
        except StreamError as error:
            return domain, error
        return domain, None

    def _handshake(self, nonza: Nonza) -> list[Event]:
        domain = self.domain
        expected = digest(self._id, self._secret(domain))
        given = nonza.element().text.strip()
        if not hmac.compare_digest(given.encode(), expected.encode()):
            why = SaslError(SaslCondition.NOT_AUTHORIZED, "the secret is another")
            failed = events.AuthenticationFailed(domain, HANDSHAKE, why)
            return [failed, self._fail(StreamError(StreamCondition.NOT_AUTHORIZED, why.text))]
        if self._taken(domain):
            text = f"{domain.text} is connected already"
            raise StreamError(StreamCondition.CONFLICT, text)
        self._write(Element(ns.COMPONENT, "handshake"))
        self._ready = True
        self._framer.limits = self._after
        return [events.Authenticated(domain, HANDSHAKE)]

    # After it

    def _flowing(self, frame: Frame) -> list[Event]:
        if self.closed:
            return []
        try:
            if isinstance(frame, Message | Presence | Iq):
                self._check_addresses(frame)
                return [rescoped(frame, ns.COMPONENT)]
            if isinstance(frame, BadAddress):
                self._check_bad(frame)
            elif isinstance(frame, Nonza) and frame.ns != ns.SM:
                if (frame.ns, frame.name) == (ns.STREAM, "error"):
                    return [self._peer_failed(frame)]
                text = f"<{frame.name[:50]}/> is not understood here"
                raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text)
        except StreamError as error:
            return [self._fail(error)]
        return super()._flowing(frame)

    def _check_addresses(self, stanza: Stanza) -> None:
        # XEP-0114 §3 wants what RFC 6120 §8.1.1.2 and §8.1.2.2 want between servers.
        if stanza.to is None:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING, "a stanza without 'to'")
        self._check_from(stanza)

    def _check_from(self, stanza: Stanza) -> None:
        if stanza.from_ is None:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING, "a stanza without 'from'")
        if stanza.from_.domain != self.domain.domain:
            text = f"this component is {self.domain.text}"
            raise StreamError(StreamCondition.INVALID_FROM, text)

    def _check_bad(self, bad: BadAddress) -> None:
        if bad.attr == "from":
            raise StreamError(StreamCondition.INVALID_FROM, bad.why)
        self._check_from(bad.stanza)


def digest(stream_id: str, secret: str) -> str:
    """What a `<handshake/>` has inside (XEP-0114 §3): SHA-1 of both, in lowercase hexadecimal."""
    return hashlib.sha1(f"{stream_id}{secret}".encode(), usedforsecurity=False).hexdigest()
