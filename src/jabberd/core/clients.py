"""The clients of accounts: who has access, by which tokens, and who has no more.

A client is known by the id that it tells when it logs in by SASL2 (XEP-0388 §2.3). What is kept
of it is for the account's owner (XEP-0494); its tokens are those of XEP-0484.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from jabberd.core.accounts import NoSuchClient
from jabberd.core.client_record import Record, way_of
from jabberd.core.client_store import ClientStore
from jabberd.core.session import CLIENT_ID, Session, Sessions
from jabberd.core.tokens import Place, Slots, Vault, mark_of
from jabberd.storage.api import Account, Stores
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.ht import BINDINGS
from jabberd.xmpp.sasl.keys import ScramKeys
from jabberd.xmpp.sasl.mechanism import Token
from jabberd.xmpp.stream.authenticate import UserAgent
from jabberd.xmpp.stream.events import InlineWanted

_log: Final = logging.getLogger(__name__)


REVOKED: Final = StreamError(StreamCondition.NOT_AUTHORIZED, "this client has no access any more")
"""What ends the sessions of a client that was revoked."""


class TokenGone(Exception):  # noqa: N818 -- what the client is told
    """The token was withdrawn, or used up, while somebody logged in with it."""


@dataclass(frozen=True, slots=True)
class ClientRules:
    """What is remembered of clients, and for how long.

    Attributes:
        token_seconds: how long a token is good; 0: none are given out.
        keep_seconds: how long a client is remembered that does not come back.
        details: remember which software and device a client says it is.
        most: clients of one account.
    """

    token_seconds: float = 30 * 86_400.0
    keep_seconds: float = 90 * 86_400.0
    details: bool = True
    most: int = 50


@dataclass(frozen=True, slots=True)
class Client:
    """A client that has access to an account.

    Attributes:
        id: names it to the account's owner, and tells nothing.
        first_seen: when it logged in first, in seconds since the epoch.
        last_seen: when it was here last; now, where it is.
        connected: whether it has a session, its client there or not.
        access: by what it can log in: "password", "certificate", "fast".
        mechanism: how it logged in last.
        software: what it says it is; may be empty.
        device: where it says it runs; may be empty.
    """

    id: str
    first_seen: float
    last_seen: float
    connected: bool
    access: tuple[str, ...]
    mechanism: str
    software: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token for a client.

    Attributes:
        token: the secret.
        expires: until when it is good, in seconds since the epoch.
    """

    token: str = field(repr=False)
    expires: float


def _nobody(_: JID, __: str) -> None:
    """There are no connections."""


class ClientService:
    """The clients of every account of this process. Implements `core.ports.ClientsApi`.

    Args:
        stores: where they are kept.
        sessions: of this process.
        vault: makes tokens.
        now: seconds since the epoch.
        rules: what is remembered; may be replaced at any time.
        dismiss: breaks off logins under way of one client of an account.
    """

    def __init__(
        self,
        stores: Stores,
        sessions: Sessions,
        vault: Vault,
        *,
        now: Callable[[], float],
        rules: ClientRules | None = None,
        dismiss: Callable[[JID, str], None] = _nobody,
    ) -> None:
        self.rules = rules or ClientRules()
        self._accounts = stores.accounts
        self._sessions = sessions
        self._vault = vault
        self._now = now
        self._dismiss = dismiss
        self._store = ClientStore(stores.keyvalue)

    def resource(self, account: JID, client: str) -> str:
        """What a client's resource has in it: always the same, and not its id (XEP-0386 §3.2.1)."""
        return self._vault.pseudonym("resource", account.text, client)

    # Logging in

    async def tokens(self, account: Account, client: str) -> tuple[Token, ...]:
        """The tokens that a client can prove to have; those that are good no more are marked.

        Raises:
            StorageError: see there.
        """
        if not self.rules.token_seconds:
            return ()
        place = Place(account.owner, client)
        record = await self._store.read(place)
        now = self._now()
        found: list[Token] = []
        for kept in record.slots.all() if record is not None else ():
            secret = self._vault.open(place, kept)
            if secret is None:
                _log.warning("a token of %s cannot be decrypted", place.owner)
            else:
                expired = not kept.good(account.keys, now)
                found.append(Token(secret, kept.mechanism, expired, kept.id))
        return tuple(found)

    async def logged_in(self, wanted: InlineWanted, keys: Sequence[ScramKeys]) -> Grant | None:
        """Remember a client that has logged in, and give it a token if it is due one.

        Args:
            wanted: its login.
            keys: of its account, as they were when it proved who it is.

        Raises:
            TokenGone: it logged in by a token that is not in force any more.
            StorageError: see there.
        """
        client = wanted.client
        if client is None or not client.id:
            return None
        place, now = Place(wanted.account.text, client.id), self._now()
        async with self._store.locks.of(place.owner):
            before = await self._store.read(place)
            record = self._seen(before, wanted, keys, now)
            record = replace(record, slots=_left(record.slots, wanted))
            mechanism = self._due(record.slots, wanted, now)
            grant = None
            if mechanism:
                grant, record = self._give(record, place, mechanism, mark_of(keys))
            await self._keep(place, before, record, keys)
        return grant

    def _seen(
        self, before: Record | None, wanted: InlineWanted, keys: Sequence[ScramKeys], now: float
    ) -> Record:
        agent = wanted.client if wanted.client and self.rules.details else UserAgent("")
        record = before or Record(now, now, "")
        record = replace(
            record,
            last=now,
            mechanism=wanted.mechanism,
            software=agent.software,
            device=agent.device,
        )
        way = way_of(wanted.mechanism, by_token=wanted.token is not None)
        if way == "password":
            return replace(record, password=mark_of(keys))
        return replace(record, certificate=True) if way == "certificate" else record

    def _due(self, slots: Slots, wanted: InlineWanted, now: float) -> str:
        """The mechanism for which a new token is to be given out; empty for none."""
        if not self.rules.token_seconds:
            return ""
        if wanted.token_request:
            return wanted.token_request
        # XEP-0484 §3.5; and §3.6: none unasked for who has just given one up.
        current = slots.current if wanted.token is not None and not wanted.invalidate else None
        return current.mechanism if current is not None and current.due(now) else ""

    def _give(
        self, record: Record, place: Place, mechanism: str, mark: str
    ) -> tuple[Grant, Record]:
        token, issued = self._vault.issue(
            place, mechanism, mark, self._now(), self.rules.token_seconds
        )
        # §3.5: the one in use stays, and one that never was is replaced.
        slots = replace(record.slots, new=issued)
        return Grant(token, issued.expires), replace(record, slots=slots)

    async def _keep(
        self, place: Place, before: Record | None, record: Record, keys: Sequence[ScramKeys]
    ) -> None:
        if before is not None and replace(before, last=record.last) == record:
            self._store.visited(place, record.last)  # nothing that anybody has to wait for
            return
        if self.rules.keep_seconds or record.slots:
            if before is None:
                await self._make_room(place.owner, keys)
            await self._store.write(place, record)
        elif before is not None:
            await self._store.write(place, None)

    # Who has access

    async def list(self, account: JID) -> list[Client]:
        """The clients of an account that have access, those that were here last first.

        Raises:
            StorageError: see there.
        """
        owner, now = account.text, self._now()
        found = await self._accounts.get(owner)
        keys = found.keys if found is not None else ()
        clients: list[Client] = []
        async with self._store.locks.of(owner):
            records = await self._tidy(owner, keys)
        ids = self._here(owner)
        for client, record in records.items():
            access, here = record.access(keys, now), client in ids
            if access or here:
                clients.append(self._shown(Place(owner, client), record, access, here=here))
        sessions = self._sessions.of(owner)
        strangers = (session for session in sessions if session.get(CLIENT_ID) not in records)
        clients += (self._of_session(session) for session in strangers)
        return sorted(clients, key=lambda client: client.last_seen, reverse=True)

    def _shown(
        self, place: Place, record: Record, access: tuple[str, ...], *, here: bool
    ) -> Client:
        last = self._now() if here else record.last
        return Client(
            self._name(place), record.first, last, here, access,
            record.mechanism, record.software, record.device,
        )  # fmt: skip

    def _of_session(self, session: Session) -> Client:
        """A client that has told no id, as far as its session is concerned."""
        facts = session.facts
        way = way_of(facts.mechanism, by_token=facts.mechanism in BINDINGS)
        access = () if facts.temporary else (way,)
        return Client(
            self._name_of(session), facts.since, self._now(), True, access, facts.mechanism
        )

    def _name(self, place: Place) -> str:
        return self._vault.pseudonym("client", place.owner, place.client)

    def _name_of(self, session: Session) -> str:
        return self._vault.pseudonym("session", session.jid.text, repr(session.facts.since))

    # Who has it no more

    async def revoke(self, account: JID, name: str) -> Sequence[Session]:
        """Forget a client of an account, and its tokens with it.

        Args:
            account: whose.
            name: the client's `Client.id`.

        Returns:
            The sessions that it has, for the caller to close.

        Raises:
            NoSuchClient: see there.
            StorageError: see there.
        """
        owner, client = account.text, ""
        async with self._store.locks.of(owner):
            for key in await self._store.names(owner):
                if self._name(Place(owner, key)) == name:
                    client = key
                    await self._store.write(Place(owner, key), None)
        sessions = self._sessions.of(owner)
        if client:
            self._dismiss(account, client)
            return [session for session in sessions if session.get(CLIENT_ID) == client]
        strangers = [session for session in sessions if self._name_of(session) == name]
        if not strangers:
            raise NoSuchClient(f"{account.text} has no client of this name")
        return strangers

    async def shut_out(self, account: JID, name: str) -> int:
        """`revoke`, and close the sessions; returns how many there were."""
        sessions = await self.revoke(account, name)
        for session in sessions:
            session.close(REVOKED)
        return len(sessions)

    async def withdraw(self, account: JID) -> None:
        """Make every token of an account good for nothing.

        Raises:
            StorageError: see there.
        """
        async with self._store.locks.of(account.text):
            for client, record in (await self._store.all(account.text)).items():
                if record.slots:
                    expired = replace(record, slots=record.slots.withdrawn())
                    await self._store.write(Place(account.text, client), expired)

    # Who need not be remembered

    async def _tidy(self, owner: str, keys: Sequence[ScramKeys]) -> dict[str, Record]:
        """The clients of an account, without those that were not here for too long."""
        now, records = self._now(), await self._store.all(owner)
        here = self._here(owner)
        for client, record in list(records.items()):
            kept = record.last + self.rules.keep_seconds > now or "fast" in record.access(keys, now)
            if not kept and client not in here:
                del records[client]
                await self._store.write(Place(owner, client), None)
        return records

    def _here(self, owner: str) -> set[str]:
        """The ids of an account's clients that have a session."""
        return {session.get(CLIENT_ID) for session in self._sessions.of(owner)}

    async def _make_room(self, owner: str, keys: Sequence[ScramKeys]) -> None:
        """One more client will be written: let those go that are of the least use."""
        if len(await self._store.names(owner)) < self.rules.most:
            return
        records, now = await self._tidy(owner, keys), self._now()
        here = self._here(owner)

        def use(item: tuple[str, Record]) -> tuple[bool, bool, float]:
            client, record = item
            return "fast" in record.access(keys, now), client in here, record.last

        least = sorted(records.items(), key=use)[: len(records) - self.rules.most + 1]
        for client, _ in least:
            await self._store.write(Place(owner, client), None)

    # When they were here last

    def left(self, session: Session) -> None:
        """A session has ended: its client was here until now."""
        client = session.get(CLIENT_ID)
        if client and not session.facts.temporary:
            self._store.visited(Place(session.jid.bare_text, client), self._now())

    async def deleting(self, account: JID) -> None:
        """An account is about to be erased: write nothing that nobody has asked for."""
        await self._store.deleting(account.text)

    async def settled(self) -> None:
        """Wait until everything is written."""
        await self._store.settled()


def _left(slots: Slots, wanted: InlineWanted) -> Slots:
    """What a login leaves of a client's tokens (XEP-0484 §3.5, §3.6).

    Raises:
        TokenGone: it was by none of them.
    """
    if wanted.token is None:
        return slots
    used = slots.used(wanted.token.id)
    if used is None:
        raise TokenGone
    # Who gives up the token in use wants to be logged out: one on its way goes as well.
    return Slots() if wanted.invalidate else used
