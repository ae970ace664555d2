"""Protocols that modules offer each other; the spine knows none of their implementations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jabberd.core.clients import Client
from jabberd.core.module import Module, Reply
from jabberd.core.parcel import Parcel
from jabberd.core.session import Session
from jabberd.core.uploads import Stored, Upload
from jabberd.storage.api import Account, RosterChange, RosterItem
from jabberd.storage.files import Files
from jabberd.storage.log_api import Entry
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.privilege import Privileges
from jabberd.xmpp.stanza import Iq, Message


class ModulesApi(Protocol):
    """The modules of this host, for discovery. Provided by the spine."""

    def loaded(self) -> Sequence[tuple[str, Module]]:
        """Names and values of every module."""


class ArchiveRules(Protocol):
    """Which messages of an account can be found in its archive; provided by a module."""

    @property
    def searchable(self) -> bool:
        """Whether their texts go into the full-text index."""

    def visible(self, message: Message, account: JID, *, outgoing: bool) -> bool | Awaitable[bool]:
        """Whether a message goes into the archive of an account that sent or received it.

        It is asked about every message: awaitable only where the account's wishes are not known.
        """


class MessagesApi(Protocol):
    """The durable log of this host's accounts. Provided by the spine."""

    async def settled(self) -> None:
        """Wait until everything decided so far is durable and delivered."""

    def id_of(self, key: int) -> str:
        """The identifier that clients know an entry by (XEP-0359)."""

    def key_of(self, text: str) -> int | None:
        """The entry that such an identifier means; None where it is none of ours."""

    async def waiting(self, account: JID) -> int:
        """How many messages wait for an account."""

    def incoming(self, message: Message, account: JID) -> int | Awaitable[int]:
        """The flags that a received message's entry gets; see `storage.log_api.Flag`."""

    def store(self, message: Message, account: JID, origin: Session | None, flags: int) -> None:
        """Keep a message for an account that nobody is there for.

        Where it cannot be stored after all, the sender is told.
        """

    def hand_over(self, session: Session, entry: Entry) -> None:
        """Send a session what waited for its account, ahead of what the session holds back."""

    def has_arrived(self, key: int) -> bool:
        """Whether an entry has come to a client lately.

        Who has read the log may still have seen it wait: the commit was under way.
        """

    def collected(self, account: JID, keys: Sequence[int]) -> None:
        """The account's owner has these entries by other means: they wait no more."""

    def copy_parcel(self, entry: Entry) -> Parcel:
        """A parcel for another stanza that has this waiting entry in it.

        When a client of the owner has that stanza, the entry waits no more. Several clients may
        be sent such stanzas at the same time.
        """


class ClientsApi(Protocol):
    """The clients of accounts (XEP-0494). Provided by the spine; see `core.clients`."""

    async def list(self, account: JID) -> Sequence[Client]:
        """Those that have access, the ones that were here last first."""

    async def revoke(self, account: JID, name: str) -> Sequence[Session]:
        """Forget a client and its tokens; returns its sessions, for the caller to close.

        Raises:
            NoSuchClient: the account has no client of this name.
        """

    def left(self, session: Session) -> None:
        """A session has ended: its client was here until now."""

    async def deleting(self, account: JID) -> None:
        """An account is about to be erased: write nothing that nobody has asked for."""


class RosterApi(Protocol):
    """Contacts of local accounts."""

    async def items(self, account: JID) -> Sequence[RosterItem]:
        """Every item, unlisted pending requests included; cached while the account is online."""

    async def item(self, account: JID, contact: JID) -> RosterItem | None:
        """One item, listed or not."""

    async def change(
        self,
        account: JID,
        contact: JID,
        transition: Callable[[RosterItem | None], RosterItem | None],
        *,
        first: Callable[[RosterChange], None] | None = None,
        foreign: bool = False,
    ) -> RosterChange:
        """Change one item, and push it to the account's interested sessions (RFC 6121 §2.1.6).

        Args:
            account: whose roster.
            contact: which item.
            transition: pure; as for `storage.api.Roster.change`.
            first: called when the change is durable and before it is pushed, also where nothing
                changed: stanzas that have to precede the push are sent here (§3.1.6).
            foreign: somebody else is the cause, who may not use the last tenth of the room.

        Raises:
            StanzaError: the roster is full.
        """

    def interested(self, account: JID) -> Sequence[Session]:
        """The sessions that asked for the roster (RFC 6121 §2.2)."""


class PrivilegeApi(Protocol):
    """Services that may act for users (XEP-0356)."""

    def grant(self, service: str, privileges: Privileges | None) -> None:
        """Let a service, by its domain, do this from now on; None: nothing."""

    def advertise(self, service: str) -> None:
        """Tell a service that has just come what it may do, and who is here if it may know."""

    async def roster_get(self, iq: Iq) -> Reply:
        """Answer a service that asks for a user's roster (XEP-0356 §4).

        Raises:
            StanzaError: forbidden, where it may not.
        """

    async def roster_set(self, iq: Iq) -> None:
        """Change a user's roster for a service (XEP-0356 §4).

        Subscriptions as well, of contacts in the service's own domain.

        Raises:
            StanzaError: forbidden, where it may not.
        """


class SubscriptionApi(Protocol):
    """Ends presence subscriptions."""

    def sever(self, account: JID, item: RosterItem) -> None:
        """Tell a contact that an item, as it was, is gone (RFC 6121 §2.5.2)."""


class PresenceApi(Protocol):
    """Presence of local accounts, for modules that have to announce or hide it."""

    def announce(self, account: JID, contact: JID) -> None:
        """Send the current presence of every available resource to a contact."""

    def withdraw(self, account: JID, contact: JID) -> None:
        """Send unavailable presence from every available resource to a contact."""

    async def probe(self, account: JID, contact: JID, session: Session) -> None:
        """Ask for a contact's presence on behalf of one session (RFC 6121 §4.3)."""

    def may_ask(self, session: Session, sender: JID) -> bool | Awaitable[bool]:
        """Whether the session shares presence with a sender (RFC 6121 §8.5.3.1).

        By a subscription of the sender to the account, or by directed presence.
        """

    async def may_see(self, account: JID, contact: JID) -> bool:
        """Whether the contact is subscribed to the account's presence, or is the account."""


class DiscoApi(Protocol):
    """Service discovery of this host; features, forms and nodes are part of `Module`."""

    def add_item(self, jid: JID, name: str, node: str = "") -> None:
        """List something under the host (XEP-0030 disco#items)."""

    def remove_item(self, jid: JID, node: str = "") -> None:
        """List it no more."""

    def info(self) -> Element:
        """The host's disco#info query element, as it stands now."""


class LastPresence(Protocol):
    """When somebody was last here (XEP-0012)."""

    async def last(self, account: JID) -> tuple[float, str] | None:
        """Time of the last unavailable presence and its status text; None where unknown."""

    async def last_of(self, accounts: Sequence[JID]) -> Mapping[str, tuple[float, str]]:
        """The same of many accounts, by their text, in one read; who is unknown is left out."""


class AccountsApi(Protocol):
    """Accounts, as modules may handle them; `core.accounts` has the errors that are raised."""

    async def add(self, jid: JID, password: str) -> Account:
        """Make an account.

        Raises:
            BadAccountName: the address has a resource, no localpart or another host.
            BadPassword: the password is empty, too long or has a forbidden character.
            AccountTaken: there is one of this name.
            DeriveBusy: too many passwords are being worked on.
        """

    async def set_password(self, jid: JID, password: str, *, keep_sessions: bool = False) -> None:
        """Replace the password; ends the account's sessions unless they are to be kept.

        Raises:
            NoSuchAccount: there is no such account.
            BadPassword: the password is empty, too long or has a forbidden character.
            DeriveBusy: too many passwords are being worked on.
        """

    async def check_password(self, jid: JID, password: str) -> bool:
        """Whether this is the account's password.

        Raises:
            DeriveBusy: too many passwords are being worked on.
        """

    async def delete(self, jid: JID) -> None:
        """End an account's sessions with not-authorized, and erase everything it owns.

        Raises:
            NoSuchAccount: there is no such account.
        """


class CarbonsApi(Protocol):
    """Copies for the other clients of an account (XEP-0280)."""

    def enable(self, session: Session) -> None:
        """Send this session copies from now on; nothing happens where it gets them already."""


class CsiApi(Protocol):
    """Whether somebody is looking at a client (XEP-0352)."""

    def set_active(self, session: Session, active: bool) -> None:
        """Send an inactive session less, or an active one everything again."""


@dataclass(frozen=True, slots=True)
class PushDevice:
    """A client of an account that is notified when it is not there (XEP-0357).

    Attributes:
        resource: that it had when it asked for it.
        client: by what it names itself at login; may be empty.
        service: whom to notify.
        node: about which node there.
        since: when it asked, seconds since the epoch.
        unread: messages since it was here last.
        sent: how many notifications the service has taken.
        sent_at: when it took the last one.
        failures: how many in a row it did not take since.
        failed_at: when that was last.
        error: why, in words; empty where all is well.
        off_at: since when it is not notified any more, because of that.
    """

    resource: str
    client: str
    service: str
    node: str
    since: float
    unread: int
    sent: int
    sent_at: float | None
    failures: int
    failed_at: float | None
    error: str
    off_at: float | None


class PushApi(Protocol):
    """Notifications of clients that are not there (XEP-0357)."""

    async def devices(self, account: JID) -> Sequence[PushDevice]:
        """Every client of an account that wants to be notified, the oldest first."""

    async def test(self, account: JID) -> Sequence[PushDevice]:
        """Notify each of them now, also those that are not notified any more.

        Returns:
            What has become of it.
        """


class RegisterApi(Protocol):
    """In-band registration before login (XEP-0077 §3.1), for the stream that it happens on."""

    def offered(self, loopback: bool, secure: bool = True) -> bool:
        """Whether to advertise registration on a stream.

        Args:
            loopback: both ends of the connection are loopback addresses, without a proxy.
            secure: TLS is in force.
        """

    async def before_login(self, iq: Iq, address: str, loopback: bool, secure: bool) -> Iq:
        """Answer a request in jabber:iq:register from a stream that is not logged in.

        Args:
            iq: the request.
            address: the client's IP address, by which registrations are counted.
            loopback: as for `offered`.
            secure: as for `offered`.
        """


class HttpApi(Protocol):
    """The HTTP side of this server, for one host. Provided where it can be reached by HTTPS."""

    @property
    def url(self) -> str:
        """What public URLs begin with, without a slash at the end."""

    @property
    def files(self) -> Files:
        """Where uploaded files are kept."""


class UploadApi(Protocol):
    """Files of one host that are uploaded and fetched by HTTP (XEP-0363)."""

    async def begin(self, token: str, name: str, size: int, kind: str) -> Upload:
        """Use a slot, which is good for one upload.

        Args:
            token: of the slot, from the URL.
            name: of the file, from the URL.
            size: that the request announces.
            kind: the media type that the request announces; may be empty.

        Raises:
            UploadRefused: see `core.uploads.Refused`.
        """

    async def find(self, token: str, name: str) -> Stored | None:
        """A file that was uploaded, by what its URL says; None where there is none."""
