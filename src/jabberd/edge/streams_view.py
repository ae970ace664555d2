"""The streams with other servers, as the operator sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from jabberd.core.admin_s2s import ServerState, Step
from jabberd.edge.outbox import Outbox
from jabberd.edge.probe import Probe
from jabberd.edge.s2s import ServerConnection
from jabberd.edge.s2s_out import OutgoingServer
from jabberd.edge.servers import Servers

_DAY: Final = 86_400


class StreamsView:
    """What is known of other servers (`core.admin_s2s.ServersView`).

    Args:
        servers: all of them.
        probe: walks the way to one.
        hosts: our domains.
    """

    def __init__(self, servers: Servers, probe: Probe, hosts: Sequence[str]) -> None:
        self._servers = servers
        self._probe = probe
        self.hosts = hosts

    async def check(self, local: str, remote: str) -> Sequence[Step]:
        """Walk the way from one of our domains to another server, up to where it ends."""
        return await self._probe.check(local, remote)

    def states(self) -> Sequence[ServerState]:
        """Every stream, every queue, and who was refused lately."""
        found = [
            *self._streams(),
            *(
                self._queue(outbox)
                for outbox in self._servers.outboxes()
                if outbox.carrier is None and (outbox.waiting or outbox.problem is not None)
            ),
        ]
        known = {one.server for one in found}
        found += [
            ServerState(domain, "", state="refused", problem=why)
            for domain, why in self._servers.refusals.items()
            if domain not in known
        ]
        return sorted(found, key=lambda one: (one.server, one.host, one.direction))

    def _streams(self) -> Iterator[ServerState]:
        now = asyncio.get_running_loop().time()
        for connection in self._servers.connections:
            tls = connection.wire.tls if connection.wire is not None else None
            outlet = connection.outlet
            for pair, how in connection.proved.items():
                outbox = outlet.boxes.get(pair) if outlet is not None else None
                yield ServerState(
                    pair.remote,
                    pair.local,
                    direction=_direction(connection),
                    proved=how,
                    tls=tls.version if tls is not None else "",
                    days_left=self._days_left(connection, pair.remote),
                    waiting=outbox.waiting if outbox is not None else 0,
                    seconds=int(now - connection.since),
                    state="up",
                    problem=self._servers.refusals.get(pair.remote, ""),
                )

    def _days_left(self, connection: ServerConnection, domain: str) -> int | None:
        judgement = connection.judgements.get(domain)
        if judgement is None or judgement.not_after is None:
            return None
        return int((judgement.not_after - self._servers.clock.now()) // _DAY)

    def _queue(self, outbox: Outbox) -> ServerState:
        seconds = outbox.retry_in
        state = "connecting" if outbox.connecting else "not wanted"
        if seconds is not None:
            state = f"tried again in {int(seconds) + 1} s"
        return ServerState(
            outbox.pair.remote,
            outbox.pair.local,
            waiting=outbox.waiting,
            state=state,
            problem=outbox.problem.text if outbox.problem is not None else "",
        )


def _direction(connection: ServerConnection) -> str:
    if connection.stream is not None and connection.stream.bidi:
        return "both"
    return "out" if isinstance(connection, OutgoingServer) else "in"
