"""Finding servers by a real DNS server, and what is remembered of its answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from jabberd.net.dns import DnsError, DnsProblem, Resolver, Target, is_private
from jabberd.net.listen import parse_network
from jabberd.net.trust import Tlsa
from tests.federation.names import Names, network

pytestmark = pytest.mark.asyncio
LINES = (
    "srv-host=_xmpp-server._tcp.both.example,b.both.example,5269,20",
    "srv-host=_xmpp-server._tcp.both.example,a.both.example,5269,10",
    "srv-host=_xmpps-server._tcp.both.example,t.both.example,5270,5",
    "srv-host=_xmpp-server._tcp.heavy.example,often.example,5269,10,90",
    "srv-host=_xmpp-server._tcp.heavy.example,seldom.example,5269,10,10",
    "srv-host=_xmpp-server._tcp.closed.example,.,0,0,0",
    "srv-host=_xmpp-server._tcp.xn--bcher-kva.example,books.example,5269",
    "host-record=plain.example,192.0.2.7,2001:db8::7",
    "host-record=public.example,9.9.9.9,2620:fe::fe",
    "host-record=inside.example,10.1.2.3",
    "host-record=loop.example,127.0.0.1,::1",
    "host-record=mapped.example,::ffff:9.9.9.9",
    "cname=alias.example,public.example,50",
    "txt-record=empty.example,nothing",
    # More than a datagram takes.
    *(
        f"srv-host=_xmpp-server._tcp.long.example,server-with-a-long-name-{n}.example,5269,{n}"
        for n in range(30)
    ),
)


class Time:
    """The resolver's clock."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Script(asyncio.DatagramProtocol):
    """A DNS server that says what a test wants, also what a real one says only of a signed zone.

    Args:
        said: records by name and kind, as text; the names that are not there do not exist.
        secure: whether it says that it has checked signatures.
        silent: it says nothing.
    """

    def __init__(
        self,
        said: Mapping[tuple[str, str], str] | None = None,
        *,
        secure: Collection[str] = (),
        silent: bool = False,
    ) -> None:
        self._said = said or {}
        self._secure = secure
        self._silent = silent
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        if self._silent:
            return
        question = dns.message.from_wire(data)
        name, kind = question.question[0].name, question.question[0].rdtype
        key = name.to_text(omit_final_dot=True), dns.rdatatype.to_text(kind)
        answer = dns.message.make_response(question)
        if key in self._said:
            answer.answer.append(dns.rrset.from_text(name, 300, "IN", kind, self._said[key]))
        else:
            soa = "ns.example. host.example. 1 7200 900 1209600 20"
            answer.authority.append(dns.rrset.from_text("example.", 40, "IN", "SOA", soa))
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if key[0] in self._secure:
            answer.flags |= dns.flags.AD
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: script, ("127.0.0.1", 0))
    try:
        yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Names]:
    if why := Names.missing():
        pytest.skip(why)
    names = Names(tmp_path_factory.mktemp("dns"), f"{network()}.54")
    try:
        names.start({}, LINES)
        yield names
    finally:
        names.stop()


@pytest.fixture
def resolver(server: Names) -> Resolver:
    return Resolver(now=Time(), nameservers=[server.address])


async def test_both_kinds_of_records_are_one_list(resolver: Resolver) -> None:
    assert await resolver.targets("both.example") == [
        Target("t.both.example", 5270, direct_tls=True),
        Target("a.both.example", 5269),
        Target("b.both.example", 5269),
    ]


async def test_weights(resolver: Resolver) -> None:
    firsts = Counter([(await resolver.targets("heavy.example"))[0].host for _ in range(300)])
    assert set(firsts) == {"often.example", "seldom.example"}
    assert firsts["often.example"] > 200


async def test_no_such_service(resolver: Resolver) -> None:
    with pytest.raises(DnsError, match="has no server for other servers") as caught:
        await resolver.targets("closed.example")
    assert caught.value.problem is DnsProblem.NO_SERVICE


async def test_without_records_it_is_the_domain_itself(resolver: Resolver) -> None:
    assert await resolver.targets("plain.example") == (Target("plain.example", 5269),)


async def test_names_that_are_not_ascii(resolver: Resolver) -> None:
    assert [one.host for one in await resolver.targets("bücher.example")] == ["books.example"]


@pytest.mark.parametrize(
    ("domain", "host"), [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")]
)
async def test_addresses_are_not_looked_up(resolver: Resolver, domain: str, host: str) -> None:
    assert await resolver.targets(domain) == (Target(host, 5269),)


async def test_addresses_of_both_families(resolver: Resolver) -> None:
    assert await resolver.addresses(Target("public.example", 5269)) == ["2620:fe::fe", "9.9.9.9"]


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("nowhere.example", DnsProblem.NOT_FOUND),
        ("empty.example", DnsProblem.NO_ADDRESS),
        ("two..dots.example", DnsProblem.NOT_FOUND),
        (f"{'x' * 64}.example", DnsProblem.NOT_FOUND),
        ("inside.example", DnsProblem.FORBIDDEN),
        ("loop.example", DnsProblem.FORBIDDEN),
        ("127.0.0.1", DnsProblem.FORBIDDEN),
        ("elsewhere.invalid", DnsProblem.FAILED),  # this server refuses to say
    ],
)
async def test_no_address(resolver: Resolver, host: str, problem: DnsProblem) -> None:
    with pytest.raises(DnsError) as caught:
        await resolver.addresses(Target(host, 5269))
    assert caught.value.problem is problem


async def test_what_is_allowed(server: Names) -> None:
    networks = [parse_network("10.0.0.0/8")]
    resolver = Resolver(now=Time(), nameservers=[server.address], networks=networks)
    assert await resolver.addresses(Target("inside.example", 1)) == ["10.1.2.3"]
    assert len(await resolver.addresses(Target("::ffff:10.1.2.3", 1))) == 1
    with pytest.raises(DnsError):
        await resolver.addresses(Target("loop.example", 1))
    trusted = Target("loop.example", 1, trusted=True)
    assert set(await resolver.addresses(trusted)) == {"127.0.0.1", "::1"}


async def test_our_own_address_is_refused(server: Names) -> None:
    resolver = Resolver(now=Time(), nameservers=[server.address], own=["9.9.9.9"])
    assert await resolver.addresses(Target("public.example", 1)) == ["2620:fe::fe"]
    with pytest.raises(DnsError) as caught:
        await resolver.addresses(Target("mapped.example", 1))
    assert caught.value.problem is DnsProblem.FORBIDDEN


async def test_our_own_address_however_it_is_written() -> None:
    resolver = Resolver(now=Time(), own=["2620:00FE:0::00fe"])
    with pytest.raises(DnsError) as caught:
        await resolver.addresses(Target("2620:fe::fe", 1))
    assert caught.value.problem is DnsProblem.FORBIDDEN


async def test_an_answer_that_no_datagram_takes(resolver: Resolver) -> None:
    hosts = [target.host for target in await resolver.targets("long.example")]
    assert hosts == [f"server-with-a-long-name-{n}.example" for n in range(16)]


async def test_another_name_for_a_host(server: Names) -> None:
    resolver = Resolver(now=Time(), nameservers=[server.address])
    assert await resolver.addresses(Target("alias.example", 1)) == ["2620:fe::fe", "9.9.9.9"]


async def test_what_is_missing_is_asked_for_again_when_the_zone_says_so() -> None:
    script = Script()
    time = Time()
    async with scripted(script) as nameserver:
        resolver = Resolver(now=time, nameservers=[nameserver])
        asked = []
        for seconds in (0, 19, 2):  # 20 seconds by the SOA record
            time.at += seconds
            with pytest.raises(DnsError, match="does not exist"):
                await resolver.addresses(Target("later.example", 1))
            asked.append(script.asked)
    assert asked == [2, 2, 4]


async def test_no_more_questions_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jabberd.net.dns._UNDER_WAY", 10)
    async with scripted(Script(silent=True)) as nameserver:
        resolver = Resolver(now=Time(), nameservers=[nameserver], seconds=0.5)
        said = await asyncio.gather(
            *(resolver.targets(f"{n}.example") for n in range(20)), return_exceptions=True
        )
        refused = [error for error in said if isinstance(error, DnsError)]
        assert len(refused) == 15
        assert {(one.problem, str(one)) for one in refused} == {
            (DnsProblem.FAILED, "too many questions to the DNS wait for an answer")
        }
        # Nobody may stay counted: there is room again.
        assert await resolver.targets("again.example") == (Target("again.example", 5269),)


async def test_answers_are_remembered_for_a_while(
    server: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()
    resolver = Resolver(now=time, nameservers=[server.address])
    asked: list[str] = []
    answer = Resolver._answer

    async def counted(self: Resolver, name: str, kind: str) -> object:
        asked.append(f"{name} {kind}")
        return await answer(self, name, kind)

    monkeypatch.setattr(Resolver, "_answer", counted)
    for _ in range(3):
        await resolver.addresses(Target("public.example", 1))
    # Those who ask at the same time share one question.
    await asyncio.gather(*(resolver.targets("both.example") for _ in range(20)))
    assert sorted(asked) == [
        "_xmpp-server._tcp.both.example SRV",
        "_xmpps-server._tcp.both.example SRV",
        "public.example A",
        "public.example AAAA",
    ]
    time.at += 90_000
    await resolver.addresses(Target("public.example", 1))
    assert len(asked) == 6


async def test_a_dns_that_is_not_there() -> None:
    resolver = Resolver(now=Time(), nameservers=["127.0.0.1:9"], seconds=0.5)
    with pytest.raises(DnsError, match="does not answer") as caught:
        await resolver.addresses((await resolver.targets("any.example"))[0])
    assert caught.value.problem is DnsProblem.FAILED


async def test_tlsa_needs_a_resolver_that_is_trusted(resolver: Resolver) -> None:
    assert await resolver.tlsa(Target("public.example", 5269, secure=True)) == ()


SIGNED = "_xmpp-server._tcp.signed.example"
ZONE = {
    (SIGNED, "SRV"): "10 0 5269 host.example.",
    ("_5269._tcp.host.example", "TLSA"): f"3 1 1 {'ab' * 32}",
}
EVERY = (SIGNED, "_xmpps-server._tcp.signed.example", "_5269._tcp.host.example")


@pytest.mark.parametrize(
    ("secure", "trusted", "found"),
    [
        (EVERY, True, [Tlsa(3, 1, 1, b"\xab" * 32)]),
        (EVERY, False, []),
        (EVERY[1:], True, []),  # anybody could have said where the server is
        (EVERY[:2], True, []),  # or what its key is
    ],
)
async def test_tlsa_needs_signatures_all_the_way(
    secure: Sequence[str], trusted: bool, found: Sequence[Tlsa]
) -> None:
    async with scripted(Script(ZONE, secure=secure)) as nameserver:
        resolver = Resolver(now=Time(), nameservers=[nameserver], trusted=trusted)
        (target,) = await resolver.targets("signed.example")
        assert target.host == "host.example"
        assert target.secure is (trusted and SIGNED in secure)
        assert list(await resolver.tlsa(target)) == found


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("8.8.8.8", False),
        ("2001:4860:4860::8888", False),
        ("10.0.0.1", True),
        ("100.64.0.1", True),
        ("127.0.0.1", True),
        ("169.254.1.1", True),
        ("192.168.0.1", True),
        ("0.0.0.0", True),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("::", True),
        ("::1", True),
        ("fe80::1", True),
        ("fc00::1", True),
        ("ff02::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:8.8.8.8", False),
        ("::10.0.0.1", True),
        ("64:ff9b:1::a00:1", True),
        ("fec0::1", True),
        ("64:ff9b::a00:1", True),
        ("64:ff9b::808:808", False),
    ],
)
async def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(ip_address(address)) is private
