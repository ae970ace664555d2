"""The initiating role between servers: one of our domains opens a stream to another server."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from jabberd.xmpp import dialback, lexical, ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import (
    Condition,
    LocalError,
    SaslError,
    StanzaError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.frames import Limits, Nonza, StreamOpened
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import external
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stream import elements, events
from jabberd.xmpp.stream.events import Event, Pair
from jabberd.xmpp.stream.login import Tls, read_offer
from jabberd.xmpp.stream.opening import major_version
from jabberd.xmpp.stream.server import (
    BIDI,
    ServerStream,
    read_dialback,
    read_dialback_error,
)

_MOST_ASKED: Final = 200
_LARGEST: Final = 2**31
_NOT_HERE: Final = StanzaError(Condition.NOT_ACCEPTABLE, "open a stream of your own for this")
"""What is answered to a dialback request, for which a stream that we open is no place."""


class Purpose(Enum):
    """What a stream is for."""

    FULL = "full"
    """To carry stanzas of a pair."""
    VERIFY = "verify"
    """To ask about dialback keys: nothing has to be proved for that."""


class State(Enum):
    """How far the negotiation has come."""

    NEW = auto()  # nothing has been sent
    HEADER = auto()  # the peer's header is due
    FEATURES = auto()  # its features are due
    TLS = auto()  # its answer to <starttls/> is due
    PEER = auto()  # its certificate is being looked at
    SASL = auto()  # its answer to <auth/> is due
    AUTHENTICATED = auto()  # the features that follow SASL are due
    DIALBACK = auto()  # its answer to a key is due
    OPEN = auto()  # it can be asked about keys; nothing else is to happen


class ServerInitiatingStream(ServerStream):
    """The initiating end of a stream between servers.

    Call `start` once the connection is up. Its events, besides stanzas (XEP-0288), `BadAddress`,
    `Nonza` (of XEP-0198) and `Closed`, are the questions `UpgradeToTls` (answer: `secured`) and
    `PeerWanted` (answer: `peer`, or `close`), on which the stream waits; and what it has come to:
    `PairProved`, `PairRefused`, `CanVerify`, `Verified`, `AuthenticationFailed`, `NoWay`.

    Args:
        pair: our domain and the one that is wanted.
        purpose: what for.
        secure: whether TLS is up already.
        tls: what is done about STARTTLS.
        external: whether our certificate may prove who we are.
        dialback_key: makes the key of a pair for a stream; None: no dialback.
        bidi: whether the peer may answer on this stream.
        limits: until something is proved.
        after: limits from then on.
        token: makes unpredictable strings.
        pool: parsers shared with other streams of the same thread; its own unless given.

    Attributes:
        offers_sm: the peer has stream management for servers.
        offers_dialback: the peer tells errors of dialback, so that more pairs may be tried.
        max_bytes: the largest stanza that the peer takes (XEP-0478); None where it does not say.
    """

    __slots__ = ("_asked", "_bidi", "_claims", "_declared", "_dialback_key", "_external",
                 "_features", "_pair", "_peer_known", "_purpose", "_state", "_tls", "_version",
                 "max_bytes", "offers_dialback", "offers_sm")  # fmt: skip

    def __init__(  # noqa: PLR0913 -- what is wanted, what is allowed, and what it may use up
        self,
        *,
        pair: Pair,
        purpose: Purpose,
        secure: bool,
        tls: Tls,
        external: bool,
        dialback_key: Callable[[str, Pair], str] | None,
        bidi: bool,
        limits: Limits,
        after: Limits,
        token: Callable[[], str],
        pool: Pool | None = None,
    ) -> None:
        super().__init__(secure=secure, before=limits, after=after, token=token, pool=pool)
        self._pair = pair
        self._purpose = purpose
        self._tls = tls
        self._external = external
        self._dialback_key = dialback_key
        self._bidi = bidi
        self._state = State.NEW
        self._version = 0
        self._features: Element | None = None
        self._peer_known = False
        self._declared = False  # dialback, by a prefix in the peer's header
        self._claims: set[Pair] = set()  # keys sent, not answered
        self._asked: set[tuple[Pair, str]] = set()  # keys asked about, not answered
        self.offers_sm = False
        self.offers_dialback = False
        self.max_bytes: int | None = None

    @property
    def can_verify(self) -> bool:
        """Whether keys can be asked about now."""
        if self.closed or len(self._asked) >= _MOST_ASKED:
            return False
        if self._purpose is Purpose.VERIFY or self._version == 0:
            return self._state in {State.OPEN, State.DIALBACK}
        # It is not worth a stream that carries stanzas to ask who does not understand.
        known = self.offers_dialback or self._declared
        return known and self._state in {State.OPEN, State.DIALBACK}

    @property
    def _names_stream(self) -> bool:
        return False

    def start(self) -> None:
        """Open the stream.

        Raises:
            LocalError: it has been opened before.
        """
        if self._state is not State.NEW:
            raise LocalError("the stream has been opened")
        self._begin()

    # Answers to questions

    def secured(self) -> list[Event]:
        """TLS is up: answer `UpgradeToTls`. All is asked anew (RFC 6120 §5.4.3.3)."""
        self._answer()
        self._secure = True
        self._pending = b""  # whatever came by now came without TLS
        self._restart()
        self._begin()
        return []

    def peer(self) -> list[Event]:
        """Answer `PeerWanted`: the certificate is good enough to go on."""
        self._answer()
        self._peer_known = True
        return [*self._authenticate(), *self._negotiate()]

    # What may be asked for

    def claim(self, pair: Pair) -> None:
        """Ask for one more pair, by dialback (XEP-0220 §2.6.1).

        Raises:
            LocalError: the stream cannot.
        """
        if self.closed or not self._ready or self._dialback_key is None:
            raise LocalError("no pair can be claimed on this stream")
        self._send_key(pair)

    def verify(self, pair: Pair, stream_id: str, key: str) -> None:
        """Ask whether a key is the peer's (XEP-0220 §2.1.2).

        Raises:
            LocalError: the stream cannot; see `can_verify`.
        """
        if not self.can_verify:
            raise LocalError("no key can be asked about on this stream")
        self._asked.add((pair, stream_id))
        self._output.append(
            dialback.request("verify", pair.local, pair.remote, key, stream_id=stream_id)
        )

    # Frames

    def _nonza(self, nonza: Nonza) -> list[Event]:
        name = (nonza.ns, nonza.name)
        if name == (ns.STREAM, "features"):
            return self._offered(nonza)
        if nonza.ns == ns.TLS and self._state is State.TLS:
            return self._tls_answered(nonza)
        if nonza.ns == ns.SASL and self._state is State.SASL:
            return self._sasl_answered(nonza)
        if nonza.ns == ns.DIALBACK:
            return self._dialback(nonza)
        if nonza.ns == ns.SM and self._ready:
            return [nonza]
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, "this was not its turn")

    def _begin(self) -> None:
        self._header(self._pair.local, self._pair.remote)
        self._state = State.HEADER if not self.pairs else State.AUTHENTICATED

    def _opened(self, header: StreamOpened) -> list[Event]:
        if header.namespace != self._content:
            text = f"this is a stream for {self._content}"
            raise StreamError(StreamCondition.INVALID_NAMESPACE, text)
        version = major_version(header)
        if version is None:
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION, "the version is 1.0")
        if not header.id:  # RFC 6120 §4.7.3, and keys are made of it
            raise StreamError(StreamCondition.BAD_FORMAT, "the stream has no 'id'")
        self.stream_id = header.id
        self._version = version
        if self._state is State.AUTHENTICATED:
            return []
        if version == 0:  # from before XMPP 1.0: no features follow
            if not self._secure and self._tls is Tls.REQUIRED:
                return self._no_way(f"{self._pair.remote} has no TLS: its XMPP is older than 1.0")
            self._features = Element(ns.STREAM, "features")
            return self._look()
        self._state = State.FEATURES
        return []

    def _offered(self, nonza: Nonza) -> list[Event]:
        self._features = offered = nonza.element()
        self._declared = f"'{ns.DIALBACK}'".encode() in nonza.scope
        self.offers_sm = offered.find(ns.SM, "sm") is not None
        listed = offered.find(ns.DIALBACK_FEATURE, "dialback")
        self.offers_dialback = listed is not None
        limits = offered.find(ns.LIMITS, "limits")
        most = None if limits is None else limits.child_text(ns.LIMITS, "max-bytes")
        self.max_bytes = lexical.unsigned(most or "", _LARGEST)
        if self._state is State.AUTHENTICATED:
            self._state = State.OPEN
            self._prove(self._pair, external.NAME)
            return [events.PairProved(self._pair, external.NAME)]
        if self._state is not State.FEATURES:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, "this was not its turn")
        if not self._secure and self._tls is not Tls.OFF:
            if offered.find(ns.TLS, "starttls") is not None:
                self._write(Element(ns.TLS, "starttls"))
                self._state = State.TLS
                return []
            if self._tls is Tls.REQUIRED:
                return self._no_way(f"{self._pair.remote} offers no TLS")
        return self._look()

    def _look(self) -> list[Event]:
        """Have the peer's certificate looked at, before anything is said or believed.

        Also where there is none: the answer may be that one is needed.
        """
        if not self._peer_known:
            self._state = State.PEER
            return self._ask(events.PeerWanted(self._pair.remote))
        return self._authenticate()

    # STARTTLS

    def _tls_answered(self, nonza: Nonza) -> list[Event]:
        if nonza.name != "proceed":  # RFC 6120 §5.4.2.2: the peer closes the stream now
            return self._no_way(f"{self._pair.remote} offered TLS, and then had none")
        if self._pending.strip():
            # Nothing honest comes between <proceed/> and our own first word of TLS
            # (CVE-2011-0411 and its kin).
            raise StreamError(StreamCondition.POLICY_VIOLATION, "data was sent ahead of TLS")
        self._pending = b""
        return self._ask(events.UpgradeToTls())

    # Proving who we are

    def _authenticate(self) -> list[Event]:
        if self._purpose is Purpose.VERIFY:
            self._state = State.OPEN
            return [events.CanVerify()]
        offered = self._features
        if offered is None:
            raise LocalError("no features yet")
        if self._bidi and offered.find(ns.BIDI_FEATURE, "bidi") is not None:
            self._output.append(BIDI)
            self.bidi = True
        if self._external and self._secure and external.NAME in read_offer(offered).mechanisms:
            # XEP-0178 §3, step 9: some want the domain here, which those who do not can read too.
            self._write(elements.auth(external.NAME, self._pair.local.encode()))
            self._state = State.SASL
            return []
        return self._by_dialback("")

    def _sasl_answered(self, nonza: Nonza) -> list[Event]:
        if nonza.name == "success":
            self.pairs[self._pair] = external.NAME
            self._restart()
            self._begin()
            return []
        if nonza.name == "challenge":
            self._write(elements.response(self._pair.local.encode()))
            return []
        error = elements.read_failure(nonza)
        return self._external_failed(error)

    def _external_failed(self, error: SaslError) -> list[Event]:
        failed = events.AuthenticationFailed(JID("", self._pair.local), external.NAME, error)
        why = error.text or error.condition.value
        return [failed, *self._by_dialback(f"it does not accept our certificate ({why})")]

    def _by_dialback(self, instead: str) -> list[Event]:
        remote = self._pair.remote
        # XEP-0220 §2.4.1: what is older than the feature declares a prefix in its header.
        possible = self.offers_dialback or self._declared or self._version == 0
        if self._dialback_key is None or not possible:
            why = f"{instead}, and " if instead else ""
            missing = "has no dialback" if self._dialback_key else "may not use dialback"
            return self._no_way(f"{remote} offers no way to prove who we are: {why}it {missing}")
        self._state = State.DIALBACK
        self._send_key(self._pair)
        return []

    def _send_key(self, pair: Pair) -> None:
        if self._dialback_key is None:
            raise LocalError("no dialback")
        self._claims.add(pair)
        key = self._dialback_key(self.stream_id, pair)
        self._output.append(dialback.request("result", pair.local, pair.remote, key))

    def _no_way(self, why: str) -> list[Event]:
        return [events.NoWay(why), self._end(None, by_peer=False)]

    def _prove(self, pair: Pair, how: str) -> None:
        super()._prove(pair, how)
        self._features = None  # a stream lives for hours; what only its beginning needed does not

    # Answers by dialback (XEP-0220 §2.1, §3.1)

    def _dialback(self, nonza: Nonza) -> list[Event]:
        kind, pair = read_dialback(nonza)
        if not kind:
            # XEP-0288 §2.2 lets the peer claim more pairs: they have streams of their own here.
            return self._refuse_request(nonza, pair)
        error = read_dialback_error(nonza, kind)
        if nonza.name == "verify":
            asked = (pair, nonza.attrs.get("id", ""))
            if asked not in self._asked:
                return []
            self._asked.discard(asked)
            return [events.Verified(*asked, kind == dialback.VALID, error)]
        if pair not in self._claims:
            return []  # nobody asked: it proves nothing (XEP-0288 §4)
        self._claims.discard(pair)
        if kind == dialback.VALID:
            self._state = State.OPEN
            self._prove(pair, "dialback")
            return [events.PairProved(pair, "dialback")]
        refused = events.PairRefused(pair, error)
        if kind == dialback.INVALID or not self._ready:
            return [refused, self._end(None, by_peer=False)]
        return [refused]

    def _refuse_request(self, nonza: Nonza, pair: Pair) -> list[Event]:
        self._output.append(
            dialback.answer(
                nonza.name, pair.local, pair.remote, dialback.ERROR, _NOT_HERE,
                stream_id=nonza.attrs.get("id", "") if nonza.name == "verify" else "",
            )
        )  # fmt: skip
        return []

    # Stanzas

    def _takes(self, pair: Pair) -> bool:
        # Without XEP-0288, a stream that we have opened goes one way (RFC 6120 §4.1).
        return self.bidi and pair in self.pairs
