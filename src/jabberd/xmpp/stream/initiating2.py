"""The initiating role with SASL2 (XEP-0388), where the server offers it under TLS.

With what may come with it: a resource (XEP-0386), a resumed session (XEP-0198 §9), tokens
(XEP-0484), keys for other hash functions (XEP-0480), and all of it in the first flight (XEP-0509).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final

from jabberd.xmpp import ns, prep
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import SaslCondition, SaslError, StreamCondition, StreamError
from jabberd.xmpp.frames import Limits, Nonza
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.sasl import ht, scram
from jabberd.xmpp.sasl.ht import HtClient
from jabberd.xmpp.sasl.mechanism import ClientMechanism, Response, Token, aborted
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import qname
from jabberd.xmpp.stream import authenticate, elements, elements2, events
from jabberd.xmpp.stream.authenticate import Authenticate
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.initiating import InitiatingStream, Rules, State
from jabberd.xmpp.stream.login import Login, choose
from jabberd.xmpp.stream.opening import UPGRADE

_COUNT: Final = re.compile(r"[1-9][0-9]{0,8}")


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
        if self._state not in {State.SASL2, State.TASK}:
            return super().derived(key)
        self._answer()
        if self._state is State.TASK:
            self._write(elements2.salted(key))
            self._state = State.SASL2
            return self._negotiate()
        try:
            self._write(elements2.response(self._exchange().derived(key).data))
        except SaslError as error:
            return self._gave_up(error)
        return self._negotiate()

    # The beginning

    def _begin(self) -> None:
        super()._begin()
        binding = self._binding()
        if (
            self._account is None
            and self._channel.secure
            and self._request.config_version is not None
            and binding is not None
        ):
            self._send(self._with_token(binding))
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
        offer = _read_offer(features)
        inline = _find(features, (ns.SASL2, "authentication"), (ns.SASL2, "inline"))
        fast = None if inline is None else inline.find(ns.FAST, "fast")
        names = _texts(fast, ns.FAST, "mechanism")
        binding = self._binding()
        if self._fast is not None and self._fast.mechanism in names and binding is not None:
            return self._with_token(binding)
        if offer.plus != bool(offer.bindings):
            # XEP-0440 §3, rules 4 and 5.
            raise aborted("somebody has removed a part of the offer on the way")
        return choose(self._login, self._channel, offer, self._token)

    def _binding(self) -> bytes | None:
        """What the token's mechanism wants of the channel; None where it is not to be had."""
        if self._fast is None:
            return None
        name = ht.BINDINGS[self._fast.mechanism]
        return self._channel.bindings.get(name) if name else b""

    def _with_token(self, binding: bytes) -> ClientMechanism:
        token = self._fast or Token("", "")
        return HtClient(token.mechanism, self._login.account, token.secret, binding)

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
        try:
            step = self._exchange().challenge(authenticate.decode(nonza.text))
        except SaslError as error:
            return self._gave_up(error)
        if isinstance(step, Response):
            self._write(elements2.response(step.data))
            return []
        return self._ask_key(step)

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
        tasks = _texts(element.find(ns.SASL2, "tasks"), ns.SASL2, "task")
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
        iterations = int(count) if _COUNT.fullmatch(count) else 0
        if not salt or not scram.MIN_ITERATIONS <= iterations <= scram.MAX_ITERATIONS:
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

    def _ready_as(self, jid: JID) -> list[Event]:
        self._state = State.READY
        self._ready = True
        return [events.SessionBound(jid)]

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


def _read_offer(features: Element) -> scram.Advertised:
    offered = features.find(ns.SASL2, "authentication")
    listed = features.find(ns.SASL_CB, "sasl-channel-binding")
    if listed is None:
        return scram.Advertised(_texts(offered, ns.SASL2, "mechanism"))
    types = [child.get("type") for child in listed.find_all(ns.SASL_CB, "channel-binding")]
    return scram.Advertised(_texts(offered, ns.SASL2, "mechanism"), tuple(types))


def _find(element: Element | None, *path: tuple[str, str]) -> Element | None:
    for namespace, name in path:
        element = None if element is None else element.find(namespace, name)
    return element


def _texts(parent: Element | None, namespace: str, name: str) -> tuple[str, ...]:
    return () if parent is None else tuple(c.text for c in parent.find_all(namespace, name))
