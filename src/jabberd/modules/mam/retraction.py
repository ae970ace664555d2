"""XEP-0424 Message Retraction: what a sender takes back leaves a tombstone in both archives."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog

from jabberd.core.module import Flow, Host
from jabberd.core.ports import MessagesApi
from jabberd.core.resent import unique_of
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Entry, Flag
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import retract
from jabberd.xmpp.stanza import Message, ParseError, qname, read_stanza

_log: Final = structlog.get_logger("jabberd.mam")
_MOST: Final = 10_000  # retractions that wait for their tombstones
_ROOM: Final = qname(ns.MUC_USER, "x")
# A tombstone stays as it is; and a retraction has to stay, or nobody learns of it (§5).
_FINAL: Final = frozenset({retract.RETRACT, retract.RETRACTED})


@dataclass(frozen=True, slots=True)
class _Job:
    """One retraction in one archive.

    Attributes:
        owner: of the archive, a bare JID.
        peer: the other side, a bare JID.
        sent: whether the owner retracts.
        unique: by which the retraction itself is found in the log.
        id: the identifier of the retraction.
        target: the identifier of the message that is retracted.
        in_room: it is marked as coming from a room.
    """

    owner: str
    peer: str
    sent: bool
    unique: str
    id: str
    target: str
    in_room: bool


class Retractions:
    """Replaces retracted messages, one after the other, when their retractions are on disk.

    Whoever retracts must have sent the message (§5): it is looked for only among what the same
    bare address has sent to the same one. If the process dies in between there is no tombstone,
    which is allowed; the retraction itself is in the archive in any case.

    Args:
        host: whose archives.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._jobs: deque[_Job] = deque()
        self._at_work = False

    def sent(self, message: Message, flow: Flow) -> None:
        """An account has retracted something."""
        if flow.parcel is not None and message.to is not None:
            self._take(message, flow.account, message.to, sent=True)

    def received(self, message: Message, flow: Flow) -> None:
        """A retraction was delivered to an account."""
        if flow.parcel is not None:
            self._take(message, flow.account, message.from_ or self._host.domain, sent=False)

    def waiting(self, account: JID, message: Message | None) -> None:
        """A message waits for an account: perhaps a retraction."""
        if message is not None and retract.RETRACT in message.children:
            self._take(message, account, message.from_ or self._host.domain, sent=False)

    def _take(self, message: Message, account: JID, peer: JID, *, sent: bool) -> None:
        # A room's messages have identifiers of the room's (§5.1), and are in no account's archive.
        target = None if message.type == "groupchat" else retract.read(message)
        unique = unique_of(message)[0]
        # The tombstone has to name the retraction (§4).
        if target is None or not message.id or not unique:
            return
        if len(self._jobs) >= _MOST:
            _log.warning("too many retractions: this one leaves no tombstone", jid=account.text)
            return
        in_room = _ROOM in message.children
        self._jobs.append(
            _Job(account.text, peer.bare_text, sent, unique, message.id, target, in_room)
        )
        if not self._at_work:
            self._at_work = True
            self._host.spawn("retractions", self._work())

    async def _work(self) -> None:
        try:
            while self._jobs:
                jobs, self._jobs = self._jobs, deque()
                await self._host.require(MessagesApi).settled()
                for job in jobs:
                    try:
                        await self._replace(job)
                    except (StorageError, ParseError) as error:
                        _log.error("no tombstone was made", jid=job.owner, error=str(error))
        finally:
            self._at_work = False

    async def _replace(self, job: _Job) -> None:
        log = self._host.stores.log
        own = await log.find(job.owner, job.peer, job.unique, sent=job.sent)
        if own is None or not own.flags & Flag.VISIBLE:
            return  # it is not in the archive, so a tombstone would point to nothing
        target = await log.find(job.owner, job.peer, job.target, sent=job.sent)
        if target is None or target.key >= own.key:
            return
        message = read_stanza(target.stanza)
        if not isinstance(message, Message) or not _may(job, own, target, message):
            return
        stone = retract.tombstone(message, job.id, own.at)
        await log.replace(job.owner, target.key, stone.to_bytes())


def _may(job: _Job, own: Entry, target: Entry, message: Message) -> bool:
    if not _FINAL.isdisjoint(message.children):
        return False
    # Private messages in a room: its occupants share a bare address (§5).
    in_room = job.in_room or _ROOM in message.children
    return job.sent or not in_room or own.resource == target.resource
