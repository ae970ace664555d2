"""What lies between a session and the connection that carries it."""

from __future__ import annotations

from typing import Protocol

from jabberd.xmpp.error import StreamError


class Carrier(Protocol):
    """A connection, as the session that it carries sees it."""

    @property
    def waiting(self) -> int:
        """Bytes that were written and have not left yet."""

    @property
    def takes(self) -> bool:
        """Whether `write` takes bytes."""

    def write(self, data: bytes) -> bool:
        """Write bytes of the stream; False where the connection takes none any more."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, and the session with it."""

    def release(self, error: StreamError | None) -> None:
        """The session goes on without this connection; close it.

        Args:
            error: ends the stream; without one, the connection is closed and the stream is not,
                so that the client knows that it may resume.
        """

    def abort(self) -> None:
        """The connection is as good as broken: break it."""


class Said:
    """Bytes that wait among the stanzas of a session until a turn is committed.

    Args:
        data: of an element of the stream.
        certain: whether it is said also where the commit fails.
    """

    __slots__ = ("_data", "certain")

    def __init__(self, data: bytes, *, certain: bool) -> None:
        self._data = data
        self.certain = certain

    def to_bytes(self) -> bytes:
        """The element."""
        return self._data


def is_certain(what: object) -> bool:
    """Whether something that waits is said in any case."""
    return isinstance(what, Said) and what.certain
