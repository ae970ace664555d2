"""What docs/write-a-module.md says, done: its blocks are taken out of it and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import tostring

import pytest

import jabberd
from jabberd.config import load
from jabberd.xmpp.jid import JID
from tests.integration.wire import CLIENT, Wire, stanza_error

ROOT: Final = Path(__file__).parent.parent
TEXT: Final = (ROOT / "docs" / "write-a-module.md").read_text(encoding="utf-8")
NS: Final = "urn:example:echo:0"
_BLOCK: Final = re.compile(
    r'^```\w+ title="(?P<title>[^"]+)"(?: step=(?P<step>\d))?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


def blocks(step: int) -> dict[str, str]:
    """The files as they are after a step of the tutorial."""
    found: dict[str, str] = {}
    for match in _BLOCK.finditer(TEXT):
        if int(match["step"] or 2) <= step:
            found[match["title"]] = match["text"]
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python imports from, and no `echo` left over afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("echo", None)
    yield tmp_path
    sys.modules.pop("echo", None)


def write(folder: Path, step: int) -> None:
    for name, text in blocks(step).items():
        (folder / name).write_text(text, encoding="utf-8")


def test_the_tutorial_has_the_blocks_that_are_run_here() -> None:
    assert set(blocks(1)) == {"echo.py", "jabberd.toml"}
    assert set(blocks(2)) == {*blocks(1), "test_echo.py", "test_echo_in_memory.py"}
    assert blocks(1)["echo.py"] != blocks(2)["echo.py"]
    assert TEXT.count("```python") == sum(m["title"].endswith(".py") for m in _BLOCK.finditer(TEXT))


@pytest.mark.asyncio
async def test_the_first_step_answers_a_request(folder: Path) -> None:
    write(folder, 1)
    config = {"host": {"localhost": {"modules": {"echo": {"module": "echo"}}}}}
    async with jabberd.Server(config=config) as server:
        await server.add_user("alice", "secret")
        async with await Wire.connect(server.host, server.port) as alice:
            await alice.login("alice@localhost", "secret", "desk")
            (request, result) = re.findall(r"^<iq .*</iq>$", TEXT, re.MULTILINE)
            await alice.ask(request)
            assert alice.raw.decode().endswith(result)
            info = await alice.ask(
                "<iq type='get' id='2' to='localhost'>"
                "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            )
            assert f'var="{NS}"' in tostring(info, encoding="unicode")


@pytest.mark.asyncio
async def test_the_second_step_refuses_counts_and_turns_messages_round(folder: Path) -> None:
    write(folder, 2)
    options = {"module": "echo", "max_length": 20, "max_count": 2}
    config = {"host": {"localhost": {"modules": {"echo": options}}}}
    async with jabberd.Server(config=config) as server:
        await server.add_user("alice", "secret")
        async with await Wire.connect(server.host, server.port) as alice:
            await alice.login("alice@localhost", "secret", "desk")

            def request(text: str) -> str:
                return f"<iq type='get' id='1' to='localhost'><echo xmlns='{NS}'>{text}</echo></iq>"

            assert (await alice.ask(request("x" * 20))).get("type") == "result"
            refused = await alice.ask(request("x" * 21))
            assert stanza_error(refused)[1] == "not-acceptable"
            await alice.send(
                "<message to='bob@localhost' type='chat' id='e1'>"
                f"<body>Hi</body><echo xmlns='{NS}'/></message>"
            )
            back = await alice.next()
            assert (back.tag, back.get("from")) == (f"{CLIENT}message", "localhost")
            assert stanza_error(await alice.ask(request("once more")))[1] == "not-acceptable"
            entry = next(e for e in _journal(server) if e.id == "e1")
            assert str(entry).endswith(
                "Z message/chat id=e1 alice@localhost/desk → bob@localhost: "
                "handled by echo in phase screen"
            )


def _journal(server: jabberd.Server) -> Any:
    return server.running.assembly.journal.entries(JID.parse("alice@localhost"))


@pytest.mark.parametrize("step", [1, 2])
def test_the_configuration_names_it_by_its_import_path(folder: Path, step: int) -> None:
    write(folder, step)
    config = load(folder / "jabberd.toml", data=folder / "data", environ={})
    (choice,) = [one for one in config.host["localhost"].modules if one.name == "echo"]
    assert type(choice.options).__module__ == "echo"
    assert getattr(choice.options, "max_length", None) == {1: None, 2: 20}[step]


def test_the_command_line_says_what_the_tutorial_says(tmp_path: Path) -> None:
    write(tmp_path, 2)
    done = jabberd_command(tmp_path, "config", "check", "--config", "jabberd.toml")
    shown = re.search(r"^\$ .* config check .*\n(.+)$", TEXT, re.MULTILINE)
    assert shown is not None
    assert (done.returncode, done.stdout.strip()) == (0, shown[1]), done.stderr
    toml = tmp_path / "jabberd.toml"
    toml.write_text(toml.read_text().replace("max_length", "max_lenght"), encoding="utf-8")
    done = jabberd_command(tmp_path, "config", "check", "--config", "jabberd.toml")
    assert done.returncode == 1
    assert "jabberd.toml:2: host.localhost.modules.echo.max_lenght: " in done.stderr
    assert "did you mean 'max_length'?" in done.stderr


def test_the_tests_of_the_tutorial_pass(tmp_path: Path) -> None:
    write(tmp_path, 2)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = strict\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.modules.conftest", "."],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^5 passed", done.stdout, re.MULTILINE), done.stdout


def environment(folder: Path) -> dict[str, str]:
    """Python finds the folder, this project's tests, and the package that is tested now."""
    source = str(Path(jabberd.__file__).parent.parent)
    path = os.pathsep.join([str(folder), str(ROOT), source])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JABBERD_")}
    return {**kept, "PYTHONPATH": path, "XDG_DATA_HOME": str(folder / "share")}


def jabberd_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jabberd.cli", *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
