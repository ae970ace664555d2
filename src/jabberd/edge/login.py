"""Logging in: who a client is, by what it has proved it, and what it gets for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final

import structlog

from jabberd.core.accounts import AccountError
from jabberd.core.clients import TokenGone
from jabberd.core.derive import DeriveBusy
from jabberd.core.eager import start
from jabberd.edge.arrival import Arrival, Owner
from jabberd.edge.door import ClientDoor
from jabberd.net.wire import Wire
from jabberd.storage.api import Account, StorageError
from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import fast
from jabberd.xmpp.sasl import anonymous
from jabberd.xmpp.sasl.mechanism import Credentials
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Event
from jabberd.xmpp.stream.receiving import ReceivingStream

_log: Final = structlog.get_logger("jabberd.c2s")


class ClientLogin:
    """One client's way to its session.

    Args:
        door: what connections share.
        wire: of the connection.
        stream: that the client logs in on.
        owner: the connection.
    """

    __slots__ = ("_account", "_arrival", "_client", "_door", "_name", "_stream", "_wire")

    def __init__(self, door: ClientDoor, wire: Wire, stream: ReceivingStream, owner: Owner) -> None:
        self._door = door
        self._wire = wire
        self._stream = stream
        self._arrival = Arrival(door, wire, stream, owner)
        self._name: JID | None = None  # as whom it tries
        self._client = ""  # which installation it is, where that is known
        self._account: Account | None = None  # as it was when it was asked for

    def take(self, event: Event) -> object:
        """Do what an event asks for; returns a task where that takes time."""
        if isinstance(event, events.Authenticated):
            self._door.attempts.succeeded((event.account.text, self._source))
        elif isinstance(event, events.AuthenticationFailed):
            self._refused(event)
        elif isinstance(event, events.BindWanted):
            return start(self._arrival.bind(event))
        elif isinstance(event, events.ResumeWanted):
            return start(self._arrival.resume(event))
        else:
            work = self._WORK.get(type(event))
            return start(work(self, event)) if work is not None else None
        return None

    def is_of(self, account: JID, client: str) -> bool:
        """Whether it is a login to this account, and by this client; empty stands for any."""
        return self._name == account and client in {"", self._client}

    @property
    def _source(self) -> str:
        return self._wire.peer.source

    # Who it is

    async def _credentials(self, wanted: events.CredentialsWanted) -> None:
        if not await self._look_up(wanted.account):
            return
        account = self._account
        found = Credentials(account.keys, account.disabled) if account is not None else None
        self._arrival.answer(lambda: self._stream.credentials(found))

    async def _tokens(self, wanted: events.TokensWanted) -> None:
        if not await self._look_up(wanted.account):
            return
        self._client = wanted.client
        account = self._account
        # An account that is not there is asked for its tokens as well: it takes as long.
        of = account or Account(wanted.account.text, (), 0.0)
        try:
            found = await self._door.clients.tokens(of, wanted.client)
        except StorageError as error:
            self._storage_failed(error)
            return
        disabled = account.disabled if account is not None else None
        known = found if account is not None else ()
        self._arrival.answer(lambda: self._stream.tokens(known, disabled))

    async def _look_up(self, account: JID) -> bool:
        """Find an account; False where the login has been refused instead."""
        self._name, self._account = account, None
        seconds = self._door.blocked(account, self._source)
        if seconds > 0:
            text = f"too many failed logins: try again in {int(seconds) + 1} seconds"
            self._refuse(SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, text))
            return False
        try:
            self._account = await self._door.stores.accounts.get(account.text)
        except StorageError as error:
            self._storage_failed(error)
            return False
        return True

    async def _derive(self, wanted: events.DeriveKey) -> None:
        try:
            key = await self._door.derive(
                wanted.password, wanted.hash, wanted.salt, wanted.iterations
            )
        except DeriveBusy:
            self._refuse(_try_later())
            return
        self._arrival.answer(lambda: self._stream.derived(key))

    def _refuse(self, error: SaslError) -> None:
        self._arrival.answer(lambda: self._stream.refuse_login(error))

    def _storage_failed(self, error: StorageError) -> None:
        self._logger().error("storage failed at login", error=str(error))
        self._refuse(_try_later())

    def _refused(self, event: events.AuthenticationFailed) -> None:
        account = event.account
        if account is not None and event.error.condition is SaslCondition.NOT_AUTHORIZED:
            self._door.failed(account, self._source)
        self._logger().info(
            "login refused",
            account=account.text if account is not None else "",
            mechanism=event.mechanism,
            condition=event.error.condition.value,
        )

    async def _register(self, wanted: events.RegisterWanted) -> None:
        answer = await self._door.register(self._stream, wanted.iq, self._wire)
        self._arrival.answer(lambda: self._stream.reply(answer))

    # What it gets

    async def _upgraded(self, wanted: events.KeysUpgraded) -> None:
        try:
            await self._door.accounts.add_keys(wanted.account, wanted.keys, wanted.known)
        except AccountError as error:
            self._refuse(SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, str(error)))
        except StorageError as error:
            self._storage_failed(error)
        else:
            self._logger().info("keys added", account=wanted.account.text, hash=wanted.keys.hash)
            self._arrival.answer(self._stream.stored)

    async def _inline(self, wanted: events.InlineWanted) -> None:
        self._name = wanted.account
        self._client = wanted.client.id if wanted.client is not None else ""
        keys = self._account.keys if self._account is not None else ()
        token = b""
        try:
            if wanted.mechanism != anonymous.NAME:  # such an account is gone in a while
                grant = await self._door.clients.logged_in(wanted, keys)
                token = fast.token(grant.token, grant.expires) if grant is not None else b""
        except TokenGone:
            self._refuse(SaslError(SaslCondition.NOT_AUTHORIZED))
        except StorageError as error:
            self._storage_failed(error)
        else:
            await self._arrival.inline(wanted, token)

    def _logger(self) -> structlog.stdlib.BoundLogger:
        logger: structlog.stdlib.BoundLogger = _log.bind(address=self._wire.peer.host)
        return logger

    _WORK: ClassVar[dict[type, Callable[[ClientLogin, Any], Coroutine[Any, Any, None]]]] = {
        events.CredentialsWanted: _credentials,
        events.TokensWanted: _tokens,
        events.DeriveKey: _derive,
        events.RegisterWanted: _register,
        events.KeysUpgraded: _upgraded,
        events.InlineWanted: _inline,
    }


def _try_later() -> SaslError:
    return SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, "the server is busy: try again later")
