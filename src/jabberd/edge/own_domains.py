"""Looks at our own domains as clients and other servers would, and says what is amiss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509

from jabberd.core.admin_s2s import Step
from jabberd.core.command import CommandError
from jabberd.edge.knock import Closed, Knocker
from jabberd.net.clock import Clock
from jabberd.net.dial import Dialler
from jabberd.net.dns import DnsError, DnsProblem, Target, is_private
from jabberd.net.listen import Listener
from jabberd.net.records import Records, Service
from jabberd.net.sntp import NoTimeError, clock_offset
from jabberd.net.tls import TlsContexts
from jabberd.net.trust import Fault, Judgement, Trust, TrustError

_DAY: Final = 86_400
_SOON: Final = 14  # days
_SKEW: Final = 30.0
"""Seconds by which a clock may be wrong. Codes that are made of the time stand as much."""
_MOST_PLACES: Final = 10
_PARTING_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Port:
    """A port that this server listens on.

    Attributes:
        kind: the key of it in `[listen]`: "c2s", "c2s_tls", "s2s" or "s2s_tls".
        host: the IP address; a wildcard stands for every one.
        port: the TCP port.
        proxied: it is for proxies, which say whom they speak for.
    """

    kind: str
    host: str
    port: int
    proxied: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    """One way to reach a domain.

    Attributes:
        name: of the listeners for it.
        service: of its SRV records.
        fallback: the port where no record says one; 0: nobody looks then.
    """

    name: str
    service: str
    fallback: int = 0

    @property
    def direct_tls(self) -> bool:
        """Whether TLS begins with the first byte."""
        return not self.fallback

    @property
    def servers(self) -> bool:
        """Whether it is for servers."""
        return self.name.startswith("s2s")


_KINDS: Final = (
    _Kind("c2s", "_xmpp-client", 5222),
    _Kind("c2s_tls", "_xmpps-client"),
    _Kind("s2s", "_xmpp-server", 5269),
    _Kind("s2s_tls", "_xmpps-server"),
)
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- where to knock instead
_ADVICE: Final = {
    Fault.EXPIRED: "renew it, and run `jabberd reload`",
    Fault.NOT_YET_VALID: "is the clock of this machine right? `jabberd check --clock` tells",
    Fault.WRONG_NAME: "get one that is made out to the domain itself, wherever SRV records point",
    Fault.BROKEN: "get another one",
    Fault.NONE_SENT: "set certificate for this host",
}
_CHAIN: Final = (
    "does the file have the authority's intermediate certificates behind the host's own one, as "
    "fullchain.pem has? If it has them, others do not know this authority"
)
_SELF_SIGNED: Final = (
    "get one of a public authority; until then, clients warn, and servers need dialback"
)


class OwnDomains:
    """Our own domains, seen from here (`core.admin_check.OwnDomains`).

    Args:
        hosts: the domains.
        listeners: what this server listens on, by the key in `[listen]`.
        tls: our certificates.
        nameservers: as `net.dns.Resolver` takes them.
        authorities: whom others can be expected to trust, as `net.trust.Trust` takes it.
        clock: the time.
        on_bug: told of exceptions that should not be.

    Attributes:
        hosts: see above.
    """

    def __init__(
        self,
        *,
        hosts: Sequence[str],
        listeners: Iterable[tuple[str, Listener]],
        tls: TlsContexts,
        nameservers: Sequence[str],
        authorities: Path | None,
        clock: Clock,
        on_bug: Callable[[Exception], None],
    ) -> None:
        self.hosts = hosts
        self._ports = [
            Port(kind, one.address.host, one.address.port, proxied=bool(one.options.proxies))
            for kind, one in listeners
            if any(kind == known.name for known in _KINDS)
        ]
        self._tls = tls
        self._nameservers = nameservers
        self._authorities = authorities
        self._clock = clock
        self._on_bug = on_bug

    async def check(self, domain: str) -> Sequence[Step]:
        """Its ports, its certificate, and where the DNS leads those who look for it.

        Raises:
            CommandError: the file of authorities cannot be read.
        """
        # What the DNS said a while ago is of no interest.
        records = Records(now=self._clock.monotonic, nameservers=self._nameservers)
        dialler = Dialler(records, on_bug=self._on_bug)
        try:
            trust = Trust(self._authorities, now=self._clock.now)
        except TrustError as error:
            raise CommandError(str(error)) from None
        knocker = Knocker(dialler, self._tls)
        try:
            look = Look(self._ports, records, knocker, trust, self._clock.now)
            return await look.check(domain)
        finally:
            await dialler.stop(_PARTING_SECONDS)

    async def clock(self, server: str) -> Step:
        """Whether our clock agrees with that of a time server."""
        try:
            offset = await clock_offset(server, now=self._clock.now)
        except NoTimeError as error:
            return Step("clock", ok=None, found=str(error))
        found = f"{abs(offset):.1f} s {'behind' if offset > 0 else 'ahead of'} {server}"
        if abs(offset) <= _SKEW:
            return Step("clock", ok=True, found=found)
        advice = "have the system keep the time, for example by systemd-timesyncd or chrony"
        return Step("clock", ok=False, found=found, advice=advice)


class Look:
    """One look at one of our domains.

    Args:
        ports: what this server listens on.
        records: the DNS.
        knocker: knocks at ports.
        trust: whom others can be expected to trust.
        now: seconds since 1970.
    """

    def __init__(
        self,
        ports: Sequence[Port],
        records: Records,
        knocker: Knocker,
        trust: Trust,
        now: Callable[[], float],
    ) -> None:
        self._ports = ports
        self._records = records
        self._knocker = knocker
        self._trust = trust
        self._now = now

    async def check(self, domain: str) -> Sequence[Step]:
        """Its ports, its certificate, and where the DNS leads those who look for it."""
        ours: dict[bytes, tuple[bytes, ...]] = {}  # chains by their first certificate
        steps = list(await asyncio.gather(*(self._port(p, domain, ours) for p in self._ports)))
        steps += [self._certificate(chain, domain) for chain in ours.values()]
        if not _is_public(domain):
            found = f"{domain} is no name that others could look for"
            return [*steps, Step("dns", ok=None, found=found)]
        wanted = [kind for kind in _KINDS if kind.name == "c2s" or self._listens(kind)]
        others = [kind for kind in _KINDS if kind not in wanted]
        found_steps = await asyncio.gather(
            *(self._dns(kind, domain, set(ours)) for kind in wanted),
            *(self._unwanted(kind, domain) for kind in others),
        )
        return [*steps, *(step for step in found_steps if step is not None)]

    # From the inside

    async def _port(self, port: Port, domain: str, ours: dict[bytes, tuple[bytes, ...]]) -> Step:
        host = _WILDCARDS.get(port.host, port.host)
        place = Target(host, port.port, direct_tls=port.kind.endswith("_tls"), trusted=True)
        name = f"listen.{port.kind}"
        if port.proxied:
            return Step(name, ok=None, found=f"{place} is for proxies: not tried")
        try:
            chain = await self._knocker.knock(place, domain, servers=port.kind.startswith("s2s"))
        except Closed as error:
            advice = "is a firewall of this machine in the way?"
            return Step(name, ok=False, found=f"{place}: {error}", advice=advice)
        ours.setdefault(chain[0] if chain else b"", chain)
        return Step(name, ok=True, found=f"{place} answers for {domain}, with TLS")

    def _certificate(self, chain: Sequence[bytes], domain: str) -> Step:
        judgement = self._trust.judge(chain, domain)
        left, names = _days(judgement, self._now()), ", ".join(judgement.names[:5])
        dates = f"{left} days left, for {names or 'nobody'}" if left is not None else ""
        fault = judgement.fault
        if fault is not None:
            advice = _untrusted(chain) if fault is Fault.UNTRUSTED else _ADVICE[fault]
            found = f"{judgement.why} ({dates})" if dates else judgement.why
            return Step("certificate", ok=False, found=found, advice=advice)
        soon = left is not None and left < _SOON
        return Step("certificate", ok=True, found=dates, advice="renew it soon" if soon else "")

    # As the DNS says

    async def _dns(self, kind: _Kind, domain: str, ours: set[bytes]) -> Step | None:
        name = f"dns {kind.service}"
        try:
            found = await self._records.services(kind.service, domain)
        except DnsError as error:
            return Step(name, ok=False, found=str(error), advice="do the nameservers answer?")
        if found and not any(one.host for one in found):
            advice = f"remove the SRV record: its target is '.', and listen.{kind.name} is set"
            return Step(name, ok=False, found="the DNS says: no such service", advice=advice)
        if not found and not kind.fallback:
            record = f"{kind.service}._tcp.{domain} SRV 0 5 {self._port_of(kind)} {domain}"
            return Step(name, ok=None, found="no record: nobody tries it", advice=f"add {record}")
        places = [one for one in found if one.host][:_MOST_PLACES]
        said = "" if places else f"no SRV record, so it is {domain} itself"
        places = places or [Service(domain, kind.fallback, 0)]
        looked = await asyncio.gather(*(self._place(kind, one, domain, ours) for one in places))
        return _together(name, said, looked)

    async def _unwanted(self, kind: _Kind, domain: str) -> Step | None:
        """Nothing is listened on: then nothing should lead there either."""
        try:
            found = await self._records.services(kind.service, domain)
        except DnsError:
            return None
        if not any(one.host for one in found):
            return None
        shown = ", ".join(f"{one.host} port {one.port}" for one in found)
        advice = f"set listen.{kind.name}, or remove the SRV record"
        found_text = f"leads to {shown}, and nothing listens"
        return Step(f"dns {kind.service}", ok=False, found=found_text, advice=advice)

    async def _place(
        self, kind: _Kind, service: Service, domain: str, ours: set[bytes]
    ) -> Sequence[Step]:
        """Every address of a place."""
        place = Target(service.host, service.port, kind.direct_tls, trusted=True)
        try:
            addresses = await self._records.addresses(place)
        except DnsError as error:
            advice = f"give {service.host} an address (A, AAAA)"
            if error.problem is DnsProblem.FAILED:
                advice = "do the nameservers answer?"
            return (Step("", ok=False, found=str(error), advice=advice),)
        return await asyncio.gather(
            *(
                self._address(kind, Target(one, service.port, kind.direct_tls, trusted=True),
                              domain, ours)
                for one in addresses
            )
        )  # fmt: skip

    async def _address(self, kind: _Kind, place: Target, domain: str, ours: set[bytes]) -> Step:
        try:
            chain = await self._knocker.knock(place, domain, servers=kind.servers)
        except Closed as error:
            return self._closed(kind, place, str(error))
        if not chain or chain[0] not in ours:
            advice = f"is {place.host} this machine, or a proxy of yours in front of it?"
            return Step("", ok=None, found=f"{place}: another certificate", advice=advice)
        if is_private(ip_address(place.host)):
            found = f"{place} answers, but it is a private address: nobody else can reach it"
            return Step("", ok=None, found=found, advice="fine, if nobody else has to")
        return Step("", ok=True, found=f"{place} answers")

    def _closed(self, kind: _Kind, place: Target, why: str) -> Step:
        found = f"{place}: {why.removeprefix(f'{place}: ')}"
        if not any(port.kind == kind.name and port.port == place.port for port in self._ports):
            advice = (
                f"listen.{kind.name} has no port {place.port}: set one there, have something "
                "forward to one, or correct the SRV record"
            )
            return Step("", ok=False, found=found, advice=advice)
        # A router often lets nobody from the inside come back by the address of the outside.
        advice = "if others cannot connect either: is the port open in the firewall, and forwarded?"
        return Step("", ok=None, found=found, advice=advice)

    def _listens(self, kind: _Kind) -> bool:
        return any(port.kind == kind.name for port in self._ports)

    def _port_of(self, kind: _Kind) -> int:
        return next(port.port for port in self._ports if port.kind == kind.name)


def _is_public(domain: str) -> bool:
    """Whether it may be in the DNS: "localhost" and addresses are not."""
    try:
        ip_address(domain.strip("[]"))
    except ValueError:
        return "." in domain
    return False


def _days(judgement: Judgement, now: float) -> int | None:
    return None if judgement.not_after is None else int((judgement.not_after - now) // _DAY)


def _untrusted(chain: Sequence[bytes]) -> str:
    """What to do about a certificate that leads to nobody."""
    leaf = x509.load_der_x509_certificate(chain[0])
    return _SELF_SIGNED if leaf.issuer == leaf.subject else _CHAIN


def _together(name: str, said: str, looked: Sequence[Sequence[Step]]) -> Step:
    """One step of several: as bad as the worst."""
    parts = [step for steps in looked for step in steps]
    results = [step.ok for step in parts]
    ok = False if False in results else None if None in results else True
    found = "; ".join(filter(None, (said, *dict.fromkeys(step.found for step in parts))))
    advice = "; ".join(dict.fromkeys(step.advice for step in parts if step.advice))
    return Step(name, ok=ok, found=found, advice=advice)
