"""Where the server of a domain is, by DNS (RFC 6120 §3.2, XEP-0368); dnspython asks for us."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import chain, zip_longest
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.resolver
import dns.rrset

from .certs import a_label
from .listen import Network
from .trust import Tlsa

S2S_PORT: Final = 5269
"""Where a server is that has no SRV record (RFC 6120 §3.2.2)."""
_SERVER: Final = "_xmpp-server._tcp."
_SERVER_TLS: Final = "_xmpps-server._tcp."
_LEAST_TTL: Final = 5.0
_LONGEST_TTL: Final = 86_400.0
_MISSING_TTL: Final = 60.0
_FAILED_TTL: Final = 5.0
_UNDER_WAY: Final = 500
_MOST_TARGETS: Final = 16
_MOST_ADDRESSES: Final = 16
_SHARED: Final = ip_network("100.64.0.0/10")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_OTHERWISE_PRIVATE: Final = (
    IPv6Network("::/96"),  # IPv4-compatible, deprecated (RFC 4291 §2.5.5.1)
    IPv6Network("64:ff9b:1::/48"),  # NAT64 of one network's own (RFC 8215)
    IPv6Network("fec0::/10"),  # site-local, deprecated (RFC 3879)
)
"""What older releases of Python take for addresses of the whole world."""


@dataclass(frozen=True, slots=True)
class Target:
    """One place to connect to.

    Attributes:
        host: a name in A-labels, or an address.
        port: the TCP port.
        direct_tls: TLS from the first byte (XEP-0368).
        secure: the answers that lead here are signed, by a resolver that is trusted to check it.
        trusted: an operator has named it: any address will do.
    """

    host: str
    port: int
    direct_tls: bool = False
    secure: bool = False
    trusted: bool = False

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


class DnsProblem(Enum):
    """Why there is no place to connect to."""

    NOT_FOUND = "not found"
    NO_SERVICE = "no service"
    NO_ADDRESS = "no address"
    FORBIDDEN = "forbidden"
    FAILED = "failed"


class DnsError(Exception):
    """There is no place to connect to; the message says why in plain words.

    Attributes:
        problem: the kind of fault.
    """

    def __init__(self, problem: DnsProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is known about one question.

    Attributes:
        records: empty where there are none.
        exists: whether there is such a name.
        failed: the DNS did not answer.
        secure: the answer is signed.
        until: by the clock of the resolver.
    """

    records: tuple[object, ...]
    exists: bool
    failed: bool
    secure: bool
    until: float


class Resolver:
    """Finds servers, and remembers what it was told for as long as that holds.

    Args:
        now: seconds, monotonic.
        nameservers: addresses, with or without a port; empty: those of the system.
        trusted: whether they check DNSSEC, and nobody is between them and us.
        networks: private ones that DNS may lead to; others are refused.
        own: our own addresses, which DNS may not lead to.
        seconds: how long one question may take.
        cached: how many answers are remembered.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        nameservers: Sequence[str] = (),
        trusted: bool = False,
        networks: Iterable[Network] = (),
        own: Collection[str] = (),
        seconds: float = 5.0,
        cached: int = 10_000,
    ) -> None:
        self._now = now
        self._nameservers = tuple(nameservers)
        self._trusted = trusted
        self._networks = tuple(networks)
        self._own = frozenset(_plain(text) for text in own)
        self._seconds = seconds
        self._cached = cached
        self._answers: OrderedDict[tuple[str, str], _Answer] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[_Answer]] = {}
        self._resolver: dns.asyncresolver.Resolver | None = None

    # What is asked

    async def targets(self, domain: str) -> Sequence[Target]:
        """Places to connect to, in the order of trying.

        SRV records of both kinds are one list (XEP-0368 §3); without any, it is the domain itself.

        Raises:
            DnsError: there are none.
        """
        literal = _literal(domain)
        if literal is not None:
            return (Target(literal, S2S_PORT),)
        name = a_label(domain)
        plain, direct = await asyncio.gather(
            self._ask(_SERVER + name, "SRV"), self._ask(_SERVER_TLS + name, "SRV")
        )
        found = [*_services(plain, direct_tls=False), *_services(direct, direct_tls=True)]
        if found:
            places = [one for one in found if one[0].target != dns.name.root]
            if not places:  # RFC 2782: a target of "." says that there is no such service
                message = f"{domain} says in the DNS that it has no server for other servers"
                raise DnsError(DnsProblem.NO_SERVICE, message)
            return _ordered(places)[:_MOST_TARGETS]
        # Also where there was no answer about services (RFC 6120 §3.2.1, rule 9).
        secure = plain.secure and direct.secure
        return (Target(name, S2S_PORT, secure=secure),)

    async def addresses(self, target: Target) -> Sequence[str]:
        """The addresses of a place, IPv6 and IPv4 in turns (RFC 8305 §4).

        Raises:
            DnsError: there are none that may be used.
        """
        literal = _literal(target.host)
        if literal is not None:
            found = [literal]
        else:
            v6, v4 = await asyncio.gather(
                self._ask(target.host, "AAAA"), self._ask(target.host, "A")
            )
            found = [
                str(address)
                for address in chain.from_iterable(zip_longest(_hosts(v6), _hosts(v4)))
                if address is not None
            ]
            if not found:
                raise _without_address(target.host, v6, v4)
        allowed = [address for address in found if target.trusted or self._may(address)]
        if not allowed:
            message = (
                f"{target.host} is {found[0]}, an address of this machine or of a private "
                "network (federation.networks allows some)"
            )
            raise DnsError(DnsProblem.FORBIDDEN, message)
        return allowed[:_MOST_ADDRESSES]

    async def tlsa(self, target: Target) -> Sequence[Tlsa]:
        """The TLSA records of a place; none unless all that leads to it is signed (RFC 7673)."""
        if not target.secure or not self._trusted:
            return ()
        answer = await self._ask(f"_{target.port}._tcp.{target.host}", "TLSA")
        if not answer.secure:
            return ()
        return [
            Tlsa(record.usage, record.selector, record.mtype, record.cert)  # type: ignore[attr-defined]  # of dns.rdtypes.tlsabase
            for record in answer.records
        ]

    def _may(self, text: str) -> bool:
        address = _plain(text)
        if any(
            address in network for network in self._networks if network.version == address.version
        ):
            return True
        return address not in self._own and not is_private(address)

    # The DNS

    async def _ask(self, name: str, kind: str) -> _Answer:
        """What is known, or what the DNS says.

        Raises:
            DnsError: too many questions wait for an answer.
        """
        question = (name, kind)
        known = self._answers.get(question)
        if known is not None and known.until > self._now():
            self._answers.move_to_end(question)
            return known
        task = self._asking.get(question)
        if task is None:
            if len(self._asking) >= _UNDER_WAY:
                # No answer of "failed": the domain itself would be taken for its server then.
                message = "too many questions to the DNS wait for an answer"
                raise DnsError(DnsProblem.FAILED, message)
            task = asyncio.get_running_loop().create_task(self._query(name, kind))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        # Whoever gives up must not take the answer from others who wait for it.
        return await asyncio.shield(task)

    async def _query(self, name: str, kind: str) -> _Answer:
        answer = await self._answer(name, kind)
        self._answers[name, kind] = answer
        if len(self._answers) > self._cached:
            self._answers.popitem(last=False)
        return answer

    async def _answer(self, name: str, kind: str) -> _Answer:
        now = self._now()
        try:
            asked = dns.name.from_text(name)
        except (dns.exception.DNSException, ValueError):  # a name that the DNS cannot have
            until = now + _MISSING_TTL
            return _Answer((), exists=False, failed=False, secure=False, until=until)
        try:
            said = await self._resolving().resolve(
                asked,
                kind,
                raise_on_no_answer=False,
                lifetime=self._seconds,
                search=False,
            )
        except dns.resolver.NXDOMAIN as error:
            responses = error.kwargs["responses"].values()
            secure = all(self._is_secure(one) for one in responses)
            until = now + min(_ttl(one.resolve_chaining()) for one in responses)
            return _Answer((), exists=False, failed=False, secure=secure, until=until)
        except (dns.exception.DNSException, OSError, ValueError):
            until = now + _FAILED_TTL
            return _Answer((), exists=True, failed=True, secure=False, until=until)
        records = tuple(said.rrset or ())
        until = now + _ttl(said.chaining_result)
        secure = self._is_secure(said.response)
        return _Answer(records, exists=True, failed=False, secure=secure, until=until)

    def _is_secure(self, message: dns.message.Message) -> bool:
        return self._trusted and bool(message.flags & dns.flags.AD)

    def _resolving(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            try:
                resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            except dns.resolver.NoResolverConfiguration:
                resolver = dns.asyncresolver.Resolver(configure=False)
            if self._nameservers:
                resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(*_host_and_port(text))
                    for text in self._nameservers
                ]
            resolver.timeout = self._seconds / 2
            if self._trusted:
                resolver.use_edns(0, dns.flags.DO, 1232)
                resolver.set_flags(dns.flags.RD | dns.flags.AD)
            self._resolver = resolver
        return self._resolver


def is_private(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address means nothing, or something else, to the rest of the world."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_private(address.ipv4_mapped)
        if address in _NAT64:
            return is_private(IPv4Address(int(address) & 0xFFFF_FFFF))
        if any(address in network for network in _OTHERWISE_PRIVATE):
            return True
        if address.sixtofour is not None:
            return is_private(address.sixtofour)
    elif address in _SHARED:
        return True
    return not address.is_global or address.is_multicast


def _plain(text: str) -> IPv4Address | IPv6Address:
    """An address; the IPv4 one that is meant where it is mapped (RFC 4291 §2.5.5.2)."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _ttl(said: dns.message.ChainingResult) -> float:
    """How long it holds; that there is nothing, as the SOA record says (RFC 2308 §5)."""
    most = _LONGEST_TTL if said.answer else _MISSING_TTL
    return min(max(float(said.minimum_ttl), _LEAST_TTL), most)


def _literal(domain: str) -> str | None:
    """The address that a domain is, if it is one."""
    try:
        return str(ip_address(domain.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def _host_and_port(text: str) -> tuple[str, int]:
    """Read "127.0.0.1", "127.0.0.1:53", "::1" or "[::1]:53"."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.removeprefix(":") or 53)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, int(port)
    return text, 53


def _services(answer: _Answer, *, direct_tls: bool) -> list[tuple[dns.rdtypes.IN.SRV.SRV, Target]]:
    return [
        (
            record,
            Target(
                record.target.to_text(omit_final_dot=True).lower(),
                record.port,
                direct_tls,
                answer.secure,
            ),
        )
        for record in answer.records
        if isinstance(record, dns.rdtypes.IN.SRV.SRV)
    ]


def _ordered(found: list[tuple[dns.rdtypes.IN.SRV.SRV, Target]]) -> list[Target]:
    """By priority; within one, at random by weight (RFC 2782)."""
    ordered: list[Target] = []
    for priority in sorted({record.priority for record, _ in found}):
        left = [one for one in found if one[0].priority == priority]
        while left:
            # A weight of 0 has a small chance too.
            weights = [record.weight + 0.01 for record, _ in left]
            index = random.choices(range(len(left)), weights)[0]  # noqa: S311 -- no secret
            ordered.append(left.pop(index)[1])
    return ordered


def _hosts(answer: _Answer) -> list[str]:
    return [
        record.address
        for record in answer.records
        if isinstance(record, dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA)
    ]


def _without_address(host: str, *answers: _Answer) -> DnsError:
    if all(answer.failed for answer in answers):
        return DnsError(DnsProblem.FAILED, f"the DNS does not answer about {host}")
    if not any(answer.exists for answer in answers):
        return DnsError(DnsProblem.NOT_FOUND, f"the name {host} does not exist")
    return DnsError(DnsProblem.NO_ADDRESS, f"the name {host} has no address")
