"""The import contracts of pyproject.toml bite: each is broken here on purpose, in a copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
LINT: Final = "from importlinter.cli import lint_imports_command; lint_imports_command()"

FLOORS: Final = "Floors: downwards only"
PURE: Final = "The language is pure: no I/O, clock, log or randomness"
INTERFACES: Final = "The spine and the modules see interfaces, never a driver or a socket"
HTTP: Final = "Only what serves HTTP knows of HTTP libraries"
STRANGERS: Final = "Modules are strangers to each other"
OUTSIDE: Final = "What can live in another process knows no server from inside"
NO_ROOT: Final = "Nobody imports the package root"

IMPURE: Final = (
    "asyncio", "concurrent", "http", "logging", "multiprocessing", "os", "random", "secrets",
    "select", "selectors", "socket", "ssl", "subprocess", "threading", "time", "urllib", "uuid",
    "structlog", "OpenSSL", "uvloop",
)  # fmt: skip


@dataclass(frozen=True)
class Offence:
    """One import that must not be, and the contract that forbids it."""

    file: str
    line: str
    contract: str


OFFENCES: Final = (
    # Each floor looks up by one.
    Offence("xmpp/jid.py", "from jabberd.net import clock", FLOORS),
    Offence("xmpp/jid.py", "from jabberd.storage import api", FLOORS),
    Offence("net/clock.py", "from jabberd.core import eager", FLOORS),
    Offence("storage/api.py", "from jabberd.core import eager", FLOORS),
    Offence("core/eager.py", "from jabberd.edge import senders", FLOORS),
    Offence("edge/senders.py", "from jabberd.modules import ping", FLOORS),
    Offence("modules/ping.py", "from jabberd.config import walk", FLOORS),
    Offence("config/shape.py", "from jabberd import assembly", FLOORS),
    Offence("assembly.py", "from jabberd import app", FLOORS),
    Offence("app.py", "from jabberd import embed", FLOORS),
    Offence("embed.py", "from jabberd import cli", FLOORS),
    Offence("http/app.py", "from jabberd.config import walk", FLOORS),
    # Neighbours on one floor.
    Offence("http/app.py", "from jabberd.modules import ping", FLOORS),
    Offence("modules/ping.py", "from jabberd.http import app", FLOORS),
    Offence("web.py", "from jabberd import federation", FLOORS),
    Offence("net/clock.py", "from jabberd.storage import limits", FLOORS),
    Offence("storage/limits.py", "from jabberd.net import clock", FLOORS),
    Offence("client/inbox.py", "from jabberd.edge import senders", FLOORS),
    Offence("edge/senders.py", "from jabberd.client import inbox", FLOORS),
    Offence("client/inbox.py", "from jabberd.core import eager", OUTSIDE),
    Offence("client/inbox.py", "from jabberd.net import clock", OUTSIDE),
    # Interfaces only: neither directly, nor through somebody who may.
    Offence("core/eager.py", "from jabberd.net import clock", INTERFACES),
    Offence("core/eager.py", "import sqlalchemy", INTERFACES),
    Offence("modules/ping.py", "from jabberd.storage import memory", INTERFACES),
    Offence("modules/ping.py", "import OpenSSL", INTERFACES),
    Offence("modules/ping.py", "from jabberd.edge import facts", INTERFACES),
    Offence("modules/ping.py", "import starlette", HTTP),
    Offence("edge/senders.py", "import uvicorn", HTTP),
    Offence("modules/ping.py", "from jabberd.modules import version", STRANGERS),
    Offence("docgen.py", "import jabberd", NO_ROOT),
    Offence("docgen.py", "from jabberd import Server", NO_ROOT),
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources and the contracts, to be spoiled."""
    shutil.copytree(
        ROOT / "src" / "jabberd",
        tmp_path / "src" / "jabberd",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def check(copy: Path) -> tuple[int, set[str], str]:
    """Run lint-imports over the copy; its exit code, the broken contracts, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", "--no-logo"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    return done.returncode, set(re.findall(r"^(.+) BROKEN", said, re.MULTILINE)), said


def add(copy: Path, file: str, *lines: str) -> None:
    """Append lines to a module of the copy."""
    path = copy / "src" / "jabberd" / file
    path.write_text("\n".join([path.read_text(encoding="utf-8"), *lines, ""]), encoding="utf-8")


def contracts() -> list[str]:
    """The names of all contracts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [one["name"] for one in project["tool"]["importlinter"]["contracts"]]


def test_every_contract_is_broken_somewhere_below() -> None:
    assert {*contracts()} == {PURE, *(offence.contract for offence in OFFENCES)}


def test_the_code_as_it_is_keeps_every_contract(copy: Path) -> None:
    code, broken, said = check(copy)
    assert (code, broken) == (0, set()), said
    assert f"{len(contracts())} kept, 0 broken" in said


@pytest.mark.parametrize("offence", OFFENCES, ids=lambda offence: f"{offence.file}: {offence.line}")
def test_one_import_breaks_its_contract(copy: Path, offence: Offence) -> None:
    add(copy, offence.file, offence.line)
    code, broken, said = check(copy)
    assert code == 1, said
    assert offence.contract in broken, said
    module = "jabberd." + offence.file.removesuffix(".py").replace("/", ".")
    assert f"{module} -> " in said


@pytest.mark.parametrize("file", ["newcomer.py", "newcomer/__init__.py"])
def test_what_is_new_at_the_top_has_to_be_put_on_a_floor(copy: Path, file: str) -> None:
    path = copy / "src" / "jabberd" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text('"""It imports nothing, and nobody imports it."""\n', encoding="utf-8")
    code, _, said = check(copy)
    assert code == 1, said
    assert FLOORS in said
    assert "jabberd.newcomer" in said


def test_the_language_imports_nothing_impure(copy: Path) -> None:
    add(copy, "xmpp/jid.py", *(f"import {name}" for name in IMPURE))
    code, broken, said = check(copy)
    assert code == 1, said
    assert PURE in broken, said
    found = set(re.findall(r"jabberd\.xmpp\.jid -> (\w+) \(l\.\d+\)", said))
    assert found == set(IMPURE)


@pytest.mark.parametrize(
    "file", ["xmpp/stream/base.py", "xmpp/sasl/scram.py", "xmpp/payload/time.py"]
)
def test_nor_does_it_deeper_inside_or_within_a_function(copy: Path, file: str) -> None:
    add(copy, file, "def later() -> float:", "    import time", "    return time.time()")
    code, broken, said = check(copy)
    assert (code, broken) == (1, {PURE}), said
