"""Logins by SASL2 (XEP-0388), and what is done together with them: the server's side.

A resource or a resumed session (XEP-0386, XEP-0198 §9), tokens (XEP-0484), keys for other hash
functions (XEP-0480), and requests that are sent before the offer is seen (XEP-0509).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import (
    LocalError,
    SaslCondition,
    SaslError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import ht, keys, mechanism, plain, scram
from jabberd.xmpp.sasl.mechanism import (
    Credentials,
    Question,
    ServerMechanism,
    Step,
    Success,
    Token,
    Tokens,
)
from jabberd.xmpp.sasl.offer import Offer
from jabberd.xmpp.stanza import qname
from jabberd.xmpp.stream import authenticate, elements2, events, opening
from jabberd.xmpp.stream.accepting import Rules, State
from jabberd.xmpp.stream.authenticate import Authenticate, BindRequest
from jabberd.xmpp.stream.events import Event, InlineResult
from jabberd.xmpp.stream.sasl1 import Sasl1Stream

_UNDER_WAY: Final = frozenset({State.SASL2, State.NEXT, State.TASK})


@dataclass(slots=True)
class _Attempt:
    """One login under way."""

    request: Authenticate
    known: tuple[keys.ScramKeys, ...] = ()  # what the account has
    account: JID | None = None  # whose login it is, once the mechanism is through
    token: Token | None = None
    data: bytes | None = None  # the mechanism's last word, until it has been said
    tasks: list[str] = field(default_factory=list)  # SCRAM mechanisms that want keys
    salt: bytes = b""


class Sasl2Stream(Sasl1Stream):
    """The server's end of a client's stream, as far as either kind of login."""

    __slots__ = ("_attempt", "_continued")

    def _forget(self) -> None:
        super()._forget()
        self._attempt: _Attempt | None = None
        self._continued = False  # whether a task has ever been given

    # Answers to questions

    def credentials(self, found: Credentials | None) -> list[Event]:
        """Answer `CredentialsWanted`; None where there is no such account."""
        if self._attempt is not None and found is not None:
            self._attempt.known = found.keys
        return super().credentials(found)

    def tokens(self, found: Sequence[Token], disabled: str | None = None) -> list[Event]:
        """Answer `TokensWanted`.

        Args:
            found: the tokens of this account's client, as many as are in force or have expired;
                none where there is no such account.
            disabled: why the account may not log in, in words for its owner; None while it may.
        """
        self._answer()
        answer = Tokens(tuple(found), disabled)
        return [*self._step(lambda: self._exchange().tokens(answer)), *self._negotiate()]

    def stored(self) -> list[Event]:
        """Answer `KeysUpgraded`: the account has these keys now."""
        self._answer()
        attempt, _ = self._proved()
        if not attempt.tasks:
            raise LocalError("there were no keys to store")
        del attempt.tasks[0]
        return [*self._go_on(), *self._negotiate()]

    def inlined(self, result: InlineResult) -> list[Event]:
        """Answer `InlineWanted`; where the result has a full JID, stanzas may flow.

        Raises:
            LocalError: the JID is not a full one of the account, or a session without one was
                resumed; or there are tasks left.
        """
        self._answer()
        attempt, account = self._proved()
        jid = result.jid
        if attempt.tasks:
            raise LocalError("the login is not over yet")
        if (result.resumed and jid is None) or (jid and (jid.bare != account or jid.is_bare)):
            raise LocalError(f"a session of {account.text} has a full address of that account")
        self._output.append(elements2.success(attempt.data, jid or account, result))
        if not result.resumed:  # XEP-0198 §9.2: that stream has its features
            self._output.append(opening.after_login(self.policy, bound=jid is not None))
        self._account = account
        self._attempt = None
        if jid is not None:
            self._become_ready()
        else:
            self._framer.limits = self._after
            self._state = State.BIND
        return self._negotiate()

    # The beginning

    def _authenticate(self, nonza: Nonza) -> list[Event]:
        offer = self._offer
        if offer is None:
            raise LocalError("nothing was offered")
        if not self.policy.sasl2:
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "log in first")
        if self._continued:  # XEP-0388 §4.8, also where the task was not done
            text = "there is one login that is continued to a stream"
            raise StreamError(StreamCondition.POLICY_VIOLATION, text)
        self._state = State.SASL2
        if not self._channel.secure:
            return self._refused(SaslError(SaslCondition.ENCRYPTION_REQUIRED))
        try:
            request = authenticate.read(nonza)
        except SaslError as error:
            return self._refused(error)
        if request.config_version not in {None, self._config}:
            return self._outdated(request)
        self._attempt = _Attempt(request)

        def begin() -> Step:
            self._mechanism = self._begin(offer, request)
            return self._mechanism.respond(request.initial)

        return self._step(begin)

    def _begin(self, offer: Offer, request: Authenticate) -> ServerMechanism:
        if request.mechanism not in ht.BINDINGS:
            return offer.server(request.mechanism, self._token)
        server = offer.token_server(request.mechanism)
        # XEP-0484 §3.4 and §4.1.
        if not request.fast or request.client is None or not request.client.id:
            raise mechanism.malformed("a token needs <fast/>, and a user agent with an id")
        return server

    def _outdated(self, request: Authenticate) -> list[Event]:
        # XEP-0509 §2.2: this counts for nothing.
        error = SaslError(SaslCondition.ABORTED, "the offer is another one by now")
        self._state = State.FEATURES
        self._write(elements2.failure(error, Element(ns.IAP, "config-version-mismatch")))
        return [events.AuthenticationFailed(None, request.mechanism[:100], error)]

    def _response2(self, nonza: Nonza) -> list[Event]:
        return self._step(lambda: self._exchange().respond(authenticate.decode(nonza.text)))

    def _abort2(self, _nonza: Nonza) -> list[Event]:
        return self._refused(SaslError(SaslCondition.ABORTED))

    # The mechanism

    def _question(self, step: Question) -> Event:
        attempt = self._attempt
        if not isinstance(step, mechanism.TokensWanted) or attempt is None:
            return super()._question(step)
        self._name = JID(step.username, self.policy.domain.domain)
        client = attempt.request.client
        return events.TokensWanted(self._name, client.id if client else "", self._how())

    def _challenge(self, data: bytes) -> None:
        if self._state is State.SASL2:
            self._write(elements2.challenge(data))
        else:
            super()._challenge(data)

    def _write_failure(self, error: SaslError) -> None:
        if self._state not in _UNDER_WAY:
            super()._write_failure(error)
            return
        self._attempt = None
        self._failed_sasl = True
        self._state = State.FEATURES
        self._write(elements2.failure(error))

    def _succeeded(self, success: Success) -> list[Event]:
        attempt = self._attempt
        if attempt is None:
            return super()._succeeded(success)
        account = JID(success.username, self.policy.domain.domain)
        if success.named and self._from is not None and self._from != account:
            # XEP-0388 §2.3.
            text = "the stream is from somebody else"
            return self._refused(SaslError(SaslCondition.INVALID_AUTHZID, text))
        self._name = attempt.account = account
        attempt.token = success.token
        attempt.data = success.data
        attempt.tasks = self._tasks(attempt)
        return self._go_on()

    def _proved(self) -> tuple[_Attempt, JID]:
        """The login under way, and whose it is; the mechanism is through."""
        attempt = self._attempt
        if attempt is None or attempt.account is None:
            raise LocalError("nobody has logged in")
        return attempt, attempt.account

    def _go_on(self) -> list[Event]:
        attempt, account = self._proved()
        if attempt.tasks:
            self._continued = True
            self._state = State.NEXT
            task = opening.UPGRADE + attempt.tasks[0]
            self._write(elements2.next_task(attempt.data, task))
            attempt.data = None
            return []
        request, how = attempt.request, self._how()
        wanted = events.InlineWanted(
            account=account,
            mechanism=how,
            client=request.client,
            resume=request.resume if self.policy.inline.resume else None,
            bind=self._bind_request(request.bind),
            token_request=self._token_request(request),
            token=attempt.token,
            invalidate=request.invalidate and attempt.token is not None,
        )
        return [events.Authenticated(account, how), *self._ask(wanted)]

    def _bind_request(self, bind: BindRequest | None) -> BindRequest | None:
        features = self.policy.inline.bind
        if bind is None or features is None:
            return None
        wanted = tuple(element for element in bind.features if element.ns in features)
        return BindRequest(bind.tag, wanted)

    def _token_request(self, request: Authenticate) -> str:
        known = request.client is not None and request.client.id
        offered = self._offer is not None and request.token_request in self._offer.fast
        return request.token_request if known and offered else ""

    # Tasks (XEP-0480)

    def _tasks(self, attempt: _Attempt) -> list[str]:
        # Only who has shown to know the password may say what keys it makes.
        how = self._how().removesuffix(scram.PLUS)
        if how not in scram.NAMES and how != plain.NAME:
            return []
        have = {known.hash for known in attempt.known}
        return [
            name
            for name in self.policy.inline.upgrades
            if opening.UPGRADE + name in attempt.request.upgrades and scram.NAMES[name] not in have
        ]

    def _next(self, nonza: Nonza) -> list[Event]:
        attempt, _ = self._proved()
        if nonza.attrs.get("task") != opening.UPGRADE + attempt.tasks[0]:
            return self._refused(mechanism.malformed("this is not the task"))
        attempt.salt = hashlib.sha256(self._token().encode()).digest()[: keys.SALT_BYTES]
        self._write(elements2.salt(attempt.salt, self.policy.sasl.iterations))
        self._state = State.TASK
        return []

    def _task_data(self, nonza: Nonza) -> list[Event]:
        attempt, account = self._proved()
        algorithm = scram.NAMES[attempt.tasks[0]]
        text = nonza.element().child_text(ns.SCRAM_UPGRADE, "hash") or ""
        try:
            salted = authenticate.decode(text)
        except SaslError as error:
            return self._refused(error)
        if len(salted) != hashlib.new(algorithm).digest_size:
            return self._refused(mechanism.malformed("the key has not the length of its hash"))
        made = keys.from_salted(algorithm, attempt.salt, self.policy.sasl.iterations, salted)
        known, attempt.known = attempt.known, (*attempt.known, made)
        return self._ask(events.KeysUpgraded(account, made, known))

    # What comes out of turn

    def _out_of_turn(self, nonza: Nonza) -> list[Event]:
        if nonza.ns == ns.SASL2 and self._state is State.FEATURES and self.policy.sasl2:
            self._state = State.SASL2
            return self._refused(mechanism.malformed("out of turn"))
        if self._state in _UNDER_WAY:  # XEP-0388 §2.4
            text = "nothing but the login may be spoken of now"
            raise StreamError(StreamCondition.POLICY_VIOLATION, text)
        return super()._out_of_turn(nonza)

    RULES: ClassVar[Rules] = {
        **Sasl1Stream.RULES,
        (State.FEATURES, qname(ns.SASL2, "authenticate")): _authenticate,
        (State.SASL2, qname(ns.SASL2, "response")): _response2,
        (State.NEXT, qname(ns.SASL2, "next")): _next,
        (State.TASK, qname(ns.SASL2, "task-data")): _task_data,
        (State.SASL2, qname(ns.SASL2, "abort")): _abort2,
        (State.NEXT, qname(ns.SASL2, "abort")): _abort2,
        (State.TASK, qname(ns.SASL2, "abort")): _abort2,
    }
