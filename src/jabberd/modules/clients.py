"""XEP-0494 Client Access Management: an account's owner sees its clients, and shuts them out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from jabberd.core.accounts import NoSuchClient
from jabberd.core.clients import REVOKED
from jabberd.core.module import (
    AccountEvent,
    At,
    Host,
    IqGet,
    IqSet,
    Module,
    OnAccount,
    OnSession,
    SessionEvent,
    Xep,
)
from jabberd.core.ports import ClientsApi
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import clients as payload
from jabberd.xmpp.payload.clients import Entry
from jabberd.xmpp.stanza import Iq

XEP: Final = Xep(494, "0.1.0")


@dataclass(frozen=True, slots=True)
class Options:
    """The list of clients has no options; what is remembered is in `[clients]`."""


class Clients:
    """Answers for the clients of the accounts of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def _clients(self) -> ClientsApi:
        return self._host.require(ClientsApi)

    async def list(self, _iq: Iq, session: Session | None) -> Element:
        """Those that have access to the sender's account (§3.1)."""
        account = _owner(session).jid.bare
        return payload.clients(
            Entry(
                client.id,
                client.connected,
                client.first_seen,
                client.last_seen,
                client.access,
                client.software,
                client.device,
            )
            for client in await self._clients.list(account)
        )

    async def revoke(self, iq: Iq, session: Session | None) -> None:
        """Take a client's access away (§3.2).

        Raises:
            StanzaError: service-unavailable, where it could come back all the same;
                item-not-found.
        """
        own = _owner(session)
        account, name = own.jid.bare, payload.read_revoke(iq.request())
        access = {one.id: one.access for one in await self._clients.list(account)}.get(name)
        if access is None:
            raise _unknown()
        if "password" in access:
            raise payload.password_reset_required()
        if "certificate" in access:
            text = "this client has a certificate, which is not ours to revoke"
            raise StanzaError(Condition.SERVICE_UNAVAILABLE, text)
        try:
            sessions = await self._clients.revoke(account, name)
        except NoSuchClient:
            raise _unknown() from None
        # The result has to be on its way before the stream ends: this runs after it.
        self._host.spawn(f"a client of {account} is revoked", _end(sessions))

    def closed(self, session: Session) -> None:
        """Its client was here until now."""
        self._clients.left(session)

    async def deleting(self, account: JID) -> None:
        """The account is about to be erased."""
        await self._clients.deleting(account)


def _owner(session: Session | None) -> Session:
    if session is None:
        raise StanzaError(Condition.FORBIDDEN, "only for accounts of this host")
    return session


def _unknown() -> StanzaError:
    return StanzaError(Condition.ITEM_NOT_FOUND, "there is no such client")


async def _end(sessions: Iterable[Session]) -> None:
    for session in sessions:
        session.close(REVOKED)


def load(host: Host, _options: Options) -> Module:
    """The module's value for one host.

    The text does not say how the feature is discovered; its namespace stands for it.
    """
    clients = Clients(host)
    return Module(
        features=[ns.CAM],
        account_features=[ns.CAM],
        handlers=[
            IqGet(ns.CAM, "list", clients.list, At.OWN),
            IqSet(ns.CAM, "revoke", clients.revoke, At.OWN),
            OnSession(SessionEvent.CLOSED, clients.closed),
            OnAccount(AccountEvent.DELETING, clients.deleting),
        ],
    )
