"""One user's login on the network: begun, kept up, and ended; nobody waits for anybody else's."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import structlog

from jabberd.client.component import LinkLost
from jabberd.gateways import presence
from jabberd.gateways.contacts import Contacts
from jabberd.gateways.desk import Desk
from jabberd.gateways.events import Event, Online, Show
from jabberd.gateways.incoming import Incoming
from jabberd.gateways.outbox import Outbox
from jabberd.gateways.transport import (
    Capability,
    LoginRefused,
    Lost,
    NotDone,
    NotTaken,
    Site,
    Transport,
)
from jabberd.gateways.users import User
from jabberd.storage.api import StorageError
from jabberd.xmpp.error import Condition, StanzaError

_log: Final = structlog.get_logger("jabberd.gateway")
_RETRY: Final = (5.0, 15.0, 60.0, 300.0)
_STEADY_SECONDS: Final = 60.0
"""A login that held for so long starts over with short pauses."""
_TELL_SECONDS: Final = 300.0
"""How long a network is out of reach before its user is told: most breaks are shorter."""


class State(Enum):
    """How a login stands."""

    OFF = "logged out"
    CONNECTING = "logging in"
    ONLINE = "logged in"
    WAITING = "out of reach, trying again"
    REFUSED = "refused by the network"


@dataclass(slots=True)
class Shared:
    """What the sessions of a gateway share.

    Attributes:
        desk: of the gateway.
        incoming: its way in.
        site: what the network is offered.
        gate: bounds the logins that are under way.
    """

    desk: Desk
    incoming: Incoming
    site: Site
    gate: asyncio.Semaphore


class Session:
    """One user's login.

    Args:
        shared: see there.
        user: whose.

    Attributes:
        user: whose.
        contacts: of the user.
        outbox: of the user.
        state: how it stands.
        problem: what is wrong, in words; empty where nothing is.
        since: of this state, seconds since the epoch.
    """

    def __init__(self, shared: Shared, user: User) -> None:
        self.user = user
        self.contacts = Contacts(shared.desk, user)
        self.outbox = Outbox(shared.desk, user)
        self.state = State.OFF
        self.problem = ""
        self.since = shared.desk.now()
        self._shared = shared
        self._desk = shared.desk
        self._task: asyncio.Task[None] | None = None
        self._before: asyncio.Task[None] | None = None
        self._taking: set[asyncio.Task[None]] = set()
        self._transport: Transport | None = None
        self._told = False
        self._down_since: float | None = None

    @property
    def transport(self) -> Transport | None:
        """What the verbs go to; None while the user is not logged in."""
        return self._transport

    def begin(self) -> None:
        """Log in, unless that is so already."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep())

    async def end(self) -> None:
        """Log out; also where it was not known yet whether to be logged in."""
        self.user.known = True
        task, self._task = self._task, None
        if task is not None:
            self._before = task
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._task is None:  # nobody has begun anew meanwhile
            self._turn(State.OFF)

    async def shown(self) -> None:
        """The user's presence has changed: show it to the network."""
        if self._transport is not None and self._desk.can(Capability.PRESENCE) and self.user.here:
            seen = self.user.shown()
            await self.attempt(self._transport.set_presence(seen.show, seen.status))

    async def attempt(self, work: Awaitable[None]) -> None:
        """Do what need not succeed, and hold nothing else up.

        Raises:
            NotDone: the network refused it.
        """
        with contextlib.suppress(Lost, TimeoutError):
            async with asyncio.timeout(self._desk.rules.small_seconds):
                await work

    def announce(self) -> None:
        """Send the gateway's presence as it is."""
        show, words = Show.ONLINE, ""
        if self.state in {State.OFF, State.REFUSED}:
            show = Show.OFFLINE
        if self.state is not State.ONLINE:
            words = f"{self.state.value}: {self.problem}" if self.problem else self.state.value
            show = show if show is Show.OFFLINE else Show.DND
        desk = self._desk
        desk.link.post(presence.of_gateway(desk.network, desk.domain, self.user.jid, show, words))

    # Inside

    def _turn(self, state: State, problem: str = "") -> None:
        if (state, problem) != (self.state, self.problem):
            self.state, self.problem, self.since = state, problem, self._desk.now()
            self.announce()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        await self._settled()
        while True:
            began = loop.time()
            try:
                await self._once()
                problem = "the network ended the connection"
            except LoginRefused as refused:
                await self._refused(str(refused))
                return
            except Lost as lost:
                problem = str(lost)
            except (StorageError, LinkLost, StanzaError, NotTaken) as error:
                problem = f"this server: {error}"
            except Exception as error:
                _log.error("a transport failed", user=self.user.jid.text, exc_info=error)
                problem = "an error in the gateway; its log has it"
            self._turn(State.WAITING, problem)
            if loop.time() - began > _STEADY_SECONDS:
                failures = 0
            pause = _RETRY[min(failures, len(_RETRY) - 1)] * random.uniform(0.8, 1.3)  # noqa: S311 -- jitter
            failures += 1
            await self._tell_of_outage(pause)
            await asyncio.sleep(pause)

    async def _settled(self) -> None:
        """Wait until the login before this one has let go of everything."""
        over = {*self._taking, *([self._before] if self._before is not None else [])}
        if over:
            await asyncio.wait(over)
        self._before = None

    async def _take(self, event: Event) -> None:
        """Bring an event to the user, to its end even if the login ends meanwhile.

        A message that is half-way would be there twice: the network brings it again.

        Raises:
            NotTaken: it could not be brought there.
        """
        taking = asyncio.create_task(self._shared.incoming.take(self.user, self.contacts, event))
        self._taking.add(taking)
        taking.add_done_callback(self._taken)
        await asyncio.shield(taking)

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._taking.discard(task)
        if not task.cancelled():
            task.exception()  # where nobody waits any more, nobody needs to know

    async def _tell_of_outage(self, pause: float) -> None:
        now = asyncio.get_running_loop().time()
        if self._down_since is None:
            self._down_since = now
        if not self._told and now + pause - self._down_since > _TELL_SECONDS:
            self._told = True
            text = f"{self._desk.network.title} cannot be reached: {self.problem}. I keep trying."
            await self._say(text)

    async def _once(self) -> None:
        """One login, from its beginning to its end."""
        login = self._desk.users.login(self.user)
        if login is None:
            text = "the key that your login was encrypted with is not here: register again"
            raise LoginRefused(text)
        self._turn(State.CONNECTING)
        await self.contacts.load()
        await self._shared.gate.acquire()
        held = contextlib.ExitStack()
        held.callback(self._shared.gate.release)
        transport = self._desk.network.transport(self.user.jid.text, login, self._shared.site)
        online = asyncio.Event()

        async def emit(event: Event) -> None:
            if isinstance(event, Online):
                held.close()
                await self._online(transport, event)
                online.set()
            else:
                await self._take(event)

        run = asyncio.ensure_future(transport.run(emit))
        try:
            await self._first(run, online)
            if not online.is_set() and not run.done():
                raise Lost("the network does not answer")
            await run
        finally:
            held.close()
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            await self._offline(transport)
            if self._taking:  # before the next login, which may bring the same again
                await asyncio.wait(self._taking)

    async def _first(self, run: asyncio.Future[None], online: asyncio.Event) -> None:
        """Wait until the login has succeeded or ended, or has taken too long."""
        wait = asyncio.ensure_future(online.wait())
        seconds = self._desk.rules.login_seconds
        try:
            both: set[asyncio.Future[Any]] = {run, wait}
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wait.cancel()

    async def _online(self, transport: Transport, event: Online) -> None:
        self._transport = transport
        self._down_since = None
        if self._told:
            self._told = False
            await self._say(f"{self._desk.network.title} can be reached again.")
        self._turn(State.ONLINE, event.text)
        self.contacts.went(online=True)
        self.outbox.open(transport)
        await self.shown()
        if self._desk.can(Capability.CONTACTS):
            await self.contacts.synchronise(transport)

    async def _offline(self, transport: Transport) -> None:
        was_online = self._transport is not None
        self._transport = None
        await self.outbox.close()
        if was_online:
            self.contacts.went(online=False)
        with contextlib.suppress(Lost, NotDone):
            async with asyncio.timeout(self._desk.rules.verb_seconds):
                await transport.close()

    async def _refused(self, text: str) -> None:
        self._turn(State.REFUSED, text)
        error = StanzaError(Condition.NOT_AUTHORIZED, text)
        self._desk.link.post(presence.failed(self._desk.domain, self.user.jid, error))
        await self._say(
            f"{self._desk.network.title} does not let you in: {text}\n"
            'Correct your registration: write "register", or use your client\'s form.'
        )

    async def _say(self, text: str) -> None:
        with contextlib.suppress(LinkLost, StanzaError):
            await self._desk.say(self.user.jid, text)
