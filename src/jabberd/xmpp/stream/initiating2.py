"""The initiating role with SASL2 (XEP-0388), where the server offers it under TLS.

With what may come with it: a resource (XEP-0386), a resumed session (XEP-0198 §9), tokens
(XEP-0484), keys for other hash functions (XEP-0480), and all of it in the first flight (XEP-0509).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from jabberd.xmpp import lexical, ns, prep
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import SaslCondition, SaslError, StreamCondition, StreamError
from jabberd.xmpp.frames import Limits, Nonza
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sasl import ht, scram
from jabberd.xmpp.sasl.ht import HtClient
from jabberd.xmpp.sasl.mechanism import ClientMechanism, Token, aborted
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import qname
from jabberd.xmpp.stream import authenticate, elements, elements2, events
from jabberd.xmpp.stream.authenticate import Authenticate
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.initiating import InitiatingStream, Rules, State
from jabberd.xmpp.stream.login import Login, choose, read_offer, texts
from jabberd.xmpp.stream.opening import UPGRADE


class Sasl2InitiatingStream(InitiatingStream):
    """The client's end of a client's stream.

    A token that is refused, and a request that was sent ahead in vain, are followed by another
    attempt on the same stream.

    Args:
        login: as whom to log in, and how.
        channel: what TLS has settled already.
        limits: for what is received.
        token: makes unpredictable strings of printable ASCII without a comma, of at least 128
            bits.
        request: what is asked for with the login; mechanism and initial response are filled in.
            With a `config_version`, and a token, it is sent before the server's offer is seen.
        fast: a token that the server gave earlier.
    """

    __slots__ = ("_fast", "_offered", "_proved", "_request", "_task")

    def __init__(
        self,
        *,
        login: Login,
        channel: Channel,
        limits: Limits,
        token: Callable[[], str],
        request: Authenticate,
        fast: Token | None = None,
    ) -> None:
        super().__init__(login=login, channel=channel, limits=limits, token=token)
        self._request = request
        self._fast = fast
        self._offered: Element | None = None  # the features with the offer of SASL2
        self._proved = False  # whether the server has shown to know the account
        self._task = ""  # the mechanism that keys are made for

    def derived(self, key: bytes) -> list[Event]:
        """Answer `DeriveKey`."""
        if self._state is not State.TASK:
            return super().derived(key)
        self._answer()
        self._write(elements2.salted(key))
        self._state = State.SASL2
        return self._negotiate()

    # The beginning

    def _begin(self) -> None:
        super()._begin()
        by_token = self._by_token()
        if (
            self._account is None
            and self._channel.secure
            and self._request.config_version is not None
            and by_token is not None
        ):
            self._send(by_token)
            self._state = State.HEADER

    def _log_in(self, features: Element) -> list[Event]:
        if not self._channel.secure or features.find(ns.SASL2, "authentication") is None:
            return super()._log_in(features)
        self._offered = features
        if self._mechanism is not None:  # it has been sent ahead
            self._state = State.SASL2
            return []
        try:
            self._send(self._choose(features))
        except SaslError as error:
            return self._failed(error)
        return []

    def _choose(self, features: Element) -> ClientMechanism:
        offer = read_offer(features, ns.SASL2, "authentication")
        inline = _find(features, (ns.SASL2, "authentication"), (ns.SASL2, "inline"))
        fast = None if inline is None else inline.find(ns.FAST, "fast")
        by_token = self._by_token()
        if by_token is not None and by_token.name in texts(fast, ns.FAST, "mechanism"):
            return by_token
        if offer.plus != bool(offer.bindings):
            # XEP-0440 §3, rules 4 and 5.
            raise aborted("somebody has removed a part of the offer on the way")
        return choose(self._login, self._channel, offer, self._token)

    def _by_token(self) -> HtClient | None:
        """The token's mechanism; None without a token, or where it cannot be used here."""
        token = self._fast
        name = None if token is None else ht.BINDINGS.get(token.mechanism)
        if token is None or name is None:  # XEP-0484 has room for mechanisms not known here
            return None
        data = self._channel.bindings.get(name) if name else b""
        if data is None:
            return None
        return HtClient(token.mechanism, self._login.account, token.secret, data)

    def _send(self, mechanism: ClientMechanism) -> None:
        self._mechanism = mechanism
        request = replace(
            self._request,
            mechanism=mechanism.name,
            initial=mechanism.initial(),
            fast=isinstance(mechanism, HtClient),
        )
        self._write(elements2.authenticate(request))
        self._state = State.SASL2

    # The exchange

    def _challenge2(self, nonza: Nonza) -> list[Event]:
        return self._step(lambda: self._exchange().challenge(authenticate.decode(nonza.text)))

    def _write_response(self, data: bytes) -> None:
        if self._state is not State.SASL2:
            super()._write_response(data)
            return
        self._write(elements2.response(data))

    def _gave_up(self, error: SaslError) -> list[Event]:
        if self._state not in {State.SASL2, State.TASK}:
            return super()._gave_up(error)
        self._write(elements2.abort())
        return self._failed(error)

    def _failure2(self, nonza: Nonza) -> list[Event]:
        error = elements.read_failure(nonza)
        if not isinstance(self._mechanism, HtClient) or self._offered is None:
            return self._failed(error)
        name, self._mechanism = self._mechanism.name, None
        if nonza.element().find(ns.IAP, "config-version-mismatch") is None:
            self._fast = None  # XEP-0484 §4.1: it is of no use any more
        self._request = replace(self._request, config_version=None)
        failed = events.AuthenticationFailed(self._login.account, name, error)
        return [failed, *self._log_in(self._offered)]

    def _prove(self, element: Element) -> None:
        """Take the mechanism's last word, which comes once.

        Raises:
            SaslError: aborted: the server has not proved itself.
        """
        if self._proved:
            return
        data = element.find(ns.SASL2, "additional-data")
        self._exchange().success(None if data is None else authenticate.decode(data.text))
        self._proved = True

    # Tasks (XEP-0480)

    def _continue(self, nonza: Nonza) -> list[Event]:
        element = nonza.element()
        tasks = texts(element.find(ns.SASL2, "tasks"), ns.SASL2, "task")
        mine = [name for name in scram.NAMES if UPGRADE + name in self._request.upgrades]
        mine = [name for name in mine if UPGRADE + name in tasks]
        try:
            self._prove(element)
            if not mine:
                raise aborted("the server wants something done that is not known here")
        except SaslError as error:
            return self._gave_up(error)
        self._task = mine[0]
        self._write(elements2.begin_task(UPGRADE + self._task))
        self._state = State.TASK
        return []

    def _salt(self, nonza: Nonza) -> list[Event]:
        element = nonza.element().find(ns.SCRAM_UPGRADE, "salt")
        try:
            salt = b"" if element is None else authenticate.decode(element.text)
            count = "" if element is None else element.get("iterations")
            password = prep.password(self._login.password or "").encode()
        except (SaslError, prep.PrepError) as error:
            return self._gave_up(aborted(str(error)))
        iterations = lexical.unsigned(count, scram.MAX_ITERATIONS) or 0
        if not salt or iterations < scram.MIN_ITERATIONS:
            return self._gave_up(aborted("the iteration count is out of bounds, or a salt missing"))
        algorithm = scram.NAMES[self._task]
        return self._ask(events.DeriveKey(password, algorithm, salt, iterations))

    # The end

    def _success2(self, nonza: Nonza) -> list[Event]:
        element = nonza.element()
        name = self._exchange().name
        try:
            self._prove(element)
            jid = self._identity(element)
        except SaslError as error:
            return self._failed(error)
        self._account, self._mechanism = jid.bare, None
        version = _find(self._offered, (ns.IAP, "config-version"))
        answered = events.InlineAnswered(
            resumed=element.find(ns.SM, "resumed"),
            failed=element.find(ns.SM, "failed"),
            bound=element.find(ns.BIND2, "bound"),
            token=element.find(ns.FAST, "token"),
            config_version="" if version is None else version.get("value"),
        )
        self._offered = None
        out: list[Event] = [events.Authenticated(jid.bare, name), answered]
        if answered.resumed is not None:  # and no features follow (XEP-0198 §9.2)
            return [*out, *self._ready_as(jid)]
        if answered.bound is None or jid.is_bare:
            self._state = State.LOGGED_IN
            return out
        self._account = jid
        self._state = State.BOUND
        return out

    def _identity(self, element: Element) -> JID:
        text = element.child_text(ns.SASL2, "authorization-identifier") or ""
        try:
            jid = JID.parse(text.strip())
        except InvalidJID as error:
            raise StreamError(StreamCondition.INVALID_XML, str(error)) from None
        account = self._login.account
        if jid.domain != account.domain or (account.local and jid.bare != account):
            raise SaslError(SaslCondition.ABORTED, "the server takes us for somebody else")
        return jid

    def _features_of_bound(self, _nonza: Nonza) -> list[Event]:
        return self._ready_as(self._account or self._login.account)

    RULES: ClassVar[Rules] = {
        **InitiatingStream.RULES,
        (State.SASL2, qname(ns.SASL2, "challenge")): _challenge2,
        (State.SASL2, qname(ns.SASL2, "continue")): _continue,
        (State.SASL2, qname(ns.SASL2, "success")): _success2,
        (State.SASL2, qname(ns.SASL2, "failure")): _failure2,
        (State.TASK, qname(ns.SASL2, "task-data")): _salt,
        (State.TASK, qname(ns.SASL2, "failure")): _failure2,
        (State.BOUND, qname(ns.STREAM, "features")): _features_of_bound,
    }


def _find(element: Element | None, *path: tuple[str, str]) -> Element | None:
    for namespace, name in path:
        element = None if element is None else element.find(namespace, name)
    return element
