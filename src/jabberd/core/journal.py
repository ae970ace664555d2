"""The verdict journal: the last endings per account, for `jabberd trace`.

It keeps who, to whom, which stanza and how it ended; never a payload. Messages and everything
that went wrong are kept per account; routine endings (presence, answered requests) share one
small ring, so that they push nothing out.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from jabberd.core.printable import printable
from jabberd.core.verdict import Bounced, Dropped, Verdict
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

ACCOUNTS: Final = 8192
"""How many accounts are remembered; the one not heard of for longest is forgotten first."""
ROUTINE: Final = 2048
"""How many routine endings of all accounts together are remembered."""
_FRESH: Final = 64
_FOLLOWED: Final = 256  # lines that wait for one reader of `follow`
_FOLLOWERS: Final = 16
_ID: Final = 128  # characters of an id or a type that are kept: peers choose them
_ADDRESS: Final = 512

_Row = tuple[float, str, str, str, str, str, "Verdict | Returned"]


@dataclass(frozen=True, slots=True)
class Returned:
    """A `Bounced` verdict without its exception, which would keep frames and stanzas alive.

    Attributes:
        by: who decided.
        error: condition and text.
    """

    by: str
    error: str

    def __str__(self) -> str:
        return f"returned by {self.by}: {self.error}"


@dataclass(frozen=True, slots=True)
class Entry:
    """How one stanza ended for one account.

    Attributes:
        at: seconds since the epoch.
        tag: "message", "presence" or "iq".
        type: the stanza's type attribute.
        id: the stanza's id, cut after 128 characters.
        from_: the sender's address, or an empty string.
        to: the recipient's address, or an empty string.
        ending: the verdict.
    """

    at: float
    tag: str
    type: str
    id: str
    from_: str
    to: str
    ending: Verdict | Returned

    @property
    def what(self) -> str:
        """The kind of stanza with its type, safe to print."""
        return printable(f"{self.tag}/{self.type}" if self.type else self.tag)

    @property
    def time(self) -> str:
        """The moment in UTC."""
        moment = datetime.fromtimestamp(self.at, UTC)
        return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")

    def __str__(self) -> str:
        """One line, safe to print."""
        stanza_id = f" id={self.id}" if self.id else ""
        head = f"{self.time} {self.what}{stanza_id} {self.from_ or '-'} → {self.to or '-'}"
        return printable(f"{head}: {self.ending}")

    def concerns(self, other: JID) -> bool:
        """Whether this address, or one of its resources, is the sender or the recipient."""
        return any(
            address == other.text or address.startswith(f"{other.text}/")
            for address in (self.from_, self.to)
        )


class Journal:
    """The journal of one process.

    Args:
        keep: entries per account.
        accounts: how many accounts are remembered.
        routine: how many routine endings are remembered in all.
    """

    def __init__(self, *, keep: int = 50, accounts: int = ACCOUNTS, routine: int = ROUTINE) -> None:
        self._keep = keep
        self._limit = accounts
        self._accounts: OrderedDict[str, deque[_Row]] = OrderedDict()
        self._routine: deque[tuple[str, _Row]] = deque(maxlen=routine)
        self._followers: dict[str, list[_Follower]] = {}
        self._fresh: list[tuple[float, str, str, str, str, str, Verdict, str, str]] = []

    def record(
        self, now: float, stanza: Stanza, verdict: Verdict, owner: str, other: str = ""
    ) -> None:
        """Remember how a stanza ended for an account, or for two.

        Args:
            now: seconds since the epoch.
            stanza: its head is copied; nothing of its payload is kept.
            verdict: how it ended.
            owner: the account's bare JID as text.
            other: that of the other account; empty or the same where there is none.
        """
        from_, to = stanza.from_, stanza.to
        self._fresh.append(
            (
                now,
                stanza.tag,
                stanza.type,
                stanza.id,
                "" if from_ is None else from_.text,
                "" if to is None else to.text,
                verdict,
                owner,
                other,
            )
        )
        # At once where an exception would be kept alive, or where somebody is looking.
        if len(self._fresh) >= _FRESH or type(verdict) is Bounced or self._followers:
            self._sort_in()

    def _sort_in(self) -> None:
        """Put what was recorded lately in its place: many at once, off the path of a stanza."""
        for now, tag, type_, id_, from_, to, verdict, owner, other in self._fresh:
            ending: Verdict | Returned = verdict
            apart = tag == "message"
            if type(verdict) is Bounced:
                ending, apart = Returned(verdict.by, printable(str(verdict.error), 500)), True
            elif type(verdict) is Dropped:
                apart = True
            row = (now, tag, type_[:_ID], id_[:_ID], from_[:_ADDRESS], to[:_ADDRESS], ending)
            self._keep_row(owner, row, apart)
            if other and other != owner:
                self._keep_row(other, row, apart)
        self._fresh.clear()

    def _keep_row(self, owner: str, row: _Row, apart: bool) -> None:
        if apart:
            rows = self._accounts.get(owner)
            if rows is None:
                rows = self._accounts[owner] = deque(maxlen=self._keep)
                if len(self._accounts) > self._limit:
                    self._accounts.popitem(last=False)
            else:
                self._accounts.move_to_end(owner)
            rows.append(row)
        else:
            self._routine.append((owner, row))
        if self._followers:
            for follower in self._followers.get(owner, ()):
                follower.put(row)

    def entries(self, account: JID, to: JID | None = None) -> list[Entry]:
        """What is remembered of an account, oldest first.

        Args:
            account: its bare JID.
            to: only what went to or came from this address (or its resources).
        """
        self._sort_in()
        owner = account.text
        rows = list(self._accounts.get(owner, ()))
        rows += [row for whose, row in self._routine if whose == owner]
        entries = [Entry(*row) for row in sorted(rows, key=lambda row: row[0])]
        return [entry for entry in entries if to is None or entry.concerns(to)]

    async def follow(
        self, account: JID, to: JID | None = None, *, past: bool = False
    ) -> AsyncGenerator[Entry | str, None]:
        """New entries as they come, without end; with `past`, those remembered come first.

        Where the reader is too slow, the oldest are left out and a sentence says how many.

        Raises:
            RuntimeError: too many readers follow the journal already.
        """
        if sum(map(len, self._followers.values())) >= _FOLLOWERS:
            raise RuntimeError(f"{_FOLLOWERS} readers follow the journal already")
        self._sort_in()
        follower = _Follower()
        self._followers.setdefault(account.text, []).append(follower)
        try:
            for known in self.entries(account, to) if past else ():
                yield known
            while True:
                row = await follower.queue.get()
                if follower.missed:
                    yield f"({follower.missed} entries were left out: too many at once)"
                    follower.missed = 0
                entry = Entry(*row)
                if to is None or entry.concerns(to):
                    yield entry
        finally:
            self._forget(account.text, follower)

    def _forget(self, owner: str, follower: _Follower) -> None:
        rest = [other for other in self._followers[owner] if other is not follower]
        if rest:
            self._followers[owner] = rest
        else:
            del self._followers[owner]

    def forget(self, owner: str) -> None:
        """Drop what is remembered of an account that was erased."""
        self._sort_in()
        self._accounts.pop(owner, None)
        kept = [pair for pair in self._routine if pair[0] != owner]
        self._routine.clear()
        self._routine.extend(kept)


class _Follower:
    """One reader of `Journal.follow`."""

    __slots__ = ("missed", "queue")

    def __init__(self) -> None:
        self.queue: asyncio.Queue[_Row] = asyncio.Queue(_FOLLOWED)
        self.missed = 0

    def put(self, row: _Row) -> None:
        if self.queue.full():
            self.queue.get_nowait()
            self.missed += 1
        self.queue.put_nowait(row)
