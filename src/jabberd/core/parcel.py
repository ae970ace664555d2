"""A message of the log on its way to its owner's sessions, and who answers for it meanwhile."""

from __future__ import annotations

from typing import Final, Protocol

from jabberd.core.turn import Turn
from jabberd.storage.log_api import Flag

_VISIBLE: Final = int(Flag.VISIBLE)
_AWAITING: Final = int(Flag.AWAITING)
_SENT: Final = int(Flag.SENT)


class Custodian(Protocol):
    """Who changes the log when a parcel has arrived, or has not."""

    def arrived(self, parcel: Parcel) -> None:
        """A client has the parcel, and the log has to know it."""

    def waits(self, parcel: Parcel) -> None:
        """A session holds the parcel back: the log is to know that it has not arrived."""

    def returned(self, parcel: Parcel) -> None:
        """No session holds the parcel any more, and no client has it."""


class Parcel:
    """One entry, for one account, while it is delivered.

    A session *takes* the parcel when it is handed the stanza. It lets go of it in one of two ways:
    the client has it (`arrive`: written to a stream without acknowledgements, or acknowledged),
    or the session ended before that (`drop`). When everybody has dropped it and nobody has it, it
    goes back to the log, to wait.

    Attributes:
        account: the owner's bare JID as text.
        key: of the entry.
        wire: the stanza as it is delivered.
        turn: in which the entry is committed.
        flags: of the entry, see `storage.log_api.Flag`.
        holders: sessions that have taken it and have not let go.
        done: a client has it.
    """

    __slots__ = ("_custodian", "account", "done", "flags", "holders", "key", "turn", "wire")

    def __init__(
        self, account: str, key: int, wire: bytes, turn: Turn, flags: int, custodian: Custodian
    ) -> None:
        self.account = account
        self.key = key
        self.wire = wire
        self.turn = turn
        self.flags = flags
        self.holders = 0
        self.done = False
        self._custodian = custodian

    @property
    def sent(self) -> bool:
        """Whether the account itself has sent it: nobody waits for it."""
        return bool(self.flags & _SENT)

    def arrive(self) -> None:
        """A session's client has it."""
        self.holders -= 1
        first, self.done = not self.done, True
        flags = self.flags
        if flags & _VISIBLE:
            # With nearly every message nothing has to be written. But where others hold it as
            # well, it must not come back when one of them drops it after a restart.
            if first and (self.holders or flags & _AWAITING):
                self._custodian.arrived(self)
        elif not self.holders:
            self._custodian.arrived(self)

    def drop(self) -> None:
        """A session ended before its client had it."""
        self.holders -= 1
        if self.holders or self.turn.failed is not None:  # what is in no log cannot go back
            return
        if not self.done:
            # What the account itself has sent is in its archive; nobody waits for it.
            if not self.flags & _SENT:
                self._custodian.returned(self)
        elif not self.flags & _VISIBLE:
            self._custodian.arrived(self)

    def wait(self) -> None:
        """A session holds it back: until it arrives, the log has it as waiting."""
        if self.turn.failed is None and not self.done and not self.flags & (_AWAITING | _SENT):
            self.flags |= _AWAITING
            self._custodian.waits(self)
