"""Accounts, their keys and what happens around them; on the stores in memory."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from jabberd.core.accounts import (
    AccountHooks,
    AccountService,
    AccountTaken,
    BadAccountName,
    BadPassword,
    NoSuchAccount,
)
from jabberd.core.admin import all_commands
from jabberd.core.command import CommandError, CommandRegistry, Table
from jabberd.core.derive import Deriver
from jabberd.core.journal import Journal
from jabberd.core.session import Sessions
from jabberd.core.verdict import Handled
from jabberd.storage.api import Account
from jabberd.storage.open import open_stores
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message

ALICE = JID.parse("alice@example.org")
NOW = 1_700_000_000.0


class House:
    """A service with what is around it."""

    def __init__(self, service: AccountService, log: list[Any]) -> None:
        self.accounts = service
        self.log = log


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    stores = await open_stores("memory:")
    deriver = Deriver(workers=1)
    log: list[Any] = []

    def close(jid: JID, error: StreamError) -> None:
        log.append((jid.text, error.condition, error.text))

    async def deleting(jid: JID) -> None:
        account = await stores.accounts.get(jid.text)
        log.append(("deleting", account and account.disabled))
        if jid.local == "cursed":
            raise ZeroDivisionError

    service = AccountService(
        stores,
        deriver,
        {"example.org", "example.com"},
        now=lambda: NOW,
        hooks=AccountHooks(close, deleting),
    )
    yield House(service, log)
    deriver.close()
    await stores.close()


@pytest.mark.asyncio
async def test_only_scram_keys_are_kept(house: House) -> None:
    account = await house.accounts.add(ALICE, "pencil")
    assert (account.owner, account.created, account.disabled) == (ALICE.text, NOW, None)
    assert [key.hash for key in account.keys] == ["sha512", "sha256", "sha1"]
    assert len({key.salt for key in account.keys}) == 3
    for key in account.keys:
        assert (len(key.salt), key.iterations) == (16, 10_000)
        salted = hashlib.pbkdf2_hmac(key.hash, b"pencil", key.salt, key.iterations)
        client = hmac.digest(salted, b"Client Key", key.hash)
        assert key.stored == hashlib.new(key.hash, client).digest()
        assert key.server == hmac.digest(salted, b"Server Key", key.hash)
    assert await house.accounts.lookup(ALICE.with_resource("desk")) == account


@pytest.mark.asyncio
async def test_passwords_are_checked(house: House) -> None:
    await house.accounts.add(ALICE, "I\u00adX")  # RFC 4013 §3: the soft hyphen is mapped to nothing
    assert await house.accounts.check_password(ALICE, "IX")
    assert await house.accounts.check_password(ALICE, "\u2168")
    assert not await house.accounts.check_password(ALICE, "ix")
    assert not await house.accounts.check_password(ALICE, "")
    assert not await house.accounts.check_password(ALICE, "\x07")
    assert not await house.accounts.check_password(JID.parse("nobody@example.org"), "IX")
    assert not await house.accounts.check_password(JID.parse("alice@elsewhere.org"), "IX")


@pytest.mark.asyncio
async def test_an_unknown_account_costs_a_derivation_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived: list[tuple[str, int]] = []
    real = Deriver.derive

    async def derive(
        self: Deriver, password: bytes, hash_name: str, salt: bytes, iterations: int
    ) -> bytes:
        derived.append((hash_name, iterations))
        return await real(self, password, hash_name, salt, iterations)

    await house.accounts.add(ALICE, "pencil")
    monkeypatch.setattr(Deriver, "derive", derive)
    await house.accounts.check_password(ALICE, "x")
    await house.accounts.check_password(JID.parse("nobody@example.org"), "x")
    await house.accounts.check_password(JID.parse("nobody@example.org"), "\x07")
    assert derived == [("sha512", 10_000)] * 3


@pytest.mark.asyncio
@pytest.mark.parametrize("password", ["", "x" * 1024, "ü" * 600, "bell\x07", "\u00ad", "\ud800"])
async def test_passwords_that_cannot_be(house: House, password: str) -> None:
    with pytest.raises(BadPassword):
        await house.accounts.add(ALICE, password)
    assert not await house.accounts.exists(ALICE)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["example.org", "alice@example.org/desk", "alice@elsewhere.org"])
async def test_addresses_that_are_no_accounts_of_ours(house: House, name: str) -> None:
    with pytest.raises(BadAccountName):
        await house.accounts.add(JID.parse(name), "pencil")


@pytest.mark.asyncio
async def test_names_are_taken_once(house: House) -> None:
    await house.accounts.add(ALICE, "pencil")
    with pytest.raises(AccountTaken, match=r"an account alice@example\.org already"):
        await house.accounts.add(ALICE, "pencil")


@pytest.mark.asyncio
async def test_a_new_password_ends_the_sessions(house: House) -> None:
    await house.accounts.add(ALICE, "pencil")
    await house.accounts.set_password(ALICE, "biro", keep_sessions=True)
    assert house.log == []
    await house.accounts.set_password(ALICE, "chalk")
    assert await house.accounts.check_password(ALICE, "chalk")
    assert not await house.accounts.check_password(ALICE, "pencil")
    ((jid, condition, _),) = house.log
    assert (jid, condition) == (ALICE.text, StreamCondition.NOT_AUTHORIZED)


@pytest.mark.asyncio
async def test_disabling_and_enabling(house: House) -> None:
    await house.accounts.add(ALICE, "pencil")
    await house.accounts.disable(ALICE, "  spam ")
    assert (await house.accounts.show(ALICE)).disabled == "spam"
    assert house.log == [
        (ALICE.text, StreamCondition.NOT_AUTHORIZED, "this account is disabled: spam")
    ]
    await house.accounts.enable(ALICE)
    assert (await house.accounts.show(ALICE)).disabled is None
    await house.accounts.disable(ALICE, "")
    assert (await house.accounts.show(ALICE)).disabled == "disabled by the administrator"


@pytest.mark.asyncio
async def test_deleting_in_order(house: House) -> None:
    await house.accounts.add(ALICE, "pencil")
    await house.accounts.delete(ALICE)
    assert house.log == [
        (ALICE.text, StreamCondition.NOT_AUTHORIZED, "this account was deleted"),
        ("deleting", "this account is being deleted"),
    ]
    assert not await house.accounts.exists(ALICE)


@pytest.mark.asyncio
async def test_a_failing_module_does_not_keep_an_account_alive(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    cursed = JID.parse("cursed@example.org")
    await house.accounts.add(cursed, "pencil")
    await house.accounts.delete(cursed)
    assert not await house.accounts.exists(cursed)
    assert "a module failed while cursed@example.org was being deleted" in caplog.text


@pytest.mark.asyncio
async def test_nothing_can_be_done_to_nobody(house: House) -> None:
    service = house.accounts
    for work in (
        service.show(ALICE),
        service.set_password(ALICE, "x"),
        service.disable(ALICE, "x"),
        service.enable(ALICE),
        service.delete(ALICE),
    ):
        with pytest.raises(NoSuchAccount, match=r"no account alice@example\.org"):
            await work
    assert house.log == []


# The commands on top.


def registry(house: House, journal: Journal | None = None) -> CommandRegistry:
    return CommandRegistry(
        all_commands(lambda: house.accounts, lambda: journal or Journal(), Sessions)
    )


async def run(house: House, command: str, **arguments: object) -> Any:
    return await registry(house).run(command.split(), arguments)


@pytest.mark.asyncio
async def test_the_life_of_an_account_by_commands(house: House) -> None:
    name: Mapping[str, object] = {"account": "Alice@example.org"}
    assert await run(house, "user add", **name, password="pencil") == "alice@example.org is added."
    listed = await run(house, "user list")
    assert listed == Table(
        ("account", "created", "state"),
        [("alice@example.org", "2023-11-14 22:13:20Z", "enabled")],
    )
    await run(house, "user disable", **name, reason="spam\x1b[2J")
    shown = await run(house, "user show", **name)
    assert ("state", "disabled: spam\\x1b[2J") in shown.rows
    assert any("sha512 (10000 iterations)" in str(value) for _, value in shown.rows)
    await run(house, "user enable", **name)
    await run(house, "user passwd", **name, password="chalk")
    assert await house.accounts.check_password(ALICE, "chalk")
    await run(house, "user delete", **name)
    assert (await run(house, "user list")).rows == []


@pytest.mark.asyncio
async def test_lists_span_pages_and_hosts(house: House) -> None:
    for number in range(120):
        account = Account(f"u{number:03}@example.org", (), NOW)
        await house.accounts._stores.accounts.create(account)
    await house.accounts._stores.accounts.create(Account("z@example.com", (), NOW))
    assert len((await run(house, "user list")).rows) == 121
    assert len((await run(house, "user list", host="example.org", limit=110)).rows) == 110
    assert [row[0] for row in (await run(house, "user list", host="example.com")).rows] == [
        "z@example.com"
    ]
    with pytest.raises(CommandError, match=r"server: example\.com, example\.org"):
        await run(house, "user list", host="nowhere.org")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["example.org", "a@example.org/x", "a b@example.org", "\x1b@h"])
async def test_bad_names_in_commands(house: House, name: str) -> None:
    with pytest.raises(CommandError) as caught:
        await run(house, "user show", account=name)
    assert str(caught.value).isprintable()


@pytest.mark.asyncio
async def test_errors_of_the_service_are_errors_of_the_command(house: House) -> None:
    with pytest.raises(CommandError, match="no account"):
        await run(house, "user delete", account="alice@example.org")
    with pytest.raises(CommandError, match="the password cannot be used"):
        await run(house, "user add", account="alice@example.org", password="")


@pytest.mark.asyncio
async def test_tracing(house: House) -> None:
    await house.accounts.add(ALICE, "pencil")
    journal = Journal()
    stanza = Message(from_=ALICE, to=JID.parse("bob@example.org"), id="\x07", type="chat")
    journal.record(NOW, stanza, Handled("host"), ALICE.text)
    commands = registry(house, journal)
    table = await commands.run(["trace"], {"account": "alice@example.org"})
    assert isinstance(table, Table)
    assert table.rows == [
        (
            "2023-11-14 22:13:20.000Z",
            "message/chat",
            "\\x07",
            "alice@example.org",
            "bob@example.org",
            "handled by host",
        )
    ]
    empty = await commands.run(["trace"], {"account": "alice@example.org", "to": "eve@h"})
    assert isinstance(empty, Table)
    assert empty.rows == []
    lines = await commands.run(["trace"], {"account": "alice@example.org", "follow": True})
    assert not isinstance(lines, str | Table)
    assert "handled by host" in await anext(lines)
    await lines.aclose()  # type: ignore[attr-defined]  # it is an asynchronous generator
    assert not journal._followers
