"""The receiving role between servers: another server opens a stream to one of our domains."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from jabberd.xmpp import dialback, ns, sm
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import (
    Condition,
    LocalError,
    SaslCondition,
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
from jabberd.xmpp.stream.base import features
from jabberd.xmpp.stream.events import Event, Pair
from jabberd.xmpp.stream.opening import major_version
from jabberd.xmpp.stream.server import (
    BIDI_FEATURE,
    ServerPolicy,
    ServerStream,
    domain_of,
    read_dialback,
)

_MOST_PAIRS: Final = 50
_MOST_FAILURES: Final = 5
_STARTTLS: Final = Element(ns.TLS, "starttls", {}, [Element(ns.TLS, "required")]).to_bytes()
_STARTTLS_WANTED: Final = Element(ns.TLS, "starttls").to_bytes()
_EXTERNAL: Final = Element(
    ns.SASL, "mechanisms", {}, [Element(ns.SASL, "mechanism", {}, [external.NAME])]
).to_bytes()
# It is used once dialback is done (XEP-0198), and no features follow that: these are the only ones.
_DIALBACK: Final = dialback.FEATURE + sm.FEATURE


class State(Enum):
    """How far the negotiation has come."""

    HEADER = auto()  # a stream header is due
    PEER = auto()  # who the peer is, is being looked at
    OPEN = auto()  # features were sent
    SASL = auto()  # <auth/> was answered by an empty challenge
    AUTHENTICATED = auto()  # a new stream header is due, after SASL


class ServerReceivingStream(ServerStream):
    """The receiving end of a stream between servers.

    Its events, besides stanzas, `BadAddress`, `Nonza` (of XEP-0198, once something is proved) and
    `Closed`, are the questions `UpgradeToTls` (answer: `secured`) and `PeerWanted` (answer:
    `peer`), on which the stream waits; `PairClaimed` (answer: `verified`) and `VerifyAsked`
    (answer: `verify_answer`), on which it does not; and `PairProved`.

    Args:
        hosts: how one of our domains takes streams; None for one that is not ours.
        allowed: why a pair may not have a stream; None where it may.
        secure: whether TLS is up already.
        before: limits until something is proved.
        after: limits from then on.
        token: makes unpredictable strings, at least 128 bits.
        pool: parsers shared with other streams of the same thread; its own unless given.
        most_pairs: pairs that are proved or claimed on one stream.
    """

    __slots__ = ("_allowed", "_claims", "_external", "_failures", "_hosts", "_most_pairs",
                 "_policy", "_remote", "_state")  # fmt: skip

    def __init__(  # noqa: PLR0913 -- what it asks its server, and what it may use up
        self,
        *,
        hosts: Callable[[str], ServerPolicy | None],
        allowed: Callable[[Pair], StreamError | None],
        secure: bool,
        before: Limits,
        after: Limits,
        token: Callable[[], str],
        pool: Pool | None = None,
        most_pairs: int = _MOST_PAIRS,
    ) -> None:
        super().__init__(secure=secure, before=before, after=after, token=token, pool=pool)
        self._hosts = hosts
        self._allowed = allowed
        self._most_pairs = most_pairs
        self._state = State.HEADER
        self._policy: ServerPolicy | None = None
        self._remote = ""  # who the peer says it is; empty where it does not say
        self._external = False  # its certificate is good for that
        self._claims: set[Pair] = set()  # by dialback, not answered yet
        self._failures = 0

    @property
    def local(self) -> str:
        """Which of our domains the header asks for; empty before it has come."""
        return "" if self._policy is None else self._policy.domain

    @property
    def remote(self) -> str:
        """Who the header says the peer is; empty where it does not say."""
        return self._remote

    @property
    def _names_stream(self) -> bool:
        return True

    # Answers to questions

    def secured(self) -> list[Event]:
        """TLS is up: everything learned before is forgotten (RFC 6120 §5.4.3.3)."""
        self._answer()
        self._secure = True
        self._policy = None
        self._remote = ""
        self._pending = b""  # whatever came by now came without TLS
        self.bidi = False
        self._restart()
        self._state = State.HEADER
        return []

    def peer(self, *, external: bool) -> list[Event]:
        """Answer `PeerWanted`: whether the peer's certificate is good for its domain."""
        self._answer()
        self._external = external
        self._offer()
        return self._negotiate()

    def verified(self, pair: Pair, valid: bool, error: StanzaError | None = None) -> list[Event]:
        """Answer `PairClaimed`; without effect where the claim is not open any more.

        Args:
            pair: which.
            valid: whether the server of the domain has sent the key.
            error: why nobody knows.
        """
        if self.closed or pair not in self._claims:
            return []
        self._claims.discard(pair)
        if error is not None:
            self._answer_claim(pair, dialback.ERROR, error)
            return self._negotiate()
        if not valid:
            # XEP-0220 §2.2.1: who spoofs a domain is told, and loses the stream.
            self._answer_claim(pair, dialback.INVALID, None)
            return [self._end(None, by_peer=True)]
        self._answer_claim(pair, dialback.VALID, None)
        self._prove(pair, "dialback")
        return [events.PairProved(pair, "dialback"), *self._negotiate()]

    def verify_answer(self, asked: events.VerifyAsked, valid: bool) -> list[Event]:
        """Answer `VerifyAsked`."""
        if not self.closed:
            self._answer_verify(asked, dialback.VALID if valid else dialback.INVALID)
        return []

    # Frames

    def _nonza(self, nonza: Nonza) -> list[Event]:
        name = (nonza.ns, nonza.name)
        if name == (ns.TLS, "starttls"):
            return self._starttls()
        if nonza.ns == ns.DIALBACK:
            return self._dialback(nonza)
        if name == (ns.SASL, "auth") or (nonza.ns == ns.SASL and self._state is State.SASL):
            return self._sasl(nonza)
        if name == (ns.BIDI, "bidi"):
            self._demand_tls()
            if self._ready or self._state is not State.OPEN:
                text = "both directions are agreed on before anything is proved"
                raise StreamError(StreamCondition.UNSUPPORTED_FEATURE, text)
            self.bidi = True
            return []
        if self._ready and nonza.ns == ns.SM:
            return [nonza]
        if not self._ready:
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "prove who you are first")
        text = f"<{nonza.name[:50]}/> is not understood here"
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, text)

    def _demand_tls(self) -> None:
        if self._policy is not None and self._policy.tls_required and not self._secure:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "TLS is required first")

    # Stream headers

    def _opened(self, header: StreamOpened) -> list[Event]:
        version = major_version(header)
        self.stream_id = self._token()
        to, remote = domain_of(header.to), domain_of(header.from_)
        policy = self._hosts(to) if to else None
        self._header(policy.domain if policy else "", remote, version=version != 0)
        if header.namespace != self._content:
            text = f"this port is for {self._content}"
            raise StreamError(StreamCondition.INVALID_NAMESPACE, text)
        if not to or (header.from_ and not remote):
            text = "a stream has domains as 'to' and 'from'"
            raise StreamError(StreamCondition.IMPROPER_ADDRESSING, text)
        if policy is None:
            raise StreamError(StreamCondition.HOST_UNKNOWN, "this host is not served here")
        if version is None:
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION, "the version is 1.0")
        return self._welcome(policy, remote, version)

    def _welcome(self, policy: ServerPolicy, remote: str, version: int) -> list[Event]:
        if self._state is State.AUTHENTICATED:
            return self._opened_again(policy, remote)
        self._policy, self._remote = policy, remote
        if remote and (error := self._forbids(Pair(policy.domain, remote))) is not None:
            raise error
        if version == 0:  # from before XMPP 1.0: dialback without features
            self._demand_tls()
            self._state = State.OPEN
            return []
        if self._secure and remote:
            self._state = State.PEER
            return self._ask(events.PeerWanted(remote))
        self._offer()
        return []

    def _opened_again(self, policy: ServerPolicy, remote: str) -> list[Event]:
        """The header that follows SASL (RFC 6120 §6.4.6): nothing in it may be another."""
        pair = Pair(self.local, self._remote)
        if Pair(policy.domain, remote or self._remote) != pair:
            text = f"this stream is for {pair.remote} to {pair.local}"
            raise StreamError(StreamCondition.NOT_AUTHORIZED, text)
        self._state = State.OPEN
        offered = _DIALBACK if policy.dialback else sm.FEATURE
        self._output.append(features(offered + policy.features))
        self._prove(pair, external.NAME)
        return [events.PairProved(pair, external.NAME)]

    def _offer(self) -> None:
        self._state = State.OPEN
        policy = self._policy
        if policy is None:
            raise LocalError("no stream header yet")
        offered = b""
        if not self._secure:
            offered = _STARTTLS if policy.tls_required else _STARTTLS_WANTED
        if self._external:
            offered += _EXTERNAL
        if self._secure or not policy.tls_required:
            offered += _DIALBACK if policy.dialback else b""
            offered += BIDI_FEATURE
        self._output.append(features(offered + policy.features))

    # STARTTLS

    def _starttls(self) -> list[Event]:
        if self._secure or self._begun or self._state is not State.OPEN:
            self._output.append(Element(ns.TLS, "failure").to_bytes())
            raise StreamError(StreamCondition.UNSUPPORTED_FEATURE, "no TLS here")
        if self._pending.strip():
            # Nothing honest is sent ahead of TLS (CVE-2011-0411 and its kin).
            self._pending = b""
            raise StreamError(StreamCondition.POLICY_VIOLATION, "data was sent ahead of TLS")
        self._pending = b""
        self._output.append(Element(ns.TLS, "proceed").to_bytes())
        return self._ask(events.UpgradeToTls())

    # SASL EXTERNAL (XEP-0178 §3)

    def _sasl(self, nonza: Nonza) -> list[Event]:
        self._demand_tls()
        if self._begun or self._state not in {State.OPEN, State.SASL}:
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "this was not its turn")
        try:
            authzid = self._read_auth(nonza)
        except SaslError as error:
            return self._sasl_failed(error)
        if authzid is None:
            self._write(elements.challenge(b""))
            self._state = State.SASL
            return []
        self._write(elements.success(None))
        self._restart()
        self._state = State.AUTHENTICATED
        return []

    def _read_auth(self, nonza: Nonza) -> str | None:
        """The identity that is asked for; None where the peer wants a challenge first.

        Raises:
            SaslError: what the peer is told.
        """
        if nonza.name == "abort":
            raise SaslError(SaslCondition.ABORTED)
        if nonza.name == "auth" and nonza.attrs.get("mechanism") != external.NAME:
            raise SaslError(SaslCondition.INVALID_MECHANISM)
        if not self._external:
            text = f"no valid certificate for {self._remote or 'a domain'} was presented"
            raise SaslError(SaslCondition.NOT_AUTHORIZED, text)
        data = elements.read_data(nonza)
        if data is None:
            return None if nonza.name == "auth" else self._remote
        authzid = domain_of(data.decode("utf-8", "replace"))
        if data and authzid != self._remote:
            raise SaslError(SaslCondition.INVALID_AUTHZID, f"the stream is from {self._remote}")
        return self._remote

    def _sasl_failed(self, error: SaslError) -> list[Event]:
        self._write(elements.failure(error))
        self._state = State.OPEN  # dialback may follow (XEP-0178 §3, step 12)
        self._failures += 1
        domain = JID("", self._remote) if self._remote else None
        out: list[Event] = [events.AuthenticationFailed(domain, external.NAME, error)]
        if self._failures >= _MOST_FAILURES:
            too_many = StreamError(StreamCondition.POLICY_VIOLATION, "too many attempts")
            out.append(self._fail(too_many))
        return out

    # Dialback (XEP-0220 §2.2)

    def _dialback(self, nonza: Nonza) -> list[Event]:
        if self._state not in {State.OPEN, State.SASL}:
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "this was not its turn")
        kind, pair = read_dialback(nonza)
        if kind:
            return []  # §2.2: an answer to nothing that was asked here
        text = nonza.element().text.strip()
        if len(text) > dialback.MAX_KEY:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "this is too long for a key")
        if nonza.name == "result":
            return self._claim(pair, text)
        return self._verify(pair, nonza.attrs.get("id", ""), text)

    def _claim(self, pair: Pair, text: str) -> list[Event]:
        error = self._objection(pair)
        if error is not None:
            self._answer_claim(pair, dialback.ERROR, error)
            return []
        if pair in self._claims:
            return []  # it is being answered
        if pair in self.pairs:
            self._answer_claim(pair, dialback.VALID, None)
            return []
        self._claims.add(pair)
        return [events.PairClaimed(pair, text, self.stream_id)]

    def _objection(self, pair: Pair) -> StanzaError | None:
        """Why a claim is not even looked at (§2.4.2)."""
        policy = self._hosts(pair.local)
        if policy is None:
            return StanzaError(Condition.ITEM_NOT_FOUND)
        if policy.tls_required and not self._secure:
            return StanzaError(Condition.POLICY_VIOLATION, "TLS is required first")
        if not policy.dialback:
            return StanzaError(Condition.NOT_AUTHORIZED, "dialback is not enough here")
        forbidden = self._forbids(pair)
        if forbidden is not None:
            return StanzaError(Condition.POLICY_VIOLATION, forbidden.text)
        known = pair in self._claims or pair in self.pairs
        if not known and len(self._claims) + len(self.pairs) >= self._most_pairs:
            return StanzaError(Condition.RESOURCE_CONSTRAINT, "too many domains on one stream")
        return None

    def _forbids(self, pair: Pair) -> StreamError | None:
        """Why a pair may not have a stream, whatever it can prove."""
        if self._hosts(pair.remote) is not None:
            return StreamError(StreamCondition.INVALID_FROM, f"{pair.remote} is served here")
        return self._allowed(pair)

    @property
    def _begun(self) -> bool:
        """Whether a claim is open or something proved: then the stream may not start anew.

        An answer that comes later would be one for the stream that was, with another id, and
        perhaps without TLS.
        """
        return self._ready or bool(self._claims)

    def _answer_claim(self, pair: Pair, kind: str, error: StanzaError | None) -> None:
        self._output.append(dialback.answer("result", pair.local, pair.remote, kind, error))

    def _verify(self, pair: Pair, stream_id: str, text: str) -> list[Event]:
        asked = events.VerifyAsked(pair.local, pair.remote, stream_id, text)
        if not stream_id:
            raise StreamError(StreamCondition.BAD_FORMAT, "a <verify/> names the stream by 'id'")
        policy = self._hosts(pair.local)
        if policy is None:
            self._answer_verify(asked, dialback.ERROR, StanzaError(Condition.ITEM_NOT_FOUND))
            return []
        if policy.tls_required and not self._secure:
            error = StanzaError(Condition.POLICY_VIOLATION, "TLS is required first")
            self._answer_verify(asked, dialback.ERROR, error)
            return []
        return [asked]

    def _answer_verify(
        self, asked: events.VerifyAsked, kind: str, error: StanzaError | None = None
    ) -> None:
        local, remote, stream_id = asked.local, asked.remote, asked.stream_id
        self._output.append(
            dialback.answer("verify", local, remote, kind, error, stream_id=stream_id)
        )
