"""Conversations: to which a mail belongs, and what an answer refers to (RFC 5322 §3.6.4)."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from jabberd.gateways.email.compose import trimmed
from jabberd.gateways.email.mail import Mail
from jabberd.gateways.email.verp import reference
from jabberd.gateways.events import Text
from jabberd.storage.records import Record, Records

CONTINUED_FOR: Final = 7 * 24 * 3_600.0
"""Seconds for which a message without a thread belongs to the newest one with that contact."""

_MAILS: Final = "mail"
_NAMES: Final = "mail-name"
_NEWEST: Final = "mail-newest"
_SPACES: Final = (_MAILS, _NAMES, _NEWEST)
_MOST_LOOKED_UP: Final = 20
_FROM_BODY: Final = 50
_ANSWER: Final = re.compile(
    r"\s*(?:re|aw|sv|vs|antw|odp|ynt|r|rif|res|回复|回覆|答复|返信)\s*(?:\[\d+\]|\(\d+\))?\s*[:\uff1a]\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is remembered of a mail.

    Attributes:
        message_id: with angle brackets, as all identifiers here.
        thread: the conversation, as XMPP calls it.
        contact: canonical address of the other person.
        subject: as it was.
        at: when it came or went.
        references: those before it in the conversation, the oldest first.
        ids: other names by which it is asked for: those of the messages that went into it.
    """

    message_id: str
    thread: str
    contact: str
    subject: str = ""
    at: float = 0.0
    references: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incoming:
    """Where a mail that came belongs.

    Attributes:
        thread: the conversation.
        subject: to show; empty where it is the one that the conversation has anyway.
        replies_to: identifier of the mail with the same contact that it answers; may be empty.
    """

    thread: str
    subject: str = ""
    replies_to: str = ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Where a message that goes belongs.

    Attributes:
        thread: the conversation.
        subject: for the mail; never empty.
        in_reply_to: identifier of the mail that it answers; may be empty.
        references: those before it, that one included.
    """

    thread: str
    subject: str
    in_reply_to: str = ""
    references: tuple[str, ...] = ()


class Threads:
    """The conversations of all users of a gateway. Every method may raise `StorageError`."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def remember(self, user: str, entry: Entry) -> None:
        """Keep what is known of a mail; it is found by its identifiers from then on."""
        key = _key(entry.message_id)
        changes = [Record(user, _MAILS, key, _pack(entry), entry.at)]
        changes += [
            Record(user, _NAMES, _key(name), key.encode(), entry.at)
            for name in dict.fromkeys((reference(entry.message_id), *entry.ids))
        ]
        for index in (_of_contact(entry.contact), _of_thread(entry.contact, entry.thread)):
            newest = await self._records.get(user, _NEWEST, index)
            if newest is None or newest.at <= entry.at:
                changes.append(Record(user, _NEWEST, index, key.encode(), entry.at))
        await self._records.write(changes)

    async def find(self, user: str, name: str) -> Entry | None:
        """The mail of this identifier, or of one of its `ids`, or of its `verp.reference`."""
        if found := await self._mail(user, _key(name)):
            return found
        pointer = await self._records.get(user, _NAMES, _key(name))
        return await self._mail(user, pointer.value.decode()) if pointer else None

    async def newest(self, user: str, contact: str, thread: str = "") -> Entry | None:
        """The last mail from or to a contact, of one thread if it is given."""
        index = _of_thread(contact, thread) if thread else _of_contact(contact)
        pointer = await self._records.get(user, _NEWEST, index)
        return await self._mail(user, pointer.value.decode()) if pointer else None

    async def incoming(self, user: str, mail: Mail) -> Incoming:
        """Where a mail that came belongs; it is not remembered by that."""
        parent = await self._parent(user, mail)
        if parent is None:
            return Incoming(_new_thread(_origin(mail)), mail.subject)
        same = base_subject(parent.subject).lower() == base_subject(mail.subject).lower()
        known = parent.contact == mail.sender
        return Incoming(
            parent.thread,
            "" if same and known else mail.subject,
            parent.message_id if known else "",
        )

    async def outgoing(
        self, user: str, contact: str, text: Text, *, name: str, now: float
    ) -> Outgoing:
        """Where a message that goes belongs; it is not remembered by that.

        Args:
            user: bare JID.
            contact: canonical address.
            text: the message.
            name: what the user calls themselves, for a subject where nothing else gives one.
            now: seconds since the epoch.
        """
        parent = await self._answered(user, contact, text, now)
        if parent is None:
            thread = text.thread or _new_thread(text.id)
            return Outgoing(thread, _first_subject(text, name))
        subject = answer_subject(parent.subject or _first_subject(text, name))
        if text.subject and base_subject(text.subject) != base_subject(parent.subject):
            subject = text.subject
        return Outgoing(
            text.thread or parent.thread,
            subject,
            parent.message_id,
            trimmed((*parent.references, parent.message_id)),
        )

    async def prune(self, before: float) -> int:
        """Forget mails that are older than a time; returns how many records that were."""
        dropped = 0
        for space in _SPACES:
            while went := await self._records.prune(space, before):
                dropped += went
        return dropped

    async def _mail(self, user: str, key: str) -> Entry | None:
        record = await self._records.get(user, _MAILS, key)
        return _unpack(record.value) if record else None

    async def _parent(self, user: str, mail: Mail) -> Entry | None:
        """The newest one before a mail that is known."""
        before = dict.fromkeys((mail.in_reply_to, *reversed(mail.references)))
        for message_id in [id_ for id_ in before if id_][:_MOST_LOOKED_UP]:
            if found := await self._mail(user, _key(message_id)):
                return found
        return None

    async def _answered(self, user: str, contact: str, text: Text, now: float) -> Entry | None:
        """The mail that a message answers."""
        if text.replies_to:
            found = await self.find(user, text.replies_to)
            if found is not None and found.contact == contact:
                return found
        if text.thread:
            return await self.newest(user, contact, text.thread)
        found = await self.newest(user, contact)
        if found is None or now - found.at > CONTINUED_FOR:
            return None
        # Who gives another subject begins another conversation.
        other = text.subject and base_subject(text.subject) != base_subject(found.subject)
        return None if other else found


def base_subject(subject: str) -> str:
    """A subject without what says that the mail is an answer."""
    while (found := _ANSWER.match(subject)) and found.end():
        subject = subject[found.end() :]
    return subject.strip()


def answer_subject(subject: str) -> str:
    """The subject of an answer: with one "Re:"."""
    return f"Re: {base_subject(subject)}"


def _first_subject(text: Text, name: str) -> str:
    if subject := " ".join(text.subject.split()):
        return subject
    line = next((line.strip() for line in text.body.split("\n") if line.strip()), "")
    if not line or line.startswith(">"):
        return f"Message from {name}"
    if len(line) <= _FROM_BODY:
        return line
    cut = line[: _FROM_BODY + 1].rpartition(" ")[0] or line[:_FROM_BODY]
    return cut.rstrip(",;:- ") + "…"


def _origin(mail: Mail) -> str:
    """What a conversation began with, as far as a mail tells."""
    for message_id in (*mail.references[:1], mail.in_reply_to, mail.message_id):
        if message_id:
            return message_id
    return f"{mail.sender}\0{base_subject(mail.subject).lower()}"


def _new_thread(origin: str) -> str:
    return "m-" + hashlib.sha256(origin.encode("utf-8", "replace")).hexdigest()[:16]


def _key(name: str) -> str:
    """A name of any length as a key."""
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]


def _of_contact(contact: str) -> str:
    return _key(f"contact\0{contact}")


def _of_thread(contact: str, thread: str) -> str:
    return _key(f"thread\0{contact}\0{thread}")


def _pack(entry: Entry) -> bytes:
    return json.dumps(
        {
            "id": entry.message_id,
            "thread": entry.thread,
            "contact": entry.contact,
            "subject": entry.subject,
            "at": entry.at,
            "references": trimmed(entry.references),
            "ids": entry.ids,
        },
        separators=(",", ":"),
    ).encode()


def _unpack(value: bytes) -> Entry:
    known = json.loads(value)
    return Entry(
        message_id=known["id"],
        thread=known["thread"],
        contact=known["contact"],
        subject=known["subject"],
        at=known["at"],
        references=tuple(known["references"]),
        ids=tuple(known["ids"]),
    )
