"""Servers in one process that talk to each other over real sockets and TLS."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from jabberd.core.returned import Returns
from jabberd.core.verdict import VERDICTS, Verdict
from jabberd.edge.peers import Peers
from jabberd.edge.s2s_in import IncomingServer
from jabberd.edge.servers import Bounds, Servers
from jabberd.net.certs import make_self_signed
from jabberd.net.clock import SystemClock
from jabberd.net.dial import Dialler
from jabberd.net.dns import DnsError, DnsProblem, Target
from jabberd.net.listen import Listener, ListenOptions
from jabberd.net.owner import PumpOptions
from jabberd.net.tls import XMPP_SERVER, TlsContexts
from jabberd.net.tls_config import HostTls, TlsConfig
from jabberd.net.trust import Tlsa, Trust
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.stanza import Presence, Stanza, read_stanza
from tests.modules.host import RecordingSession, World

S = TypeVar("S", bound=Stanza)


class Directory:
    """Where each domain is; stands for DNS."""

    def __init__(self) -> None:
        self.places: dict[str, Target] = {}
        self.records: dict[Target, Sequence[Tlsa]] = {}

    async def targets(self, domain: str) -> Sequence[Target]:
        """The one place of a domain."""
        if domain not in self.places:
            raise DnsError(DnsProblem.NOT_FOUND, f"the name {domain} does not exist")
        return (self.places[domain],)

    async def tlsa(self, target: Target) -> Sequence[Tlsa]:
        """What a test says of a certificate."""
        return self.records.get(target, ())

    async def addresses(self, target: Target) -> Sequence[str]:
        """The address is the name."""
        return (target.host,)


class Server:
    """A host with its accounts, reachable by others.

    Args:
        folder: for its certificate.
        directory: where servers are.
        domain: its own.
        certificate: certificate and key; a self-signed one unless given.
        authorities: whom it trusts; nobody unless given.
        peers: its rules.
    """

    def __init__(
        self,
        folder: Path,
        directory: Directory,
        domain: str,
        *,
        certificate: tuple[Path, Path] | None = None,
        authorities: Path | None = None,
        peers: Peers | None = None,
        tls_required: bool = True,
    ) -> None:
        self.domain = domain
        self.directory = directory
        self.world = World(domain)
        self.bugs: list[Exception] = []
        if certificate is None:
            certificate = folder / f"{domain}.crt", folder / f"{domain}.key"
            clock = SystemClock()
            make_self_signed([domain], *certificate, now=clock.now())
        if authorities is None:
            authorities = folder / f"{domain}-nobody.crt"
            make_self_signed(
                ["nobody.invalid"], authorities, folder / "nobody.key", now=clock.now()
            )
        tls = TlsContexts(TlsConfig((HostTls((domain,), *certificate),)))
        self.servers = Servers(
            router=self.world.router,
            turns=self.world.ledger.turns,
            log=self.world.ledger.log,
            peers=peers or Peers(),
            trust=Trust(authorities),
            tls=tls,
            finder=directory,
            dialler=Dialler(directory, on_bug=self.bugs.append),
            clock=SystemClock(),
            token=lambda: secrets.token_hex(16),
            secret=secrets.token_bytes(16),
            bounds=Bounds(Limits(stanza_bytes=10_000), Limits()),
            verifications=20,
            returns=Returns(self.world.router, {domain: self.world.host}),
        )
        self.world.router.elsewhere = self.servers
        options = PumpOptions(tls=tls, peers=True, alpn=(XMPP_SERVER,))
        self.listener = Listener(
            "127.0.0.1:0",
            lambda: IncomingServer(self.servers, tls_required=tls_required),
            ListenOptions(options),
            on_bug=self.bugs.append,
        )

    async def start(self) -> None:
        """Listen, and be found."""
        self.listener.start()
        address = self.listener.address
        self.directory.places[self.domain] = Target(address.host, address.port)

    async def login(self, name: str) -> RecordingSession:
        """A client of this server, which is available."""
        await self.world.account(name)
        session = await self.world.login(f"{name}/desk")
        session.appear(Presence(from_=session.jid))
        return session

    async def says(self, session: RecordingSession, text: str) -> Verdict:
        """A client sends a stanza."""
        stanza = read_stanza(text.encode()).replace(from_=session.jid)
        verdict = self.world.router.submit(stanza, session)
        return verdict if isinstance(verdict, VERDICTS) else await verdict

    def proofs(self) -> set[str]:
        """How the pairs of the streams that are up were proved."""
        return {how for one in self.servers.connections for how in one.proved.values()}

    async def settled(self) -> None:
        """Wait until nothing is done beside the streams."""
        await asyncio.gather(*self.servers._tasks, return_exceptions=True)

    async def queued(self) -> list[str]:
        """The ids of what is in the durable queue, once all acknowledgements can have come."""
        async with asyncio.timeout(10):
            while True:
                self.world.ledger.turns.tidy()
                await self.world.ledger.turns.settled()
                found = await self.world.ledger.log.relays()
                if not found or not any(c.waiting for c in self.servers.connections):
                    return [read_stanza(relay.stanza).id for relay in found]
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End everything."""
        self.listener.stop_accepting()
        await self.servers.close()
        await self.listener.stop()
        await self.world.host.close()
        assert self.bugs == []


async def arrives(session: RecordingSession, kind: type[S], seconds: float = 10.0) -> S:
    """The next stanza of a kind that a client gets."""
    async with asyncio.timeout(seconds):
        while True:
            for stanza in session.inbox:
                if isinstance(stanza, kind):
                    session.inbox.remove(stanza)
                    return stanza
            await asyncio.sleep(0.005)
