"""Finding servers by a real DNS server, and what is remembered of its answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from jabberd.net.dns import DnsError, DnsProblem, Resolver, Target, is_private
from jabberd.net.listen import parse_network
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
    "txt-record=empty.example,nothing",
)


class Time:
    """The resolver's clock."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


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
    with pytest.raises(DnsError):
        await resolver.addresses(Target("loop.example", 1))
    trusted = Target("loop.example", 1, trusted=True)
    assert set(await resolver.addresses(trusted)) == {"127.0.0.1", "::1"}


async def test_our_own_address_is_refused(server: Names) -> None:
    resolver = Resolver(now=Time(), nameservers=[server.address], own=["9.9.9.9"])
    assert await resolver.addresses(Target("public.example", 1)) == ["2620:fe::fe"]


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
        ("64:ff9b::a00:1", True),
        ("64:ff9b::808:808", False),
    ],
)
async def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(ip_address(address)) is private
