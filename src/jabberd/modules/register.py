"""XEP-0077 In-Band Registration: make an account before login; change or cancel it after."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal, TypeVar

from jabberd.core.accounts import AccountTaken, BadAccountName, BadPassword, NoSuchAccount
from jabberd.core.derive import DeriveBusy
from jabberd.core.module import At, Host, IqGet, IqSet, Module, Xep
from jabberd.core.ports import AccountsApi, RegisterApi
from jabberd.core.session import Session
from jabberd.storage.api import StorageError
from jabberd.xmpp import ns, prep
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, ErrorType, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import register
from jabberd.xmpp.stanza import Iq, error_reply

XEP = Xep(77, "2.4")
T = TypeVar("T")
_log = logging.getLogger(__name__)
_INVITATION = "Choose a user name and a password."
_ON_FILE = "You have an account here. To change its password, send a new one."


@dataclass(frozen=True)
class Options:
    """In-band registration.

    Attributes:
        enabled: who may make accounts: "loopback" (programs on this machine), "all" (everybody,
            over TLS) or "off".
        change_password: users may change their password in-band.
        cancel: users may delete their account in-band.
        per_address: how many registrations one address (IPv6: one /64) may attempt per period.
        per_host: how many may be attempted in all per period.
        period_seconds: how long a period is.
        reserved: names that nobody can register, except from this machine.
    """

    enabled: Literal["loopback", "all", "off"] = "loopback"
    change_password: bool = True
    cancel: bool = True
    per_address: int = 20
    per_host: int = 200
    period_seconds: float = 600.0
    reserved: tuple[str, ...] = (
        "abuse",
        "admin",
        "administrator",
        "hostmaster",
        "postmaster",
        "root",
        "security",
        "support",
        "webmaster",
        "xmpp",
    )


class Attempts:
    """Counts registrations in a period; holds at most as many addresses as are let through."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._until = 0.0
        self._all = 0
        self._by_source: dict[str, int] = {}

    def count(self, address: str, now: float) -> None:
        """Count one attempt.

        Raises:
            StanzaError: there were too many from this address, or in all (XEP-0077 §3.1.1).
        """
        # The second condition: the clock was set back.
        if now >= self._until or self._until - now > self._options.period_seconds:
            self._until = now + self._options.period_seconds
            self._all = 0
            self._by_source.clear()
        source = _source(address)
        mine = self._by_source.get(source, 0)
        if mine >= self._options.per_address or self._all >= self._options.per_host:
            minutes = max(1, round((self._until - now) / 60))
            raise StanzaError(
                Condition.NOT_ACCEPTABLE,
                f"too many registrations: try again in {minutes} min",
                ErrorType.WAIT,
            )
        self._all += 1
        self._by_source[source] = mine + 1


class BeforeLogin:
    """Registration on a stream that is not logged in (`RegisterApi`)."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        self._attempts = Attempts(options)

    def offered(self, loopback: bool, secure: bool = True) -> bool:
        """Whether to advertise registration on a stream."""
        return self._open_to(loopback) and (loopback or secure)

    async def before_login(self, iq: Iq, address: str, loopback: bool, secure: bool) -> Iq:
        """Answer a request from a stream that is not logged in (§3.1)."""
        try:
            if not self._open_to(loopback):
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)
            if not self.offered(loopback, secure):
                raise StanzaError(Condition.NOT_AUTHORIZED, "use TLS first", ErrorType.MODIFY)
            if iq.to is not None and iq.to != self._host.domain:
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)
            query = iq.request()
            if iq.type == "get":
                return iq.result(register.blank(_INVITATION))
            await self._register(register.read(query), address, loopback)
        except StanzaError as error:
            return error_reply(iq, error)
        except StorageError:
            _log.exception("an account could not be stored")
            busy = StanzaError(Condition.RESOURCE_CONSTRAINT, "the server cannot store this now")
            return error_reply(iq, busy)
        return iq.result()

    async def _register(self, request: register.Request, address: str, loopback: bool) -> None:
        if request.remove:
            # Nobody is logged in, so there is nothing that could be removed (§3.2).
            raise StanzaError(Condition.UNEXPECTED_REQUEST, "log in first")
        if not request.username or not request.password:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "a user name and a password are needed")
        name = _prepared(request.username)
        if name in self._options.reserved and not loopback:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "this name is reserved")
        self._attempts.count(address, self._host.now())
        jid = JID(name, self._host.domain.domain)
        await _told(self._host.require(AccountsApi).add(jid, request.password))
        _log.info("%s was registered from %s", jid.text, address)

    def _open_to(self, loopback: bool) -> bool:
        enabled = self._options.enabled
        return enabled == "all" or (enabled == "loopback" and loopback)


class AfterLogin:
    """What somebody with an account can do with it in-band."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options

    def show(self, iq: Iq, session: Session | None) -> Element:
        """That there is an account, and its name (§3.1)."""
        if session is None or iq.from_ is None:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return register.registered(iq.from_.local, _ON_FILE)

    async def change(self, iq: Iq, session: Session | None) -> None:
        """Delete the account (§3.2), or change its password (§3.3)."""
        if session is None:
            raise StanzaError(Condition.REGISTRATION_REQUIRED, "only for accounts of this host")
        request = register.read(iq.request())
        account = session.jid.bare
        if request.remove:
            await self._remove(request, account)
        else:
            await self._set_password(request, account, session)

    async def _remove(self, request: register.Request, account: JID) -> None:
        if not self._options.cancel:
            raise StanzaError(Condition.NOT_ALLOWED, "accounts are not deleted in-band here")
        if not request.alone:
            raise StanzaError(Condition.BAD_REQUEST, "remove goes alone")
        await self._check_owner(request, account)
        # The result has to be on its way before the stream ends: this runs after it.
        self._host.spawn(f"delete {account}", self._delete(account))

    async def _delete(self, account: JID) -> None:
        await self._host.require(AccountsApi).delete(account)
        _log.info("%s deleted its account", account.text)

    async def _set_password(
        self, request: register.Request, account: JID, session: Session
    ) -> None:
        if not self._options.change_password:
            raise StanzaError(Condition.NOT_ALLOWED, "passwords are not changed in-band here")
        if not session.facts.tls and not _is_loopback(session.facts.address):
            raise StanzaError(Condition.NOT_AUTHORIZED, "use TLS for that", ErrorType.MODIFY)
        if not request.username or not request.password:
            # Includes an empty password: the one in force stays.
            raise StanzaError(Condition.BAD_REQUEST, "a user name and a password are needed")
        await self._check_owner(request, account)
        accounts = self._host.require(AccountsApi)
        await _told(accounts.set_password(account, request.password, keep_sessions=True))

    async def _check_owner(self, request: register.Request, account: JID) -> None:
        # The example of §3.3 has a bare JID where a name belongs.
        name, at, domain = request.username.partition("@")
        if request.username and (
            _prepared(name) != account.local or (at and domain.lower() != account.domain)
        ):
            raise StanzaError(Condition.FORBIDDEN, "this account is not yours", ErrorType.CANCEL)
        if request.old_password is not None:
            accounts = self._host.require(AccountsApi)
            if not await _told(accounts.check_password(account, request.old_password)):
                raise StanzaError(
                    Condition.NOT_AUTHORIZED, "the old password is wrong", ErrorType.MODIFY
                )


async def _told(work: Awaitable[T]) -> T:
    """Await what the account service does, and put its errors as XEP-0077 wants them."""
    try:
        return await work
    except AccountTaken:
        raise StanzaError(Condition.CONFLICT, "this name is taken") from None
    except (BadPassword, BadAccountName) as error:
        raise StanzaError(Condition.NOT_ACCEPTABLE, str(error)) from None
    except NoSuchAccount:
        raise StanzaError(Condition.REGISTRATION_REQUIRED) from None
    except DeriveBusy:
        raise StanzaError(Condition.RESOURCE_CONSTRAINT, "busy: try again soon") from None


def _prepared(username: str) -> str:
    try:
        return prep.localpart(username)
    except prep.PrepError as error:
        raise StanzaError(Condition.NOT_ACCEPTABLE, f"not a user name: {error}") from None


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _source(address: str) -> str:
    """What registrations are counted by: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed.packed[:8] + bytes(8), 64)))
    return str(parsed)


def load(host: Host, options: Options) -> Module:
    """Registration before login through `RegisterApi`; the rest as IQs."""
    account = AfterLogin(host, options)
    possible = options.enabled != "off" or options.change_password or options.cancel
    return Module(
        handlers=[
            IqGet(ns.REGISTER, "query", account.show, At.HOST | At.OWN),
            IqSet(ns.REGISTER, "query", account.change, At.HOST | At.OWN),
        ],
        features=[ns.REGISTER] if possible else [],
        provides={RegisterApi: BeforeLogin(host, options)},
    )
