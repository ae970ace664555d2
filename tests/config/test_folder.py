"""The data folder: private, locked, and a keeper of secrets."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jabberd.config import folder

HOLD = """
import sys
from pathlib import Path
from jabberd.config import folder
with folder.locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    data = tmp_path / "some" / "where"
    with folder.locked(data):
        assert mode(data) == 0o700
        assert mode(data / "lock") == 0o600
        assert folder.holder(data) == os.getpid()
    assert folder.holder(data) is None


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(folder.FolderInUse, match=f"in use by process {other.pid}") as caught,
            folder.locked(data),
        ):
            pass
        assert caught.value.pid == other.pid
        other.communicate("")
    with folder.locked(data):
        assert folder.holder(data) == os.getpid()


def test_the_lock_goes_with_a_process_that_dies(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.kill()
        other.communicate()
    with folder.locked(data):
        assert folder.holder(data) == os.getpid()


def test_an_empty_folder_is_closed_to_others(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    folder.prepare(data)
    assert mode(data) == 0o700


def test_a_folder_with_files_of_others_is_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    (data / "thesis.txt").write_text("x")
    with pytest.raises(folder.FolderError, match="chmod 700"):
        folder.prepare(data)
    assert mode(data) == 0o755


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(folder.FolderError, match="cannot use the data folder"):
        folder.prepare(tmp_path / "data")


def test_secrets_last(tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder.prepare(data)
    first = folder.secret(data, "salts")
    assert len(first) == 32
    assert folder.secret(data, "salts") == first
    assert folder.secret(data, "other") != first
    assert mode(data / "secrets") == 0o700
    assert mode(data / "secrets" / "salts") == 0o600
    (data / "secrets" / "salts").write_bytes(b"short")
    with pytest.raises(folder.FolderError, match="is damaged: it has 5 bytes, expected 32"):
        folder.secret(data, "salts")
