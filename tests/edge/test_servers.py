"""Two servers and the network between them: messages cross, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509

from jabberd.core.verdict import Relayed
from jabberd.edge.peers import Peers, Policy
from jabberd.net.dns import Target
from jabberd.net.trust import Tlsa
from jabberd.storage.log_api import Relay
from jabberd.xmpp.error import Condition
from jabberd.xmpp.stanza import Iq, Message, read_error
from tests.edge.pair import Directory, Server, arrives
from tests.net.authority import CLIENT, SERVER, Authority, Files

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path, Directory(), "example.com")
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def there(tmp_path: Path, here: Server) -> AsyncIterator[Server]:
    server = Server(tmp_path, here.directory, "example.net")
    await server.start()
    yield server
    await server.stop()


PING = "<iq type='get' to='example.net' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"


def chat(text: str, to: str = "bob@example.net", name: str = "") -> str:
    return f"<message to='{to}' id='{name or text}' type='chat'><body>{text}</body></message>"


async def test_messages_cross_in_both_directions(here: Server, there: Server) -> None:
    alice, bob = await here.login("alice"), await there.login("bob")
    assert isinstance(await here.says(alice, chat("hello")), Relayed)
    received = await arrives(bob, Message)
    assert (received.body(), received.from_) == ("hello", alice.jid)
    await there.says(bob, chat("hi", "alice@example.com"))
    answered = await arrives(alice, Message)
    assert (answered.body(), answered.from_) == ("hi", bob.jid)


async def test_many_arrive_in_order(here: Server, there: Server) -> None:
    alice, bob = await here.login("alice"), await there.login("bob")
    for number in range(300):
        await here.says(alice, chat(str(number)))
    assert [(await arrives(bob, Message)).body() for _ in range(300)] == [
        str(number) for number in range(300)
    ]


async def test_a_domain_that_is_nowhere(here: Server) -> None:
    alice = await here.login("alice")
    await here.says(alice, chat("hello", "bob@example.org"))
    error = await arrives(alice, Message)
    assert error.type == "error"
    assert read_error(error).condition is Condition.REMOTE_SERVER_NOT_FOUND


async def test_an_account_that_is_nowhere(here: Server, there: Server) -> None:
    alice = await here.login("alice")
    await here.says(alice, chat("hello", f"nobody@{there.domain}"))
    assert read_error(await arrives(alice, Message)).condition is Condition.SERVICE_UNAVAILABLE


async def test_a_request_gets_its_answer(here: Server, there: Server) -> None:
    alice = await here.login("alice")
    await here.says(alice, PING)
    answer = await arrives(alice, Iq)
    assert (answer.id, answer.type) == ("1", "error")  # nothing answers pings without a module


# Certificates

Make = Callable[..., Awaitable[Server]]


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes servers that trust one authority."""
    directory, made = Directory(), []
    authority = Authority(tmp_path)

    async def start(domain: str, files: Files | None = None, peers: Peers | None = None) -> Server:
        files = files or authority.sign(domain)
        server = Server(
            tmp_path,
            directory,
            domain,
            certificate=(files.certificate, files.key),
            authorities=authority.file,
            peers=peers,
        )
        await server.start()
        made.append(server)
        return server

    start.authority = authority  # type: ignore[attr-defined]  # for tests that sign something else
    yield start
    for server in made:
        await server.stop()


def authority_of(make: Make) -> Authority:
    authority = getattr(make, "authority", None)
    assert isinstance(authority, Authority)
    return authority


async def cross(here: Server, there: Server) -> tuple[set[str], set[str]]:
    """Exchange a message each way; returns how the pair was proved, as either end sees it."""
    alice, bob = await here.login("alice"), await there.login("bob")
    await here.says(alice, chat("hello", f"bob@{there.domain}"))
    assert (await arrives(bob, Message)).body() == "hello"
    await there.says(bob, chat("hi", f"alice@{here.domain}"))
    assert (await arrives(alice, Message)).body() == "hi"
    return (here.proofs(), there.proofs())


async def test_valid_certificates(make: Make) -> None:
    here, there = await make("example.com"), await make("example.net")
    assert await cross(here, there) == ({"EXTERNAL"}, {"EXTERNAL"})


@pytest.mark.parametrize("use", [SERVER, CLIENT])
async def test_certificates_for_one_side_of_tls_only(
    make: Make, use: x509.ObjectIdentifier
) -> None:
    authority = authority_of(make)
    here = await make("example.com", authority.sign("example.com", uses=(use,)))
    there = await make("example.net", authority.sign("example.net", uses=(use,)))
    assert await cross(here, there) == ({"EXTERNAL"}, {"EXTERNAL"})


async def test_one_side_has_nothing_but_a_certificate_of_its_own(make: Make) -> None:
    here = await make("example.com")
    there = await make("example.net", authority_of(make).self_signed("example.net"))
    # We prove ourselves by ours, and the other side has nothing but to be believed by DNS.
    assert await cross(here, there) == ({"EXTERNAL"}, {"EXTERNAL"})
    here2 = await make("example.org")
    alice, bob = await here2.login("alice"), await there.login("carol")
    await there.says(bob, chat("hello", "alice@example.org"))
    assert (await arrives(alice, Message)).body() == "hello"
    assert here2.proofs() == {"dialback"}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"days": (-9, -1)}, "the certificate of example.net expired on"),
        ({"other": True}, "example.net presents a certificate for chat.example.net"),
    ],
)
@pytest.mark.parametrize("policy", [Policy.DIALBACK, Policy.REQUIRED])
async def test_a_certificate_that_says_something_else(
    make: Make, fault: dict[str, object], why: str, policy: Policy
) -> None:
    authority = authority_of(make)
    wrong = authority.sign(
        "chat.example.net" if fault.get("other") else "example.net",
        days=(-9, -1) if "days" in fault else (-2, 30),
    )
    here = await make("example.com", peers=Peers(policy=policy))
    there = await make("example.net", wrong)
    alice, bob = await here.login("alice"), await there.login("bob")
    await here.says(alice, chat("hello"))
    error = read_error(await arrives(alice, Message))
    assert (error.condition, why in error.text) == (Condition.REMOTE_SERVER_TIMEOUT, True)
    # The other way round we are connected to, and say no.
    await there.says(bob, chat("hi", "alice@example.com"))
    refused = read_error(await arrives(bob, Message))
    assert why in refused.text
    assert why in here.servers.refusals["example.net"]


async def test_a_certificate_is_required(make: Make) -> None:
    here = await make("example.com", peers=Peers(policy=Policy.REQUIRED))
    there = await make("example.net", authority_of(make).self_signed("example.net"))
    alice, bob = await here.login("alice"), await there.login("bob")
    await here.says(alice, chat("hello"))
    assert "nobody whom this server trusts" in read_error(await arrives(alice, Message)).text
    await there.says(bob, chat("hi", "alice@example.com"))
    assert "nobody whom this server trusts" in read_error(await arrives(bob, Message)).text


@pytest.mark.parametrize("right", [True, False])
async def test_a_signed_zone_stands_for_an_authority(make: Make, right: bool) -> None:
    files = authority_of(make).self_signed("example.net")
    here = await make("example.com", peers=Peers(policy=Policy.REQUIRED))
    there = await make("example.net", files)
    place = replace(here.directory.places["example.net"], secure=True)
    here.directory.places["example.net"] = place
    data = hashlib.sha256(files.chain[0] if right else b"another").digest()
    here.directory.records[place] = (Tlsa(3, 0, 1, data),)
    alice, bob = await here.login("alice"), await there.login("bob")
    await here.says(alice, chat("hello"))
    if right:
        assert (await arrives(bob, Message)).body() == "hello"
    else:
        assert "TLSA records" in read_error(await arrives(alice, Message)).text


# Rules


@pytest.mark.parametrize(
    ("peers", "why"),
    [
        (Peers(deny=["example.net"]), "on the list"),
        (Peers(allow=["*.example.org"]), "not on the list"),
        (Peers(peers={"example.net": Policy.OFF}), "does not talk to example.net"),
        (Peers(hosts={"example.com": Policy.OFF}), "example.com does not talk"),
    ],
)
async def test_who_is_not_talked_to(make: Make, peers: Peers, why: str) -> None:
    here, there = await make("example.com", peers=peers), await make("example.net")
    alice, bob = await here.login("alice"), await there.login("bob")
    verdict = await here.says(alice, chat("hello"))
    assert "not-allowed" in str(verdict)
    error = read_error(await arrives(alice, Message))
    assert (error.condition, why in error.text) == (Condition.NOT_ALLOWED, True)
    await there.says(bob, chat("hi", "alice@example.com"))
    assert why in read_error(await arrives(bob, Message)).text
    assert here.servers.connections == set()


async def test_a_server_that_is_down_and_comes_back(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jabberd.edge.outbox._FIRST_RETRY", 0.1)
    here, there = await make("example.com"), await make("example.net")
    place = here.directory.places["example.net"]
    here.directory.places["example.net"] = Target("127.0.0.1", 1)
    alice, bob = await here.login("alice"), await there.login("bob")
    await here.says(alice, chat("hello"))
    await here.says(
        alice, "<iq type='get' to='example.net' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    # Who asks gets an answer; who writes is patient.
    answer = await arrives(alice, Iq)
    assert read_error(answer).condition is Condition.REMOTE_SERVER_TIMEOUT
    assert "connection refused" in read_error(answer).text
    here.directory.places["example.net"] = place
    assert (await arrives(bob, Message)).body() == "hello"
    assert await here.queued() == []


async def test_who_has_left_learns_of_it_later(make: Make) -> None:
    here = await make("example.com")
    here.directory.places["example.net"] = Target("127.0.0.1", 1)
    alice = await here.login("alice")
    await here.says(alice, chat("hello"))
    await here.world.ledger.turns.settled()
    told = here.world.host.unbind(alice)
    if told is not None:
        await told
    here.servers.adjust(replace(here.servers.bounds, queue_seconds=0.0))
    (outbox,) = here.servers.outboxes()
    outbox.expire(asyncio.get_running_loop().time() + 10_000)
    await here.settled()
    await here.world.ledger.turns.settled()
    (kept,) = await here.world.ledger.log.waiting("alice@example.com")
    assert b"type='error'" in kept.stanza
    assert b"remote-server-timeout" in kept.stanza


async def test_what_a_former_process_left(make: Make) -> None:
    here, there = await make("example.com"), await make("example.net")
    bob = await there.login("bob")
    await here.login("alice")
    log, now = here.world.ledger.log, here.servers.clock.now()
    rows = [
        ("example.com", chat("hello").replace("<message", "<message from='alice@example.com'")),
        ("gone.example", chat("lost").replace("<message", "<message from='a@gone.example'")),
        ("example.com", "no stanza"),
    ]
    unit = here.world.ledger.turns.open().unit
    for local, text in rows:
        key = log.next_key(now)
        unit.relays.append(Relay(key, local, "example.net", now + 60, text.encode()))
    await here.world.ledger.turns.settled()
    here.servers.restore(await log.relays())
    here.servers.begin()
    assert (await arrives(bob, Message)).body() == "hello"
    assert await here.queued() == []


@pytest.mark.parametrize("bidi", [True, False])
async def test_streams_that_break_lose_and_double_nothing(make: Make, bidi: bool) -> None:
    here, there = await make("example.com"), await make("example.net")
    alice, bob = await here.login("alice"), await there.login("bob")
    if bidi:  # then it is the other side's stream that carries ours
        await there.says(bob, chat("first", "alice@example.com"))
        await arrives(alice, Message)
    said = [f"{number}" for number in range(400)]
    broken = 0
    for number, text in enumerate(said):
        await here.says(alice, chat(text))
        if number % 40 < 20:  # some are on their way when it breaks, and some come meanwhile
            await asyncio.sleep(0.004)
        if number % 40 == 20:
            breaker = here if number % 80 == 20 else there
            broken += len(breaker.servers.connections)
            for connection in tuple(breaker.servers.connections):
                connection.give_up("the test breaks it")
    assert broken > 5
    got = [(await arrives(bob, Message)).body() for _ in said]
    assert got == said
    await here.says(alice, chat("last"))
    assert (await arrives(bob, Message)).body() == "last"
    assert await here.queued() == []
