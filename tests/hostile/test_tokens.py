"""Tokens in the wrong hands (XEP-0484): of others, used up, withdrawn, and guessed."""

from __future__ import annotations

import asyncio
import base64
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import jabberd
from jabberd.core.clients import ClientRules
from jabberd.xmpp.jid import JID
from tests.integration.phone import (
    ENABLE,
    ENDP,
    NONE,
    PHONE,
    SASL2,
    TABLET,
    Phone,
    bind,
    failure,
    jid_of,
    request_token,
)
from tests.integration.wire import stream_error

pytestmark = pytest.mark.asyncio
ALICE = JID.parse("alice@example.com")


@pytest_asyncio.fixture
async def house() -> AsyncIterator[jabberd.Server]:
    config = {"limits": {"login_attempts": 3}}
    async with jabberd.Server("example.com", config=config) as server:
        for name in ("alice", "bob"):
            await server.add_user(name, name)
        yield server


async def token_of(
    house: jabberd.Server, name: str = "alice", *, client: str = PHONE, how: str = ENDP
) -> str:
    async with await Phone.dial(house, client) as phone:
        await phone.login(name, bind("A") + request_token(how))
        return phone.token


async def attempt(
    house: jabberd.Server,
    token: str,
    name: str = "alice",
    *,
    client: str = PHONE,
    how: str = ENDP,
    fast: str = "",
) -> str:
    """Log in by a token: the address that it gets, or the condition."""
    async with await Phone.dial(house, client) as phone:
        said = phone.by_token(name, token, bind("A"), how=how, fast=fast)
        outcome = await phone.one_flight(said)
        return jid_of(outcome) if outcome.tag == f"{SASL2}success" else failure(outcome)


def is_in(outcome: str) -> bool:
    return outcome.startswith("alice@example.com/A/")


async def test_it_is_good_for_its_owner(house: jabberd.Server) -> None:
    token = await token_of(house)
    assert is_in(await attempt(house, token))
    assert is_in(await attempt(house, token))


async def test_of_another_client(house: jabberd.Server) -> None:
    token = await token_of(house)
    assert await attempt(house, token, client=TABLET) == "not-authorized"
    await token_of(house, client=TABLET)
    assert await attempt(house, token, client=TABLET) == "not-authorized"
    assert await attempt(house, token, client="") == "malformed-request"


async def test_of_another_account(house: jabberd.Server) -> None:
    token = await token_of(house)
    assert await attempt(house, token, "bob") == "not-authorized"
    await token_of(house, "bob")
    assert await attempt(house, token, "bob") == "not-authorized"
    assert await attempt(house, token, "nobody") == "not-authorized"


async def test_for_another_mechanism(house: jabberd.Server) -> None:
    # XEP-0484 §3.4: one for a mechanism with channel binding is not good for one without.
    token = await token_of(house)
    assert await attempt(house, token, how=NONE) == "not-authorized"
    token = await token_of(house, how=NONE)
    assert await attempt(house, token, how=ENDP) == "not-authorized"
    assert is_in(await attempt(house, token, how=NONE))


async def test_in_a_row_that_another_one_was_copied_into(house: jabberd.Server) -> None:
    """Who can write to the database cannot give a token to another client or account."""
    token = await token_of(house)
    values = house.running.assembly.stores.keyvalue
    row = await values.get(ALICE.text, "clients", PHONE)
    await values.put(ALICE.text, "clients", TABLET, row)
    await values.put("bob@example.com", "clients", PHONE, row)
    assert await attempt(house, token, client=TABLET) == "not-authorized"
    assert await attempt(house, token, "bob") == "not-authorized"
    assert row is not None
    assert token.encode() not in row
    assert base64.b64encode(token.encode()) not in row


async def test_expired(house: jabberd.Server) -> None:
    house.running.assembly.clients.rules = ClientRules(token_seconds=1e-6)
    token = await token_of(house)
    for _ in range(4):  # which counts for no guess: the token is the right one
        assert await attempt(house, token) == "credentials-expired"
    house.running.assembly.clients.rules = ClientRules()
    token = await token_of(house)
    assert is_in(await attempt(house, token))


async def test_after_a_new_password(house: jabberd.Server) -> None:
    token = await token_of(house)
    accounts = house.running.assembly.accounts
    await accounts.set_password(ALICE, "new", keep_sessions=True)
    assert await attempt(house, token) == "credentials-expired"
    await accounts.set_password(ALICE, "alice")  # the old one again
    assert await attempt(house, token) == "credentials-expired"
    assert is_in(await attempt(house, await token_of(house)))


async def test_of_a_disabled_account(house: jabberd.Server) -> None:
    token = await token_of(house)
    accounts = house.running.assembly.accounts
    await accounts.disable(ALICE, "spam")
    async with await Phone.dial(house) as phone:
        outcome = await phone.one_flight(phone.by_token("alice", token))
        assert failure(outcome) == "account-disabled"
        assert outcome.findtext(f"{SASL2}text") == "spam"
    # Who does not have it is not told.
    assert await attempt(house, "x" * 43) == "not-authorized"
    await accounts.enable(ALICE)
    assert await attempt(house, token) == "credentials-expired"
    assert is_in(await attempt(house, await token_of(house)))


async def test_of_a_deleted_account_and_its_successor(house: jabberd.Server) -> None:
    token = await token_of(house)
    await house.running.assembly.accounts.delete(ALICE)
    assert await attempt(house, token) == "not-authorized"
    await house.add_user("alice", "alice")
    assert await attempt(house, token) == "not-authorized"


async def test_after_it_was_given_up(house: jabberd.Server) -> None:
    token = await token_of(house)
    assert is_in(await attempt(house, token, fast=" invalidate='true'"))
    assert await attempt(house, token) == "not-authorized"


async def test_who_gives_one_up_gives_up_the_one_on_its_way_too(house: jabberd.Server) -> None:
    first = await token_of(house)
    async with await Phone.dial(house) as phone:
        await phone.one_flight(phone.by_token("alice", first, bind("A") + request_token()))
        second = phone.token
    assert is_in(await attempt(house, first, fast=" invalidate='1'"))
    assert await attempt(house, second) == "not-authorized"


async def test_who_gives_one_up_gets_another_only_for_the_asking(house: jabberd.Server) -> None:
    clients = house.running.assembly.clients
    now = clients._now
    token = await token_of(house)
    clients._now = lambda: now() + 20 * 86_400  # of 30 days: it is due for rotation
    async with await Phone.dial(house) as phone:
        said = phone.by_token("alice", token, bind("A"), fast=" invalidate='true'")
        assert is_in(jid_of(await phone.one_flight(said)))
        assert phone.token == ""
    token = await token_of(house)
    async with await Phone.dial(house) as phone:
        inside = bind("A") + request_token()
        said = phone.by_token("alice", token, inside, fast=" invalidate='true'")
        assert is_in(jid_of(await phone.one_flight(said)))
        assert is_in(await attempt(house, phone.token))
    assert await attempt(house, token) == "not-authorized"


async def test_after_its_client_was_revoked(house: jabberd.Server) -> None:
    clients = house.running.assembly.clients
    async with await Phone.dial(house) as phone:
        await phone.login("alice", bind("A", ENABLE) + request_token())
        (client,) = await clients.list(ALICE)
        assert await clients.shut_out(ALICE, client.id) == 1
        assert stream_error(await phone.next()) == "not-authorized"
        assert await attempt(house, phone.token) == "not-authorized"


async def test_a_login_under_way_ends_when_its_client_is_revoked(house: jabberd.Server) -> None:
    clients = house.running.assembly.clients
    token = await token_of(house)
    async with (
        await Phone.dial(house) as phone,
        await Phone.dial(house, TABLET) as tablet,
    ):
        for one in (phone, tablet):
            await one.offered()
        await phone.send(phone.by_token("alice", token))  # and no resource yet
        await tablet.send(tablet.by_password("alice"))
        for one in (phone, tablet):
            jid_of(await one.outcome())
            await one.features()
        names = {one.mechanism: one.id for one in await clients.list(ALICE)}
        assert await clients.shut_out(ALICE, names[ENDP]) == 0
        assert stream_error(await phone.next()) == "not-authorized"
        assert (await tablet.ask(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
        )).get("type") == "result"  # fmt: skip


async def test_a_recorded_login_is_worth_nothing_on_another_channel(house: jabberd.Server) -> None:
    token = await token_of(house)
    async with await Phone.dial(house) as phone:
        right = phone.by_token("alice", token, bind("A"))
        phone.end_point = lambda: bytes(32)  # type: ignore[method-assign]
        wrong = phone.by_token("alice", token, bind("A"))
        assert failure(await phone.one_flight(wrong)) == "not-authorized"
        await phone.send(right)
        assert is_in(jid_of(await phone.outcome()))


async def test_counters_are_for_tls_0rtt_which_is_not_there(house: jabberd.Server) -> None:
    # XEP-0484 §3.4: they must be looked at in what comes by TLS 0-RTT. Nothing comes by it.
    token = await token_of(house)
    async with await Phone.dial(house) as phone:
        features = await phone.offered()
        (fast,) = features.iter("{urn:xmpp:fast:0}fast")
        assert fast.get("tls-0rtt") is None
    for count in ("2", "2", "1", "", "x"):
        assert is_in(await attempt(house, token, fast=f" count='{count}'"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: apt-get install openssl")
async def test_tickets_of_tls_allow_no_early_data(house: jabberd.Server) -> None:
    place = f"127.0.0.1:{house.tls_port}"
    client = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", place, "-servername", "example.com", "-tls1_3",
        "-ign_eof", stdin=PIPE, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    header = (
        b"<stream:stream xmlns='jabber:client' to='example.com' version='1.0'"
        b" xmlns:stream='http://etherx.jabber.org/streams'></stream:stream>"
    )
    said, _ = await asyncio.wait_for(client.communicate(header), 20)
    assert said.count(b"New Session Ticket arrived") > 0
    assert said.count(b"Max Early Data: 0") == said.count(b"New Session Ticket arrived")


async def test_guesses_are_counted(house: jabberd.Server) -> None:
    token = await token_of(house)
    for _ in range(3):
        assert await attempt(house, "x" * 43) == "not-authorized"
    async with await Phone.dial(house) as phone:
        outcome = await phone.one_flight(phone.by_token("alice", token))
        assert failure(outcome) == "temporary-auth-failure"
        assert "too many failed logins" in (outcome.findtext(f"{SASL2}text") or "")
        await phone.send(phone.by_password("alice"))
        assert failure(await phone.outcome()) == "temporary-auth-failure"
    async with await Phone.dial(house) as phone:
        assert jid_of(await phone.login("bob", bind("A")))


async def test_guesses_are_counted_whatever_the_account() -> None:
    config = {"limits": {"login_attempts_per_address": 4}}
    async with jabberd.Server("example.com", config=config) as house:
        await house.add_user("alice", "alice")
        token = await token_of(house)
        for number in range(4):
            assert await attempt(house, "x" * 43, f"user{number}") == "not-authorized"
        assert await attempt(house, token) == "temporary-auth-failure"


async def test_more_clients_than_are_remembered(house: jabberd.Server) -> None:
    clients = house.running.assembly.clients
    clients.rules = ClientRules(most=5)
    token = await token_of(house)
    for number in range(20):
        await token_of(house, client=f"00000000-0000-4000-8000-{number:012}")
    assert len(await house.running.assembly.stores.keyvalue.keys(ALICE.text, "clients")) == 5
    assert await attempt(house, token) == "not-authorized"  # it was the oldest
