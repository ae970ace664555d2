"""What happens on a foreign network: the values that a transport emits and is given.

People there are named by their *legacy id*: what the network calls them, in one spelling
(`Network.canonical`). Messages have a *legacy id* too, where the network names messages at all.
Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Show(Enum):
    """How available somebody is (RFC 6121 §4.7.2.1, and gone)."""

    ONLINE = ""
    CHAT = "chat"
    AWAY = "away"
    XA = "xa"
    DND = "dnd"
    OFFLINE = "unavailable"


class Typing(Enum):
    """Whether somebody is writing (XEP-0085 §4)."""

    COMPOSING = "composing"
    PAUSED = "paused"
    STOPPED = "active"
    """The person is there and does not write."""


class Consent(Enum):
    """Where the network stands between the user and a contact."""

    GIVEN = "given"
    """The user may see the contact."""
    ASKED = "asked"
    """The contact has not answered yet."""
    NONE = "none"


class Trouble(Enum):
    """Why something could not be done, by what its user can do about it."""

    NO_SUCH_CONTACT = "item-not-found"
    NO_SUCH_SERVER = "remote-server-not-found"
    GONE = "gone"
    """The contact has another address now."""
    UNREACHABLE = "recipient-unavailable"
    """The contact cannot be reached now; the network keeps nothing."""
    FULL = "resource-constraint"
    TOO_LARGE = "policy-violation"
    FORBIDDEN = "forbidden"
    """The network or the contact does not want it."""
    NOT_ALLOWED = "not-allowed"
    """A rule of this gateway forbids it: a limit, a list of countries."""
    NOT_SUPPORTED = "feature-not-implemented"
    NOT_ACCEPTABLE = "not-acceptable"
    TIMEOUT = "remote-server-timeout"
    """The network did not answer; trying again later may help."""
    UNKNOWN_FATE = "undefined-condition"
    """It may have arrived or not: nobody can tell."""


@dataclass(frozen=True, slots=True)
class File:
    """A file on its way to the network: where the user put it (XEP-0066, XEP-0447).

    Attributes:
        url: where it can be had.
        name: to show; may be empty.
        media_type: where it was said; may be empty.
        size: in bytes, where it was said.
    """

    url: str
    name: str = ""
    media_type: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came from the network.

    Attributes:
        data: its bytes.
        name: to show; may be empty.
        media_type: what the network says it is.
    """

    data: bytes
    name: str = ""
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Text:
    """A message of the user for one contact.

    Attributes:
        id: the gateway's name for it, unique and the same whenever it is tried again: letters,
            digits and `-`.
        body: the text; may be empty where there are files.
        subject: where one was given.
        thread: the conversation it belongs to (RFC 6121 §5.2.5), as the client calls it.
        replies_to: legacy id of the message that this one answers (XEP-0461).
        replaces: legacy id of the message that this one corrects (XEP-0308).
        receipt: the user wants to know when it has arrived (XEP-0184).
        files: what goes with it.
        at: when the user sent it.
    """

    id: str
    body: str
    subject: str = ""
    thread: str = ""
    replies_to: str = ""
    replaces: str = ""
    receipt: bool = False
    files: tuple[File, ...] = ()
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Contact:
    """One entry of the contact list that the network keeps for the user.

    Attributes:
        id: legacy id.
        name: what the user or the contact calls them.
        groups: that the user put them in.
        consent: whether the user may see them.
    """

    id: str
    name: str = ""
    groups: tuple[str, ...] = ()
    consent: Consent = Consent.GIVEN


# What a transport emits.


@dataclass(frozen=True, slots=True)
class Online:
    """The login succeeded.

    Attributes:
        text: what to show as status of the gateway; may be empty.
    """

    text: str = ""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message came for the user, or left from the user's other program on the network.

    Attributes:
        contact: legacy id of the other person.
        body: the text; may be empty where there are attachments.
        id: legacy id of the message: the same when the network delivers it again, by which the
            second one is recognised. Empty where the network names no messages.
        own: the user wrote it, in another program.
        subject: where it has one.
        thread: the conversation; the same for all its messages.
        replies_to: our or their legacy id of the message that it answers.
        replaces: legacy id of the message that it corrects.
        at: when it was written, where that is some time ago; None for now.
        name: what the contact calls itself, where the message says so.
        attachments: files that came with it.
        solicited: it belongs to a conversation; False for what is news rather than chat, such as
            a newsletter, which is sent as a message of type normal.
    """

    contact: str
    body: str
    id: str = ""
    own: bool = False
    subject: str = ""
    thread: str = ""
    replies_to: str = ""
    replaces: str = ""
    at: float | None = None
    name: str = ""
    attachments: tuple[Attachment, ...] = ()
    solicited: bool = True


@dataclass(frozen=True, slots=True)
class Changed:
    """A contact's presence, name or picture changed; None: as it was.

    Attributes:
        contact: legacy id.
        show: how available.
        status: in words.
        name: what the contact calls itself.
        avatar: a picture (PNG, JPEG, GIF or WebP); empty bytes: there is none any more.
    """

    contact: str
    show: Show | None = None
    status: str | None = None
    name: str | None = None
    avatar: bytes | None = None


@dataclass(frozen=True, slots=True)
class Types:
    """A contact writes, or has stopped to."""

    contact: str
    typing: Typing


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the user has arrived at the contact.

    Attributes:
        contact: legacy id.
        id: legacy id of the message, as `send_text` returned it.
    """

    contact: str
    id: str


@dataclass(frozen=True, slots=True)
class Read:
    """A contact has read the user's messages up to this one; attributes as for `Received`."""

    contact: str
    id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A message that the network had taken did not arrive after all.

    Attributes:
        contact: legacy id; empty where only the message is known.
        id: legacy id of the message.
        trouble: why.
        text: why, in the network's words.
    """

    contact: str
    id: str
    trouble: Trouble
    text: str = ""


@dataclass(frozen=True, slots=True)
class Reacted:
    """A contact's reactions to a message (XEP-0444): all that are there now."""

    contact: str
    id: str
    emojis: tuple[str, ...]
    own: bool = False


@dataclass(frozen=True, slots=True)
class Retracted:
    """A contact took back a message (XEP-0424)."""

    contact: str
    id: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class ContactAdded:
    """The network's contact list has one more, or one that changed."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class ContactRemoved:
    """The network's contact list has one less."""

    id: str


@dataclass(frozen=True, slots=True)
class ContactAsks:
    """Somebody wants to see the user's presence; `Transport.answer` is called when it is known.

    Attributes:
        contact: legacy id.
        text: what they say; may be empty.
        name: what they call themselves.
    """

    contact: str
    text: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should be told in words, by the gateway itself."""

    text: str


Event = (
    Online
    | Arrived
    | Changed
    | Types
    | Received
    | Read
    | Failed
    | Reacted
    | Retracted
    | ContactAdded
    | ContactRemoved
    | ContactAsks
    | Notice
)
