"""Clients and their tokens: who is listed, what is kept of them, and what tokens are good for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from jabberd.core.accounts import AccountHooks, AccountService, NoSuchClient, PasswordChanged
from jabberd.core.admin import all_commands
from jabberd.core.client_record import Record, read_record
from jabberd.core.clients import ClientRules, ClientService, TokenGone
from jabberd.core.command import CommandError, CommandRegistry, Table
from jabberd.core.derive import Deriver
from jabberd.core.session import CLIENT_ID, SessionFacts, Sessions
from jabberd.core.tokens import Issued, Place, Slots, Vault, mark_of, stands
from jabberd.storage.api import Account, ScramKeys
from jabberd.storage.memory import MemoryStores
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.mechanism import Token
from jabberd.xmpp.stream.authenticate import UserAgent
from jabberd.xmpp.stream.events import InlineWanted
from tests.modules.host import Clock, RecordingSession

DAY = 86_400.0
KEY = bytes(range(32))
ALICE = JID.parse("alice@example.org")
PHONE = "d4565fa7-4d72-4749-b3d3-740edbf87770"
TABLET = "a9cfc1a8-9f10-4b7d-a6b7-8d7d8c7c6f4e"
EXPR, NONE = "HT-SHA-256-EXPR", "HT-SHA-256-NONE"


def keys(*hashes: str, password: bytes = b"old") -> tuple[ScramKeys, ...]:
    """An account's keys; the salt stands for the password."""
    return tuple(
        ScramKeys(name, password + name.encode(), 4096, b"", b"")
        for name in hashes or ("sha512", "sha256", "sha1")
    )


OLD, NEW = keys(), keys(password=b"new")


class House:
    """Clients of one account, a clock, and what would break logins off."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.stores = MemoryStores()
        self.sessions = Sessions()
        self.dismissed: list[tuple[str, str]] = []
        self.clients = ClientService(
            self.stores,
            self.sessions,
            Vault(KEY),
            now=self.clock,
            dismiss=lambda account, client: self.dismissed.append((account.text, client)),
        )

    async def password(self, found: Sequence[ScramKeys]) -> None:
        await self.stores.accounts.set_keys(ALICE.text, found)

    async def account(self) -> Account:
        account = await self.stores.accounts.get(ALICE.text)
        assert account is not None
        return account

    async def login(
        self,
        client: str = PHONE,
        *,
        how: str = "SCRAM-SHA-256",
        ask: str = "",
        token: Token | None = None,
        invalidate: bool = False,
        software: str = "Phony",
    ) -> str:
        """A login; the token that comes of it, or nothing."""
        wanted = InlineWanted(
            ALICE, token.mechanism if token else how, UserAgent(client, software, "Desk"),
            token_request=ask, token=token, invalidate=invalidate,
        )  # fmt: skip
        grant = await self.clients.logged_in(wanted, (await self.account()).keys)
        return grant.token if grant is not None else ""

    async def tokens(self, client: str = PHONE) -> dict[str, Token]:
        """What a client can log in with, by the secret."""
        found = await self.clients.tokens(await self.account(), client)
        return {token.secret: token for token in found}

    async def use(self, secret: str, *, ask: str = "", invalidate: bool = False) -> str:
        token = (await self.tokens())[secret]
        assert not token.expired
        return await self.login(token=token, ask=ask, invalidate=invalidate)

    def connect(self, resource: str, client: str = "", how: str = "PLAIN") -> RecordingSession:
        session = RecordingSession(ALICE.with_resource(resource), self.clock())
        session.facts = SessionFacts("127.0.0.1", self.clock(), how, "TLSv1.3")
        if client:
            session.set(CLIENT_ID, client)
        self.sessions.add(session)
        return session


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.stores.accounts.create(Account(ALICE.text, OLD, 0.0))
    yield house
    await house.clients.settled()
    await house.stores.close()


# Tokens by themselves


def test_a_box_opens_for_its_account_client_and_mechanism_only() -> None:
    vault, place = Vault(KEY), Place("alice@example.org", PHONE)
    secret, issued = vault.issue(place, EXPR, "", 1000.0, 60.0)
    assert len(secret) == 43  # 256 bits in base64url
    assert (issued.mechanism, issued.made, issued.expires) == (EXPR, 1000, 1060)
    assert vault.open(place, issued) == secret
    assert vault.open(Place("bob@example.org", PHONE), issued) is None
    assert vault.open(Place("alice@example.org", TABLET), issued) is None
    other = Issued(issued.id, NONE, 1000, 1060, "", issued.box)
    assert vault.open(place, other) is None
    assert Vault(bytes(32)).open(place, issued) is None
    for box in (b"", issued.box[:11], issued.box[:-1], bytes(len(issued.box))):
        assert vault.open(place, Issued("x", EXPR, 0, 9, "", box)) is None


def test_no_two_boxes_are_alike() -> None:
    vault, place = Vault(KEY, random=bytes), Place("a@b", PHONE)
    assert vault.issue(place, EXPR, "", 0, 1)[0] == "A" * 43
    vault = Vault(KEY)
    made = [vault.issue(place, EXPR, "", 0, 1) for _ in range(50)]
    assert len({secret for secret, _ in made}) == 50
    assert len({issued.box[:12] for _, issued in made}) == 50
    assert len({issued.id for _, issued in made}) == 50


def test_pseudonyms_do_not_run_into_each_other() -> None:
    vault = Vault(KEY)
    assert vault.pseudonym("a", "bc") == vault.pseudonym("a", "bc")
    assert vault.pseudonym("a", "bc") != vault.pseudonym("ab", "c")
    assert vault.pseudonym("a", "bc") != Vault(bytes(32)).pseudonym("a", "bc")
    assert all(vault.pseudonym(str(n)).isalnum() for n in range(50))


def test_marks_of_passwords() -> None:
    mark = mark_of(OLD)
    assert stands(mark, OLD)
    assert not stands(mark, NEW)
    assert not stands(mark, ())
    # XEP-0480: keys are added, and the password is the same.
    few = keys("sha1")
    assert stands(mark_of(few), (*few, *keys("sha256")))
    assert mark_of(()) == ""
    assert stands("", ())
    assert not stands("", OLD)


def issued(name: str, expires: int = 100) -> Issued:
    return Issued(name, EXPR, 0, expires, "", b"")


def test_the_two_slots() -> None:
    # XEP-0484 §5.1 and §3.5.
    current, new = issued("current", 100), issued("new", 200)
    both = Slots(current, new)
    assert both.all() == (new, current)
    assert both.used("new") == Slots(new, None)
    assert both.used("current") == both
    assert both.used("other") is None
    assert Slots().used("current") is None
    # Those with an earlier expiry go, also where the newer one is the shorter-lived.
    assert Slots(current, issued("short", 50)).used("current") == Slots(current)
    assert Slots(None, new).used("new") == Slots(new)
    assert [token.expires for token in both.withdrawn().all()] == [0, 0]
    assert not Slots()
    assert Slots(new=new)


def test_half_of_a_life() -> None:
    token = Issued("x", EXPR, 1000, 2000, mark_of(OLD), b"")
    assert not token.due(1499.0)
    assert token.due(1500.0)
    assert token.good(OLD, 1999.0)
    assert not token.good(OLD, 2000.0)
    assert not token.good(NEW, 1999.0)


def test_records_are_read_as_they_were_written() -> None:
    record = Record(
        1.5, 2.5, EXPR, "S", "D", mark_of(OLD), certificate=True, slots=Slots(issued("x"), None)
    )
    assert read_record(record.to_bytes()) == record
    assert read_record(Record(1.0, 2.0, "PLAIN").to_bytes()) == Record(1.0, 2.0, "PLAIN")
    for data in (b"", b"[]", b"{}", b'{"first": 1}', b"\xff", b'{"first":1,"current":{"id":"x"}}'):
        with pytest.raises(ValueError, match=r"."):
            read_record(data)


# What a login does to tokens


@pytest.mark.asyncio
async def test_a_token_is_given_for_the_asking(house: House) -> None:
    assert await house.login() == ""
    secret = await house.login(ask=EXPR)
    (token,) = (await house.tokens()).values()
    assert (token.secret, token.mechanism, token.expired) == (secret, EXPR, False)
    assert await house.tokens(TABLET) == {}


@pytest.mark.asyncio
async def test_what_was_never_used_is_replaced(house: House) -> None:
    first = await house.login(ask=EXPR)
    second = await house.login(ask=NONE)
    assert set(await house.tokens()) == {second}
    assert first != second


@pytest.mark.asyncio
async def test_the_old_one_is_good_until_the_new_one_is_used(house: House) -> None:
    first = await house.login(ask=EXPR)
    await house.use(first)
    second = await house.use(first, ask=EXPR)
    assert set(await house.tokens()) == {first, second}
    assert await house.use(first) == ""
    assert set(await house.tokens()) == {first, second}
    await house.use(second)
    assert set(await house.tokens()) == {second}


@pytest.mark.asyncio
async def test_an_old_one_is_rotated_unasked(house: House) -> None:
    first = await house.login(ask=NONE)
    house.clock.pass_(14.9 * DAY)
    assert await house.use(first) == ""
    house.clock.pass_(0.2 * DAY)
    second = await house.use(first)
    assert (await house.tokens())[second].mechanism == NONE
    # It has not arrived: there is another one with the next login.
    third = await house.use(first)
    assert set(await house.tokens()) == {first, third}
    house.clock.pass_(15 * DAY)
    assert {s: t.expired for s, t in (await house.tokens()).items()} == {first: True, third: False}


@pytest.mark.asyncio
async def test_a_password_does_not_rotate(house: House) -> None:
    first = await house.login(ask=EXPR)
    house.clock.pass_(20 * DAY)
    assert await house.login() == ""
    assert set(await house.tokens()) == {first}


@pytest.mark.asyncio
async def test_one_that_is_given_up_is_gone(house: House) -> None:
    first = await house.login(ask=EXPR)
    await house.use(first)
    await house.use(first, ask=EXPR)
    assert await house.use(first, invalidate=True) == ""
    assert await house.tokens() == {}
    first = await house.login(ask=EXPR)
    second = await house.use(first, ask=EXPR, invalidate=True)
    assert set(await house.tokens()) == {second}


@pytest.mark.asyncio
async def test_one_that_goes_while_it_is_used(house: House) -> None:
    first = await house.login(ask=EXPR)
    token = (await house.tokens())[first]
    await house.use(first, invalidate=True)
    with pytest.raises(TokenGone):
        await house.login(token=token)
    # Two at a time: the second one finds what the first has left.
    first = await house.login(ask=EXPR)
    old = (await house.tokens())[first]
    second = await house.use(first, ask=EXPR)
    new = (await house.tokens())[second]
    done = await asyncio.gather(
        house.login(token=new), house.login(token=old), return_exceptions=True
    )
    assert done[0] == ""
    assert isinstance(done[1], TokenGone)


@pytest.mark.asyncio
async def test_a_new_password_leaves_none_in_force(house: House) -> None:
    first = await house.login(ask=EXPR)
    await house.password(NEW)
    assert [token.expired for token in (await house.tokens()).values()] == [True]
    second = await house.login(ask=EXPR)
    assert {s: t.expired for s, t in (await house.tokens()).items()} == {second: False}
    await house.password(OLD)
    assert first not in await house.tokens()
    assert (await house.tokens())[second].expired


@pytest.mark.asyncio
async def test_withdrawn_ones_have_expired(house: House) -> None:
    first = await house.login(ask=EXPR)
    await house.use(first)
    second = await house.use(first, ask=EXPR)
    await house.clients.withdraw(ALICE)
    assert {s: t.expired for s, t in (await house.tokens()).items()} == {first: True, second: True}


@pytest.mark.asyncio
async def test_no_tokens_where_they_are_switched_off(house: House) -> None:
    first = await house.login(ask=EXPR)
    house.clients.rules = ClientRules(token_seconds=0)
    assert await house.tokens() == {}
    assert await house.login(ask=EXPR) == ""
    house.clients.rules = ClientRules()
    assert set(await house.tokens()) == {first}


@pytest.mark.asyncio
async def test_without_the_key_nothing_opens(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await house.login(ask=EXPR)
    other = ClientService(house.stores, house.sessions, Vault(bytes(32)), now=house.clock)
    assert await other.tokens(await house.account(), PHONE) == ()
    assert "a token of alice@example.org cannot be decrypted" in caplog.text


# Who is listed


async def shown(house: House) -> list[tuple[str, tuple[str, ...], bool]]:
    return [(one.mechanism, one.access, one.connected) for one in await house.clients.list(ALICE)]


@pytest.mark.asyncio
async def test_by_what_they_have_access(house: House) -> None:
    await house.login(PHONE, how="SCRAM-SHA-256-PLUS", ask=EXPR)
    house.clock.pass_(1)
    await house.login(TABLET, how="EXTERNAL")
    assert await shown(house) == [
        ("EXTERNAL", ("certificate",), False),
        ("SCRAM-SHA-256-PLUS", ("password", "fast"), False),
    ]
    # XEP-0494 §5: an accurate list. The old password opens nothing any more.
    await house.password(NEW)
    assert await shown(house) == [("EXTERNAL", ("certificate",), False)]
    house.clock.pass_(1)
    house.connect("x", PHONE)
    assert await shown(house) == [
        ("SCRAM-SHA-256-PLUS", (), True),
        ("EXTERNAL", ("certificate",), False),
    ]


@pytest.mark.asyncio
async def test_what_is_told_of_them(house: House) -> None:
    start = house.clock()
    await house.login(PHONE)
    house.clock.pass_(10)
    await house.login(PHONE, software="Phony 2")
    house.clock.pass_(10)
    (one,) = await house.clients.list(ALICE)
    assert (one.first_seen, one.last_seen) == (start, start + 10)
    assert (one.software, one.device) == ("Phony 2", "Desk")
    assert PHONE not in one.id
    house.connect("x", PHONE)
    (one,) = await house.clients.list(ALICE)
    assert (one.last_seen, one.connected) == (start + 20, True)
    house.clients.rules = ClientRules(details=False)
    await house.login(PHONE)
    (one,) = await house.clients.list(ALICE)
    assert (one.software, one.device) == ("", "")


@pytest.mark.asyncio
async def test_those_that_have_told_no_id_are_listed_while_they_are_here(house: House) -> None:
    old = house.connect("exodus", how="jabber:iq:auth")
    house.connect("bot", how="EXTERNAL")
    found = {one.mechanism: one for one in await house.clients.list(ALICE)}
    assert found["jabber:iq:auth"].access == ("password",)
    assert found["EXTERNAL"].access == ("certificate",)
    assert found["jabber:iq:auth"].id != found["EXTERNAL"].id
    assert await house.clients.revoke(ALICE, found["jabber:iq:auth"].id) == [old]


@pytest.mark.asyncio
async def test_without_an_id_nothing_is_kept(house: House) -> None:
    wanted = InlineWanted(ALICE, "PLAIN", UserAgent("", "Phony"))
    assert await house.clients.logged_in(wanted, OLD) is None
    assert await house.clients.logged_in(InlineWanted(ALICE, "PLAIN"), OLD) is None
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == []


@pytest.mark.asyncio
async def test_a_visit_that_changes_nothing_is_written_later(house: House) -> None:
    await house.login(PHONE)
    before = await house.stores.keyvalue.get(ALICE.text, "clients", PHONE)
    house.clock.pass_(60)
    await house.login(PHONE)
    assert await house.stores.keyvalue.get(ALICE.text, "clients", PHONE) == before
    (one,) = await house.clients.list(ALICE)
    assert one.last_seen == house.clock()
    await house.clients.settled()
    after = await house.stores.keyvalue.get(ALICE.text, "clients", PHONE)
    assert after is not None
    assert read_record(after).last == house.clock()


@pytest.mark.asyncio
async def test_when_they_left(house: House) -> None:
    await house.login(PHONE)
    session, stranger = house.connect("x", PHONE), house.connect("y")
    house.clock.pass_(3600)
    for one in (session, stranger):
        house.sessions.remove(one)
        house.clients.left(one)
    await house.clients.settled()
    (client,) = await house.clients.list(ALICE)
    assert client.last_seen == house.clock()
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == [PHONE]


@pytest.mark.asyncio
async def test_a_visit_does_not_bring_a_client_back(house: House) -> None:
    await house.login(PHONE)
    session = house.connect("x", PHONE)
    (client,) = await house.clients.list(ALICE)
    await house.clients.revoke(ALICE, client.id)
    house.clients.left(session)
    await house.clients.settled()
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == []


# Who is forgotten


@pytest.mark.asyncio
async def test_who_does_not_come_back_is_forgotten(house: House) -> None:
    house.clients.rules = ClientRules(keep_seconds=10 * DAY)
    await house.login(PHONE, ask=EXPR)
    await house.login(TABLET)
    house.clock.pass_(11 * DAY)
    assert [access for _, access, _ in await shown(house)] == [("password", "fast")]
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == [PHONE]
    house.clock.pass_(20 * DAY)  # the token is over as well
    house.connect("x", PHONE)
    assert len(await house.clients.list(ALICE)) == 1
    house.sessions.remove(house.sessions.of(ALICE.text)[0])
    assert await house.clients.list(ALICE) == []
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == []


@pytest.mark.asyncio
async def test_nobody_without_a_token_is_remembered_where_that_is_wanted(house: House) -> None:
    house.clients.rules = ClientRules(keep_seconds=0)
    await house.login(PHONE)
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == []
    secret = await house.login(PHONE, ask=EXPR)
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == [PHONE]
    await house.use(secret, invalidate=True)
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == []


@pytest.mark.asyncio
async def test_an_erased_account_is_visited_no_more(house: House) -> None:
    await house.login(PHONE)
    house.clock.pass_(DAY)
    before = await house.stores.keyvalue.get(ALICE.text, "clients", PHONE)
    house.clients.left(house.connect("x", PHONE))
    await house.clients.deleting(ALICE)
    await house.clients.settled()
    assert await house.stores.keyvalue.get(ALICE.text, "clients", PHONE) == before


@pytest.mark.asyncio
async def test_who_is_not_remembered_takes_nobody_s_room(house: House) -> None:
    house.clients.rules = ClientRules(keep_seconds=0, most=1)
    await house.login(PHONE, ask=EXPR)
    await house.login(TABLET)
    assert await house.stores.keyvalue.keys(ALICE.text, "clients") == [PHONE]


@pytest.mark.asyncio
async def test_when_there_are_too_many_the_least_useful_go(house: House) -> None:
    house.clients.rules = ClientRules(most=4)
    ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(6)]
    await house.login(ids[0], ask=EXPR)  # oldest, with a token
    house.clock.pass_(1)
    await house.login(ids[1])  # connected
    house.connect("x", ids[1])
    for client in ids[2:5]:
        house.clock.pass_(1)
        await house.login(client)
    kept = await house.stores.keyvalue.keys(ALICE.text, "clients")
    assert kept == [ids[0], ids[1], ids[3], ids[4]]
    await house.login(ids[5])
    kept = await house.stores.keyvalue.keys(ALICE.text, "clients")
    assert kept == [ids[0], ids[1], ids[4], ids[5]]


@pytest.mark.asyncio
async def test_what_is_damaged_is_as_good_as_gone(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await house.login(PHONE)
    await house.stores.keyvalue.put(ALICE.text, "clients", PHONE, b"{")
    assert await house.clients.list(ALICE) == []
    assert "what is kept of a client of alice@example.org is damaged" in caplog.text
    await house.login(PHONE)
    assert len(await house.clients.list(ALICE)) == 1


# Who is shut out


@pytest.mark.asyncio
async def test_revoking(house: House) -> None:
    await house.login(PHONE, ask=EXPR)
    await house.login(TABLET, ask=EXPR)
    phone, tablet = house.connect("x", PHONE), house.connect("y", TABLET)
    names = {one.id for one in await house.clients.list(ALICE)}
    ours = house.clients._vault.pseudonym("client", ALICE.text, PHONE)
    assert ours in names
    assert await house.clients.shut_out(ALICE, ours) == 1
    assert (phone.ended, tablet.ended) == (True, False)
    assert house.dismissed == [(ALICE.text, PHONE)]
    assert await house.tokens() == {}
    assert len(await house.tokens(TABLET)) == 1
    for name in ("", "nobody", PHONE):
        with pytest.raises(NoSuchClient):
            await house.clients.revoke(ALICE, name)


# Accounts


@pytest.mark.asyncio
async def test_keys_are_added_only_to_those_that_were_known(house: House) -> None:
    deriver = Deriver()
    service = AccountService(house.stores, deriver, {"example.org"}, now=house.clock)
    sha1, sha256 = keys("sha1"), keys("sha256")
    await house.password(sha1)
    await service.add_keys(ALICE, sha256[0], sha1)
    assert (await house.account()).keys == (*sha1, *sha256)
    with pytest.raises(PasswordChanged):
        await service.add_keys(ALICE, keys("sha512")[0], sha1)
    await house.password(NEW)
    with pytest.raises(PasswordChanged):
        await service.add_keys(ALICE, keys("sha512")[0], sha1)
    assert (await house.account()).keys == NEW
    deriver.close()


@pytest.mark.asyncio
async def test_disabling_withdraws_tokens(house: House) -> None:
    deriver = Deriver()
    hooks = AccountHooks(withdraw=house.clients.withdraw)
    service = AccountService(house.stores, deriver, {"example.org"}, now=house.clock, hooks=hooks)
    await house.login(ask=EXPR)
    await service.enable(ALICE)  # it is enabled already
    assert [token.expired for token in (await house.tokens()).values()] == [False]
    await service.disable(ALICE, "spam")
    assert [token.expired for token in (await house.tokens()).values()] == [True]
    await service.enable(ALICE)
    assert [token.expired for token in (await house.tokens()).values()] == [True]
    # As if the process had died between the two steps of disabling.
    await house.login(ask=EXPR)
    await house.stores.accounts.set_disabled(ALICE.text, "spam")
    await service.enable(ALICE)
    assert [token.expired for token in (await house.tokens()).values()] == [True]
    deriver.close()


# The commands


@pytest.mark.asyncio
async def test_the_commands(house: House) -> None:
    deriver = Deriver()
    service = AccountService(house.stores, deriver, {"example.org"}, now=house.clock)
    commands = CommandRegistry(all_commands(lambda: service, clients=lambda: house.clients))
    account = {"account": ALICE.text}
    await house.login(PHONE, ask=EXPR, software="Ph\x1bony")
    house.connect("x", PHONE)
    table = await commands.run(["user", "clients"], account)
    assert isinstance(table, Table)
    ((name, *rest),) = table.rows
    when = "2023-11-14 22:13:20Z"
    assert rest == [
        "Ph\\x1bony", "Desk", "password, fast", "SCRAM-SHA-256", when, when, True,
    ]  # fmt: skip
    said = await commands.run(["user", "revoke"], {**account, "client": str(name)})
    assert said == (
        f"{name} is out; sessions ended: 1. It knows the password: "
        "replace that by `jabberd user passwd alice@example.org`."
    )
    await house.login(TABLET, how="EXTERNAL")
    table = await commands.run(["user", "clients"], account)
    assert isinstance(table, Table)
    name = str(table.rows[0][0])
    house.sessions.remove(house.sessions.of(ALICE.text)[0])
    said = await commands.run(["user", "revoke"], {**account, "client": name})
    assert said == f"{name} is out; sessions ended: 0. It can come back with its certificate."
    with pytest.raises(CommandError, match="has no client of this name"):
        await commands.run(["user", "revoke"], {**account, "client": name})
    with pytest.raises(CommandError, match="no account"):
        await commands.run(["user", "clients"], {"account": "nobody@example.org"})
    deriver.close()
