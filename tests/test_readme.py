"""What README.md and the documents say is so: commands exist, examples run, links lead on."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import pytest

import jabberd
from jabberd.config import load
from jabberd.core.ports import HttpApi
from jabberd.modules import http_upload, mam
from jabberd.storage.files import Files
from jabberd.web import HostWeb
from tests.modules.host import World

ROOT: Final = Path(__file__).parent.parent
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATING: Final = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
LIFE: Final = (ROOT / "docs" / "life-of-a-message.md").read_text(encoding="utf-8")
PLACES: Final = re.findall(r"`([\w/]+\.py)`,\s+`(\w+(?:\.\w+)?)`", LIFE)
WRITTEN: Final = [ROOT / "docs/architecture.md", ROOT / "docs/life-of-a-message.md"]
DOCUMENTS: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of one language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [str(block) for block in found]


def commands(program: str, text: str) -> list[list[str]]:
    """The command lines of a program, in blocks and in running text, without what is elided."""
    lines = [line[2:] for block in blocks("console", text) for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    given = (re.match(rf"(?:PYTHONPATH=\. |.*/bin/)?{program} (.+)", line) for line in lines)
    return [shlex.split(found[1]) for found in given if found is not None]


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JABBERD_")}
    source = str(Path(jabberd.__file__).parent.parent)
    return {**kept, "PYTHONPATH": source, "XDG_DATA_HOME": str(folder / "share")}


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_configuration_loads(tmp_path: Path) -> None:
    (example,) = blocks("toml")
    file = tmp_path / "jabberd.toml"
    file.write_text(example, encoding="utf-8")
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / name).touch()
    config = load(file, environ={})
    assert config.data == tmp_path / "data"
    assert list(config.host) == ["example.org"]
    assert [one.address for one in config.listen.c2s] == ["[::]:5222"]
    assert [one.address for one in config.listen.c2s_tls] == ["[::]:5223"]
    modules = {one.name: one.options for one in config.host["example.org"].modules}
    assert modules["offline"].keep == 500
    assert "version" not in modules


@pytest.mark.parametrize("example", blocks("toml", OPERATING))
def test_the_configurations_of_the_operating_manual_load(tmp_path: Path, example: str) -> None:
    file = tmp_path / "jabberd.toml"
    file.write_text(example, encoding="utf-8")
    for name in re.findall(r'= "([\w.]+\.(?:pem|key))"', example):
        (tmp_path / name).touch()
    load(file, environ={})


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert listed == sorted(path.name for path in folder.glob("0*.md"))


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_the_functions_on_the_way_of_a_message_are_where_it_says(file: str, name: str) -> None:
    tree = ast.parse((ROOT / "src" / "jabberd" / file).read_text(encoding="utf-8"))
    body: list[ast.stmt] = tree.body
    for part in name.split("."):
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == part
        ]
        assert found, f"{file} has no {name}"
        body = found[0].body


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name in re.findall(r"`([\w./-]+(?:\.py|/))`", text):
        places = (".", "src", "src/jabberd", "src/jabberd/xmpp")
        assert any((ROOT / place / name).exists() for place in places), f"{name} is not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_to_headings(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?:", target):
            continue
        name, _, heading = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{target}: there is no such file"
        if heading:
            assert heading in anchors(path), f"{target}: there is no such heading"


def anchors(path: Path) -> set[str]:
    """The anchors that a Markdown file's headings get on the forges."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        word
        for document in DOCUMENTS
        for words in commands("make", document.read_text(encoding="utf-8"))
        for word in words[:1]
        if re.fullmatch(r"[a-z-]+", word)
    }
    assert {"run", "test", "check", "system-packages"} <= named
    assert named <= targets


async def _of_modules() -> set[tuple[str, ...]]:
    host = World().host
    host.registry.ports[HttpApi] = HostWeb(
        lambda: "https://x.example", Files(Path(), durable=False)
    )
    try:
        loaded = mam.load(host, mam.Options()), http_upload.load(host, http_upload.Options())
        return {command.path for module in loaded for command in module.commands}
    finally:
        await host.close()


def test_the_commands_of_the_documents_exist(tmp_path: Path) -> None:
    """Each is asked for its help, with every option that a document uses."""
    named = {
        tuple(words)
        for document in DOCUMENTS
        for words in commands("jabberd", document.read_text(encoding="utf-8"))
    }
    assert len(named) > 8
    # A running server knows the commands of its modules; here there is none.
    brought = asyncio.run(_of_modules())
    helps: dict[tuple[str, ...], str] = {}
    for words in sorted(named):
        path = tuple(
            words[:2] if words[0] in {"user", "config", "gateway", "upload"} else words[:1]
        )
        path = tuple(word for word in path if re.fullmatch("[a-z]+", word))
        if path in brought:
            continue
        if path and path not in helps:
            done = python(tmp_path, "-m", "jabberd.cli", *path, "--help")
            assert done.returncode == 0, f"jabberd {' '.join(words)}: {done.stderr}"
            helps[path] = done.stdout
        for word in words:
            if word.startswith("--") and word not in {"--help", "--version"}:
                assert word in helps[path], f"jabberd {' '.join(words)}"
    assert {("run",), ("demo",), ("trace",), ("user", "add"), ("config", "check")} <= set(helps)


def test_the_embedded_example_runs(tmp_path: Path) -> None:
    example = blocks("python")[0]
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    done = python(tmp_path, "-W", "error", "example.py")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"clients connect to 127\.0\.0\.1, port \d+\n", done.stdout)


def test_the_fixture_example_runs(tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(blocks("python")[1], encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    # Pytest finds the fixture by itself where the package is installed.
    found = any(point.value == "jabberd.testing" for point in entry_points(group="pytest11"))
    by_hand = () if found else ("-p", "jabberd.testing")
    done = python(tmp_path, "-m", "pytest", "-q", *by_hand, ".")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^1 passed", done.stdout, re.MULTILINE), done.stdout
