"""An IRC server from Debian's package, and a client for it that knows only what the tests need."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Self

from tests.gateways.others.program import Program, running, where
from tests.ports import free_port

NAME: Final = "irc.localhost"
_WAIT: Final = 20.0
_CONFIG: Final = """\
[Global]
Name = {name}
Info = for tests
Listen = 127.0.0.1
Ports = {port}
ServerUID = {uid}
ServerGID = {uid}
[Limits]
MaxConnectionsIP = 0
MaxPenaltyTime = 0
[Options]
Ident = no
DNS = no
PAM = no
"""


@contextlib.asynccontextmanager
async def ngircd(folder: Path) -> AsyncIterator[int]:
    """An IRC server on a free port of 127.0.0.1; gives the port.

    Args:
        folder: for its configuration; it is there.
    """
    port = free_port()
    file = folder / "ngircd.conf"
    file.write_text(_CONFIG.format(name=NAME, port=port, uid="irc"))
    program = Program(folder, [where("ngircd"), "--nodaemon", "--config", str(file)])
    async with running(program, "ready."):
        yield port


class IrcClient:
    """Somebody on IRC, with a client that answers pings and notes the rest."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def log_in(cls, port: int, nick: str) -> Self:
        """Log in; returns when the server has said welcome."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.say(f"NICK {nick}")
        client.say(f"USER {nick} 0 * :{nick}")
        await client.line(" 001 ")
        return client

    def say(self, line: str) -> None:
        """Send a line."""
        self._writer.write(f"{line}\r\n".encode())

    async def line(self, *parts: str) -> str:
        """Wait for a line with all of these in it; what came before it is forgotten."""
        async with asyncio.timeout(_WAIT):
            while True:
                line = (await self._reader.readuntil(b"\n")).decode().rstrip()
                if line.startswith("PING"):
                    self.say(line.replace("PING", "PONG", 1))
                elif all(part in line for part in parts):
                    return line

    async def close(self) -> None:
        """Log out."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
