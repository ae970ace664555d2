"""Opens streams to other servers: to carry stanzas, or to ask about dialback keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from jabberd.edge.outbox import Problem
from jabberd.edge.s2s_out import OutgoingServer, Unreachable
from jabberd.net.dial import DialError
from jabberd.net.dns import DnsError, DnsProblem, Target
from jabberd.net.owner import Calling, PumpOptions
from jabberd.net.tls import XMPP_SERVER
from jabberd.net.trust import Tlsa
from jabberd.xmpp.stream.events import Pair
from jabberd.xmpp.stream.server_initiating import Purpose

if TYPE_CHECKING:
    from jabberd.edge.servers import Servers

_CALLS_PER_SECOND: Final = 200.0
_CALLS_AT_ONCE: Final = 50
"""So many streams are begun at once, and then one after the other: a thousand handshakes at the
same time would take more memory than a thousand streams keep."""


class Caller:
    """Who opens them.

    Args:
        servers: what all streams share.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._reaching: dict[Pair, asyncio.Task[OutgoingServer]] = {}
        self._next_call = 0.0

    @property
    def tasks(self) -> list[asyncio.Task[OutgoingServer]]:
        """What is under way on behalf of several."""
        return list(self._reaching.values())

    async def turn(self) -> None:
        """Wait until one more stream may be begun."""
        now = asyncio.get_running_loop().time()
        earliest = now - _CALLS_AT_ONCE / _CALLS_PER_SECOND
        self._next_call = max(self._next_call, earliest) + 1 / _CALLS_PER_SECOND
        if self._next_call > now:
            await asyncio.sleep(self._next_call - now)

    async def dial(self, pair: Pair, purpose: Purpose) -> OutgoingServer:
        """Open a stream, as far as its purpose needs.

        Raises:
            Unreachable: it did not come about.
        """
        try:
            return await self._dial(pair, purpose, external=True)
        except Unreachable as error:
            if not error.external:
                raise
            # XEP-0178 §3: some close the stream where others would go on by dialback.
            return await self._dial(pair, purpose, external=False)

    async def _dial(self, pair: Pair, purpose: Purpose, *, external: bool) -> OutgoingServer:
        made: list[OutgoingServer] = []
        tlsa: dict[Target, Sequence[Tlsa]] = {}
        tried: list[Target] = []
        required = self._servers.peers.tls_required(pair.remote)

        def machine() -> OutgoingServer:
            server = OutgoingServer(
                self._servers,
                pair,
                purpose,
                external=external,
                tls_required=required,
                tlsa=tlsa.get(tried[-1], ()),
            )
            made.append(server)
            return server

        try:
            targets = await self._servers.finder.targets(pair.remote)
            tlsa = {
                target: await self._servers.finder.tlsa(target)
                for target in targets
                if target.secure
            }

            def options(target: Target) -> PumpOptions:
                tried.append(target)
                return self._options(pair, target)

            await self._servers.dialler.dial(targets, machine, options)
        except DnsError as error:
            raise Unreachable(_dns_problem(error)) from None
        except DialError as error:
            if error.cause is not None:
                raise Unreachable(_dns_problem(error.cause)) from None
            raise Unreachable(Problem(str(error), step=error.step)) from None
        server = made[-1]
        try:
            await server.done
        except asyncio.CancelledError:
            server.give_up("it took too long")
            raise
        return server

    def _options(self, pair: Pair, target: Target) -> PumpOptions:
        return PumpOptions(
            tls=self._servers.tls,
            calling=Calling(pair.local, pair.remote),
            direct_tls=target.direct_tls,
            alpn=(XMPP_SERVER,),
        )

    async def reach(self, pair: Pair) -> OutgoingServer:
        """A stream on which the server of a pair can be asked about keys."""
        for connection in self._servers.connections:
            if (
                isinstance(connection, OutgoingServer)
                and connection.pair == pair
                and connection.can_verify
            ):
                return connection
        task = self._reaching.get(pair)
        if task is None:
            # Those who claim the same domain at once wait for the same connection.
            work = self._dial(pair, Purpose.VERIFY, external=False)
            task = asyncio.get_running_loop().create_task(work)
            self._reaching[pair] = task
            task.add_done_callback(lambda _: self._reaching.pop(pair, None))
        return await asyncio.shield(task)


def _dns_problem(error: DnsError) -> Problem:
    lasting = error.problem is not DnsProblem.FAILED
    return Problem(str(error), lasting=lasting, found=not lasting, step="dns")
