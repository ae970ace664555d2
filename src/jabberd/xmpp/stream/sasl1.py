"""Logins by SASL as RFC 6120 §6 has it, and by jabber:iq:auth (XEP-0078): the server's side.

The mechanism is driven here, whichever way it is spoken on the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from jabberd.xmpp import ns
from jabberd.xmpp.error import (
    Condition,
    LocalError,
    SaslCondition,
    SaslError,
    StanzaError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import mechanism, plain
from jabberd.xmpp.sasl.mechanism import (
    Challenge,
    Credentials,
    Question,
    ServerMechanism,
    Step,
    Success,
)
from jabberd.xmpp.stanza import Iq, qname
from jabberd.xmpp.stream import elements, events, legacy
from jabberd.xmpp.stream.accepting import AcceptingStream, IqRules, Rules, State
from jabberd.xmpp.stream.events import Event

_ATTEMPTS: Final = 5  # RFC 6120 §6.4.5: at least two, at most five


class Sasl1Stream(AcceptingStream):
    """The server's end of a client's stream, as far as a login; see `AcceptingStream`."""

    __slots__ = ("_attempts", "_failed_sasl", "_legacy_iq", "_mechanism", "_name")

    def _forget(self) -> None:
        super()._forget()
        self._mechanism: ServerMechanism | None = None
        self._name: JID | None = None  # as whom the peer tries to log in
        self._attempts = 0
        self._failed_sasl = False
        self._legacy_iq: Iq | None = None

    # Answers to questions

    def credentials(self, found: Credentials | None) -> list[Event]:
        """Answer `CredentialsWanted`; None where there is no such account."""
        self._answer()
        return [*self._step(lambda: self._exchange().credentials(found)), *self._negotiate()]

    def derived(self, key: bytes) -> list[Event]:
        """Answer `DeriveKey`."""
        self._answer()
        return [*self._step(lambda: self._exchange().derived(key)), *self._negotiate()]

    def refuse_login(self, error: SaslError) -> list[Event]:
        """Answer a question about a login with a refusal of the server's own."""
        self._answer()
        return [*self._refused(error), *self._negotiate()]

    # The mechanism

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
            self._challenge(step.data)
            return []
        if isinstance(step, Success):
            return self._succeeded(step)
        return self._ask(self._question(step))

    def _question(self, step: Question) -> Event:
        if isinstance(step, mechanism.CredentialsWanted):
            self._name = JID(step.username, self.policy.domain.domain)
            return events.CredentialsWanted(self._name, self._how())
        if isinstance(step, mechanism.DeriveKey):
            return events.DeriveKey(step.password, step.hash, step.salt, step.iterations)
        raise LocalError(f"{step} has no place here")

    def _how(self) -> str:
        if self._legacy_iq is not None:
            return legacy.LEGACY
        return self._mechanism.name if self._mechanism else ""

    def _refused(self, error: SaslError) -> list[Event]:
        how, name = self._how(), self._name
        self._mechanism = self._name = None
        self._attempts += 1
        self._write_failure(error)
        out: list[Event] = [events.AuthenticationFailed(name, how, error)]
        if self._attempts >= _ATTEMPTS:
            text = "too many failed logins"
            out.append(self._fail(StreamError(StreamCondition.POLICY_VIOLATION, text)))
        return out

    # As it is spoken

    def _challenge(self, data: bytes) -> None:
        self._write(elements.challenge(data))

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

    def _write_failure(self, error: SaslError) -> None:
        if self._legacy_iq is not None:
            self._reply_error(self._legacy_iq, legacy.as_stanza_error(error))
            self._legacy_iq = None
            return
        self._failed_sasl = True
        self._state = State.FEATURES
        self._write(elements.failure(error))

    # SASL (RFC 6120 §6)

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

    def _out_of_turn(self, nonza: Nonza) -> list[Event]:
        """What no rule is for, before stanzas flow.

        Raises:
            StreamError: nearly always.
        """
        if nonza.ns == ns.SASL and self._state in {State.FEATURES, State.SASL}:
            return self._refused(mechanism.malformed("out of turn"))
        if self._account is None:
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "log in first")
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, nonza.name[:100])

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

    RULES: ClassVar[Rules] = {
        **AcceptingStream.RULES,
        (State.FEATURES, qname(ns.SASL, "auth")): _auth,
        (State.SASL, qname(ns.SASL, "response")): _response,
        (State.SASL, qname(ns.SASL, "abort")): _abort,
    }
    IQ_RULES: ClassVar[IqRules] = {
        (State.FEATURES, qname(ns.AUTH, "query")): _legacy_auth,
        (State.LEGACY, qname(ns.AUTH, "query")): _legacy_auth,
    }
    """The IQs that may be sent when, by the name of their one child."""
