"""The control socket, over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import pytest_asyncio

from jabberd.core.command import Command, CommandError, CommandRegistry, Doc, Result, Table
from jabberd.edge import control
from jabberd.edge.control import ControlServer
from jabberd.edge.control_client import ControlClient, Lost, NotRunning


class Commands:
    """Some commands, and what became of one."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.started = asyncio.Event()

    async def echo(self, text: Annotated[str, Doc("what to say")]) -> Result:
        """Say it again."""
        return text

    async def table(self) -> Result:
        """Two rows."""
        return Table(("a", "b"), [("x", 1), (None, True)])

    async def refuse(self) -> Result:
        """Never works."""
        raise CommandError("not today\x1b[2J\nnor tomorrow")

    async def fail(self) -> Result:
        """Has a mistake in it."""
        raise ZeroDivisionError("private details")

    async def hang(self) -> Result:
        """Takes for ever."""
        self.started.set()
        await asyncio.Event().wait()
        return ""

    async def follow(self, *, many: Annotated[bool, Doc("without a pause")] = False) -> Result:
        """Goes on for ever."""
        return self._lines(many)

    async def _lines(self, many: bool) -> AsyncIterator[str]:
        try:
            while True:
                yield "line" if not many else "line" * 10_000
                self.started.set()
                if not many:
                    await asyncio.sleep(0.01)
        finally:
            self.closed.set()


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest_asyncio.fixture
async def server(tmp_path: Path, commands: Commands) -> AsyncIterator[ControlServer]:
    functions: dict[str, Callable[..., Awaitable[Result]]] = {
        "echo": commands.echo,
        "table": commands.table,
        "refuse": commands.refuse,
        "fail": commands.fail,
        "hang": commands.hang,
        "follow": commands.follow,
    }
    registry = CommandRegistry([Command((name,), run) for name, run in functions.items()])
    server = ControlServer(tmp_path, registry, deadline=0.2)
    await server.start()
    yield server
    await server.stop()


async def ask(folder: Path, *command: str, **arguments: object) -> list[dict[str, Any]]:
    return await asyncio.to_thread(lambda: list(ControlClient(folder).ask(command, arguments)))


async def say(folder: Path, request: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(str(folder / "control.sock"))
    writer.write(request)
    text = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.asyncio
async def test_only_the_owner_can_reach_it(tmp_path: Path, server: ControlServer) -> None:
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600


@pytest.mark.asyncio
async def test_another_user_is_turned_away(
    tmp_path: Path, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await ask(tmp_path, "echo", text="hi")
    # Credentials of a stranger; struct is what reads them.
    monkeypatch.setattr(struct, "unpack", lambda form, data: (1, 54321, 1))
    with pytest.raises(Lost):
        await ask(tmp_path, "echo", text="hi")


@pytest.mark.asyncio
async def test_the_system_tells_who_is_there() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        raw = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        assert struct.unpack("3i", raw)[:2] == (os.getpid(), os.geteuid())


@pytest.mark.asyncio
async def test_answers(tmp_path: Path, server: ControlServer) -> None:
    assert await ask(tmp_path, "echo", text="grüße") == [{"kind": "text", "text": "grüße"}]
    assert await ask(tmp_path, "table") == [
        {"kind": "table", "columns": ["a", "b"], "rows": [["x", 1], [None, True]]}
    ]


@pytest.mark.asyncio
async def test_errors(
    tmp_path: Path, server: ControlServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert await ask(tmp_path, "refuse") == [
        {"kind": "error", "text": "not today\\x1b[2J\nnor tomorrow"}
    ]
    assert await ask(tmp_path, "nothing") == [
        {"kind": "error", "text": "there is no command 'nothing'"}
    ]
    assert await ask(tmp_path, "echo", text=1) == [{"kind": "error", "text": "text: expected text"}]
    assert await ask(tmp_path, "hang") == [
        {"kind": "error", "text": "no answer within 0.2 seconds"}
    ]
    (answer,) = await ask(tmp_path, "fail")
    assert "private" not in answer["text"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"[]\n",
        b"nonsense\n",
        b'{"command": 1}\n',
        b'{"command": [1]}\n',
        b'{"command": ["echo"], "arguments": []}\n',
        b"\xff\n",
        b"[" * 50_000 + b"\n",
    ],
)
async def test_requests_that_are_not_understood(
    tmp_path: Path, server: ControlServer, request_: bytes
) -> None:
    error, end = await say(tmp_path, request_)
    assert error == {"kind": "error", "text": "the request is not understood"}
    assert end == {"kind": "end"}


@pytest.mark.asyncio
async def test_a_request_has_a_bound(tmp_path: Path, server: ControlServer) -> None:
    (error,) = await say(tmp_path, b"x" * 70_000)
    assert error == {"kind": "error", "text": "expected one line of at most 65536 bytes"}


@pytest.mark.asyncio
async def test_who_asks_nothing_is_let_go(
    tmp_path: Path, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_ASKING", 0.05)
    (error,) = await say(tmp_path, b"")
    assert error["kind"] == "error"


@pytest.mark.asyncio
async def test_lines_stop_when_the_client_goes(
    tmp_path: Path, server: ControlServer, commands: Commands
) -> None:
    def some() -> list[str]:
        answers = ControlClient(tmp_path).ask(["follow"], {})
        lines = [next(answers)["text"] for _ in range(3)]
        answers.close()  # type: ignore[attr-defined]  # it is a generator
        return lines

    assert await asyncio.to_thread(some) == ["line"] * 3
    await asyncio.wait_for(commands.closed.wait(), 5)


@pytest.mark.asyncio
async def test_a_client_that_does_not_read_is_let_go(
    tmp_path: Path,
    server: ControlServer,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "_ASKING", 0.1)
    connection = socket.socket(socket.AF_UNIX)
    with connection:
        connection.connect(str(tmp_path / "control.sock"))
        connection.sendall(b'{"command": ["follow"], "arguments": {"many": true}}\n')
        await asyncio.wait_for(commands.closed.wait(), 5)


@pytest.mark.asyncio
async def test_stopping_cuts_off_who_is_connected(
    tmp_path: Path, server: ControlServer, commands: Commands
) -> None:
    asking = asyncio.create_task(ask(tmp_path, "follow"))
    await asyncio.wait_for(commands.started.wait(), 5)
    await server.stop()
    assert commands.closed.is_set()
    with pytest.raises(Lost):
        await asking
    with pytest.raises(NotRunning):
        await ask(tmp_path, "table")
    assert not (tmp_path / "control.sock").exists()


@pytest.mark.asyncio
async def test_so_many_clients(
    tmp_path: Path, server: ControlServer, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_CLIENTS", 1)
    asking = asyncio.create_task(ask(tmp_path, "follow"))
    await asyncio.wait_for(commands.started.wait(), 5)
    with pytest.raises(Lost):
        await ask(tmp_path, "table")
    await server.stop()
    with pytest.raises(Lost):
        await asking


@pytest.mark.asyncio
async def test_a_dead_servers_socket_is_replaced(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "control.sock"))
    dead.close()
    with pytest.raises(NotRunning, match="no server runs in"):
        await ask(tmp_path, "table")
    server = ControlServer(tmp_path, CommandRegistry())
    await server.start()
    assert await ask(tmp_path, "?") == []
    await server.stop()


@pytest.mark.asyncio
async def test_a_folder_with_a_long_path(tmp_path: Path, commands: Commands) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    server = ControlServer(folder, CommandRegistry([Command(("table",), commands.table)]))
    await server.start()
    assert (await ask(folder, "table"))[0]["kind"] == "table"
    await server.stop()
    assert list(folder.iterdir()) == []


@pytest.mark.asyncio
async def test_the_commands_can_be_listed(tmp_path: Path, server: ControlServer) -> None:
    described = await asyncio.to_thread(ControlClient(tmp_path).describe)
    assert [one.path for one in described] == [
        ("echo",),
        ("fail",),
        ("follow",),
        ("hang",),
        ("refuse",),
        ("table",),
    ]
    echo = described[0]
    assert echo.help == "Say it again."
    assert [(one.name, one.kind, one.text) for one in echo.parameters] == [
        ("text", "str", "what to say")
    ]
