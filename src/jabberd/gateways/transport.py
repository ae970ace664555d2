"""What a foreign network has to bring: the verbs of one login, and a value that describes it.

A transport knows no XMPP. `gateway.py` does all of that, once for all networks.
"""

# ruff: noqa: A002, ARG002, B027 -- an id is an id, and a network leaves out what it does not have

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Protocol

from jabberd.gateways.events import Contact, Event, Show, Text, Trouble, Typing
from jabberd.storage.records import Records

Emit = Callable[[Event], Awaitable[None]]
"""Tells the gateway what happened. For a message, it returns when the message is safe at the
user's server: only then may the network be told that it was taken. Raises `NotTaken`."""


class NotTaken(Exception):  # noqa: N818 -- what became of it, read as such
    """The user's server did not take an event: the network should deliver it again later.

    Args:
        text: why, in words.
        lasting: trying again is of no use: the user does not exist, or wants none of it.
    """

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.lasting = lasting


class LoginRefused(Exception):  # noqa: N818 -- what became of it, read as such
    """The network does not let the user in; trying again with the same data is of no use.

    The message is for the user: what is wrong, and what to do.
    """


class Lost(Exception):  # noqa: N818 -- what became of it, read as such
    """The network is out of reach, or broke the connection: the gateway tries again later.

    The message is for the user and the operator.
    """


class NotDone(Exception):  # noqa: N818 -- what became of it, read as such
    """A verb failed for good; the user is told.

    Args:
        trouble: why.
        text: why, in words.
    """

    def __init__(self, trouble: Trouble, text: str = "") -> None:
        super().__init__(text or trouble.value)
        self.trouble = trouble
        self.text = text


class BadAddress(ValueError):  # noqa: N818 -- a fact about a text
    """A text is no address of this network; the message says why, for the user."""


class Capability(Flag):
    """What a network can do; what it cannot, clients do not offer for its contacts."""

    NONE = 0
    PRESENCE = auto()
    """Contacts have presence, and the user's is shown to them."""
    CONSENT = auto()
    """Seeing a contact takes the contact's consent. Without it, who is added is there at once."""
    CONTACTS = auto()
    """The network keeps the user's contact list."""
    TYPING = auto()
    RECEIPTS = auto()
    """It tells when a message has arrived (XEP-0184)."""
    READ = auto()
    """It tells when a message was read (XEP-0333)."""
    CORRECTIONS = auto()
    REPLIES = auto()
    REACTIONS = auto()
    RETRACTIONS = auto()
    FILES = auto()
    """Files go as files. Without it, their URL goes as text."""
    SUBJECTS = auto()
    STANDING = auto()
    """A login stays while the user is offline here, so that messages arrive at any time."""
    REPEATABLE = auto()
    """A text may be sent again when it is not known whether it was taken (by `Text.id`, or since
    a second one does no harm). Without it, the user is told that its fate is unknown."""


@dataclass(frozen=True, slots=True)
class Field:
    """One question of a form.

    Attributes:
        var: its name.
        label: what to ask.
        kind: a field type of XEP-0004: "text-single", "text-private", "boolean", "list-single",
            "jid-single", "text-multi", "fixed".
        required: whether there must be an answer.
        default: the answer unless another is given.
        options: value → label, for lists.
        hint: more words, where the label is not enough.
    """

    var: str
    label: str
    kind: str = "text-single"
    required: bool = False
    default: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """Questions to a user.

    Attributes:
        title: of the form.
        instructions: what to do, in a sentence or two.
        fields: the questions; none: a mere yes is asked for.
    """

    title: str
    instructions: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Login:
    """What a user is registered with, kept encrypted.

    Attributes:
        name: of the account there, to show, unique at the gateway; never a secret.
        data: what the transport needs to log in: passwords, tokens, settings.
    """

    name: str
    data: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Question:
    """Signing up takes another step.

    Attributes:
        form: what to ask.
        state: what the network wants to have again with the answers; kept for some minutes.
    """

    form: Form
    state: Mapping[str, str] = field(default_factory=dict, repr=False)


class SignUpRefused(Exception):  # noqa: N818 -- what became of it, read as such
    """The answers do not do; the message is for the user.

    Args:
        text: why, and what to do.
        wrong_password: the network did not accept the credentials.
        timeout: the network did not answer.
    """

    def __init__(self, text: str, *, wrong_password: bool = False, timeout: bool = False) -> None:
        super().__init__(text)
        self.wrong_password = wrong_password
        self.timeout = timeout


class Site(Protocol):
    """What a gateway offers to its network."""

    @property
    def domain(self) -> str:
        """The gateway's own domain."""

    @property
    def records(self) -> Records:
        """Durable state; an owner is a user's bare JID, or "" for the network as a whole."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def login(self, user: str) -> Login | None:
        """What a registered user is registered with; None for others."""

    def user_of(self, name: str) -> str | None:
        """The user who is registered under a `Login.name`; None where nobody is."""

    async def emit(self, user: str, event: Event) -> None:
        """As `Emit`, for what comes by a way that many users share; logged in or not.

        Raises:
            NotTaken: see there.
        """

    async def fetch(self, url: str, most: int) -> bytes:
        """A file that a user has uploaded to the server; never one from elsewhere.

        Args:
            url: as a message has it.
            most: bytes.

        Raises:
            NotDone: it is not there, too large, or not on this server.
        """


class Transport(ABC):
    """One user's login on the network. Only what is abstract must be there."""

    @abstractmethod
    async def run(self, emit: Emit) -> None:
        """Log in, emit `Online`, and go on until the connection ends; cancelled to log out.

        Raises:
            LoginRefused: the credentials do not do.
            Lost: anything else went wrong; also when it returns, the gateway tries again.
        """

    @abstractmethod
    async def send_text(self, to: str, text: Text) -> str:
        """Send a message; returns its legacy id, or "" where it has none.

        Called one after the other, in the order of the user's messages.

        Raises:
            NotDone: it failed for good.
            Lost: it was not taken, and is tried again after the next login.
        """

    async def close(self) -> None:
        """Let go of everything; called once after `run` has ended, however it did."""

    async def contacts(self) -> Sequence[Contact]:
        """The contact list of the network, complete; asked after `Online`."""
        return ()

    async def send_typing(self, to: str, typing: Typing) -> None:
        """Show a contact that the user writes."""

    async def send_read(self, to: str, id: str) -> None:
        """Show a contact that the user has read up to this message (legacy id)."""

    async def send_reactions(self, to: str, id: str, emojis: Sequence[str]) -> None:
        """Show the user's reactions to a message: all that are there now."""
        raise NotDone(Trouble.NOT_SUPPORTED)

    async def retract(self, to: str, id: str) -> None:
        """Take back a message of the user."""
        raise NotDone(Trouble.NOT_SUPPORTED)

    async def set_presence(self, show: Show, status: str) -> None:
        """Show the user as this available; never `OFFLINE`."""

    async def add_contact(self, id: str, name: str) -> Contact:
        """Add somebody to the network's contact list, and ask for consent where that is needed.

        Raises:
            NotDone: there is no such person, or they cannot be added.
        """
        return Contact(id, name)

    async def remove_contact(self, id: str) -> None:
        """Remove somebody from the network's contact list."""

    async def answer(self, id: str, *, allow: bool) -> None:
        """Answer a `ContactAsks`."""


class Network(ABC):
    """A foreign network: what it is called, what it can do, how its people are addressed.

    Attributes:
        title: what it is called, for people.
        identity: the type of its disco identity in the category gateway (XEP-0030 registry).
        capabilities: what it can do.
        form: what is asked at registration.
        prompt: what to ask for when somebody is to be added (`jabber:iq:gateway`), for example
            "E-mail address".
        example: an address of the network, for help texts.
        policy: what is stored, for how long, and who sees it; sentences for users (XEP-0504).
        stores_credentials: whether a login has a password or the like.
        transmission: how messages travel on from here: "plain" or "encrypted" (XEP-0504 §3.2).
    """

    title: str
    identity: str
    capabilities: Capability = Capability.NONE
    form: Form
    prompt: str
    example: str
    policy: tuple[str, ...] = ()
    stores_credentials: bool = True
    transmission: str = "encrypted"

    @abstractmethod
    def canonical(self, text: str) -> str:
        """The legacy id that a text names: what a user typed, or a localpart has (unescaped).

        Raises:
            BadAddress: it names nobody, and why.
        """

    @abstractmethod
    def transport(self, user: str, login: Login, site: Site) -> Transport:
        """A login of a user, not begun."""

    async def start(self, site: Site) -> None:
        """Begin what all logins share: listeners, a connection to a provider."""

    async def stop(self) -> None:
        """End it."""

    async def sign_up(
        self,
        user: str,
        answers: Mapping[str, str],
        state: Mapping[str, str],
        site: Site,
    ) -> Login | Question:
        """What the answers to `form`, or to a further question, lead to.

        Unless a network does it otherwise, they are tried by a login.

        Args:
            user: bare JID.
            answers: by `Field.var`; those required are there.
            state: of the question that was answered; empty for the first.
            site: see there.

        Raises:
            SignUpRefused: they do not do.
        """
        from jabberd.gateways.trial import try_login  # noqa: PLC0415 -- it knows transports

        login = Login(answers.get("username", user), dict(answers))
        await try_login(self.transport(user, login, site))
        return login
