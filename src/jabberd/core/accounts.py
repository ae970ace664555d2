"""Accounts: who may log in, on every host of this process.

Passwords are never stored. What is stored are SCRAM keys (RFC 5802 §3) for three hash
functions, derived off the event loop.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from jabberd.core.derive import Deriver
from jabberd.core.locks import Locks
from jabberd.storage.api import Account, AccountExists, ScramKeys, StorageError, Stores
from jabberd.xmpp import prep
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.keys import HASHES, SALT_BYTES, from_salted, strongest, verify

_DELETING: Final = "this account is being deleted"

_log = logging.getLogger(__name__)


class AccountError(Exception):
    """What was asked for cannot be done; the text is for the person who asked."""


class NoSuchAccount(AccountError):  # noqa: N818 -- a kind of AccountError, read as one
    """There is no account of this name."""


class AccountTaken(AccountError):  # noqa: N818 -- a kind of AccountError, read as one
    """There is an account of this name already."""


class BadPassword(AccountError):  # noqa: N818 -- a kind of AccountError, read as one
    """The password is empty, too long or has a character that is not allowed."""


class PasswordChanged(AccountError):  # noqa: N818 -- a kind of AccountError, read as one
    """The account has another password by now."""


class NoSuchClient(AccountError):  # noqa: N818 -- a kind of AccountError, read as one
    """The account has no client of this name."""


class BadAccountName(AccountError):  # noqa: N818 -- a kind of AccountError, read as one
    """The address is not one that an account of this server can have."""


async def _no_handlers(_: JID) -> None:
    """Nobody wants to know."""


async def _no_tokens(_: JID) -> None:
    """Nobody has a token."""


def _no_sessions(_: JID, __: StreamError) -> None:
    """Nobody is connected."""


@dataclass(frozen=True, slots=True)
class AccountHooks:
    """What has to happen elsewhere when an account changes.

    Attributes:
        close: ends every session of an account with this error.
        deleting: runs the `AccountEvent.DELETING` handlers of the account's host.
        withdraw: makes every token of an account good for nothing (XEP-0484).
    """

    close: Callable[[JID, StreamError], None] = _no_sessions
    deleting: Callable[[JID], Awaitable[None]] = _no_handlers
    withdraw: Callable[[JID], Awaitable[None]] = _no_tokens


class AccountService:
    """The accounts of every host of this process.

    Args:
        stores: where they are kept.
        deriver: makes keys.
        domains: the hosts that have accounts.
        now: seconds since the epoch.
        iterations: of PBKDF2, for keys made from now on.
        hooks: what has to happen elsewhere.
    """

    def __init__(
        self,
        stores: Stores,
        deriver: Deriver,
        domains: Collection[str],
        *,
        now: Callable[[], float],
        iterations: int = 10_000,
        hooks: AccountHooks | None = None,
    ) -> None:
        self._stores = stores
        self._deriver = deriver
        self._domains = domains
        self._now = now
        self._iterations = iterations
        self._hooks = hooks or AccountHooks()
        self._locks = Locks()  # for what is written only if nothing has changed

    @property
    def domains(self) -> Sequence[str]:
        """The hosts that have accounts, in order."""
        return sorted(self._domains)

    async def lookup(self, jid: JID) -> Account | None:
        """The account behind an address, for logging in and for delivery; None without one."""
        if not jid.local or jid.domain not in self._domains:
            return None
        return await self._stores.accounts.get(jid.bare_text)

    async def exists(self, jid: JID) -> bool:
        """Whether there is such an account, disabled or not."""
        return await self.lookup(jid) is not None

    async def show(self, jid: JID) -> Account:
        """One account.

        Raises:
            NoSuchAccount: see there.
        """
        account = await self.lookup(jid)
        if account is None:
            raise _missing(jid)
        return account

    async def list(self, domain: str, *, after: str = "", limit: int = 100) -> Sequence[Account]:
        """Accounts of a host in order of their address, those behind `after` only."""
        return await self._stores.accounts.list(domain, after=after, limit=limit)

    async def count(self, domain: str) -> int:
        """How many accounts a host has."""
        return await self._stores.accounts.count(domain)

    async def add(self, jid: JID, password: str) -> Account:
        """Make an account.

        Raises:
            BadAccountName: the address has a resource, no localpart or another host.
            BadPassword: see there.
            AccountTaken: see there.
            DeriveBusy: too many passwords are being worked on.
        """
        self._check_name(jid)
        try:
            prep.localpart(jid.local, stored=True)
        except prep.PrepError as error:
            raise BadAccountName(f"{jid.text} cannot be the name of an account: {error}") from None
        account = Account(jid.text, await self.keys(password), self._now())
        try:
            await self._stores.accounts.create(account)
        except AccountExists:
            raise AccountTaken(f"there is an account {jid.text} already") from None
        return account

    async def set_password(self, jid: JID, password: str, *, keep_sessions: bool = False) -> None:
        """Replace the password. Tokens belong to the old one, and are good no more.

        Args:
            jid: whose.
            password: the new one.
            keep_sessions: leave sessions open, where their user made the change (XEP-0077 §3.3).

        Raises:
            NoSuchAccount: see there.
            BadPassword: see there.
            DeriveBusy: too many passwords are being worked on.
        """
        await self.show(jid)
        keys = await self.keys(password)
        async with self._locks.of(jid.text):
            if not await self._stores.accounts.set_keys(jid.text, keys):
                raise _missing(jid)
        if not keep_sessions:
            self._close(jid, "the password of this account was changed")

    async def add_keys(self, jid: JID, made: ScramKeys, known: Sequence[ScramKeys]) -> None:
        """Let an account have keys for one more hash function (XEP-0480).

        Args:
            jid: whose.
            made: the keys, of the same password.
            known: all that the account had when its owner logged in with that password.

        Raises:
            NoSuchAccount: see there.
            PasswordChanged: the account has others by now.
        """
        async with self._locks.of(jid.text):
            account = await self.show(jid)
            if account.keys != tuple(known):
                raise PasswordChanged(f"{jid.text} has another password by now")
            if not await self._stores.accounts.set_keys(jid.text, (*known, made)):
                raise _missing(jid)

    async def check_password(self, jid: JID, password: str) -> bool:
        """Whether this is the account's password; takes as long where there is no account.

        A disabled account's password is checked as well: `lookup` tells that it is disabled.

        Raises:
            DeriveBusy: too many passwords are being worked on.
        """
        account = await self.lookup(jid)
        keys = strongest(account.keys) if account else None
        known = keys is not None
        if keys is None:
            keys = ScramKeys(HASHES[0], bytes(SALT_BYTES), self._iterations, b"", b"")
        try:
            prepared = prepare(password)
        except BadPassword:
            # Derive all the same: how long an answer takes says nothing about the account.
            prepared, known = b"\0", False
        salted = await self._deriver.derive(prepared, keys.hash, keys.salt, keys.iterations)
        return verify(keys, salted) and known

    async def disable(self, jid: JID, reason: str) -> None:
        """Refuse logins from now on, end the sessions, and withdraw the tokens.

        Args:
            jid: whose.
            reason: for the operator and for the user; never empty.

        Raises:
            NoSuchAccount: see there.
        """
        reason = reason.strip() or "disabled by the administrator"
        if not await self._stores.accounts.set_disabled(jid.text, reason):
            raise _missing(jid)
        self._close(jid, f"this account is disabled: {reason}")
        try:
            await self._hooks.withdraw(jid)
        except StorageError:  # nobody logs in by them now, and `enable` tries again
            _log.exception("tokens of %s were not withdrawn", jid.text)

    async def enable(self, jid: JID) -> None:
        """Allow logins again, by other means than the tokens of before.

        Raises:
            NoSuchAccount: see there.
            StorageError: they could not be withdrawn.
        """
        if (await self.show(jid)).disabled is not None:
            await self._hooks.withdraw(jid)
        if not await self._stores.accounts.set_disabled(jid.text, None):
            raise _missing(jid)

    async def delete(self, jid: JID) -> None:
        """Erase an account and everything that it owns.

        It is disabled first, so that nobody logs in meanwhile; then its sessions end, then the
        modules take their leave (subscriptions are cancelled), then every store erases it.

        Raises:
            NoSuchAccount: see there.
        """
        if not await self._stores.accounts.set_disabled(jid.text, _DELETING):
            raise _missing(jid)
        self._close(jid, "this account was deleted")
        try:
            await self._hooks.deleting(jid)
        except Exception:
            # Whoever asked for their data to be erased is not refused by a module's mistake.
            _log.exception("a module failed while %s was being deleted", jid.text)
        await self._stores.erase(jid.text)

    async def keys(self, password: str) -> tuple[ScramKeys, ...]:
        """SCRAM keys for a new password, one per hash function, each with a salt of its own.

        Raises:
            BadPassword: see there.
            DeriveBusy: too many passwords are being worked on.
        """
        prepared = prepare(password, stored=True)
        keys = []
        for name in HASHES:
            salt = secrets.token_bytes(SALT_BYTES)
            salted = await self._deriver.derive(prepared, name, salt, self._iterations)
            keys.append(from_salted(name, salt, self._iterations, salted))
        return tuple(keys)

    def _check_name(self, jid: JID) -> None:
        if not jid.local or not jid.is_bare:
            raise BadAccountName(f"{jid.text} is not an address of the form name@host")
        if jid.domain not in self._domains:
            hosts = ", ".join(self.domains)
            raise BadAccountName(f"{jid.domain} is not a host of this server; these are: {hosts}")

    def _close(self, jid: JID, why: str) -> None:
        # XEP-0077 §3.2 names not-authorized for a cancelled registration.
        self._hooks.close(jid, StreamError(StreamCondition.NOT_AUTHORIZED, why))


def prepare(password: str, *, stored: bool = False) -> bytes:
    """A password as it is derived from: prepared (RFC 4013), in UTF-8, of 1 to 1,023 bytes.

    Args:
        password: as it was typed.
        stored: whether keys are to be made of it and kept (RFC 5802 §2.2).

    Raises:
        BadPassword: see there.
    """
    try:
        return prep.password(password, stored=stored).encode()
    except (prep.PrepError, UnicodeEncodeError) as error:
        why = "it is not text" if isinstance(error, UnicodeEncodeError) else str(error)
        raise BadPassword(f"the password cannot be used: {why}") from None


def _missing(jid: JID) -> NoSuchAccount:
    return NoSuchAccount(f"there is no account {jid.text}")
