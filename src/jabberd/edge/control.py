"""The control socket: administration commands for the owner of the data folder.

A Unix domain socket, mode 0600. One request per connection, a line of JSON::

    {"command": ["user", "add"], "arguments": {"account": "a@localhost", "password": "…"}}

answered by lines of JSON, the last of which is ``{"kind": "end"}``::

    {"kind": "text", "text": "…"}
    {"kind": "table", "columns": ["…"], "rows": [["…"]]}
    {"kind": "line", "text": "…"}
    {"kind": "error", "text": "…"}

The command ``["?"]`` is answered with a ``{"kind": "command", …}`` for each command there is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from jabberd.core.command import CommandError, CommandRegistry, Table, describe
from jabberd.core.printable import printable_lines
from jabberd.edge.control_client import DESCRIBE, NAME, short_path

_REQUEST: Final = 65_536  # bytes of one request
_CLIENTS: Final = 16
_ASKING: Final = 10.0  # seconds to send a request, and for the client to read one answer
_log = logging.getLogger(__name__)


class ControlServer:
    """Serves commands on a socket in the data folder, whose lock must be held.

    Args:
        folder: the data folder.
        registry: the commands.
        deadline: seconds that a command may take; lines that keep coming are not counted.
    """

    def __init__(self, folder: Path, registry: CommandRegistry, *, deadline: float = 60.0) -> None:
        self._folder = folder
        self._registry = registry
        self._deadline = deadline
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. A socket that is there already is a dead server's: we hold the lock.

        Raises:
            OSError: the socket cannot be made.
        """
        (self._folder / NAME).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_path(self._folder) as path:
                # Between bind and chmod, the folder's own mode (0700) keeps others out.
                listener.bind(path)
            (self._folder / NAME).chmod(0o600)
            self._server = await asyncio.start_unix_server(
                self._accepted, sock=listener, limit=_REQUEST
            )
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Cut off who is connected, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._server = None
        (self._folder / NAME).unlink(missing_ok=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= _CLIENTS or not _is_owner(writer):
            writer.close()
            return
        self._clients.add(task)
        try:
            await _Conversation(reader, writer, self._registry, self._deadline).hold()
        except (OSError, asyncio.CancelledError):
            # The client went away, or the server stops: nobody is left to be told. The
            # streams of asyncio would report a cancelled handler as an error.
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()


class _Conversation:
    """One client, one request."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        registry: CommandRegistry,
        deadline: float,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._registry = registry
        self._deadline = deadline

    async def hold(self) -> None:
        try:
            request = await asyncio.wait_for(self._reader.readline(), _ASKING)
        except (TimeoutError, ValueError):
            await self._say(kind="error", text=f"expected one line of at most {_REQUEST} bytes")
            return
        if not request:
            return
        work = asyncio.create_task(self._answer(request))
        gone = asyncio.create_task(self._reader.read(1))  # says nothing more, so: its end
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone):
                if not task.done():
                    task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if not work.cancelled():
            work.result()

    async def _answer(self, request: bytes) -> None:
        try:
            path, arguments = _parse(request)
            if path == DESCRIBE:
                for command in self._registry.all():
                    await self._say(kind="command", **asdict(describe(command)))
            else:
                await self._run(path, arguments)
        except CommandError as error:
            await self._say(kind="error", text=printable_lines(str(error)))
        except TimeoutError:
            await self._say(kind="error", text=f"no answer within {self._deadline:g} seconds")
        except OSError:
            raise
        except Exception:
            _log.exception("an administration command failed")
            await self._say(kind="error", text="the server made a mistake; its log has details")
        await self._say(kind="end")

    async def _run(self, path: Sequence[str], arguments: dict[str, object]) -> None:
        result = await asyncio.wait_for(self._registry.run(path, arguments), self._deadline)
        if isinstance(result, str):
            await self._say(kind="text", text=result)
        elif isinstance(result, Table):
            rows = [list(row) for row in result.rows]
            await self._say(kind="table", columns=list(result.columns), rows=rows)
        else:
            await self._stream(result)

    async def _stream(self, lines: AsyncIterator[str]) -> None:
        try:
            async for line in lines:
                await self._say(kind="line", text=line)
        finally:
            close = getattr(lines, "aclose", None)  # an asynchronous generator has it
            if close is not None:
                await close()

    async def _say(self, **what: Any) -> None:
        self._writer.write(json.dumps(what).encode() + b"\n")
        try:
            await asyncio.wait_for(self._writer.drain(), _ASKING)
        except TimeoutError:
            raise ConnectionAbortedError("the client does not read") from None


def _parse(request: bytes) -> tuple[tuple[str, ...], dict[str, object]]:
    try:
        value = json.loads(request)
        path, arguments = tuple(value["command"]), value.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CommandError("the request is not understood") from None
    if not all(isinstance(word, str) for word in path) or not isinstance(arguments, dict):
        raise CommandError("the request is not understood")
    return path, arguments


def _is_owner(writer: asyncio.StreamWriter) -> bool:
    """Whether the other side runs as our user or as root, where the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the modes of the folder and of the socket have to do
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in {0, os.geteuid()}
