"""The initiating role: this side opens the stream and logs in, as a client does.

RFC 6120 §4 (streams), §5 (STARTTLS), §6 (SASL) and §7 (resource binding). What the server may
say when is in `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, ClassVar

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import LocalError, SaslError, StreamCondition, StreamError
from jabberd.xmpp.frames import BadAddress, Limits, Nonza, StreamOpened
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sasl.mechanism import ClientMechanism, DeriveKey, Response
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Iq, Stanza, qname, read_error
from jabberd.xmpp.stream import elements, events
from jabberd.xmpp.stream.base import Stream, attr
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.login import Login, Tls, choose, read_offer
from jabberd.xmpp.stream.opening import major_version


class State(Enum):
    """How far the negotiation has come."""

    NEW = auto()  # nothing has been sent
    HEADER = auto()  # the server's header is due
    FEATURES = auto()  # its features are due
    TLS = auto()  # its answer to <starttls/> is due
    SASL = auto()  # inside a SASL exchange
    LOGGED_IN = auto()  # logged in; the features that follow are due
    SASL2 = auto()  # inside a SASL exchange of XEP-0388
    TASK = auto()  # inside a task that followed it
    BOUND = auto()  # logged in with a resource; the features that follow are due
    BINDING = auto()  # its answer to the wish for a resource is due
    READY = auto()  # stanzas flow


Rules = Mapping[tuple[State, str], Callable[[Any, Nonza], list[Event]]]


class InitiatingStream(Stream):
    """The client's end of a client's stream.

    Call `start` once the connection is up. A failed login closes the stream.

    Args:
        login: as whom to log in, and how.
        channel: what TLS has settled already.
        limits: for what is received.
        token: makes unpredictable strings of printable ASCII without a comma, of at least 128
            bits.
    """

    __slots__ = ("_account", "_bind_id", "_channel", "_login", "_mechanism", "_state", "_token")

    def __init__(
        self, *, login: Login, channel: Channel, limits: Limits, token: Callable[[], str]
    ) -> None:
        super().__init__(ns.CLIENT, limits)
        self._login = login
        self._channel = channel
        self._token = token
        self._state = State.NEW
        self._mechanism: ClientMechanism | None = None
        self._account: JID | None = None  # as whom we have logged in
        self._bind_id = ""

    @property
    def is_secure(self) -> bool:
        """Whether the stream is under TLS."""
        return self._channel.secure

    def start(self) -> None:
        """Open the stream.

        Raises:
            LocalError: it has been opened before.
        """
        if self._state is not State.NEW:
            raise LocalError("the stream has been opened")
        self._begin()

    # Answers to questions

    def secured(self, channel: Channel) -> list[Event]:
        """TLS is up: answer `UpgradeToTls`. All is asked anew (RFC 6120 §5.4.3.3)."""
        self._answer()
        self._channel = channel
        self._pending = b""  # whatever came by now came without TLS
        self._restart()
        self._begin()
        return []

    def derived(self, key: bytes) -> list[Event]:
        """Answer `DeriveKey`."""
        self._answer()
        return [*self._step(lambda: self._exchange().derived(key)), *self._negotiate()]

    # Frames

    def _said(self, frame: Nonza | Stanza | BadAddress) -> list[Event]:
        if isinstance(frame, Nonza):
            rule = self.RULES.get((self._state, qname(frame.ns, frame.name)))
            if rule is not None:
                return rule(self, frame)
        elif self._state is State.BINDING and isinstance(frame, Iq) and self._is_answer(frame):
            return self._bound(frame)
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, "this was not its turn")

    def _begin(self) -> None:
        login = self._login
        # RFC 6120 §4.7.1: who we are is told under TLS only.
        known = login.account.text if self._channel.secure and login.account.local else ""
        self._write_header(
            attr("from", known)
            + attr("to", login.account.domain)
            + attr("version", "1.0")
            + attr("xml:lang", "en")
        )
        self._state = State.HEADER

    def _opened(self, header: StreamOpened) -> list[Event]:
        if header.namespace != self._content:
            text = f"this is a stream for {self._content}"
            raise StreamError(StreamCondition.INVALID_NAMESPACE, text)
        if not major_version(header):
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION, "the version is 1.0")
        self._state = State.FEATURES if self._account is None else State.LOGGED_IN
        return []

    # STARTTLS

    def _features(self, nonza: Nonza) -> list[Event]:
        features = nonza.element()
        if not self._channel.secure and self._login.tls is not Tls.OFF:
            if features.find(ns.TLS, "starttls") is not None:
                self._write(Element(ns.TLS, "starttls"))
                self._state = State.TLS
                return []
            if self._login.tls is Tls.REQUIRED:
                raise StreamError(StreamCondition.POLICY_VIOLATION, "the server offers no TLS")
        return self._log_in(features)

    def _proceed(self, _nonza: Nonza) -> list[Event]:
        if self._pending.strip():
            # Nothing honest comes between <proceed/> and our own first word of TLS
            # (CVE-2011-0411 and its kin).
            raise StreamError(StreamCondition.POLICY_VIOLATION, "data was sent ahead of TLS")
        self._pending = b""
        return self._ask(events.UpgradeToTls())

    def _no_tls(self, _nonza: Nonza) -> list[Event]:
        # RFC 6120 §5.4.2.2: the server closes the stream now.
        return [self._end(None, by_peer=True)]

    # SASL

    def _log_in(self, features: Element) -> list[Event]:
        try:
            mechanism = choose(self._login, self._channel, read_offer(features), self._token)
        except SaslError as error:
            return self._failed(error)
        self._mechanism = mechanism
        self._state = State.SASL
        self._write(elements.auth(mechanism.name, mechanism.initial()))
        return []

    def _challenge(self, nonza: Nonza) -> list[Event]:
        return self._step(lambda: self._exchange().challenge(elements.read_data(nonza) or b""))

    def _step(self, advance: Callable[[], Response | DeriveKey]) -> list[Event]:
        try:
            step = advance()
        except SaslError as error:
            return self._gave_up(error)
        if isinstance(step, Response):
            self._write_response(step.data)
            return []
        return self._ask(events.DeriveKey(step.password, step.hash, step.salt, step.iterations))

    def _write_response(self, data: bytes) -> None:
        self._write(elements.response(data))

    def _success(self, nonza: Nonza) -> list[Event]:
        mechanism = self._exchange()
        try:
            mechanism.success(elements.read_data(nonza))
        except SaslError as error:
            # The server believes us, and we do not believe it: there is nothing to abort.
            return self._failed(error)
        self._account = self._login.account
        self._mechanism = None
        self._restart()
        self._begin()
        return [events.Authenticated(self._account, mechanism.name)]

    def _failure(self, nonza: Nonza) -> list[Event]:
        return self._failed(elements.read_failure(nonza))

    def _gave_up(self, error: SaslError) -> list[Event]:
        self._write(elements.abort())
        return self._failed(error)

    def _failed(self, error: SaslError) -> list[Event]:
        name = self._mechanism.name if self._mechanism is not None else ""
        self._mechanism = None
        account = self._login.account
        return [
            events.AuthenticationFailed(account, name, error),
            self._end(None, by_peer=False),
        ]

    def _exchange(self) -> ClientMechanism:
        if self._mechanism is None:
            raise LocalError("no login is under way")
        return self._mechanism

    # Binding

    def _bind(self, nonza: Nonza) -> list[Event]:
        if nonza.element().find(ns.BIND, "bind") is None:
            text = "the server binds no resources"
            raise StreamError(StreamCondition.UNSUPPORTED_FEATURE, text)
        wanted = self._login.resource
        inside = [Element(ns.BIND, "resource", {}, [wanted])] if wanted else []
        self._bind_id = self._token()
        iq = Iq.build([Element(ns.BIND, "bind", {}, inside)], id=self._bind_id, type="set")
        self._output.append(self.send(iq))
        self._state = State.BINDING
        return []

    def _is_answer(self, iq: Iq) -> bool:
        return iq.id == self._bind_id and iq.type in {"result", "error"}

    def _bound(self, iq: Iq) -> list[Event]:
        if iq.type == "error":
            return [events.BindRefused(read_error(iq)), self._end(None, by_peer=False)]
        bind = iq.child(ns.BIND, "bind")
        text = "" if bind is None else bind.child_text(ns.BIND, "jid") or ""
        try:
            jid = JID.parse(text)
        except InvalidJID as error:
            raise StreamError(StreamCondition.INVALID_XML, str(error)) from None
        if jid.is_bare:
            raise StreamError(StreamCondition.INVALID_XML, "the address has no resource")
        return self._ready_as(jid)

    def _ready_as(self, jid: JID) -> list[Event]:
        self._state = State.READY
        self._ready = True
        return [events.SessionBound(jid)]

    RULES: ClassVar[Rules] = {
        (State.FEATURES, qname(ns.STREAM, "features")): _features,
        (State.TLS, qname(ns.TLS, "proceed")): _proceed,
        (State.TLS, qname(ns.TLS, "failure")): _no_tls,
        (State.SASL, qname(ns.SASL, "challenge")): _challenge,
        (State.SASL, qname(ns.SASL, "success")): _success,
        (State.SASL, qname(ns.SASL, "failure")): _failure,
        (State.LOGGED_IN, qname(ns.STREAM, "features")): _bind,
    }
    """What the server may say when; all else ends the stream."""
