"""The client half of the control socket: blocking, and quick to import."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from jabberd.core.command import Description, Parameter

NAME: Final = "control.sock"
"""The socket's name in the data folder."""
DESCRIBE: Final = ("?",)
"""The command that lists the commands."""
_PATH: Final = 100  # bytes that a socket's path may have on every system


class NotRunning(Exception):  # noqa: N818 -- a fact, not a mistake
    """No server listens on the control socket of this data folder."""


class Lost(Exception):  # noqa: N818 -- a fact, not a mistake
    """The server went away, or took too long, before it had answered."""


class ControlClient:
    """Asks a running server.

    Args:
        folder: its data folder.
        patience: seconds to wait for each line of an answer; None for ever.
    """

    def __init__(self, folder: Path, *, patience: float | None = 90.0) -> None:
        self._folder = folder
        self._patience = patience

    def ask(
        self, command: Sequence[str], arguments: Mapping[str, object]
    ) -> Iterator[dict[str, Any]]:
        """Send one request; the answer's lines as they come, without the last ("end").

        Closing the iterator interrupts what the server does for it.

        Raises:
            NotRunning: see there.
            Lost: see there.
        """
        request = json.dumps({"command": list(command), "arguments": dict(arguments)})
        with self._connect() as connection:
            try:
                connection.sendall(request.encode() + b"\n")
                with connection.makefile("rb") as lines:
                    for line in lines:
                        answer = json.loads(line)
                        if answer["kind"] == "end":
                            return
                        yield answer
            except (OSError, ValueError) as error:
                raise Lost(f"the server did not answer: {error}") from None
        raise Lost("the server closed the connection before it had answered")

    def describe(self) -> list[Description]:
        """What commands the server has.

        Raises:
            NotRunning: see there.
            Lost: see there.
        """
        return [
            Description(
                tuple(answer["path"]),
                answer["help"],
                tuple(Parameter(**parameter) for parameter in answer["parameters"]),
                answer["online"],
            )
            for answer in self.ask(DESCRIBE, {})
            if answer["kind"] == "command"
        ]

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._patience)
        try:
            with short_path(self._folder) as path:
                connection.connect(path)
        except OSError as error:
            connection.close()
            raise NotRunning(f"no server runs in {self._folder}: {error.strerror}") from None
        return connection


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A path of the socket that is short enough for the system, whatever the folder's is.

    Raises:
        OSError: the folder is not there, or its path is too long and this system has no way
            around it.
    """
    path = str(folder / NAME)
    if len(os.fsencode(path)) <= _PATH:
        yield path
        return
    if not Path("/proc/self/fd").is_dir():
        raise OSError(errno.ENAMETOOLONG, "its path is too long for a socket")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{NAME}"
    finally:
        os.close(handle)
