"""The server inside a program, the fixture, and the examples of docs/embedding.md."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import jabberd
from jabberd.config import StartError
from jabberd.core.accounts import AccountError
from jabberd.testing import ServerThread
from tests.integration.wire import Wire, stream_error

PAGE = Path(__file__).parent.parent / "docs" / "embedding.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_program_of_the_page(tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(examples()[0])
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "alice@localhost/desk: Hello, Bob!" in done.stdout.splitlines()


@pytest.mark.asyncio
async def test_the_hosts_of_the_page() -> None:
    lines = "\n    ".join(examples()[1].splitlines())
    text = f"async def example():\n    {lines}\n        return server.domain\n"
    names: dict[str, object] = {"jabberd": jabberd}
    exec(compile(text, str(PAGE), "exec"), names)
    example = names["example"]
    assert callable(example)
    assert await example() == "example.com"


def test_the_test_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(examples()[2])
    words = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    if not metadata.entry_points(group="pytest11", name="jabberd"):
        # Run from its source: nothing tells pytest of the fixture.
        words += ["-p", "jabberd.testing"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


async def farewell(wire: Wire) -> tuple[str, bool]:
    condition = stream_error(await wire.next())
    end = await wire.ended()
    await wire.cut()
    return condition, end.clean


@pytest.mark.asyncio
async def test_it_is_gone_afterwards() -> None:
    async with jabberd.Server() as server:
        data = server.running.config.data
        assert data.exists()
        place = (server.host, server.port)
        wire = await Wire.connect(*place)
        await wire.open("localhost")
        await wire.features()
        told = asyncio.create_task(farewell(wire))
    assert await told == ("system-shutdown", True)
    assert not data.exists()
    with pytest.raises(ConnectionRefusedError):
        await Wire.connect(*place)
    with pytest.raises(RuntimeError):
        _ = server.port


@pytest.mark.asyncio
async def test_several_at_once() -> None:
    async with jabberd.Server("one.example") as one, jabberd.Server("two.example") as two:
        for server in (one, two):
            jid = await server.add_user("alice", "pw")
            assert jid.text == f"alice@{server.domain}"
            async with await Wire.connect(server.host, server.port) as wire:
                assert await wire.login(jid.text, "pw", "x") == f"{jid.text}/x"
        assert len({one.port, one.tls_port, two.port, two.tls_port}) == 4


@pytest.mark.asyncio
async def test_accounts() -> None:
    async with jabberd.Server("example.com", config={"host": {"example.org": {}}}) as server:
        assert (await server.add_user("bob@example.org", "pw")).text == "bob@example.org"
        assert (await server.add_user("BOB", "pw")).text == "bob@example.com"
        with pytest.raises(AccountError, match="already"):
            await server.add_user("bob", "pw")
        with pytest.raises(AccountError, match="not a host of this server"):
            await server.add_user("bob@elsewhere.example", "pw")


@pytest.mark.asyncio
async def test_a_folder_to_keep(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for attempt in range(2):
        async with jabberd.Server(storage="sqlite:", data=data) as server:
            if not attempt:
                await server.add_user("alice", "pw")
            async with await Wire.connect(server.host, server.port) as wire:
                await wire.login("alice@localhost", "pw", "x")
            with pytest.raises(StartError, match="is in use by process"):
                async with jabberd.Server(data=data):
                    pass
    assert (data / "jabberd.sqlite").exists()


@pytest.mark.asyncio
async def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="there is no such key"):
        async with jabberd.Server(config={"limits": {"stanza_byte": 1}}):
            pass
    # The environment is the command line's: it means nothing here.
    monkeypatch.setenv("JABBERD_LIMITS__STANZA_BYTES", "nonsense")
    async with jabberd.Server():
        pass


@pytest.mark.asyncio
async def test_no_component_listener() -> None:
    async with jabberd.Server() as server:
        with pytest.raises(LookupError, match="does not listen for component"):
            _ = server.component_port


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    """What the fixture `jabberd_server` gives, also where the package is not installed."""
    thread = ServerThread()
    yield thread
    thread.close()


def test_a_thread_without_a_loop(thread: ServerThread) -> None:
    assert thread.add_user("alice", "pw") == "alice@localhost"
    for port in (thread.port, thread.tls_port):
        with socket.create_connection((thread.host, port), 5):
            pass


@pytest.mark.asyncio
async def test_a_thread_beside_a_loop(thread: ServerThread) -> None:
    jid = await asyncio.to_thread(thread.add_user, "alice", "pw")
    async with await Wire.connect(thread.host, thread.port) as wire:
        await wire.login(jid, "pw", "x")
        await wire.ping(thread.domain)
