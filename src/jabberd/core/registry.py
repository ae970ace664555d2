"""The handlers of one host's modules, sorted for quick look-up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import structlog

from jabberd.core.eager import settle
from jabberd.core.module import (
    AccountEvent,
    At,
    Flow,
    IqGet,
    IqSet,
    Module,
    OnAccount,
    OnHostMessage,
    OnIq,
    OnMessage,
    OnNonza,
    OnPresence,
    OnSession,
    OnUndelivered,
    OnWaiting,
    Outcome,
    Phase,
    Reply,
    SessionEvent,
    Side,
)
from jabberd.core.session import Session
from jabberd.core.verdict import VERDICTS, Dropped, Handled, Stored, Verdict
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Stanza, qname

S = TypeVar("S", bound=Stanza)
_log: Final = structlog.get_logger("jabberd.registry")


@dataclass(frozen=True, slots=True)
class Step:
    """One handler of one phase.

    Attributes:
        module: whose it is.
        phase: its name.
        handle: what to call.
        wants: names of child elements (`qname`), one of which must be there; empty: any.
        types: the presence types it wants; empty: any.
        others: whether it is only for accounts with several clients (`OnMessage.others`).
    """

    module: str
    phase: str
    handle: Callable[[Any, Flow], Outcome | Awaitable[Outcome]]
    wants: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    others: bool = False

    @property
    def name(self) -> str:
        """Who decides here, for people."""
        return f"{self.module} in phase {self.phase}"

    def applies(self, stanza: Stanza) -> bool:
        """Whether the handler wants to see this stanza."""
        if self.types and stanza.type not in self.types:
            return False
        return not self.wants or not self.wants.isdisjoint(stanza.children)


@dataclass(slots=True)
class Stations:
    """The handlers of one kind of stanza on one side, phase by phase.

    Plain attributes, because every stanza passes here and an Enum is slow to hash.

    Attributes:
        screen: of SCREEN.
        stamp: of STAMP.
        deliver: of DELIVER.
        copy: of COPY.
        fallback: of FALLBACK.
        entry: of SCREEN, then of STAMP: what comes before a message is delivered.
    """

    screen: tuple[Step, ...] = ()
    stamp: tuple[Step, ...] = ()
    deliver: tuple[Step, ...] = ()
    copy: tuple[Step, ...] = ()
    fallback: tuple[Step, ...] = ()
    entry: tuple[Step, ...] = ()
    _wanted: frozenset[str] | None = frozenset()  # by the steps of `entry`; None: everything
    _alone: tuple[Step, ...] = ()  # of `copy`, those for accounts with a single client as well
    _alone_wanted: frozenset[str] | None = frozenset()  # by them

    def add(self, phase: Phase, step: Step) -> None:
        """One more handler."""
        setattr(self, phase.value, (*getattr(self, phase.value), step))
        self.entry = (*self.screen, *self.stamp)
        self._wanted = _wanted(self.entry)
        self._alone = tuple(one for one in self.copy if not one.others)
        self._alone_wanted = _wanted(self._alone)

    def copies(self, message: Message, *, alone: bool) -> tuple[Step, ...]:
        """Those of `copy` that are asked about a message.

        Args:
            message: that was sent or delivered.
            alone: whether the account has no other client.
        """
        if not alone:
            return self.copy
        wanted = self._alone_wanted
        if wanted is not None and wanted.isdisjoint(message.children):
            return ()
        return self._alone

    def concerns(self, stanza: Stanza) -> bool:
        """Whether one of `entry` may want to look at this stanza."""
        wanted = self._wanted
        return wanted is None or not wanted.isdisjoint(stanza.children)


def _wanted(steps: Sequence[Step]) -> frozenset[str] | None:
    """The children that one of these steps wants to look at; None where one wants everything."""
    if all(step.wants for step in steps):
        return frozenset[str]().union(*(step.wants for step in steps))
    return None


@dataclass(slots=True)
class SideStations:
    """The stations of one side."""

    message: Stations = field(default_factory=Stations)
    presence: Stations = field(default_factory=Stations)
    iq: Stations = field(default_factory=Stations)


IqHandler = Callable[[Iq, Session | None], Reply | Awaitable[Reply]]


class Conflict(Exception):  # noqa: N818 -- found when modules are wired, never later
    """Two modules want to answer the same request."""


class Registry:
    """What the modules of one host registered."""

    def __init__(self) -> None:
        self.modules: list[tuple[str, Module]] = []
        self.ports: dict[type[Any], object] = {}
        self.sent = SideStations()
        self.received = SideStations()
        self.namespaces: set[str] = set()
        self._requests: dict[tuple[str, At, str], tuple[str, IqHandler]] = {}
        self._sessions: dict[SessionEvent, list[Callable[[Session], Awaitable[None] | None]]] = {}
        self._accounts: dict[AccountEvent, list[Callable[[JID], Awaitable[None] | None]]] = {}
        self._nonzas: dict[tuple[str, str], Callable[[Session], None]] = {}
        self.host_messages: dict[str, Callable[[Message], Awaitable[Verdict]]] = {}
        self.waiting: list[Callable[[JID, Message | None], None]] = []
        self.undelivered: list[Callable[[Session, Stanza], None]] = []

    def add(self, name: str, module: Module) -> None:
        """Take a module in.

        Raises:
            Conflict: another module answers the same request or provides the same port.
        """
        self.modules.append((name, module))
        for api, provider in module.provides.items():
            if api in self.ports:
                raise Conflict(f"{name}: {api.__name__} is provided already")
            self.ports[api] = provider
        for handler in module.handlers:
            if isinstance(handler, IqGet | IqSet):
                self._add_request(name, handler)
            elif isinstance(handler, OnSession):
                self._sessions.setdefault(handler.event, []).append(handler.handle)
            elif isinstance(handler, OnAccount):
                self._accounts.setdefault(handler.event, []).append(handler.handle)
            elif isinstance(handler, OnMessage | OnPresence | OnIq):
                self._add_step(name, handler)
            else:
                self._add_other(name, handler)

    def _add_other(
        self, name: str, handler: OnNonza | OnHostMessage | OnWaiting | OnUndelivered
    ) -> None:
        if isinstance(handler, OnHostMessage):
            self.host_messages[qname(handler.ns, handler.name)] = handler.handle
        elif isinstance(handler, OnWaiting):
            self.waiting.append(handler.handle)
        elif isinstance(handler, OnUndelivered):
            self.undelivered.append(handler.handle)
        else:
            key = (handler.ns, handler.name)
            if key in self._nonzas:
                raise Conflict(f"{name}: <{handler.name}/> of {handler.ns} is taken already")
            self._nonzas[key] = handler.handle

    def nonza(self, namespace: str, name: str) -> Callable[[Session], None] | None:
        """What handles a first-level element of a client's stream."""
        return self._nonzas.get((namespace, name))

    def _add_request(self, name: str, handler: IqGet | IqSet) -> None:
        kind = "get" if isinstance(handler, IqGet) else "set"
        self.namespaces.add(handler.ns)
        for at in (At.HOST, At.OWN, At.USER):
            if at not in handler.at:
                continue
            key = (kind, at, qname(handler.ns, handler.name))
            if key in self._requests:
                other = self._requests[key][0]
                raise Conflict(f"{name}: {other} answers {kind} of {handler.ns} already")
            self._requests[key] = (name, handler.handle)

    def _add_step(self, name: str, handler: OnMessage | OnPresence | OnIq) -> None:
        side = self.sent if handler.side is Side.SENT else self.received
        if isinstance(handler, OnMessage):
            wants = frozenset(qname(*want) for want in handler.wants)
            step = Step(
                name, handler.phase.value, handler.handle, wants=wants, others=handler.others
            )
            side.message.add(handler.phase, step)
        elif isinstance(handler, OnPresence):
            step = Step(name, handler.phase.value, handler.handle, types=handler.types)
            side.presence.add(handler.phase, step)
        else:
            side.iq.add(Phase.SCREEN, Step(name, Phase.SCREEN.value, handler.handle))

    def request(self, iq: Iq, at: At) -> tuple[str, IqHandler] | None:
        """The module that answers this request, and its handler."""
        return self._requests.get((iq.type, at, iq.children[0]))

    def on_session(self, event: SessionEvent) -> Sequence[Callable[[Session], Any]]:
        """The handlers of a moment in a session's life."""
        return self._sessions.get(event, ())

    def on_account(self, event: AccountEvent) -> Sequence[Callable[[JID], Any]]:
        """The handlers of a moment in an account's life."""
        return self._accounts.get(event, ())


def run(steps: Sequence[Step], stanza: Stanza, flow: Flow) -> Outcome | Awaitable[Outcome]:
    """Let the handlers of one phase look at a stanza; the first verdict ends it.

    The outcome is awaitable only where a handler's is.
    """
    for index, step in enumerate(steps):
        if not step.applies(stanza):
            continue
        try:
            outcome = step.handle(stanza, flow)
        except StanzaError as error:
            error.by = error.by or step.name
            raise
        if outcome is None:
            continue
        if isinstance(outcome, VERDICTS):
            return _signed(outcome, step)
        return _go_on(outcome, step, steps[index + 1 :], stanza, flow)
    return None


async def _go_on(
    waiting: Awaitable[Outcome], step: Step, rest: Sequence[Step], stanza: Stanza, flow: Flow
) -> Outcome:
    try:
        outcome = await waiting
    except StanzaError as error:
        error.by = error.by or step.name
        raise
    if outcome is None:
        return await settle(run(rest, stanza, flow))
    return _signed(outcome, step)


def show(steps: Sequence[Step], message: Message, flow: Flow) -> Awaitable[None] | None:
    """Let the handlers of COPY look at a message; awaitable only where one of them is.

    The message is delivered: neither their verdicts nor their failures change that, and its
    sender must not be told that it failed.
    """
    for index, step in enumerate(steps):
        if step.wants and step.wants.isdisjoint(message.children):
            continue
        try:
            outcome = step.handle(message, flow)
            if outcome is not None and not isinstance(outcome, VERDICTS):
                return _show_on(outcome, step, steps[index + 1 :], message, flow)
        except Exception as error:
            _failed(step, error)
    return None


async def _show_on(
    waiting: Awaitable[Outcome], step: Step, rest: Sequence[Step], message: Message, flow: Flow
) -> None:
    try:
        await waiting
    except Exception as error:
        _failed(step, error)
    following = show(rest, message, flow)
    if following is not None:
        await following


def _failed(step: Step, error: Exception) -> None:
    _log.error("a handler failed", handler=step.name, exc_info=error)


def _signed(verdict: Verdict, step: Step) -> Verdict:
    """The verdict with the phase in which its handler was asked, for `jabberd trace`."""
    if isinstance(verdict, Handled | Stored | Dropped) and not verdict.phase:
        return replace(verdict, phase=step.phase)
    return verdict
