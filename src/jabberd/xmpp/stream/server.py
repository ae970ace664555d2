"""What both ends of a stream between servers share: its pairs of domains, and their stanzas.

A stream says in its header who talks to whom, but what counts is what was proved on it: by SASL
EXTERNAL for the pair of the header (XEP-0178), by dialback for any pair (XEP-0220). A stanza whose
addresses are of no proved pair ends the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jabberd.xmpp import dialback, ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import LocalError, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import (
    BadAddress,
    Frame,
    Limits,
    Nonza,
)
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza
from jabberd.xmpp.stream.base import Stream, attr, rescoped
from jabberd.xmpp.stream.events import Closed, Event, Pair

BIDI: Final = Element(ns.BIDI, "bidi").to_bytes()
BIDI_FEATURE: Final = Element(ns.BIDI_FEATURE, "bidi").to_bytes()
_DB: Final = attr("xmlns:db", ns.DIALBACK)
_ANSWERS: Final = frozenset({dialback.VALID, dialback.INVALID, dialback.ERROR})


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """How one of our domains takes streams of other servers.

    Attributes:
        domain: its name.
        tls_required: nothing is taken without TLS.
        dialback: servers may prove themselves by it.
        features: what else is offered, serialised.
    """

    domain: str
    tls_required: bool = True
    dialback: bool = True
    features: bytes = b""


class ServerStream(Stream):
    """One end of a stream between servers.

    Args:
        secure: whether TLS is up already.
        before: limits until something is proved.
        after: limits from then on.
        token: makes unpredictable strings, at least 128 bits.
        pool: parsers shared with other streams of the same thread; its own unless given.

    Attributes:
        bidi: stanzas flow in both directions (XEP-0288).
        pairs: what was proved, and how: "EXTERNAL" or "dialback".
        stream_id: by which dialback keys name the stream: the receiving side's.
    """

    __slots__ = ("_after", "_last", "_secure", "_token", "bidi", "pairs", "stream_id")

    def __init__(
        self,
        *,
        secure: bool,
        before: Limits,
        after: Limits,
        token: Callable[[], str],
        pool: Pool | None = None,
    ) -> None:
        super().__init__(ns.SERVER, before, pool)
        self._secure = secure
        self._after = after
        self._token = token
        self._last: tuple[JID, JID] | None = None  # addresses of the newest stanza
        self.bidi = False
        self.pairs: dict[Pair, str] = {}
        self.stream_id = ""

    @property
    def is_secure(self) -> bool:
        """Whether the stream is under TLS."""
        return self._secure

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer, and return what follows from them."""
        if self.closed or not self._ready:
            return super().receive(data)
        return [event for frame in self._framer.feed(data) for event in self._flowing(frame)]

    def _header(self, local: str, remote: str, *, version: bool = True) -> None:
        self._write_header(
            _DB
            + attr("from", local)
            + attr("to", remote)
            + attr("id", self.stream_id if self._names_stream else "")
            + (attr("version", "1.0") + attr("xml:lang", "en") if version else "")
        )

    @property
    def _names_stream(self) -> bool:
        """Whether this end makes the id of the stream (RFC 6120 §4.7.3)."""
        raise LocalError("a role says so")

    def _end(self, error: StreamError | None, *, by_peer: bool) -> Closed:
        if not self._open:
            self._header("", "")
        return super()._end(error, by_peer=by_peer)

    def _prove(self, pair: Pair, how: str) -> None:
        self.pairs.setdefault(pair, how)
        self._ready = True
        self._framer.limits = self._after

    # Frames

    def _said(self, frame: Nonza | Stanza | BadAddress) -> list[Event]:
        if isinstance(frame, Nonza):
            return self._nonza(frame)
        # RFC 6120 §4.9.3.12
        raise StreamError(StreamCondition.NOT_AUTHORIZED, "nothing is proved yet")

    def _flowing(self, frame: Frame) -> list[Event]:
        if self.closed:
            return []
        try:
            if isinstance(frame, Message | Presence | Iq):
                self._check(frame)
                return [rescoped(frame, ns.SERVER)]
            if isinstance(frame, BadAddress):
                self._check_bad(frame)
            elif isinstance(frame, Nonza) and (frame.ns, frame.name) != (ns.STREAM, "error"):
                return self._nonza(frame)
        except StreamError as error:
            return [self._fail(error)]
        return super()._flowing(frame)

    def _nonza(self, nonza: Nonza) -> list[Event]:
        """What is no stanza; a role's own business.

        Raises:
            StreamError: it has no place here.
        """
        raise LocalError(f"a role says what {nonza!r} means")

    # Stanzas

    def _check(self, stanza: Stanza) -> None:
        """Whether the stanza may be on this stream (RFC 6120 §8.1.1.2, §8.1.2.2).

        Raises:
            StreamError: it may not.
        """
        to, sender = stanza.to, stanza.from_
        last = self._last
        if last is not None and to is last[0] and sender is last[1]:
            return
        if to is None or sender is None:
            text = "a stanza between servers has 'to' and 'from'"
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING, text)
        if not self._takes(Pair(to.domain, sender.domain)):
            raise self._unproved(f"{sender.domain} to {to.domain}")
        self._last = (to, sender)

    def _check_bad(self, bad: BadAddress) -> None:
        if bad.attr == "from":
            raise StreamError(StreamCondition.INVALID_FROM, bad.why)
        sender = bad.stanza.from_
        if sender is None:
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING, "a stanza without 'from'")
        if not any(pair.remote == sender.domain and self._takes(pair) for pair in self.pairs):
            raise self._unproved(sender.domain)

    def _unproved(self, what: str) -> StreamError:
        if not any(map(self._takes, self.pairs)):
            text = "stanzas go the other way on this stream"
            return StreamError(StreamCondition.NOT_AUTHORIZED, text)
        return StreamError(StreamCondition.INVALID_FROM, f"nothing was proved here for {what}")

    def _takes(self, pair: Pair) -> bool:
        """Whether stanzas of a pair may come in."""
        return pair in self.pairs


def read_dialback(nonza: Nonza) -> tuple[str, Pair]:
    """The type of an element of dialback, which is empty for a request, and the pair it is about.

    Raises:
        StreamError: it is no such element.
    """
    if nonza.name not in {"result", "verify"}:
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, "no such dialback element")
    kind = nonza.attrs.get("type", "")
    if kind and kind not in _ANSWERS:
        raise StreamError(StreamCondition.BAD_FORMAT, "type is valid, invalid or error")
    local, remote = domain_of(nonza.attrs.get("to", "")), domain_of(nonza.attrs.get("from", ""))
    if not local or not remote:
        text = "a dialback element has domains as 'to' and 'from'"
        raise StreamError(StreamCondition.IMPROPER_ADDRESSING, text)
    return kind, Pair(local, remote)


def domain_of(address: str) -> str:
    """The canonical domain that an address is; empty where it is none, or more."""
    try:
        jid = JID.parse(address)
    except InvalidJID:
        return ""
    return jid.domain if not jid.local and not jid.resource else ""


def read_dialback_error(nonza: Nonza, kind: str) -> StanzaError | None:
    """The error in an answer by dialback; None where it is none."""
    return dialback.read_error(nonza.element()) if kind == dialback.ERROR else None
