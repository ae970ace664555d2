"""The command line with and without a server behind it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import pytest
import pytest_asyncio

from jabberd.core.accounts import AccountService
from jabberd.core.admin import all_commands
from jabberd.core.command import Command, CommandRegistry, Doc, Result
from jabberd.core.derive import Deriver
from jabberd.core.journal import Journal
from jabberd.core.verdict import Dropped
from jabberd.edge.control import ControlServer
from jabberd.storage.api import Account
from jabberd.storage.open import open_stores
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message
from tests.cli.conftest import Jabberd, command_line, environment, in_thread

ALICE = JID.parse("alice@localhost")


class Server:
    """As much of a server as the commands need."""

    def __init__(self, accounts: AccountService, journal: Journal) -> None:
        self.accounts = accounts
        self.journal = journal


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    folder = tmp_path / "share" / "jabberd"
    folder.mkdir(parents=True)
    stores = await open_stores("memory:")
    deriver = Deriver(workers=1)
    accounts = AccountService(stores, deriver, {"localhost"}, now=lambda: 0.0)
    journal = Journal()

    async def shout(
        word: Annotated[str, Doc("what")], *, loud: Annotated[bool, Doc("!")]
    ) -> Result:
        """Say it."""
        return word.upper() if loud else word

    registry = CommandRegistry(all_commands(lambda: accounts, lambda: journal))
    registry.register(Command(("party", "shout"), shout, online=True))
    registry.register(Command(("user", "shout"), shout, online=True))
    control = ControlServer(folder, registry)
    await control.start()
    yield Server(accounts, journal)
    await control.stop()
    deriver.close()
    await stores.close()


def test_version_and_help(jabberd: Jabberd) -> None:
    assert jabberd("--version").stdout.startswith("jabberd ")
    shown = jabberd("--help")
    assert shown.returncode == 0
    for word in ("run", "demo", "user", "config", "trace", "sessions", "stop", "reload"):
        assert f"\n  {word} " in shown.stdout
    helped = jabberd("user", "add", "--help").stdout
    assert "Add an account." in helped
    assert "--password" not in helped


def test_the_version_needs_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = ['--version']; from jabberd.cli import main; main();"
        "print({'typer', 'pydantic', 'asyncio', 'sqlalchemy'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.endswith("set()\n")


def test_the_control_socket_spares_us_the_database(tmp_path: Path) -> None:
    code = (
        "import sys, jabberd.cli.tree as tree; tree.build(['user', 'list']);"
        "print({'sqlalchemy', 'alembic', 'OpenSSL', 'structlog'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "set()\n"


@pytest.mark.parametrize(
    "words",
    [("nonsense",), ("user", "nonsense"), ("user", "add"), ("user", "add", "a@localhost", "pw")],
)
def test_usage_errors_exit_with_2(jabberd: Jabberd, words: tuple[str, ...]) -> None:
    shown = jabberd(*words)
    assert shown.returncode == 2
    assert "Traceback" not in shown.stderr


def test_config_check(jabberd: Jabberd, tmp_path: Path) -> None:
    file = tmp_path / "jabberd.toml"
    file.write_text("[host.'example.org']\n[limits]\ndepth = 9\n")
    good = jabberd("config", "check", "--config", str(file))
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout == f"{file} is fine: it serves example.org.\n"
    file.write_text("[limits]\ndepth = 'x'\nnope = 1\n")
    bad = jabberd("config", "check", JABBERD_CONFIG=str(file))
    assert bad.returncode == 1
    assert f'{file}:2: limits.depth: found the text "x", expected a whole number' in bad.stderr
    assert f"{file}:3: limits.nope: there is no such key" in bad.stderr
    assert "Traceback" not in bad.stderr
    assert jabberd("run", "--config", str(file)).returncode == 1


def test_config_show(jabberd: Jabberd, tmp_path: Path) -> None:
    words = ("config", "show", "--data", str(tmp_path / "d"))
    lines = jabberd(*words, JABBERD_LIMITS__DEPTH="12").stdout.splitlines()
    assert lines[0].split("\t") == ["key", "value", "origin"]
    assert "limits.depth\t12\tenvironment JABBERD_LIMITS__DEPTH" in lines
    assert f'data\t"{tmp_path}/d"\tcommand line' in lines
    shown = json.loads(jabberd(*words, "--json").stdout)
    assert {"key": "log.level", "value": '"info"', "origin": "default"} in shown
    for entry in shown:  # what is shown can be written into a file
        if entry["value"] != "-":
            tomllib.loads(f"{entry['key']} = {entry['value']}")


def test_a_command_for_a_running_server_says_so(jabberd: Jabberd, tmp_path: Path) -> None:
    shown = jabberd("trace", "alice@localhost")
    assert shown.returncode == 1
    assert f"no server runs in {tmp_path}/share/jabberd" in shown.stderr
    assert "`jabberd trace` needs a running server" in shown.stderr


@pytest.mark.asyncio
async def test_commands_through_the_socket(server: Server, jabberd: Jabberd) -> None:
    code, out, _ = await in_thread(jabberd, "user", "add", "alice@localhost", stdin="pencil\n")
    assert (code, out) == (0, "alice@localhost is added.\n")
    assert await server.accounts.check_password(ALICE, "pencil")
    code, out, _ = await in_thread(jabberd, "user", "list")
    assert out.splitlines() == [
        "account\tcreated\tstate",
        "alice@localhost\t1970-01-01 00:00:00Z\tenabled",
    ]
    code, out, _ = await in_thread(jabberd, "user", "list", "--json")
    assert json.loads(out) == [
        {"account": "alice@localhost", "created": "1970-01-01 00:00:00Z", "state": "enabled"}
    ]
    code, out, _ = await in_thread(
        jabberd, "user", "disable", "alice@localhost", "--reason", "spam"
    )
    assert (await server.accounts.show(ALICE)).disabled == "spam"
    code, _, error = await in_thread(jabberd, "user", "delete", "bob@localhost")
    assert (code, error) == (1, "jabberd: there is no account bob@localhost\n")
    code, _, error = await in_thread(jabberd, "user", "passwd", "alice@localhost")
    assert (code, error) == (1, "jabberd: expected the new password as a line on standard input\n")


@pytest.mark.asyncio
async def test_a_table_on_a_terminal_takes_no_markup_and_no_controls(
    server: Server, tmp_path: Path
) -> None:
    await server.accounts.add(ALICE, "pencil")
    evil = Message(from_=ALICE, to=JID.parse("[red]x@localhost"), id="\x1b[2J")
    server.journal.record(0, evil, Dropped("blocking", "\x9b why"), ALICE.text)
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command_line("trace", "alice@localhost"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(tmp_path, TERM="dumb"),
    )
    os.close(theirs)
    shown = await asyncio.to_thread(read_all, ours)
    assert await process.wait() == 0
    assert "[red]x@localhost" in shown
    assert "\\x1b[2J" in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown


def read_all(handle: int) -> str:
    """What a terminal shows until its last user closes it."""
    text = b""
    try:
        while chunk := os.read(handle, 65536):
            text += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(handle)
    return text.decode()


@pytest.mark.asyncio
@pytest.mark.parametrize(("second", "works"), [("pencil", True), ("pencli", False)])
async def test_passwords_are_asked_twice_on_a_terminal(
    server: Server, tmp_path: Path, second: str, works: bool
) -> None:
    handle, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command_line("user", "add", "alice@localhost"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(tmp_path),
        start_new_session=True,  # no controlling terminal: it is asked on standard input
    )
    os.close(theirs)

    def talk() -> str:
        shown = ""
        for prompt, answer in (("the password: ", "pencil"), ("again: ", second)):
            while not shown.endswith(prompt):
                shown += os.read(handle, 1024).decode()
            os.write(handle, f"{answer}\n".encode())
        return shown + read_all(handle)

    shown = await asyncio.wait_for(asyncio.to_thread(talk), 30)
    assert await process.wait() == (0 if works else 1)
    assert "pencil" not in shown
    assert await server.accounts.exists(ALICE) is works
    assert ("these were not the same" in shown) is not works


@pytest.mark.asyncio
async def test_following_until_interrupted(server: Server, tmp_path: Path) -> None:
    await server.accounts.add(ALICE, "pencil")
    stanza = Message(from_=ALICE, to=ALICE, id="one")
    server.journal.record(0, stanza, Dropped("x", "y"), ALICE.text)
    process = await asyncio.create_subprocess_exec(
        *command_line("trace", "alice@localhost", "--follow"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(tmp_path),
    )
    assert process.stdout is not None
    assert b"id=one" in await asyncio.wait_for(process.stdout.readline(), 30)
    server.journal.record(0, Message(id="two"), Dropped("x", "y"), ALICE.text)
    assert b"id=two" in await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(signal.SIGINT)
    _, error = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert b"Traceback" not in error


@pytest.mark.asyncio
async def test_commands_that_only_the_server_knows(server: Server, jabberd: Jabberd) -> None:
    code, out, error = await in_thread(jabberd, "party", "shout", "hello", "--loud")
    assert (code, out, error) == (0, "HELLO\n", "")
    code, out, _ = await in_thread(jabberd, "party", "shout", "--help")
    assert "Say it." in out
    # Also beside those that are known without it.
    code, out, error = await in_thread(jabberd, "user", "shout", "hello", "--loud")
    assert (code, out, error) == (0, "HELLO\n", "")
    code, out, _ = await in_thread(jabberd, "user", "--help")
    assert "shout" in out
    assert "passwd" in out


@pytest.mark.asyncio
async def test_a_reader_that_has_enough(server: Server, tmp_path: Path) -> None:
    for number in range(300):
        account = Account(f"user{number}@localhost", (), 0.0)
        await server.accounts._stores.accounts.create(account)
    command = " ".join(command_line("user", "list", "--json"))
    shown = await asyncio.create_subprocess_shell(
        f"{command} | true",
        stderr=asyncio.subprocess.PIPE,
        env=environment(tmp_path),
    )
    _, error = await asyncio.wait_for(shown.communicate(), 30)
    assert error == b""
