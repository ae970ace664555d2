"""The receiving role: a client negotiates a stream with this server.

RFC 6120 §4 (streams), §5 (STARTTLS), §6 (SASL), §7 (resource binding), and for the clients from
before XMPP 1.0, XEP-0078. What may be said when is in `_RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import ClassVar, Final

from jabberd.xmpp import ns
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
from jabberd.xmpp.frames import BadAddress, Broken, Frame, Limits, Nonza, StreamEnd, StreamOpened
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import mechanism, plain
from jabberd.xmpp.sasl.mechanism import Challenge, Credentials, ServerMechanism, Step, Success
from jabberd.xmpp.sasl.offer import Channel, Offer
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stanza import Iq, Stanza, error_reply, qname
from jabberd.xmpp.stream import elements, events, legacy, opening
from jabberd.xmpp.stream.base import Stream, attr
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.policy import HostPolicy

_ATTEMPTS: Final = 5  # RFC 6120 §6.4.5: at least two, at most five


_SECURE: Final = Channel(secure=True)
_PLAIN: Final = Channel(secure=False)


class State(Enum):
    """How far the negotiation has come."""

    HEADER = auto()  # a stream header is due
    FEATURES = auto()  # not logged in yet
    SASL = auto()  # inside a SASL exchange
    LEGACY = auto()  # a stream without a version, not logged in yet
    BIND = auto()  # logged in, no resource yet
    READY = auto()  # stanzas flow


class ReceivingStream(Stream):
    """The server's end of a client's stream.

    Args:
        hosts: how a host wants to be logged in to; None for one that is not ours.
        channel: what TLS has settled already.
        before: limits until the peer has logged in.
        after: limits from then on.
        token: makes unpredictable strings, at least 128 bits, fit to be a localpart.
        pool: parsers shared with other streams of the same thread; its own unless given.
    """

    __slots__ = ("_account", "_after", "_attempts", "_before", "_binding", "_channel",
                 "_failed_sasl", "_hosts", "_legacy_iq", "_mechanism", "_name", "_offer",
                 "_policy", "_state", "_token")  # fmt: skip

    def __init__(
        self,
        *,
        hosts: Callable[[JID], HostPolicy | None],
        channel: Channel,
        before: Limits,
        after: Limits,
        token: Callable[[], str],
        pool: Pool | None = None,
    ) -> None:
        super().__init__(ns.CLIENT, before, pool)
        self._hosts = hosts
        self._channel = channel
        self._before = before
        self._after = after
        self._token = token
        self._state = State.HEADER
        self._policy: HostPolicy | None = None
        self._offer: Offer | None = None
        self._mechanism: ServerMechanism | None = None
        self._name: JID | None = None  # as whom the peer tries to log in
        self._account: JID | None = None  # as whom it has
        self._attempts = 0
        self._failed_sasl = False
        self._legacy_iq: Iq | None = None
        self._binding: Iq | None = None

    @property
    def policy(self) -> HostPolicy:
        """Of the host that the peer wants.

        Raises:
            LocalError: it has not said which.
        """
        if self._policy is None:
            raise LocalError("no stream header yet")
        return self._policy

    @property
    def host(self) -> JID | None:
        """The host that the peer wants; None until it has said which."""
        return self._policy.domain if self._policy else None

    @property
    def is_secure(self) -> bool:
        """Whether the stream is under TLS."""
        return self._channel.secure

    # Answers to questions

    def secured(self, channel: Channel) -> list[Event]:
        """TLS is up: everything learned before is forgotten (RFC 6120 §5.4.3.3)."""
        self._answer()
        self._channel = channel
        self._policy = self._offer = None
        self._pending = b""  # whatever came by now came without TLS
        self._restart()
        self._state = State.HEADER
        return []

    def credentials(self, found: Credentials | None) -> list[Event]:
        """Answer `CredentialsWanted`; None where there is no such account."""
        self._answer()
        return [*self._step(lambda: self._exchange().credentials(found)), *self._negotiate()]

    def derived(self, key: bytes) -> list[Event]:
        """Answer `DeriveKey`."""
        self._answer()
        return [*self._step(lambda: self._exchange().derived(key)), *self._negotiate()]

    def refuse_login(self, error: SaslError) -> list[Event]:
        """Answer `CredentialsWanted` or `DeriveKey` with a refusal of the server's own."""
        self._answer()
        return [*self._refused(error), *self._negotiate()]

    def bound(self, jid: JID) -> list[Event]:
        """Answer `BindWanted` with the full JID; stanzas may flow."""
        self._answer()
        if self._legacy_iq is not None:
            answer = Iq.build(to=None, from_=self.policy.domain, id=self._legacy_iq.id)
        elif self._binding is not None:
            bind = Element(ns.BIND, "bind", {}, [Element(ns.BIND, "jid", {}, [jid.text])])
            answer = Iq.build([bind], id=self._binding.id)
        else:
            raise LocalError("no resource was asked for")
        answer.type = "result"
        self._output.append(self.send(answer))
        self._become_ready()
        return self._negotiate()

    def _become_ready(self) -> None:
        self._state = State.READY
        self._ready = True
        self._framer.limits = self._after
        # A session lives for days; what only the negotiation needed does not.
        self._offer = self._mechanism = self._binding = self._legacy_iq = self._policy = None
        self._channel = _SECURE if self._channel.secure else _PLAIN

    def refuse_bind(self, error: StanzaError) -> list[Event]:
        """Answer `BindWanted` with an error; the peer may ask again (RFC 6120 §7.7)."""
        self._answer()
        request = self._legacy_iq or self._binding
        if request is None:
            raise LocalError("no resource was asked for")
        if self._legacy_iq is not None:
            self._account = None
            self._framer.limits = self._before
            self._state = State.LEGACY if self._offer is None else State.FEATURES
        self._reply_error(request, error)
        self._legacy_iq = self._binding = None
        return self._negotiate()

    def reply(self, iq: Iq) -> list[Event]:
        """Answer `RegisterWanted`."""
        self._answer()
        self._output.append(self.send(iq))
        return self._negotiate()

    # Frames

    def _frame(self, frame: Frame) -> list[Event]:
        if isinstance(frame, StreamOpened):
            return self._opened(frame)
        if isinstance(frame, StreamEnd):
            return [self._end(None, by_peer=True)]
        if isinstance(frame, Broken):
            raise frame.error
        if isinstance(frame, Nonza):
            return self._nonza(frame)
        stanza = frame.stanza if isinstance(frame, BadAddress) else frame
        return self._stanza(stanza)

    def _nonza(self, nonza: Nonza) -> list[Event]:
        rule = self._RULES.get((self._state, qname(nonza.ns, nonza.name)))
        if rule is not None:
            return rule(self, nonza)
        if (nonza.ns, nonza.name) == (ns.STREAM, "error"):
            return [self._peer_failed(nonza)]
        if nonza.ns == ns.SASL and self._state in {State.FEATURES, State.SASL}:
            return self._refused(SaslError(SaslCondition.MALFORMED_REQUEST, "out of turn"))
        if self._account is None:
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "log in first")
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, nonza.name[:100])

    def _stanza(self, stanza: Stanza) -> list[Event]:
        if isinstance(stanza, Iq) and stanza.is_request and len(stanza.children) == 1:
            rule = self._IQ_RULES.get((self._state, stanza.children[0]))
            if rule is not None:
                self._demand_tls()
                return rule(self, stanza)
        # RFC 6120 §4.9.3.12, §6.3.2 and §7.1.
        what = "log in" if self._account is None else "bind a resource"
        raise StreamError(StreamCondition.NOT_AUTHORIZED, f"{what} first")

    def _demand_tls(self) -> None:
        if self.policy.tls_required and not self._channel.secure:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "TLS is required first")

    # Stream headers

    def _opened(self, header: StreamOpened) -> list[Event]:
        policy, error = opening.choose_host(header, self._content, self._hosts, self._account)
        version = opening.major_version(header)
        self._write_header(
            # RFC 6120 §4.9.1.3: a name that is not ours is not repeated.
            (attr("from", policy.domain.text) if policy else " from=''")
            + attr("to", opening.canonical(header.from_))
            + attr("id", self._token())
            + ("" if version == 0 else attr("version", "1.0") + attr("xml:lang", "en"))
        )
        if error is not None:
            raise error
        self._policy = policy
        if version is None:
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION, "the version is 1.0")
        if version == 0:
            return self._opened_legacy()
        self._offer_features()
        return []

    def _opened_legacy(self) -> list[Event]:
        if self._account is not None or not self.policy.legacy_auth:
            text = "this server wants XMPP 1.0; logins without it are switched off"
            raise StreamError(StreamCondition.UNSUPPORTED_VERSION, text)
        self._state = State.LEGACY
        return []

    def _offer_features(self) -> None:
        if self._account is not None:
            self._state = State.BIND
            offered = opening.after_login(self.policy)
        else:
            self._state = State.FEATURES
            self._offer = Offer(self.policy.sasl, self._channel)
            offered = opening.before_login(self.policy, self._channel, self._offer)
        self._output.append(offered)

    # STARTTLS

    def _starttls(self, _nonza: Nonza) -> list[Event]:
        if not self.policy.starttls or self._channel.secure:
            self._output.append(Element(ns.TLS, "failure").to_bytes())
            raise StreamError(StreamCondition.UNSUPPORTED_FEATURE, "no TLS here")
        if self._pending.strip():
            # RFC 6120 §5.4.3.3 throws such bytes away; nothing honest sends them
            # (CVE-2011-0411 and its kin).
            self._pending = b""
            text = "data was sent ahead of TLS"
            raise StreamError(StreamCondition.POLICY_VIOLATION, text)
        self._pending = b""
        self._output.append(Element(ns.TLS, "proceed").to_bytes())
        return self._ask(events.UpgradeToTls())

    # SASL

    def _auth(self, nonza: Nonza) -> list[Event]:
        offer = self._offer
        if offer is None:
            raise LocalError("nothing was offered")
        if self.policy.tls_required and not self._channel.secure:
            return self._refused(SaslError(SaslCondition.ENCRYPTION_REQUIRED))
        name = nonza.attrs.get("mechanism", "")

        def begin() -> Step:
            self._mechanism = offer.server(name, self._token)
            self._state = State.SASL
            return self._mechanism.respond(elements.read_data(nonza))

        return self._step(begin)

    def _response(self, nonza: Nonza) -> list[Event]:
        return self._step(lambda: self._exchange().respond(elements.read_data(nonza)))

    def _abort(self, _nonza: Nonza) -> list[Event]:
        return self._refused(SaslError(SaslCondition.ABORTED))

    def _exchange(self) -> ServerMechanism:
        if self._mechanism is None:
            raise LocalError("no login is under way")
        return self._mechanism

    def _step(self, advance: Callable[[], Step]) -> list[Event]:
        try:
            step = advance()
        except SaslError as error:
            return self._refused(error)
        if isinstance(step, Challenge):
            self._write(elements.challenge(step.data))
            return []
        if isinstance(step, mechanism.CredentialsWanted):
            self._name = JID(step.username, self.policy.domain.domain)
            return self._ask(events.CredentialsWanted(self._name, self._how()))
        if isinstance(step, mechanism.DeriveKey):
            question = events.DeriveKey(step.password, step.hash, step.salt, step.iterations)
            return self._ask(question)
        return self._succeeded(step)

    def _how(self) -> str:
        if self._legacy_iq is not None:
            return legacy.LEGACY
        return self._mechanism.name if self._mechanism else ""

    def _succeeded(self, success: Success) -> list[Event]:
        account = JID(success.username, self.policy.domain.domain)
        how = self._how()
        self._account = account
        self._framer.limits = self._after
        if self._legacy_iq is not None:
            resource = legacy.read_fields(self._legacy_iq).resource
            done = events.Authenticated(account, how)
            return [done, *self._ask(events.BindWanted(account, resource, how))]
        self._write(elements.success(success.data))
        self._restart()
        self._state = State.HEADER
        return [events.Authenticated(account, how)]

    def _refused(self, error: SaslError) -> list[Event]:
        how, name = self._how(), self._name
        self._mechanism = self._name = None
        self._attempts += 1
        if self._legacy_iq is not None:
            self._reply_error(self._legacy_iq, legacy.as_stanza_error(error))
            self._legacy_iq = None
        else:
            self._failed_sasl = True
            self._state = State.FEATURES
            self._write(elements.failure(error))
        out: list[Event] = [events.AuthenticationFailed(name, how, error)]
        if self._attempts >= _ATTEMPTS:
            text = "too many failed logins"
            out.append(self._fail(StreamError(StreamCondition.POLICY_VIOLATION, text)))
        return out

    # The clients of 1999 (XEP-0078)

    def _legacy_auth(self, iq: Iq) -> list[Event]:
        if self._failed_sasl:
            text = "SASL was tried already"
            raise StreamError(StreamCondition.POLICY_VIOLATION, text)
        if not self.policy.legacy_auth:
            self._reply_error(iq, StanzaError(Condition.SERVICE_UNAVAILABLE))
            return []
        if iq.type == "get":
            self._output.append(self.send(legacy.answer_get(iq, self.policy.domain)))
            return []
        fields = legacy.read_fields(iq)
        if not all(fields):
            self._reply_error(iq, legacy.missing())
            return []
        self._legacy_iq = iq
        sasl = self.policy.sasl

        def begin() -> Step:
            self._mechanism = plain.server(
                sasl.domain, secret=sasl.secret, iterations=sasl.iterations
            )
            return self._mechanism.respond(fields.message)

        return self._step(begin)

    # Binding and registration

    def _bind(self, iq: Iq) -> list[Event]:
        account = self._account
        if account is None:
            raise LocalError("bound before login")
        if iq.type != "set":
            self._reply_error(iq, StanzaError(Condition.BAD_REQUEST))
            return []
        resource = iq.request().child_text(ns.BIND, "resource") or ""
        self._binding = iq
        return self._ask(events.BindWanted(account, resource, self._how()))

    def _register(self, iq: Iq) -> list[Event]:
        return self._ask(events.RegisterWanted(iq))

    def _reply_error(self, iq: Iq, error: StanzaError) -> None:
        self._output.append(self.send(error_reply(iq, error)))

    # What may be said when; all else ends the stream.

    _RULES: ClassVar[dict[tuple[State, str], Callable[[ReceivingStream, Nonza], list[Event]]]] = {
        (State.FEATURES, qname(ns.TLS, "starttls")): _starttls,
        (State.FEATURES, qname(ns.SASL, "auth")): _auth,
        (State.SASL, qname(ns.SASL, "response")): _response,
        (State.SASL, qname(ns.SASL, "abort")): _abort,
    }
    _IQ_RULES: ClassVar[dict[tuple[State, str], Callable[[ReceivingStream, Iq], list[Event]]]] = {
        (State.FEATURES, qname(ns.AUTH, "query")): _legacy_auth,
        (State.LEGACY, qname(ns.AUTH, "query")): _legacy_auth,
        (State.FEATURES, qname(ns.REGISTER, "query")): _register,
        (State.LEGACY, qname(ns.REGISTER, "query")): _register,
        (State.BIND, qname(ns.BIND, "bind")): _bind,
    }
