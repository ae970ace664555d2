"""Walks the way to another server step by step, and says where it ends and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from jabberd.core.admin_s2s import Step
from jabberd.edge.outbox import Problem
from jabberd.edge.peers import Policy
from jabberd.edge.s2s_out import OutgoingServer, Unreachable
from jabberd.edge.servers import Servers
from jabberd.net.dial import Addresses
from jabberd.net.dns import DnsError, DnsProblem, Target
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq
from jabberd.xmpp.stream.events import Pair
from jabberd.xmpp.stream.server_initiating import Purpose

_SECONDS: Final = 60.0
_DAY: Final = 86_400
_STEPS: Final = ("connect", "tls", "certificate", "authentication")
_DNS: Final = {
    DnsProblem.NOT_FOUND: "is the name spelt as it should be? Its owner has to give it an address "
    "(A, AAAA) or an SRV record _xmpp-server._tcp",
    DnsProblem.NO_SERVICE: "its owner does not want other servers to talk to it",
    DnsProblem.NO_ADDRESS: "its owner has to give it an address (A, AAAA)",
    DnsProblem.FORBIDDEN: "on a private network, allow it by federation.networks, or name the "
    "address in the table [route]",
    DnsProblem.FAILED: "do the nameservers of this machine answer? federation.nameservers can "
    "name others",
}
_ADVICE: Final = {
    "connect": "does the server run, and is the port open in its firewall, and in yours for "
    "connections to outside?",
    "tls": "what listens there speaks no TLS that this server accepts (1.2 or newer)",
    "certificate": "the owner of that server has to get a certificate of a public authority for "
    "exactly this domain, and renew it in time; or [peer] in the configuration is stricter than "
    "it need be",
    "authentication": "that server looks for this one by DNS and connects to it: `jabberd check` "
    "tells whether it can",
    "ping": "it takes stanzas and gives no answer: perhaps it finds no way back. `jabberd check` "
    "tells what others see of this server",
}

Ask = Callable[[Iq, float], Awaitable[Iq]]
"""Sends a request of a host of ours and waits for the answer."""


class Probe:
    """The way to other servers.

    Args:
        servers: whose streams and rules are used.
        resolver: knows addresses.
        ask: by domain of ours, what sends a request from there.
    """

    def __init__(
        self, servers: Servers, resolver: Addresses, ask: Callable[[str], Ask | None]
    ) -> None:
        self._servers = servers
        self._resolver = resolver
        self._ask = ask

    async def check(self, local: str, remote: str) -> Sequence[Step]:
        """Each step up to the first that fails."""
        pair = Pair(local, remote)
        peers = self._servers.peers
        if peers.policy(local, remote) is Policy.OFF:
            why = peers.why_not(local, remote)
            return [Step("configuration", ok=False, found=why, advice="federation, peer, host")]
        steps: list[Step] = []
        try:
            async with asyncio.timeout(_SECONDS):
                if await self._dns(remote, steps) and await self._stream(pair, steps):
                    await self._ping(pair, steps)
        except TimeoutError:
            steps.append(Step("connect", ok=False, found="no answer", advice=_ADVICE["connect"]))
        return steps

    async def _dns(self, remote: str, steps: list[Step]) -> bool:
        found: list[str] = []
        try:
            targets = await self._servers.finder.targets(remote)
        except DnsError as error:
            steps.append(Step("dns", ok=False, found=str(error), advice=_DNS[error.problem]))
            return False
        failed: DnsError | None = None
        reachable = False
        for target in targets:
            try:
                addresses = await self._resolver.addresses(target)
            except DnsError as error:
                failed = error
                found.append(str(error))
            else:
                reachable = True
                found.append(_shown(target, addresses))
        advice = "" if failed is None else _DNS[failed.problem]
        steps.append(Step("dns", ok=reachable, found="; ".join(found), advice=advice))
        return reachable

    async def _stream(self, pair: Pair, steps: list[Step]) -> bool:
        try:
            server = await self._servers.caller.dial(pair, Purpose.FULL)
        except Unreachable as error:
            _passed(error.problem, steps)
            return False
        self._tell(server, pair, steps)
        server.close()
        return True

    def _tell(self, server: OutgoingServer, pair: Pair, steps: list[Step]) -> None:
        wire = server.wire
        if wire is not None:
            steps.append(Step("connect", ok=True, found=f"{wire.peer.host} port {wire.peer.port}"))
            tls = wire.tls
            said = "none" if tls is None else f"{tls.version}, {tls.cipher}"
            steps.append(Step("tls", ok=True, found=said))
        judgement = server.judgements.get(pair.remote)
        if judgement is not None:
            left = ""
            if judgement.not_after is not None:
                days = int((judgement.not_after - self._servers.clock.now()) // _DAY)
                left = f"{days} days left, for {', '.join(judgement.names[:5])}"
            found = left if judgement.valid else f"{judgement.why} ({left or 'no dates'})"
            steps.append(Step("certificate", ok=True, found=found))
        how = server.proved.get(pair, "")
        steps.append(Step("authentication", ok=True, found=f"by {how}"))

    async def _ping(self, pair: Pair, steps: list[Step]) -> None:
        ask = self._ask(pair.local)
        if ask is None:
            return
        ping = Iq.build([Element(ns.PING, "ping")], type="get", to=JID("", pair.remote))
        begun = asyncio.get_running_loop().time()
        try:
            await ask(ping, 15.0)
        except StanzaError as error:
            said = error.text or error.condition.value
            answered = error.condition.value not in {
                "remote-server-timeout", "remote-server-not-found",
            }  # fmt: skip
            advice = "" if answered else _ADVICE["ping"]
            steps.append(Step("ping", ok=answered, found=said, advice=advice))
        else:
            ms = (asyncio.get_running_loop().time() - begun) * 1000
            steps.append(Step("ping", ok=True, found=f"answered in {ms:.0f} ms"))


def _passed(problem: Problem, steps: list[Step]) -> None:
    """The steps before the one that failed, and that one."""
    failed = problem.step if problem.step in _STEPS else "authentication"
    steps.extend(Step(name, ok=True) for name in _STEPS[: _STEPS.index(failed)])
    steps.append(Step(failed, ok=False, found=problem.text, advice=_ADVICE[failed]))


def _shown(target: Target, addresses: Sequence[str]) -> str:
    way = ", direct TLS" if target.direct_tls else ""
    by = ", by the table [route]" if target.trusted else ""
    return f"{target} ({', '.join(addresses)}{way}{by})"
