"""A stream that we open to another server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from jabberd.edge.outbox import Problem
from jabberd.edge.outlet import Outlet
from jabberd.edge.peers import Policy
from jabberd.edge.s2s import ServerConnection
from jabberd.net.trust import Judgement, Tlsa
from jabberd.net.wire import Wire
from jabberd.xmpp import sm
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Event, Pair
from jabberd.xmpp.stream.login import Tls
from jabberd.xmpp.stream.server import ServerStream
from jabberd.xmpp.stream.server_initiating import Purpose, ServerInitiatingStream

if TYPE_CHECKING:
    from jabberd.edge.servers import Servers

_LASTING: Final = frozenset(
    {
        StreamCondition.HOST_UNKNOWN,
        StreamCondition.HOST_GONE,
        StreamCondition.NOT_AUTHORIZED,
        StreamCondition.POLICY_VIOLATION,
        StreamCondition.INVALID_FROM,
        StreamCondition.IMPROPER_ADDRESSING,
        StreamCondition.UNSUPPORTED_VERSION,
    }
)
"""What another server says that it will say again in a minute."""


_REFUSALS: Final = frozenset(
    {
        Condition.ITEM_NOT_FOUND,
        Condition.POLICY_VIOLATION,
        Condition.NOT_AUTHORIZED,
        Condition.FORBIDDEN,
        Condition.NOT_ACCEPTABLE,
        Condition.NOT_ALLOWED,
    }
)
"""The same of conditions of dialback (XEP-0220 §2.4.2)."""


class Unreachable(Exception):  # noqa: N818 -- it says what the server is
    """No stream came about.

    Attributes:
        problem: why.
        external: it failed at SASL EXTERNAL, and the stream with it: dialback may do.
    """

    def __init__(self, problem: Problem, *, external: bool = False) -> None:
        super().__init__(problem.text)
        self.problem = problem
        self.external = external


class OutgoingServer(ServerConnection):
    """One connection to another server.

    Args:
        servers: what all of them share.
        pair: our domain and the other one.
        purpose: to carry stanzas, or only to ask about a dialback key.
        external: whether to prove ourselves by our certificate where that is offered.
        tls_required: whether nothing is said without TLS.
        tlsa: what a signed zone says of the other side's certificate (DANE).

    Attributes:
        pair: see above.
        done: a future that has a result when the purpose can be served, or Unreachable.
    """

    __slots__ = ("_asked", "_claims", "_external", "_failed_external", "_pending", "_problem",
                 "_purpose", "_stream", "_tls_required", "_tlsa", "_wanted", "done",
                 "pair")  # fmt: skip

    def __init__(
        self,
        servers: Servers,
        pair: Pair,
        purpose: Purpose,
        *,
        external: bool = True,
        tls_required: bool = True,
        tlsa: Sequence[Tlsa] = (),
    ) -> None:
        super().__init__(servers)
        self._tlsa = tlsa
        self.pair = pair
        self._purpose = purpose
        self._external = external
        self._tls_required = tls_required
        self._stream: ServerInitiatingStream | None = None
        self._claims: dict[Pair, asyncio.TimerHandle] = {}  # of more pairs, not answered
        self._pending: list[Pair] = []  # proved, but stream management is not settled yet
        self._problem: Problem | None = None
        self._failed_external = False
        self._wanted: dict[tuple[Pair, str], asyncio.Future[bool]] = {}  # keys asked about
        self._asked = False  # whether stream management was asked for
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(_looked_at)

    @property
    def stream(self) -> ServerStream | None:
        """The stream; None before the connection is up."""
        return self._stream

    # Called by the pump

    def connected(self, wire: Wire) -> None:
        """The other server is there."""
        self._wire = wire
        servers, pair = self._servers, self.pair
        dialback = servers.peers.policy(pair.local, pair.remote) is not Policy.OFF
        self._stream = stream = ServerInitiatingStream(
            pair=pair,
            purpose=self._purpose,
            secure=wire.tls is not None,
            tls=Tls.REQUIRED if self._tls_required else Tls.WANTED,
            external=self._external and servers.tls.covers(pair.local),
            dialback_key=servers.dialback.key if dialback else None,
            bidi=True,
            limits=servers.bounds.before,
            after=servers.bounds.after,
            token=servers.token,
            pool=servers.pool,
        )
        self._deadline(servers.bounds.negotiation_seconds)
        servers.connections.add(self)
        stream.start()
        self._flush()

    def secured(self) -> None:
        """TLS is up."""
        if self._stream is not None:
            self._take(self._stream.secured())
            self._flush()

    # Used by the server

    def claim(self, pair: Pair) -> bool:
        """Carry another pair as well (XEP-0220 §2.1.1, sender piggybacking).

        Returns:
            Whether that was begun; the outbox hears how it ends.
        """
        stream = self._stream
        if stream is None or not self.ready or not stream.offers_dialback:
            return False
        stream.claim(pair)
        loop = asyncio.get_running_loop()
        seconds = self._servers.bounds.negotiation_seconds
        self._claims[pair] = loop.call_later(seconds, self._claim_failed, pair)
        self._flush()
        return True

    def _claim_failed(self, pair: Pair) -> None:
        self._claimed(pair)
        self._servers.claim_failed(pair)

    def _claimed(self, pair: Pair) -> None:
        timer = self._claims.pop(pair, None)
        if timer is not None:
            timer.cancel()

    async def verify(self, pair: Pair, stream_id: str, key: str) -> bool:
        """Ask whether a key is one of the other server's (XEP-0220 §2.1.2).

        Raises:
            StanzaError: it could not say.
            Unreachable: the stream broke.
        """
        stream = self._stream
        if stream is None or not stream.can_verify:
            raise Unreachable(Problem("the stream is gone"))
        wanted = self._wanted.setdefault(
            (pair, stream_id), asyncio.get_running_loop().create_future()
        )
        stream.verify(pair, stream_id, key)
        self._flush()
        return await asyncio.shield(wanted)

    @property
    def can_verify(self) -> bool:
        """Whether keys can be asked about."""
        return self._stream is not None and not self._stream.closed and self._stream.can_verify

    # Events

    def _event(self, event: Event) -> None:
        stream = self._stream
        if stream is None:
            return
        if isinstance(event, events.UpgradeToTls):
            self._flush()
            if self._wire is not None:
                self._wire.start_tls()
        elif isinstance(event, events.PeerWanted):
            self._peer(stream)
        elif isinstance(event, events.CanVerify):
            self._stop_timer()
            self._succeed()
        elif isinstance(event, events.Verified):
            self._verified(event)
        elif isinstance(event, events.PairProved):
            self._proved(stream, event)
        elif isinstance(event, events.PairRefused):
            self._refused(event.pair, event.error)
        elif isinstance(event, events.NoWay):
            self._problem = Problem(event.why, lasting=True, step="authentication")
        elif isinstance(event, events.AuthenticationFailed):
            self._failed_external = True
            why = event.error.text or event.error.condition.value
            text = f"{self.pair.remote} does not accept our certificate: {why}"
            self._problem = Problem(text, lasting=True, step="authentication")

    def _peer(self, stream: ServerInitiatingStream) -> None:
        """Look at the certificate of the other server before it is told or believed anything."""
        why = self._objection(self.pair)
        if why:
            self._problem = Problem(why, lasting=True, step="certificate")
            self._take(stream.close())
            return
        self._take(stream.peer())

    def _judge(self, domain: str) -> Judgement:
        known = domain in self.judgements
        judgement = super()._judge(domain)
        if known or not self._tlsa or domain != self.pair.remote or self._wire is None:
            return judgement
        tls = self._wire.tls
        chain = tls.peer_chain() if tls is not None else ()
        by_dane = self._servers.trust.judge_dane(self._tlsa, chain, domain)
        if by_dane is not None:
            judgement = self.judgements[domain] = by_dane
        return judgement

    def _verified(self, event: events.Verified) -> None:
        wanted = self._wanted.pop((event.pair, event.stream_id), None)
        if wanted is None or wanted.done():
            return
        if event.error is not None:
            wanted.set_exception(event.error)
        else:
            wanted.set_result(event.valid)

    def _proved(self, stream: ServerInitiatingStream, event: events.PairProved) -> None:
        self._proves(event.pair, event.how)
        self._claimed(event.pair)
        self._log().info(
            "stream to a server", host=event.pair.local, proved=event.how, bidi=stream.bidi
        )
        if self.outlet is not None:
            self._servers.offer(event.pair, self.outlet)
            return
        self._pending.append(event.pair)
        if stream.offers_sm and not self._asked:
            self._asked = True
            self._deadline(self._servers.bounds.negotiation_seconds)
            self._flush()
            self._acks.begin()  # the peer counts what it sends from its answer on
            self.write_raw(sm.ENABLE)
        elif not self._asked:
            self._open(managed=False)

    def _sm(self, nonza: Nonza) -> None:
        if not self._asked or self.outlet is not None:
            super()._sm(nonza)
        elif nonza.name in {"enabled", "failed"}:
            self._acks.begin()
            self._acks.on = nonza.name == "enabled"
            self._open(managed=self._acks.on)
        else:
            super()._sm(nonza)

    def _open(self, *, managed: bool) -> None:
        """Stanzas may flow."""
        self._stop_timer()
        self.outlet = Outlet(self, self._servers.marks, managed=managed)
        self._succeed()
        pending, self._pending = self._pending, []
        for pair in pending:
            self._servers.offer(pair, self.outlet)

    def _refused(self, pair: Pair, error: StanzaError | None) -> None:
        why = "the key is not valid"
        if error is not None:
            why = error.text or error.condition.value
        text = f"{pair.remote} does not believe that we are {pair.local}: {why}"
        # It looks for us by DNS and connects to us: that may go well another time.
        lasting = error is None or error.condition in _REFUSALS
        problem = Problem(text, lasting=lasting, step="authentication")
        if pair in self._claims:
            self._claim_failed(pair)
        else:
            self._problem = problem

    def _succeed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    # The end

    def _closed(self, event: events.Closed) -> None:
        if self._problem is None and event.error is not None:
            error = event.error
            said = f"{error.condition.value}: {error.text}" if error.text else error.condition.value
            by = f"{self.pair.remote} says" if event.by_peer else "we said"
            lasting = error.condition in _LASTING
            self._problem = Problem(f"{by} {said}", lasting=lasting, step="stream")
        super()._closed(event)

    def _left(self, why: str) -> None:
        for wanted in self._wanted.values():
            if not wanted.done():
                wanted.set_exception(Unreachable(Problem(why)))
                _looked_at(wanted)
        self._wanted.clear()
        for pair in tuple(self._claims):
            self._claim_failed(pair)
        if not self.done.done():
            problem = self._problem or Problem(
                f"{self.pair.remote} closed the connection before it was of use: {why}",
                step="stream",
            )
            self.done.set_exception(Unreachable(problem, external=self._failed_external))


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Whoever asked may have given up by now: then nobody has to look at the error."""
    if not future.cancelled():
        future.exception()
