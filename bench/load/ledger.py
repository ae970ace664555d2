"""The client's end of stream management (XEP-0198): what is counted, asked and answered."""

from __future__ import annotations

import array
import collections
import re
from typing import Final

NS: Final = "urn:xmpp:sm:3"
REQUEST: Final = f"<r xmlns='{NS}'/>"
_TAG: Final = re.compile(rb"<(iq|presence|message|enabled|a|r)\b([^>]*)>")
_ACK: Final = re.compile(rb"<a\b[^>]*\bh=['\"](\d+)['\"]")
_H: Final = re.compile(rb"\bh=['\"](\d+)['\"]")
_ID: Final = re.compile(rb"\bid=['\"]([^'\"]+)['\"]")


class Ledger:
    """Counts of one session, which outlive its connections.

    Args:
        latencies: gets the seconds from each request to the acknowledgement that covers what was
            sent before it.

    Attributes:
        sent: stanzas written since stream management was asked for.
        acked: how many of them the server has acknowledged.
        received: stanzas that came since it was enabled.
        token: by which the session is resumed; empty where the server offers no resumption.
        overdone: the server acknowledged more than there was.
    """

    __slots__ = ("_latencies", "_open", "_tail", "acked", "overdone", "received", "sent", "token")

    def __init__(self, latencies: array.array[float]) -> None:
        self._latencies = latencies
        self._open: collections.deque[tuple[int, float]] = collections.deque()
        self._tail = b""
        self.sent = self.acked = self.received = 0
        self.token = ""
        self.overdone = False

    @property
    def answer(self) -> str:
        """What the server is told when it asks (section 4)."""
        return f"<a xmlns='{NS}' h='{self.received}'/>"

    def asked(self, now: float) -> None:
        """A request was written, behind all that was sent so far."""
        self._open.append((self.sent, now))

    def restart(self) -> None:
        """The connection is gone: nothing more comes of the last tag or of open requests."""
        self._tail = b""
        self._open.clear()

    def acknowledge(self, data: bytes, now: float) -> None:
        """Read acknowledgements, and nothing else, from bytes as they come."""
        data, self._tail = self._cut(data)
        found = _ACK.findall(data)
        if found:
            self._take(int(found[-1]), now)

    def read(self, data: bytes, now: float) -> bool:
        """Count what comes while no hot loop does.

        Returns:
            Whether the server wants an answer.
        """
        data, self._tail = self._cut(data)
        wanted = False
        for name, attributes in _TAG.findall(data):
            if name == b"r":
                wanted = True
            elif name == b"a":
                match = _H.search(attributes)
                self._take(int(match[1]) if match else 0, now)
            elif name == b"enabled":
                self.received = 0
                match = _ID.search(attributes)
                self.token = match[1].decode() if match else ""
            else:
                self.received += 1
        return wanted

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        """The bytes up to the last tag that is not complete, and those from there on."""
        if self._tail:
            data = self._tail + data
        start = data.rfind(b"<")
        return (
            (data, b"")
            if start < 0 or data.find(b">", start) >= 0
            else (data[:start], data[start:])
        )

    def _take(self, count: int, now: float) -> None:
        self.acked = count
        if count > self.sent:
            self.overdone = True
        pending, add = self._open, self._latencies.append
        while pending and pending[0][0] <= count:
            add(now - pending.popleft()[1])
