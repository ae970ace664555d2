"""Which clients of an account want to be notified, and how it went; kept in `KeyValue`."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from jabberd.core.module import Host
from jabberd.core.ports import PushDevice
from jabberd.core.session import CLIENT_ID, Session
from jabberd.storage.api import StorageError
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.stanza import ParseError

_log: Final = structlog.get_logger("jabberd.push")
_SPACE: Final = "push"
_KEY: Final = "registrations"
_KNOWN: Final = 10_000  # accounts whose registrations are at hand
_LONGEST_ERROR: Final = 300  # characters

# RFC 6120 §8.3.3: with these, the same may work later; whatever their type says.
_PASSING: Final = frozenset(
    {
        Condition.INTERNAL_SERVER_ERROR,
        Condition.RECIPIENT_UNAVAILABLE,
        Condition.REMOTE_SERVER_NOT_FOUND,
        Condition.REMOTE_SERVER_TIMEOUT,
        Condition.RESOURCE_CONSTRAINT,
        Condition.SERVICE_UNAVAILABLE,
    }
)


@dataclass(frozen=True, slots=True)
class News:
    """The last message that a client has not got.

    Attributes:
        sender: whose it is.
        body: its text, cut; empty where it is not told.
    """

    sender: JID | None = None
    body: str = ""


@dataclass(slots=True)
class Bell:
    """When a client was notified, since it was here last; not kept.

    Attributes:
        unread: messages that it has not got.
        news: the last of them.
        rung: when it was notified last; None: not yet.
        due: when it is to be notified next; None: when there is news.
    """

    unread: int = 0
    news: News = field(default_factory=News)
    rung: float | None = None
    due: float | None = None


@dataclass(slots=True, eq=False)
class Registration:
    """A node of a push service that a client has named.

    Attributes:
        service: see `core.ports.PushDevice`, as for those of the same name there.
        node: see there.
        options: the form to publish with, as XML; empty where there is none.
        resource: see there.
        client: see there.
        since: see there.
        sent: see there.
        sent_at: see there.
        failures: see there.
        failed_at: see there.
        error: see there.
        off_at: see there.
        bell: what has not come to the client yet.
    """

    service: JID
    node: str
    options: str
    resource: str
    client: str
    since: float
    sent: int = 0
    sent_at: float | None = None
    failures: int = 0
    failed_at: float | None = None
    error: str = ""
    off_at: float | None = None
    bell: Bell = field(default_factory=Bell)

    def of(self, session: Session) -> bool:
        """Whether this is the session's client."""
        if session.jid.resource == self.resource:
            return True
        return bool(self.client) and session.get(CLIENT_ID) == self.client

    def form(self) -> Element | None:
        """The form to publish with."""
        return parse(self.options.encode()) if self.options else None

    def took(self, now: float) -> None:
        """The service has taken a notification."""
        self.sent += 1
        self.sent_at = now
        self.recover()

    def recover(self) -> None:
        """All is well, as far as one knows."""
        self.failures, self.failed_at, self.error, self.off_at = 0, None, "", None

    def failed(self, error: StanzaError, now: float, most: int) -> None:
        """The service did not take one; after the last of `most` failures it gets no more."""
        self.failures += 1
        lasting = error.condition not in _PASSING and error.type.value != "wait"
        self.mark(str(error), now, off=lasting or self.failures >= most)

    def mark(self, error: str, now: float, *, off: bool) -> None:
        """Remember what is wrong with it."""
        self.failed_at = now
        self.error = error[:_LONGEST_ERROR]
        self.off_at = now if off else None

    def shown(self) -> PushDevice:
        """What others may see of it."""
        return PushDevice(
            self.resource,
            self.client,
            self.service.text,
            self.node,
            self.since,
            self.bell.unread,
            self.sent,
            self.sent_at,
            self.failures,
            self.failed_at,
            self.error,
            self.off_at,
        )

    def to_json(self) -> dict[str, Any]:
        """What is kept of it."""
        return {
            "service": self.service.text,
            "node": self.node,
            "options": self.options,
            "resource": self.resource,
            "client": self.client,
            "since": self.since,
            "sent": self.sent,
            "sent_at": self.sent_at,
            "failures": self.failures,
            "failed_at": self.failed_at,
            "error": self.error,
            "off_at": self.off_at,
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Registration:
        """What `to_json` made.

        Raises:
            KeyError, TypeError, InvalidJID, ParseError: it did not.
        """
        registration = cls(**{**kept, "service": JID.parse(kept["service"])})
        registration.form()
        return registration


class Registrations:
    """Those of a host's accounts.

    Args:
        host: the host.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: OrderedDict[str, list[Registration]] = OrderedDict()

    def known(self, account: JID) -> list[Registration] | None:
        """Those of an account; None where they have to be read first."""
        found = self._known.get(account.text)
        if found is not None:
            self._known.move_to_end(account.text)
        return found

    async def of(self, account: JID) -> list[Registration]:
        """Those of an account, the oldest first; the list may be changed, and saved then.

        Raises:
            StorageError: they cannot be read.
        """
        owner = account.text
        found = self.known(account)
        if found is None:
            value = await self._host.stores.keyvalue.get(owner, _SPACE, _KEY)
            # Somebody else may have been quicker.
            found = self._known.get(owner)
            if found is None:
                found = _read(owner, value)
            self._keep(owner, found)
        return found

    async def save(self, account: JID) -> None:
        """Keep what an account's list says now.

        Raises:
            StorageError: it cannot be kept; the list is read again when it is needed.
        """
        owner = account.text
        found = self._known.get(owner)
        if found is None:
            return
        value = json.dumps([one.to_json() for one in found]).encode() if found else None
        try:
            await self._host.stores.keyvalue.put(owner, _SPACE, _KEY, value)
        except StorageError:
            self._known.pop(owner, None)
            raise

    def has(self, account: JID, registration: Registration) -> bool:
        """Whether this is still one of the account's."""
        return registration in self._known.get(account.text, ())

    def erase(self, account: JID) -> None:
        """The account is about to be erased: nothing may be written about it any more."""
        self._keep(account.text, [])

    def _keep(self, owner: str, registrations: list[Registration]) -> None:
        """Have these at hand, and let go of those that were not asked for the longest."""
        self._known[owner] = registrations
        self._known.move_to_end(owner)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)


def _read(owner: str, value: bytes | None) -> list[Registration]:
    if value is None:
        return []
    try:
        kept: Sequence[dict[str, Any]] = json.loads(value)
        return [Registration.from_json(one) for one in kept]
    except (ValueError, KeyError, TypeError, InvalidJID, ParseError) as error:
        _log.error("registrations cannot be read", owner=owner, error=str(error))
        return []
