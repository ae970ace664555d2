"""Other servers: which streams there are to and from them, and what waits for one.

It is the route of every domain that is not ours (`core.router.Route`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from jabberd.core.resent import Resent
from jabberd.core.returned import Returns
from jabberd.core.router import Router
from jabberd.core.session import Session
from jabberd.core.turns import Turns
from jabberd.core.verdict import Verdict
from jabberd.edge.caller import Caller
from jabberd.edge.dialback import Dialback
from jabberd.edge.outbox import Outbox, Outgoing, Post, Problem
from jabberd.edge.outlet import Marks, Outlet
from jabberd.edge.peers import Peers, Policy
from jabberd.edge.s2s import ServerConnection
from jabberd.edge.s2s_out import OutgoingServer, Unreachable
from jabberd.net.clock import Clock
from jabberd.net.dial import Dialler
from jabberd.net.dns import Target
from jabberd.net.tls import TlsContexts
from jabberd.net.trust import Tlsa, Trust
from jabberd.storage.log_api import Log, Relay
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stanza import ParseError, Stanza, read_stanza
from jabberd.xmpp.stream.events import Pair
from jabberd.xmpp.stream.server import ServerPolicy
from jabberd.xmpp.stream.server_initiating import Purpose

_log: Final = structlog.get_logger("jabberd.s2s")
_SWEEP_SECONDS: Final = 5.0
_TRY_SECONDS: Final = 60.0
"""How long finding, connecting and proving may take together."""
_LAST_WORDS_SECONDS: Final = 2.0
_ASKING_SECONDS: Final = 30.0
_REFUSED: Final = 200
"""Domains whose last refusal is remembered for the operator."""


class Finder(Protocol):
    """Where a domain's server is: DNS, or the operator's own table."""

    async def targets(self, domain: str) -> Sequence[Target]:
        """Places to connect to, in the order of trying.

        Raises:
            DnsError: there are none.
        """

    async def tlsa(self, target: Target) -> Sequence[Tlsa]:
        """What a signed zone says of the certificate at a place; empty where it says nothing."""


@dataclass(slots=True)
class Bounds:
    """What streams with other servers may use up; may be replaced at any time.

    Attributes:
        before: of a stream before anything is proved on it.
        after: of a stream after that.
        negotiation_seconds: how long the negotiation of a stream may take.
        idle_seconds: after which a stream is closed.
        queue_seconds: how long a message waits for a stream.
        queue_bytes: how much may wait for one pair of domains.
        outboxes: pairs of domains that something waits for, or has lately.
    """

    before: Limits
    after: Limits
    negotiation_seconds: float = 30.0
    idle_seconds: float = 600.0
    queue_seconds: float = 600.0
    queue_bytes: int = 4 << 20
    outboxes: int = 10_000


class Servers:
    """Every stream with another server, and every queue for one.

    Args:
        router: takes their stanzas.
        turns: of the durable log.
        log: itself.
        peers: who may talk to whom.
        trust: judges certificates.
        tls: our own ones.
        finder: where other servers are.
        dialler: connects to them.
        clock: the time.
        token: makes unpredictable strings.
        secret: which dialback keys are made of.
        bounds: what may be used up.
        verifications: connections at once that claims of strangers may cause.
        returns: the way back to senders.
    """

    def __init__(  # noqa: PLR0913 -- it is where all of this meets
        self,
        *,
        router: Router,
        turns: Turns,
        log: Log,
        peers: Peers,
        trust: Trust,
        tls: TlsContexts,
        finder: Finder,
        dialler: Dialler,
        clock: Clock,
        token: Callable[[], str],
        secret: bytes,
        bounds: Bounds,
        verifications: int,
        returns: Returns,
    ) -> None:
        self.router = router
        self.turns = turns
        self.peers = peers
        self.trust = trust
        self.tls = tls
        self.finder = finder
        self.dialler = dialler
        self.clock = clock
        self.token = token
        self.bounds = bounds
        self.pool = Pool()
        self.marks = Marks(token)
        self.resent = Resent()
        self.caller = Caller(self)
        self.dialback = Dialback(secret, self.caller.reach, verifications)
        self.connections: set[ServerConnection] = set()
        self.refusals: OrderedDict[str, str] = OrderedDict()  # by domain: why it was refused
        self.log = log
        self._met: OrderedDict[str, None] = OrderedDict()
        self._outboxes: dict[tuple[str, str], Outbox] = {}  # by pair
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._post = Post(
            turns, log.next_key, clock.now, returns.give_back, returns.not_stored, self._connect,
            bounds.queue_seconds, bounds.queue_bytes,
        )  # fmt: skip

    # Route

    def receive(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Take a stanza for a domain that is not ours.

        Raises:
            StanzaError: what its sender is to be told.
        """
        if stanza.from_ is None or stanza.to is None:
            raise StanzaError(Condition.BAD_REQUEST, "no address")
        outbox = self._outboxes.get((stanza.from_.domain, stanza.to.domain))
        if outbox is None or outbox.allowed_by is not self.peers:  # else nothing has changed
            pair = Pair(stanza.from_.domain, stanza.to.domain)
            if not self.router.is_service(pair.local):  # a host that is gone, say
                raise StanzaError(Condition.ITEM_NOT_FOUND, f"{pair.local} is not served here")
            if self.peers.policy(pair.local, pair.remote) is Policy.OFF:
                raise self._off(pair)
            outbox = self._outbox(pair)
            outbox.allowed_by = self.peers
        return outbox.put(stanza, origin)

    def knows(self, account: str) -> bool:  # noqa: ARG002 -- Route
        """False: accounts of other servers are not ours."""
        return False

    def _off(self, pair: Pair) -> StanzaError:
        condition = Condition.NOT_ALLOWED
        if not self.peers.enabled:
            condition = Condition.REMOTE_SERVER_NOT_FOUND
        return StanzaError(condition, self.peers.why_not(pair.local, pair.remote))

    def _outbox(self, pair: Pair) -> Outbox:
        outbox = self._outboxes.get(pair)
        if outbox is None:
            if len(self._outboxes) >= self.bounds.outboxes:
                self._tidy()
            if len(self._outboxes) >= self.bounds.outboxes:
                text = "too many servers are being looked for: try again later"
                raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
            outbox = self._outboxes[pair] = Outbox(pair, self._post)
            self._sweep_later()
        return outbox

    # Outgoing streams

    def offer(self, pair: Pair, outlet: Outlet) -> None:
        """A stream can carry a pair."""
        try:
            outbox = self._outbox(pair)
        except StanzaError:
            return  # whatever comes first will look for a stream again
        if outbox.carrier is None:
            outlet.add(outbox)

    def claim_failed(self, pair: Pair) -> None:
        """A stream to the same server will not carry one more pair: it gets one of its own."""
        outbox = self._outboxes.get(pair)
        if outbox is not None and outbox.carrier is None and not self._closed:
            self.spawn(self._open(outbox))

    def _connect(self, outbox: Outbox) -> None:
        if self._closed:
            return
        if not self.tls.covers(outbox.pair.local) and self._claim(outbox.pair):
            return
        self.spawn(self._open(outbox))

    def _claim(self, pair: Pair) -> bool:
        """Ask for one more pair on a stream that is there: for who can use dialback only."""
        return any(
            isinstance(connection, OutgoingServer)
            and connection.pair.remote == pair.remote
            and connection.outlet is not None
            and connection.claim(pair)
            for connection in self.connections
        )

    async def _open(self, outbox: Outbox) -> None:
        pair = outbox.pair
        await self.caller.turn()
        try:
            async with asyncio.timeout(_TRY_SECONDS):
                await self.caller.dial(pair, Purpose.FULL)
        except Unreachable as error:
            self._failed(outbox, error.problem)
        except TimeoutError:
            self._failed(outbox, Problem(f"{pair.remote} does not answer", step="connect"))

    def _failed(self, outbox: Outbox, problem: Problem) -> None:
        pair = outbox.pair
        _log.info("no stream to a server", server=pair.remote, host=pair.local, why=problem.text)
        outbox.failed(problem)

    # Incoming streams

    def host_policy(self, domain: str, *, tls_required: bool) -> ServerPolicy | None:
        """How one of our domains takes streams of other servers; None: it is not ours."""
        if not self.peers.enabled or not self.router.is_service(domain):
            return None
        most = Element(ns.LIMITS, "max-bytes", {}, [str(self.bounds.after.stanza_bytes)])
        features = Element(ns.LIMITS, "limits", {}, [most]).to_bytes()
        return ServerPolicy(domain, tls_required=tls_required, dialback=True, features=features)

    def refused(self, domain: str, why: str) -> None:
        """Remember for the operator why a server was refused."""
        self.refusals[domain] = why
        self.refusals.move_to_end(domain)
        if len(self.refusals) > _REFUSED:
            self.refusals.popitem(last=False)

    def meet(self, domain: str) -> bool:
        """Whether this is the first stream with a server since this process began."""
        first = domain not in self._met
        self._met[domain] = None
        self._met.move_to_end(domain)
        if len(self._met) > self.bounds.outboxes:
            self._met.popitem(last=False)
        return first

    # The whole

    def outboxes(self) -> Iterable[Outbox]:
        """Every queue that is in use."""
        return tuple(self._outboxes.values())

    def restore(self, relays: Iterable[Relay]) -> None:
        """Take over what a former process has not got rid of, oldest first."""
        loop = asyncio.get_running_loop()
        skew = loop.time() - self.clock.now()
        lost: list[int] = []
        boxes: dict[Pair, Outbox] = {}
        for relay in relays:
            pair = Pair(relay.local, relay.remote)
            try:
                if not self.router.is_service(relay.local):
                    raise ParseError(f"{relay.local} is not served here any more")
                stanza = read_stanza(relay.stanza)
            except ParseError as error:
                _log.error("given up in the queue", server=relay.remote, why=str(error))
                lost.append(relay.key)
                continue
            outbox = boxes.get(pair)
            if outbox is None:
                outbox = boxes[pair] = self._outboxes[pair] = Outbox(pair, self._post)
            outbox.restore(Outgoing(stanza, relay.key, None, relay.expires + skew))
        if lost:
            self.turns.open().unit.relayed += lost

    def begin(self) -> None:
        """Look for the servers that something waits for; once everything listens."""
        for outbox in self.outboxes():
            outbox.begin()
        if self._outboxes:
            self._sweep_later()

    def adjust(self, bounds: Bounds) -> None:
        """Keep to other bounds from now on."""
        self.bounds = bounds
        self._post.seconds = bounds.queue_seconds
        self._post.bytes = bounds.queue_bytes

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the streams."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("work for another server failed", exc_info=error)

    def _sweep_later(self) -> None:
        if self._timer is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for outbox in self.outboxes():
            outbox.expire(now)
        idle = self.bounds.idle_seconds
        for connection in tuple(self.connections):
            # What was opened to ask about a key alone is soon of no use (XEP-0220 §2.1.2).
            most = idle if connection.ready else min(idle, _ASKING_SECONDS)
            if connection.used < now - most and not connection.waiting:
                connection.close()
        self._tidy()
        if self._outboxes or self.connections:
            self._sweep_later()

    def _tidy(self) -> None:
        now = asyncio.get_running_loop().time()
        for pair, outbox in list(self._outboxes.items()):
            if outbox.idle and now - outbox.used > self.bounds.negotiation_seconds:
                del self._outboxes[pair]

    async def close(self) -> None:
        """End every stream; what is durable waits for the next process.

        What was written gets a moment to be acknowledged, or it would be sent again.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        last = asyncio.get_running_loop().time() + _LAST_WORDS_SECONDS
        while any(c.waiting for c in self.connections):
            if asyncio.get_running_loop().time() > last:
                break
            await asyncio.sleep(_LAST_WORDS_SECONDS / 50)
        for outbox in self.outboxes():
            outbox.close()
        for connection in tuple(self.connections):
            connection.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
        tasks = [*self._tasks, *self.caller.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.dialler.stop()
