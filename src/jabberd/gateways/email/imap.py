"""A mailbox at an IMAP server, with what a gateway needs of it (RFC 3501)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from jabberd.gateways.email.imap_connection import Connection, ImapLost, ImapRefused, connect
from jabberd.gateways.email.imap_wire import Data, Literal, Status, string
from jabberd.gateways.email.reach import Place

__all__ = ["Envelope", "Imap", "ImapLost", "ImapRefused", "Selected", "open_imap"]

_FETCH_PATIENCE: Final = 300.0
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun",
                  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # fmt: skip
_DATE: Final = "%d-%b-%Y %H:%M:%S %z"


@dataclass(frozen=True, slots=True)
class Selected:
    """A mailbox that was opened (§6.3.1).

    Attributes:
        validity: UIDVALIDITY: where it changes, all UIDs mean something else.
        next_uid: UIDNEXT: no mail there has it, or a higher one.
    """

    validity: int
    next_uid: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known of a mail before it is fetched.

    Attributes:
        uid: its UID.
        size: bytes.
        at: when it came there, in seconds since the epoch; 0 where nobody knows.
    """

    uid: int
    size: int
    at: float


class Imap:
    """A mailbox, one command at a time.

    Args:
        connection: logged in.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server can do, in capitals."""
        return self._connection.capabilities

    async def select(self, mailbox: str, *, read_only: bool) -> Selected:
        """Open a mailbox.

        Raises:
            ImapRefused: it is not there.
            ImapLost: see there.
        """
        command = b"EXAMINE" if read_only else b"SELECT"
        codes: dict[str, int] = {}
        for answer in await self._connection.command(command, string(mailbox)):
            if isinstance(answer, Status):
                word, _, number = answer.code.partition(" ")
                if number.isdecimal():
                    codes[word.upper()] = int(number)
        if "UIDVALIDITY" not in codes:
            raise ImapRefused("the mail server does not number its mails")
        return Selected(codes["UIDVALIDITY"], codes.get("UIDNEXT", 1))

    async def after(self, uid: int) -> list[int]:
        """UIDs above this one, in order. Raises as `select`."""
        self._connection.news = False
        # "n:*" has the last mail in it also where that is below n (§6.4.8).
        found = await self.search(b"UID %d:*" % (uid + 1))
        return [number for number in found if number > uid]

    async def since(self, day: date) -> list[int]:
        """UIDs of what came on that day or later, in order. Raises as `select`."""
        when = f"{day.day}-{_MONTHS[day.month - 1]}-{day.year}"
        return await self.search(b"SINCE " + when.encode())

    async def search(self, what: bytes) -> list[int]:
        """UIDs of the mails that a search key finds (§6.4.4), in order. Raises as `select`."""
        found: set[int] = set()
        for answer in await self._connection.command(b"UID SEARCH", what):
            match answer:
                case Data((str(word), *numbers)) if word.upper() == "SEARCH":
                    found |= {int(n) for n in numbers if isinstance(n, str) and n.isdecimal()}
        return sorted(found)

    async def envelope(self, uid: int) -> Envelope | None:
        """Size and time of a mail; None: it is gone. Raises as `select`."""
        for answer in await self._connection.command(
            b"UID FETCH %d (RFC822.SIZE INTERNALDATE)" % uid
        ):
            items = answer.fetched() if isinstance(answer, Data) else {}
            size, at = items.get("RFC822.SIZE"), items.get("INTERNALDATE")
            if items.get("UID") == str(uid) and isinstance(size, str) and size.isdecimal():
                return Envelope(uid, int(size), _when(at) if isinstance(at, bytes) else 0.0)
        return None

    async def mail(self, uid: int) -> bytes | None:
        """A mail as it is, without marking it as seen; None: it is gone. Raises as `select`."""
        command = b"UID FETCH %d (BODY.PEEK[])" % uid
        for answer in await self._connection.command(command, patience=_FETCH_PATIENCE):
            items = answer.fetched() if isinstance(answer, Data) else {}
            body = items.get("BODY[]")
            if items.get("UID") == str(uid) and isinstance(body, bytes):
                return body
        return None

    async def seen(self, uid: int) -> None:
        """Mark a mail as seen. Raises as `select`."""
        await self._connection.command(b"UID STORE %d +FLAGS.SILENT (\\Seen)" % uid)

    async def sent_mailbox(self) -> str:
        """What the mailbox is called that sent mails go to (RFC 6154). Raises as `select`."""
        for answer in await self._connection.command(b'LIST "" "*"'):
            match answer:
                case Data((str(word), tuple(flags), _, name)) if word.upper() == "LIST":
                    marked = any(isinstance(f, str) and f.lower() == "\\sent" for f in flags)
                    if marked and name is not None and not isinstance(name, tuple):
                        return name if isinstance(name, str) else name.decode("utf-8", "replace")
        return "Sent"

    async def append(self, mailbox: str, mail: bytes) -> None:
        """Put a mail there, as seen. Raises as `select`."""
        parts = (string(mailbox), b"(\\Seen)", Literal(mail))
        try:
            await self._connection.command(b"APPEND", *parts, patience=_FETCH_PATIENCE)
        except ImapRefused as error:
            if error.code != "TRYCREATE":
                raise
            await self._connection.command(b"CREATE", string(mailbox))
            await self._connection.command(b"APPEND", *parts, patience=_FETCH_PATIENCE)

    async def idle(self, seconds: float, poll: float = 60.0) -> None:
        """Wait until mail has come since `after` was asked, or for this long.

        Args:
            seconds: how long.
            poll: where the server has no IDLE, it is asked so often.

        Raises:
            ImapLost: the connection broke meanwhile.
            ImapRefused: the server does not do it.
        """
        await self._connection.idle(seconds, poll)

    async def logout(self) -> None:
        """Say good bye, and close; never fails."""
        await self._connection.logout()

    async def close(self) -> None:
        """End the connection at once."""
        await self._connection.close()


async def open_imap(place: Place, user: str, password: str, *, mail_longest: int) -> Imap:
    """Connect and log in; arguments and errors as for `connect`."""
    return Imap(await connect(place, user, password, mail_longest=mail_longest))


def _when(text: bytes) -> float:
    try:
        return datetime.strptime(text.decode("ascii", "replace").strip(), _DATE).timestamp()  # noqa: DTZ007 -- it has one
    except ValueError:
        return 0.0
