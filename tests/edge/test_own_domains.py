"""`jabberd check`: what a running server finds out about its own domains, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

import jabberd
from jabberd.core.admin_s2s import Step
from jabberd.core.command import CommandError
from jabberd.edge import own_domains
from jabberd.edge.own_domains import OwnDomains
from tests.net.authority import Authority, Files
from tests.net.zone import BINARY, zone

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(BINARY is None, reason="Debian's package dnsmasq-base is not installed"),
]
DOMAIN = "chat.example"
KINDS = ("c2s", "c2s_tls", "s2s", "s2s_tls")
SERVICES = {
    "c2s": "_xmpp-client", "c2s_tls": "_xmpps-client",
    "s2s": "_xmpp-server", "s2s_tls": "_xmpps-server",
}  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


Start = Callable[..., Awaitable[jabberd.Server]]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers, which are stopped afterwards."""
    running: list[jabberd.Server] = []

    async def begin(
        files: Files, kinds: Sequence[str] = KINDS, domain: str = DOMAIN
    ) -> jabberd.Server:
        listen: dict[str, list[str]] = {"http": [], "https": []}
        listen |= {kind: ["127.0.0.1:0"] if kind in kinds else [] for kind in KINDS}
        host = {"certificate": str(files.certificate), "key": str(files.key)}
        server = jabberd.Server(domain, config={"listen": listen, "host": {domain: host}})
        running.append(await server.__aenter__())
        return server

    yield begin
    for server in running:
        await server.__aexit__(None, None, None)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback addresses count as ones that the world can reach."""
    monkeypatch.setattr(own_domains, "is_private", lambda _: False)


def ports(server: jabberd.Server) -> dict[str, int]:
    return {kind: one.address.port for kind, one in server.running.assembly.listeners}


def srv(server: jabberd.Server, host: str = "x.chat.example") -> list[str]:
    return [
        f"srv-host={SERVICES[kind]}._tcp.{DOMAIN},{host},{port},0,5"
        for kind, port in ports(server).items()
    ]


def own(server: jabberd.Server, nameserver: str, authority: Authority) -> OwnDomains:
    assembly = server.running.assembly
    bugs: list[Exception] = []
    return OwnDomains(
        hosts=tuple(assembly.hosts),
        listeners=assembly.listeners,
        tls=assembly.tls,
        nameservers=[nameserver],
        authorities=authority.file,
        clock=assembly.clock,
        on_bug=bugs.append,
    )


async def look(
    server: jabberd.Server, folder: Path, authority: Authority, lines: Sequence[str]
) -> dict[str, Step]:
    async with zone(folder, lines) as nameserver:
        steps = await own(server, nameserver, authority).check(server.domain)
    return {step.name: step for step in steps}


@pytest.mark.usefixtures("public")
async def test_all_is_well(start: Start, authority: Authority, tmp_path: Path) -> None:
    server = await start(authority.sign(DOMAIN, intermediate=True))
    lines = [*srv(server), "host-record=x.chat.example,127.0.0.1"]
    steps = await look(server, tmp_path, authority, lines)
    assert list(steps) == [
        "listen.c2s", "listen.c2s_tls", "listen.s2s", "listen.s2s_tls", "certificate",
        "dns _xmpp-client", "dns _xmpps-client", "dns _xmpp-server", "dns _xmpps-server",
    ]  # fmt: skip
    assert {(step.ok, step.advice) for step in steps.values()} == {(True, "")}, steps
    assert steps["certificate"].found == "29 days left, for chat.example"
    assert "127.0.0.1 port" in steps["dns _xmpps-server"].found


async def test_nobody_else_reaches_a_private_address(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(authority.sign(DOMAIN))
    lines = [*srv(server), "host-record=x.chat.example,127.0.0.1"]
    step = (await look(server, tmp_path, authority, lines))["dns _xmpp-client"]
    assert step.ok is None
    assert "it is a private address" in step.found


@pytest.mark.usefixtures("public")
async def test_records_that_lead_elsewhere(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(authority.sign(DOMAIN), kinds=("c2s", "s2s"))
    port = ports(server)["c2s"]
    lines = [
        f"srv-host=_xmpp-client._tcp.{DOMAIN},x.chat.example,{port},0,5",
        f"srv-host=_xmpp-client._tcp.{DOMAIN},gone.chat.example,{port},0,5",
        f"srv-host=_xmpps-client._tcp.{DOMAIN},x.chat.example,5223,0,5",
        f"srv-host=_xmpp-server._tcp.{DOMAIN},x.chat.example,1,0,5",
        "host-record=x.chat.example,127.0.0.1",
    ]
    steps = await look(server, tmp_path, authority, lines)
    clients = steps["dns _xmpp-client"]
    assert clients.ok is False
    assert "the name gone.chat.example does not exist" in clients.found
    assert f"127.0.0.1 port {port} answers" in clients.found
    assert "give gone.chat.example an address" in clients.advice
    direct = steps["dns _xmpps-client"]
    assert direct.ok is False
    assert "nothing listens" in direct.found
    assert "set listen.c2s_tls" in direct.advice
    servers = steps["dns _xmpp-server"]
    assert servers.ok is False
    assert "connection refused" in servers.found
    assert "listen.s2s has no port 1" in servers.advice
    assert "dns _xmpps-server" not in steps


async def test_without_records_it_is_the_domain_itself(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(authority.sign(DOMAIN))
    steps = await look(server, tmp_path, authority, [])
    assert steps["dns _xmpp-client"].ok is False
    assert "no SRV record, so it is chat.example itself" in steps["dns _xmpp-client"].found
    assert "the name chat.example does not exist" in steps["dns _xmpp-client"].found
    assert steps["dns _xmpps-server"].ok is None
    port = ports(server)["s2s_tls"]
    assert f"_xmpps-server._tcp.chat.example SRV 0 5 {port}" in steps["dns _xmpps-server"].advice


async def test_a_record_that_says_that_there_is_no_service(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(authority.sign(DOMAIN))
    steps = await look(server, tmp_path, authority, [f"srv-host=_xmpp-client._tcp.{DOMAIN}"])
    assert steps["dns _xmpp-client"].ok is False
    assert steps["dns _xmpp-client"].found == "the DNS says: no such service"


async def test_a_dns_that_does_not_answer(start: Start, authority: Authority) -> None:
    server = await start(authority.sign(DOMAIN), kinds=("c2s",))
    steps = await own(server, "127.0.0.1:1", authority).check(DOMAIN)
    found = {step.name: step for step in steps}
    assert found["listen.c2s"].ok
    assert found["dns _xmpp-client"].ok is False
    assert "does not answer" in found["dns _xmpp-client"].found


@pytest.mark.usefixtures("public")
async def test_somebody_else_is_at_the_address(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(authority.sign(DOMAIN), kinds=("s2s",))
    other = await start(authority.sign(DOMAIN, file="other"), kinds=("s2s",))
    stranger = await start(authority.sign("b.example"), kinds=("s2s",), domain="b.example")
    lines = [*srv(other), "host-record=x.chat.example,127.0.0.1"]
    step = (await look(server, tmp_path, authority, lines))["dns _xmpp-server"]
    assert step.ok is None
    assert "another certificate" in step.found
    lines = [*srv(stranger), "host-record=x.chat.example,127.0.0.1"]
    step = (await look(server, tmp_path, authority, lines))["dns _xmpp-server"]
    assert step.ok is False
    assert "it does not serve chat.example" in step.found


@pytest.mark.parametrize(
    ("make", "found", "advice"),
    [
        (
            lambda authority: authority.sign(DOMAIN, days=(-9, -3)),
            "the certificate of chat.example expired on",
            "renew it",
        ),
        (
            lambda authority: authority.sign("x.chat.example"),
            "chat.example presents a certificate for x.chat.example",
            "made out to the domain itself",
        ),
        (
            lambda authority: authority.self_signed(DOMAIN),
            "signed by nobody whom this server trusts",
            "get one of a public authority",
        ),
    ],
    ids=["expired", "wrong name", "self-signed"],
)
async def test_certificates_with_faults(
    start: Start, authority: Authority, tmp_path: Path,
    make: Callable[[Authority], Files], found: str, advice: str,
) -> None:  # fmt: skip
    server = await start(make(authority), kinds=("c2s_tls",))
    step = (await look(server, tmp_path, authority, []))["certificate"]
    assert step.ok is False
    assert found in step.found
    assert advice in step.advice


async def test_a_chain_with_a_gap(start: Start, authority: Authority, tmp_path: Path) -> None:
    files = authority.sign(DOMAIN, intermediate=True)
    text = files.certificate.read_text()
    files.certificate.write_text(text[: text.index("-----BEGIN", 1)])
    step = (await look(await start(files), tmp_path, authority, []))["certificate"]
    assert step.ok is False
    assert "intermediate certificates" in step.advice


async def test_a_certificate_that_is_soon_over(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(authority.sign(DOMAIN, days=(-80, 5)))
    step = (await look(server, tmp_path, authority, []))["certificate"]
    assert (step.ok, step.advice) == (True, "renew it soon")


async def test_a_name_that_is_not_for_others(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(authority.sign("localhost"), domain="localhost")
    steps = await look(server, tmp_path, authority, [])
    assert steps["dns"].ok is None
    assert "localhost is no name that others could look for" in steps["dns"].found


async def test_a_port_that_is_taken_by_something_else(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n" * 1000)
        await writer.drain()
        writer.close()

    server = await start(authority.sign(DOMAIN), kinds=("c2s",))
    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    lines = [
        f"srv-host=_xmpp-client._tcp.{DOMAIN},x.chat.example,{port},0,5",
        "host-record=x.chat.example,127.0.0.1",
    ]
    step = (await look(server, tmp_path, authority, lines))["dns _xmpp-client"]
    other.close()
    await other.wait_closed()
    assert step.ok is False
    assert "speaks no XMPP" in step.found


async def test_a_knock_leaves_nothing_behind(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(authority.sign(DOMAIN))
    await look(server, tmp_path, authority, [])
    listeners = [one for _, one in server.running.assembly.listeners]
    for _ in range(500):
        if not any(one.pumps for one in listeners):
            return
        await asyncio.sleep(0.01)
    pytest.fail("a connection stays")


async def test_a_port_for_proxies_is_left_alone(authority: Authority, tmp_path: Path) -> None:
    files = authority.sign(DOMAIN)
    listen = {"c2s": [{"address": "127.0.0.1:0", "proxy": ["127.0.0.1"]}], "c2s_tls": []}
    host = {"certificate": str(files.certificate), "key": str(files.key)}
    values = {"listen": listen, "host": {DOMAIN: host}}
    async with jabberd.Server(DOMAIN, config=values) as server:
        steps = await look(server, tmp_path, authority, [])
    assert steps["listen.c2s"].ok is None
    assert "is for proxies" in steps["listen.c2s"].found
    assert "certificate" not in steps


async def test_authorities_that_cannot_be_read(start: Start, authority: Authority) -> None:
    server = await start(authority.sign(DOMAIN))
    authority.file.unlink()
    with pytest.raises(CommandError, match="cannot be read"):
        await own(server, "127.0.0.1:1", authority).check(DOMAIN)


@pytest.mark.parametrize(
    ("offset", "ok", "found"),
    [
        (0.2, True, "0.2 s behind time.example"),
        (-29.0, True, "29.0 s ahead of time.example"),
        (31.0, False, "31.0 s behind time.example"),
        (-90.0, False, "90.0 s ahead of time.example"),
    ],
)
async def test_the_clock(
    start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch,
    offset: float, ok: bool, found: str,
) -> None:  # fmt: skip
    async def clock_offset(server: str, *, now: Callable[[], float]) -> float:
        return offset

    monkeypatch.setattr(own_domains, "clock_offset", clock_offset)
    server = await start(authority.sign(DOMAIN))
    step = await own(server, "127.0.0.1:1", authority).clock("time.example")
    assert (step.ok, step.found) == (ok, found)
    assert bool(step.advice) is not ok


async def test_a_time_server_that_is_nowhere(start: Start, authority: Authority) -> None:
    server = await start(authority.sign(DOMAIN))
    step = await own(server, "127.0.0.1:1", authority).clock("nowhere.invalid")
    assert step.ok is None
