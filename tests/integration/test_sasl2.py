"""SASL2 and what comes with it over real sockets, byte by byte (XEP-0388, 0386, 0484, 0509)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import replace
from xml.etree.ElementTree import Element, tostring

import pytest
import pytest_asyncio

import jabberd
from jabberd.core.clients import ClientRules
from jabberd.core.module import Module, OnSession, SessionEvent
from jabberd.core.ports import CarbonsApi, CsiApi
from jabberd.core.session import Session
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message
from tests.integration.phone import (
    BIND2,
    ENABLE,
    ENDP,
    FAST,
    IAP,
    NONE,
    PHONE,
    SASL2,
    SM,
    TABLET,
    Phone,
    bind,
    failure,
    jid_of,
    names,
    request_token,
)
from tests.integration.wire import BIND, CLIENT, STANZA_ERRORS, Wire, stream_error

pytestmark = pytest.mark.asyncio
STREAM = "{http://etherx.jabber.org/streams}"
MAM = "{urn:xmpp:mam:2}"
ALICE = JID.parse("alice@example.com")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[jabberd.Server]:
    async with jabberd.Server("example.com") as server:
        for name in ("alice", "bob"):
            await server.add_user(name, name)
        yield server


async def dial(server: jabberd.Server, client: str = PHONE) -> Phone:
    return await Phone.dial(server, client)


def sessions(server: jabberd.Server, account: str = "alice@example.com") -> list[str]:
    return [s.jid.resource for s in server.running.assembly.sessions.of(account)]


# What is offered


async def test_the_offer(server: jabberd.Server) -> None:
    async with await dial(server) as phone:
        features = await phone.offered()
        offered = features.find(f"{SASL2}authentication")
        assert offered is not None
        mechanisms = [e.text for e in offered.findall(f"{SASL2}mechanism")]
        assert mechanisms == [
            "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
            "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN",
        ]  # fmt: skip
        inline = offered.find(f"{SASL2}inline")
        assert inline is not None
        assert names(inline) == [f"{BIND2}bind", f"{SM}sm", f"{FAST}fast"]
        found = inline.findall(f"{BIND2}bind/{BIND2}inline/{BIND2}feature")
        assert "urn:xmpp:sm:3" in {e.get("var") for e in found}
        fast = inline.find(f"{FAST}fast")
        assert fast is not None
        assert [e.text for e in fast] == ["HT-SHA-256-EXPR", ENDP, NONE]
        assert fast.get("tls-0rtt") is None
        upgrades = [e.text for e in offered.findall("{urn:xmpp:sasl:upgrade:0}upgrade")]
        assert upgrades == ["UPGR-SCRAM-SHA-512", "UPGR-SCRAM-SHA-256"]
        version = features.find(f"{IAP}config-version")
        assert version is not None
        assert version.get("scheme") == "opaque"


async def test_modules_add_to_the_offer_what_a_session_can_begin_with(
    server: jabberd.Server,
) -> None:
    ports = server.running.assembly.hosts["example.com"].registry.ports
    ports[CarbonsApi] = ports[CsiApi] = States()
    async with await dial(server) as phone:
        features = await phone.offered()
        found = features.iter(f"{BIND2}feature")
        assert [e.get("var") for e in found] == [
            "urn:xmpp:carbons:2", "urn:xmpp:csi:0", "urn:xmpp:sm:3",
        ]  # fmt: skip


async def test_no_offer_without_tls_and_none_where_it_is_switched_off() -> None:
    host = {"example.com": {}, "old.example": {"sasl2": False}}
    async with jabberd.Server("example.com", config={"host": host}) as server:
        async with await Wire.connect(server.host, server.port) as wire:
            await wire.open("example.com")
            assert f"{SASL2}authentication" not in names(await wire.features())
        async with await dial(server) as phone:
            assert f"{SASL2}authentication" in names(await phone.offered())
        async with await dial(server) as phone:
            features = await phone.offered("old.example")
            assert f"{SASL2}authentication" not in names(features)
            await phone.send(phone.by_password("alice"))
            assert stream_error(await phone.next()) == "not-authorized"


async def test_what_the_configuration_takes_back() -> None:
    config = {"clients": {"token_days": 0}, "sessions": {"resume_seconds": 0}}
    async with jabberd.Server("example.com", config=config) as server:
        await server.add_user("alice", "alice")
        async with await dial(server) as phone:
            inline = (await phone.offered()).find(f"{SASL2}authentication/{SASL2}inline")
            assert inline is not None
            assert names(inline) == [f"{BIND2}bind"]
            await phone.send(phone.by_password("alice", bind("X", ENABLE) + request_token()))
            success = await phone.outcome()
            assert success.find(f"{FAST}token") is None
            enabled = success.find(f"{BIND2}bound/{SM}enabled")
            assert enabled is not None
            assert dict(enabled.attrib) == {}


async def test_scram_tells_the_version_of_tls(server: jabberd.Server) -> None:
    async with await dial(server) as phone:
        await phone.offered()
        await phone.send(phone.authenticate("SCRAM-SHA-256", b"n,,n=alice,r=abc"))
        challenge = await phone.next()
        assert challenge.tag == f"{SASL2}challenge"
        first = base64.b64decode(challenge.text or "").decode()
        assert "t=0304" in first.split(",")  # XEP-0515 §4.1


# New sessions


async def test_everything_at_once(server: jabberd.Server) -> None:
    async with await dial(server) as phone:
        await phone.offered()
        await phone.send(phone.by_password("alice", bind("Awesome", ENABLE) + request_token()))
        success = await phone.outcome()
        assert names(success) == [
            f"{SASL2}authorization-identifier", f"{BIND2}bound", f"{FAST}token",
        ]  # fmt: skip
        jid = jid_of(success)
        account, tag, unique = jid.split("/")
        assert (account, tag) == ("alice@example.com", "Awesome")
        assert PHONE not in unique
        bound = success.find(f"{BIND2}bound")
        assert bound is not None
        enabled = bound.find(f"{SM}enabled")
        assert enabled is not None
        assert enabled.get("resume") == "true"
        assert len(base64.urlsafe_b64decode(phone.token + "=")) == 32
        # XEP-0388 §2.6.1: features follow at once, and a resource is bound already.
        features = await phone.features()
        assert f"{BIND}bind" not in names(features)
        await phone.send("<presence/>")
        presence = await phone.stanza()
        assert (presence.tag, presence.get("from")) == (f"{CLIENT}presence", jid)
        assert sessions(server) == [jid.partition("/")[2]]


async def test_the_resource_is_the_clients_own_and_replaces_its_session(
    server: jabberd.Server,
) -> None:
    async with await dial(server) as old, await dial(server) as new:
        first = jid_of(await old.login("alice", bind("A", ENABLE)))
        second = jid_of(await new.login("alice", bind("A", ENABLE)))
        assert first == second
        assert stream_error(await old.next()) == "conflict"
        assert len(sessions(server)) == 1
        async with await dial(server, TABLET) as other:
            third = jid_of(await other.login("alice", bind("A")))
            assert third.startswith("alice@example.com/A/")
            assert third != first
            assert len(sessions(server)) == 2
        async with await dial(server) as again:
            # XEP-0386 §3.2: earlier sessions of the same client end, whatever they are called.
            fourth = jid_of(await again.login("alice", bind("B")))
            assert fourth == first.replace("/A/", "/B/")
            assert stream_error(await new.next()) == "conflict"
            assert first.partition("/")[2] not in sessions(server)


async def test_the_same_client_is_another_one_for_another_account(server: jabberd.Server) -> None:
    async with await dial(server) as one, await dial(server) as two:
        alice = jid_of(await one.login("alice", bind("A")))
        bob = jid_of(await two.login("bob", bind("A")))
        assert alice.partition("/")[2] != bob.partition("/")[2]


async def test_clients_without_an_id_do_not_replace_each_other(server: jabberd.Server) -> None:
    async with await dial(server, "") as one, await dial(server, "") as two:
        await one.login("alice", bind("A") + request_token())
        await two.login("alice", bind("A"))
        assert len(set(sessions(server))) == 2
        assert one.token == ""  # XEP-0484 §4.1


@pytest.mark.parametrize("tag", ["", "\u00a0\u2007"])
async def test_tags_that_say_nothing_are_left_away(server: jabberd.Server, tag: str) -> None:
    async with await dial(server) as phone:
        assert jid_of(await phone.login("alice", bind(tag))).count("/") == 1


async def test_without_a_wish_for_a_resource_it_is_bound_as_ever(server: jabberd.Server) -> None:
    async with await dial(server) as phone:
        await phone.offered()
        await phone.send(phone.by_password("alice"))
        success = await phone.outcome()
        assert jid_of(success) == "alice@example.com"
        assert f"{BIND}bind" in names(await phone.features())
        bound = await phone.ask(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            "<resource>desk</resource></bind></iq>"
        )
        assert bound.findtext(f"{BIND}bind/{BIND}jid") == "alice@example.com/desk"
    async with await dial(server) as phone:
        # It is known to be the same client all the same.
        await phone.login("alice", bind("A"))
        assert len(sessions(server)) == 1


async def test_an_enable_that_is_none_is_told_so(server: jabberd.Server) -> None:
    async with await dial(server) as phone:
        wrong = "<enable xmlns='urn:xmpp:sm:3' resume='perhaps'/>"
        success = await phone.login("alice", bind("A", wrong))
        failed = success.find(f"{BIND2}bound/{SM}failed")
        assert failed is not None
        assert names(failed)[0] == f"{STANZA_ERRORS}bad-request"
        await phone.ping("example.com")


class States:
    """Carbons and client states that only take notes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def enable(self, session: Session) -> None:
        self.said.append(f"carbons for {session.jid.resource[:1]}")

    def set_active(self, session: Session, active: bool) -> None:
        self.said.append(f"{session.jid.resource[:1]} is {'active' if active else 'inactive'}")


async def test_carbons_and_client_states_begin_with_the_session(server: jabberd.Server) -> None:
    states = States()
    ports = server.running.assembly.hosts["example.com"].registry.ports
    ports[CarbonsApi] = ports[CsiApi] = states
    carbons = "<enable xmlns='urn:xmpp:carbons:2'/>"
    async with await dial(server) as phone:
        inactive = "<inactive xmlns='urn:xmpp:csi:0'/>"
        await phone.login("alice", bind("P", inactive, carbons, ENABLE))
        assert states.said == ["carbons for P", "P is inactive"]
    states.said.clear()
    async with await dial(server, TABLET) as tablet:
        active = "<active xmlns='urn:xmpp:csi:0'/>"
        await tablet.login("alice", bind("T", active, "<enable xmlns='urn:x'/>"))
        assert states.said == []


async def test_nothing_is_said_before_the_success(server: jabberd.Server) -> None:
    async def greet(session: Session) -> None:
        await asyncio.sleep(0)
        session.send(Message.build(to=session.jid, from_=ALICE, id="early", type="chat"))

    host = server.running.assembly.hosts["example.com"]
    host.load("greeter", Module(handlers=[OnSession(SessionEvent.BOUND, greet)]))
    async with await dial(server) as phone:
        await phone.login("alice", bind("A", ENABLE))
        assert (await phone.stanza()).get("id") == "early"
    async with await Wire.connect(server.host, server.port) as wire:
        await wire.login("alice@example.com", "alice", "desk")  # the same for RFC 6120 §7
        await wire.send("<presence/>")  # who says nothing at first is told nothing either
        assert (await wire.next()).get("id") == "early"


async def test_an_account_has_so_many_sessions(server: jabberd.Server) -> None:
    phones = [await dial(server, "") for _ in range(65)]
    try:
        for phone in phones[:64]:
            await phone.login("alice", bind())
        last = phones[64]
        await last.offered()
        await last.send(last.by_password("alice", bind()))
        refused = await last.outcome()
        assert failure(refused) == "temporary-auth-failure"
        assert refused.findtext(f"{SASL2}text") == "an account may have 64 sessions"
    finally:
        for phone in phones:
            await phone.cut()


# The archive


async def test_who_reads_the_archive_gets_its_ends_and_nothing_twice(
    server: jabberd.Server,
) -> None:
    async with await dial(server) as phone:
        success = await phone.login("alice", bind("A"))
        metadata = success.find(f"{BIND2}bound/{MAM}metadata")
        assert metadata is not None
        assert names(metadata) == []  # XEP-0313 §5: it is empty
    async with await dial(server) as bob:
        await bob.login("bob", bind("B"))
        for number in ("one", "two", "three"):
            body = f"<body>{number}</body>"
            await bob.send(f"<message to='alice@example.com' type='chat'>{body}</message>")
        await bob.ping("example.com")
    first, last = await ends(server)
    async with await dial(server) as phone:
        success = await phone.login("alice", bind("A"))
        metadata = success.find(f"{BIND2}bound/{MAM}metadata")
        assert metadata is not None
        assert [(e.tag, e.get("id")) for e in metadata] == [
            (f"{MAM}start", first), (f"{MAM}end", last),
        ]  # fmt: skip
        await phone.send("<presence/>")
        assert (await phone.stanza()).tag == f"{CLIENT}presence"
        await phone.ping("example.com")  # and no message came before that
    async with await Wire.connect(server.host, server.port) as wire:
        await wire.login("alice@example.com", "alice", "desk")
        await wire.send("<presence/>")
        found = [await wire.next() for _ in range(4)]
        assert [e.findtext(f"{CLIENT}body") for e in found if e.tag == f"{CLIENT}message"] == [
            "one", "two", "three",
        ]  # fmt: skip


async def ends(server: jabberd.Server) -> tuple[str, str]:
    keeper = server.running.assembly.hosts["example.com"].keeper
    found = await server.running.assembly.stores.log.bounds("alice@example.com")
    assert found is not None
    return keeper.id_of(found[0].key), keeper.id_of(found[1].key)


# Tokens, and sessions that go on


async def absent(phone: Phone) -> tuple[str, str]:
    """Log in with everything, and vanish; the session's id and the address."""
    success = await phone.login("alice", bind("A", ENABLE) + request_token())
    enabled = success.find(f"{BIND2}bound/{SM}enabled")
    assert enabled is not None
    await phone.send("<presence/>")
    await phone.stanza()
    await phone.cut()
    return enabled.get("id", ""), jid_of(success)


def resume(previd: str, h: int) -> str:
    return f"<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{h}'/>"


async def test_a_phone_is_back_in_one_round_trip(server: jabberd.Server) -> None:
    phone = await dial(server)
    previd, jid = await absent(phone)
    async with await dial(server) as bob, await dial(server) as again:
        await bob.login("bob", bind("B"))
        await bob.send(f"<message to='{jid}' type='chat' id='m'><body>missed</body></message>")
        await bob.ping("example.com")
        offer = f"<config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='{phone.version}'/>"
        inside = resume(previd, 1) + bind("A", ENABLE) + offer
        success = await again.one_flight(again.by_token("alice", phone.token, inside))
        assert names(success) == [
            f"{SASL2}additional-data", f"{SASL2}authorization-identifier", f"{SM}resumed",
        ]  # fmt: skip
        assert jid_of(success) == jid
        proof = hmac.digest(phone.token.encode(), b"Responder" + again.end_point(), "sha256")
        assert base64.b64decode(success[0].text or "") == proof
        assert (success[2].get("previd"), success[2].get("h")) == (previd, "1")
        # XEP-0198 §9.2: no features; the stream is what it was.
        message = await again.next()
        assert (message.tag, message.get("id")) == (f"{CLIENT}message", "m")
        assert again.flights == 1
        assert sessions(server) == [jid.partition("/")[2]]


async def test_what_a_phone_says_together_with_its_login_is_heard(server: jabberd.Server) -> None:
    phone = await dial(server)
    previd, jid = await absent(phone)
    async with await dial(server) as bob, await dial(server) as again:
        await bob.login("bob", bind("B"))
        await bob.send("<presence/>")
        await bob.stanza()
        said = "<message to='bob@example.com' type='chat' id='s'><body>on my way</body></message>"
        login = again.by_token("alice", phone.token, resume(previd, 1))
        success = await again.one_flight(login + said)
        assert success.find(f"{SM}resumed") is not None
        message = await bob.stanza()
        assert (message.get("from"), message.get("id")) == (jid, "s")
        assert again.flights == 1


async def test_where_nothing_can_be_resumed_there_is_a_new_session(server: jabberd.Server) -> None:
    phone = await dial(server)
    previd, jid = await absent(phone)
    async with await dial(server) as again:
        inside = resume("unknown", 1) + bind("A", ENABLE)
        success = await again.one_flight(again.by_token("alice", phone.token, inside))
        assert names(success)[1:] == [
            f"{SASL2}authorization-identifier", f"{SM}failed", f"{BIND2}bound",
        ]  # fmt: skip
        failed = success.find(f"{SM}failed")
        assert failed is not None
        assert names(failed)[0] == f"{STANZA_ERRORS}item-not-found"
        assert jid_of(success) == jid
        enabled = success.find(f"{BIND2}bound/{SM}enabled")
        assert enabled is not None
        assert enabled.get("id") != previd
        assert f"{BIND}bind" not in names(await again.features())
        assert sessions(server) == [jid.partition("/")[2]]
        assert again.flights == 1


async def test_without_a_wish_for_a_resource_a_failed_resumption_leaves_none(
    server: jabberd.Server,
) -> None:
    async with await dial(server) as phone:
        await phone.offered()
        await phone.send(phone.by_password("alice", resume("unknown", 1)))
        success = await phone.outcome()
        assert names(success) == [f"{SASL2}authorization-identifier", f"{SM}failed"]
        assert jid_of(success) == "alice@example.com"
        assert f"{BIND}bind" in names(await phone.features())


async def test_too_high_a_count_ends_the_stream(server: jabberd.Server) -> None:
    phone = await dial(server)
    previd, _ = await absent(phone)
    async with await dial(server) as again:
        await again.offered()
        await again.send(again.by_token("alice", phone.token, resume(previd, 7) + bind("A")))
        error = await again.next()
        assert error.find(f"{SM}handled-count-too-high") is not None, tostring(error)


async def test_somebody_elses_session_is_not_resumed(server: jabberd.Server) -> None:
    previd, _ = await absent(await dial(server))
    async with await dial(server) as bob:
        success = await bob.login("bob", resume(previd, 1) + bind("B"))
        assert success.find(f"{SM}failed") is not None
        assert jid_of(success).startswith("bob@example.com/")


async def test_a_token_is_renewed_when_asked_for_and_when_it_is_old(server: jabberd.Server) -> None:
    async with await dial(server) as phone:
        await phone.login("alice", bind("A") + request_token())
    first = phone.token
    async with await dial(server) as phone:
        success = await phone.one_flight(phone.by_token("alice", first, request_token()))
        assert success.find(f"{FAST}token") is not None
    second = phone.token
    assert second != first
    async with await dial(server) as phone:
        # Nobody knows whether the new one has arrived: the old one is still good.
        success = await phone.one_flight(phone.by_token("alice", first))
        assert success.find(f"{FAST}token") is None
    async with await dial(server) as phone:
        await phone.one_flight(phone.by_token("alice", second))
    async with await dial(server) as phone:
        assert failure(await phone.one_flight(phone.by_token("alice", first))) == "not-authorized"
    # From here on tokens are made that are old at once.
    clients = server.running.assembly.clients
    now = clients._now
    async with await dial(server) as phone:
        clients._now = lambda: now() + 16 * 86_400  # of 30 days
        success = await phone.one_flight(phone.by_token("alice", second))
        assert success.find(f"{FAST}token") is not None
        assert phone.token not in {first, second}


async def test_another_offer_costs_nothing(server: jabberd.Server) -> None:
    stale = "<config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='c3RhbGU='/>"
    async with await dial(server) as phone:
        await phone.login("alice", bind("A") + request_token())
    async with await dial(server) as again:
        refused = await again.one_flight(again.by_token("alice", phone.token, stale + bind("A")))
        assert failure(refused) == "aborted"
        assert refused.find(f"{IAP}config-version-mismatch") is not None
        for _ in range(6):  # more than there are attempts
            await again.send(again.by_token("alice", phone.token, stale))
            assert failure(await again.outcome()) == "aborted"
        await again.send(again.by_token("alice", phone.token, bind("A")))
        assert jid_of(await again.outcome()).startswith("alice@example.com/A/")


async def test_a_throwaway_account_gets_no_token(server: jabberd.Server) -> None:
    config = {"host": {"anon.example": {"anonymous": True}}}
    async with (
        jabberd.Server("anon.example", config=config) as server,
        await dial(server) as phone,
    ):
        await phone.offered("anon.example")
        await phone.send(phone.authenticate("ANONYMOUS", b"", bind("A", ENABLE) + request_token()))
        success = await phone.outcome()
        assert success.find(f"{FAST}token") is None
        owner = jid_of(success).partition("/")[0]
        assert await server.running.assembly.stores.keyvalue.keys(owner, "clients") == []


# Keys for more hash functions (XEP-0480)

TASK = "<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-256'/>"
UPGRADE = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>"


async def only_sha1(server: jabberd.Server) -> None:
    accounts = server.running.assembly.stores.accounts
    account = await accounts.get("alice@example.com")
    assert account is not None
    await accounts.set_keys(account.owner, [key for key in account.keys if key.hash == "sha1"])


async def hashes(server: jabberd.Server) -> list[str]:
    account = await server.running.assembly.stores.accounts.get("alice@example.com")
    assert account is not None
    return [key.hash for key in account.keys]


async def as_far_as_the_salt(phone: Phone) -> Element:
    await phone.offered()
    await phone.send(phone.by_password("alice", UPGRADE + bind("A") + request_token()))
    step = await phone.next()
    assert step.tag == f"{SASL2}continue", tostring(step)
    assert [e.text for e in step.iter(f"{SASL2}task")] == ["UPGR-SCRAM-SHA-256"]
    await phone.send(TASK)
    data = await phone.next()
    salt = data.find("{urn:xmpp:scram-upgrade:0}salt")
    assert salt is not None
    return salt


async def upgrade(phone: Phone, salt: Element, password: bytes) -> Element:
    made = hashlib.pbkdf2_hmac(
        "sha256", password, base64.b64decode(salt.text or ""), int(salt.get("iterations", ""))
    )
    text = base64.b64encode(made).decode()
    await phone.send(
        "<task-data xmlns='urn:xmpp:sasl:2'>"
        f"<hash xmlns='urn:xmpp:scram-upgrade:0'>{text}</hash></task-data>"
    )
    return await phone.outcome()


async def test_an_account_gets_keys_for_another_hash(server: jabberd.Server) -> None:
    await only_sha1(server)
    async with await dial(server) as phone:
        success = await upgrade(phone, await as_far_as_the_salt(phone), b"alice")
        assert jid_of(success).startswith("alice@example.com/A/")
        assert await hashes(server) == ["sha1", "sha256"]
    # The token was made for an account with fewer keys, and the password is still the same.
    async with await dial(server) as again:
        assert jid_of(await again.one_flight(again.by_token("alice", phone.token)))


async def test_keys_of_a_password_that_was_changed_meanwhile_are_not_kept(
    server: jabberd.Server,
) -> None:
    await only_sha1(server)
    async with await dial(server) as phone:
        salt = await as_far_as_the_salt(phone)
        accounts = server.running.assembly.accounts
        await accounts.set_password(ALICE, "new", keep_sessions=True)
        before = (await accounts.show(ALICE)).keys
        assert failure(await upgrade(phone, salt, b"alice")) == "temporary-auth-failure"
        assert (await accounts.show(ALICE)).keys == before
        assert sessions(server) == []


async def test_a_new_password_ends_logins_that_are_under_way(server: jabberd.Server) -> None:
    await only_sha1(server)
    async with await dial(server) as phone:
        await as_far_as_the_salt(phone)
        await server.running.assembly.accounts.set_password(ALICE, "new")
        assert stream_error(await phone.next()) == "not-authorized"
    async with await Wire.connect(server.host, server.port) as wire:
        await wire.open("example.com")
        await wire.features()
        await wire.start_tls("example.com")
        await wire.features()
        await wire.plain("alice", "new")
        await wire.open("example.com")
        await wire.features()
        await server.running.assembly.accounts.disable(ALICE, "spam")
        assert stream_error(await wire.next()) == "not-authorized"


async def test_what_is_remembered_can_be_changed_by_a_reload(server: jabberd.Server) -> None:
    assembly = server.running.assembly
    config = assembly.config
    assembly.apply(replace(config, clients=replace(config.clients, token_days=1, details=False)))
    assert assembly.clients.rules == ClientRules(86_400.0, 90 * 86_400.0, False, 50)
