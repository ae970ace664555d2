"""A client's view of its conversations, kept as clients with an archive keep it (XEP-0313)."""

from __future__ import annotations

from tests.invariants.history import Entry, Key


class Timeline:
    """Each message once, in the archive's order.

    What others said is known again by the id that the own account gave it; what the own account
    said, also by the id that the saying client gave it. While the archive is being read, what
    comes otherwise waits, since it is newer.

    Args:
        account: whose clients keep this.
        entries: what is filled.

    Attributes:
        last: the id of the newest entry that the archive gave an id; where to read on.
    """

    def __init__(self, account: str, entries: list[Entry]) -> None:
        self._account = account
        self._entries = entries
        self._ids: set[str] = set()
        self._own: set[Key] = set()
        self._later: list[Entry] = []
        self._reading = False
        self.last: str | None = None

    @property
    def reading(self) -> bool:
        """Whether the archive is being read."""
        return self._reading

    def begin(self) -> None:
        """The archive is going to be read."""
        self._reading = True

    def result(self, key: Key, stanza_id: str) -> None:
        """An entry of the archive."""
        self._place(Entry(key, stanza_id))
        self.last = stanza_id

    def live(self, key: Key, stanza_id: str | None) -> None:
        """A message or a copy of one, as it comes; or one that this client says."""
        if self._reading:
            self._later.append(Entry(key, stanza_id))
        else:
            self._place(Entry(key, stanza_id))

    def complete(self) -> None:
        """The archive has been read to its end."""
        self._reading = False
        later, self._later = self._later, []
        for entry in later:
            self._place(entry)

    def _place(self, entry: Entry) -> None:
        if entry.stanza_id is not None:
            if entry.stanza_id in self._ids:
                return
            self._ids.add(entry.stanza_id)
            self.last = entry.stanza_id
        if entry.key.sender == self._account:
            if entry.key in self._own:
                return
            self._own.add(entry.key)
        self._entries.append(entry)
