"""What servers have before a load: made once for each, in the same way for all that can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import Data
from bench.load.target import Result
from bench.servers import Mode, Server, ServerError

_CONTACTS: Final = 10
_ACCOUNTS: Final = 200
Generate = Callable[[Server, Sequence[str]], Result]
Running = Callable[[Server, Mode, Path], AbstractContextManager[None]]
_MAKING: Final = {
    Data.ACCOUNTS: Mode(),
    Data.CONTACTS: Mode(),
    Data.TALK: Mode(managed=True, archive=True),
    Data.MILLION: Mode(managed=True, archive=True, search=True),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything.

    Attributes:
        connections: accounts with contacts, which all log in.
        talk: messages that are sent over the wire to fill an archive.
        million: messages that are put into an archive directly.
    """

    connections: int = 2000
    talk: int = 5000
    million: int = 1_000_000

    def arguments(self, data: Data) -> tuple[str, ...]:
        """Of the generator, for accounts with contacts."""
        if data is not Data.CONTACTS:
            return ()
        users = ("--prefix", "c", "--users", str(self.connections))
        return (*users, "--contacts", str(_CONTACTS))


class Maker:
    """Makes the data of one server.

    Args:
        server: which.
        sizes: how much.
        generate: runs the generator.
        running: starts the server and stops it again.
        say: reports progress.
    """

    def __init__(
        self,
        server: Server,
        sizes: Sizes,
        generate: Generate,
        running: Running,
        say: Callable[[str], None],
    ) -> None:
        self._server = server
        self._sizes = sizes
        self._generate = generate
        self._running = running
        self._say = say

    def make(self, data: Data) -> Path:
        """Make one kind of data.

        Returns:
            The folder.

        Raises:
            ServerError: this does not work.
        """
        server, sizes = self._server, self._sizes
        state = server.setting.folder / data.name.lower()
        with self._running(server, _MAKING[data], state):
            if data is Data.CONTACTS:
                count = sizes.arguments(data)
                self._need("register", *count)
                self._need("befriend", *count)
            else:
                self._need("register", "--users", str(_ACCOUNTS))
            if data is Data.TALK:
                self._need("fill", "--count", str(sizes.talk))
        if data is Data.MILLION:
            self._say(f"{server.name}: fill directly, {sizes.million}")
            server.fill(sizes.million, state)
        return state

    def _need(self, *arguments: str) -> None:
        self._say(f"{self._server.name}: {' '.join(arguments)}")
        result = self._generate(self._server, arguments)
        if "failed" in result:
            raise ServerError(f"{arguments[0]} failed: {result['failed']}")
