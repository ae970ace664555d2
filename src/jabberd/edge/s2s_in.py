"""A stream that another server has opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.edge.outlet import Outlet
from jabberd.edge.peers import Policy
from jabberd.edge.s2s import ServerConnection
from jabberd.net.wire import Wire
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Event, Pair
from jabberd.xmpp.stream.server import ServerPolicy, ServerStream
from jabberd.xmpp.stream.server_receiving import ServerReceivingStream

if TYPE_CHECKING:
    from jabberd.edge.servers import Servers


class IncomingServer(ServerConnection):
    """One connection from another server.

    Args:
        servers: what all of them share.
        tls_required: whether nothing is taken without TLS.
    """

    __slots__ = ("_stream", "_tls_required")

    def __init__(self, servers: Servers, *, tls_required: bool) -> None:
        super().__init__(servers)
        self._tls_required = tls_required
        self._stream: ServerReceivingStream | None = None

    @property
    def stream(self) -> ServerStream | None:
        """The stream; None before the connection is up."""
        return self._stream

    # Called by the pump

    def connected(self, wire: Wire) -> None:
        """Somebody is here."""
        self._wire = wire
        servers = self._servers
        self._stream = ServerReceivingStream(
            hosts=self._policy,
            allowed=self._allowed,
            secure=wire.tls is not None,
            before=servers.bounds.before,
            after=servers.bounds.after,
            token=servers.token,
            pool=servers.pool,
        )
        self._deadline(servers.bounds.negotiation_seconds)
        servers.connections.add(self)

    def secured(self) -> None:
        """TLS is up."""
        if self._stream is not None:
            self._take(self._stream.secured())

    def _policy(self, domain: str) -> ServerPolicy | None:
        return self._servers.host_policy(domain, tls_required=self._tls_required)

    def _allowed(self, pair: Pair) -> StreamError | None:
        peers = self._servers.peers
        if peers.policy(pair.local, pair.remote) is not Policy.OFF:
            return None
        why = peers.why_not(pair.local, pair.remote)
        self._log().info("stream refused", server=pair.remote, host=pair.local, why=why)
        return StreamError(StreamCondition.POLICY_VIOLATION, why)

    # Events

    def _event(self, event: Event) -> None:
        stream = self._stream
        if stream is None:
            return
        if isinstance(event, events.UpgradeToTls):
            self._flush()
            if self._wire is not None:
                self._wire.start_tls(stream.local)
        elif isinstance(event, events.PeerWanted):
            self._peer(stream, event.domain)
        elif isinstance(event, events.PairClaimed):
            self._claimed(stream, event)
        elif isinstance(event, events.VerifyAsked):
            pair = Pair(event.local, event.remote)
            ours = self._servers.dialback.is_ours(pair, event.stream_id, event.key)
            self._take(stream.verify_answer(event, ours))
        elif isinstance(event, events.PairProved):
            self._proved(stream, event)

    def _peer(self, stream: ServerReceivingStream, domain: str) -> None:
        """Somebody says under TLS which server it is."""
        why = self._objection(Pair(stream.local, domain))
        judgement = self.judgements[domain]
        if why and judgement.trusted:
            # Its certificate is signed, and says something else: nothing else would prove more.
            self._refuse(domain, why)
            self._take(stream.close(StreamError(StreamCondition.POLICY_VIOLATION, why)))
            return
        self._take(stream.peer(external=judgement.valid))

    def _claimed(self, stream: ServerReceivingStream, claim: events.PairClaimed) -> None:
        more = claim.pair != Pair(stream.local, stream.remote)
        why = self._objection(claim.pair, more=more)
        if why:
            self._refuse(claim.pair.remote, why)
            error = StanzaError(Condition.POLICY_VIOLATION, why)
            self._answer(claim, valid=False, error=error)
            return
        self._servers.spawn(self._verify(claim))

    async def _verify(self, claim: events.PairClaimed) -> None:
        source = self._wire.peer.source if self._wire is not None else ""
        try:
            valid = await self._servers.dialback.ask(claim, source)
        except StanzaError as error:
            self._refuse(claim.pair.remote, error.text or error.condition.value)
            self._answer(claim, valid=False, error=error)
            return
        if not valid:
            self._refuse(claim.pair.remote, "the key is not one of that domain's server")
        self._answer(claim, valid=valid)

    def _answer(
        self, claim: events.PairClaimed, *, valid: bool, error: StanzaError | None = None
    ) -> None:
        if self._stream is not None and not self._stream.closed:
            self._take(self._stream.verified(claim.pair, valid, error))

    def _refuse(self, domain: str, why: str) -> None:
        self._log().warning("a server was refused", server=domain, why=why)
        self._servers.refused(domain, why)

    def _proved(self, stream: ServerReceivingStream, event: events.PairProved) -> None:
        pair = event.pair
        self._proves(pair, event.how)
        self._log().info(
            "stream from a server", host=pair.local, proved=event.how, bidi=stream.bidi
        )
        if not stream.bidi:
            return
        # XEP-0288 §2: what we have to say goes over this stream as well.
        self._flush()
        if self.outlet is None:
            self.outlet = Outlet(self, self._servers.marks, managed=self._acks.on)
        self._servers.offer(pair, self.outlet)

    def _left(self, why: str) -> None:
        """Nothing but its outlet depends on it."""
