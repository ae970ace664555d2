"""The folder of uploaded files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jabberd.storage.files import FileFacts, Files, is_token, token_of

DAY = 86_400.0
NOW = 1_700_000_000.0  # 2023-11-14, 22:13:20 UTC


@pytest.fixture(params=[True, False])
def files(tmp_path: Path, request: pytest.FixtureRequest) -> Files:
    files = Files(tmp_path / "uploads" / "example.com", durable=request.param)
    files.prepare()
    return files


def keep(files: Files, number: int, expires: float | None, body: bytes = b"body") -> str:
    token = token_of(expires, f"{number:040x}")
    handle = files.begin(token)
    os.write(handle, body)
    facts = FileFacts("a@example.com", "a.png", "image/png", len(body), NOW, expires)
    files.describe(token, handle, facts)
    os.close(handle)
    files.keep(token)
    return token


def test_a_file_is_found_when_it_is_whole(files: Files) -> None:
    token = token_of(NOW, "0" * 40)
    handle = files.begin(token)
    assert files.find(token) is None
    facts = FileFacts("a@example.com", "é.png", "", 0, NOW, NOW)
    files.describe(token, handle, facts)
    os.close(handle)
    assert files.find(token) is None
    assert files.total() == 0
    files.keep(token)
    found = files.find(token)
    assert found is not None
    assert found[1] == facts
    assert files.size_and_time(token) == (0, NOW)


def test_a_start_removes_what_was_under_way(files: Files, tmp_path: Path) -> None:
    kept = keep(files, 1, NOW)
    os.close(files.begin(token_of(NOW, "2" * 40)))
    files.prepare()
    assert files.find(kept) is not None
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == [kept, f"{kept}.json"]


def test_a_token_is_used_once(files: Files) -> None:
    os.close(files.begin(token_of(NOW, "0" * 40)))
    with pytest.raises(FileExistsError):
        files.begin(token_of(NOW, "0" * 40))


def test_nothing_is_left_of_what_is_abandoned(files: Files, tmp_path: Path) -> None:
    token = token_of(NOW, "0" * 40)
    handle = files.begin(token)
    files.describe(token, handle, FileFacts("a@example.com", "a", "", 0, NOW, NOW))
    os.close(handle)
    files.abandon(token)
    files.abandon(token)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_no_token(files: Files) -> None:
    keep(files, 0, None)
    for text in (
        "",
        "../x",
        "kept-",
        "kept-" + "0" * 39,
        "partial-" + "0" * 40,
        "kept/" + "0" * 40,
    ):
        assert not is_token(text)
        assert files.find(text) is None
        assert files.size_and_time(text) is None
        assert files.remove(text) == 0


def test_removing(files: Files, tmp_path: Path) -> None:
    token = keep(files, 1, None, b"12345")
    assert files.total() == 5
    assert files.remove(token) == 5
    assert files.remove(token) == 0
    assert files.total() == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_old_files_are_those_whose_day_is_over(files: Files, tmp_path: Path) -> None:
    old = [keep(files, number, NOW - DAY) for number in range(3)]
    keep(files, 3, NOW)
    keep(files, 4, NOW + DAY)
    keep(files, 5, None)
    found = files.old(NOW, 2)
    assert len(found) == 2
    assert {owner for _, owner in found} == {"a@example.com"}
    for token, _ in found:
        files.remove(token)
    (last,) = files.old(NOW, 2)
    assert {*(token for token, _ in found), last[0]} == set(old)
    files.remove(last[0])
    assert files.old(NOW, 2) == []
    assert sorted(path.name for path in (tmp_path / "uploads" / "example.com").iterdir()) == [
        "20231114", "20231115", "kept", "partial",
    ]  # fmt: skip


def test_a_file_of_which_nothing_is_known_is_not_served_and_goes(
    files: Files, tmp_path: Path
) -> None:
    token = keep(files, 1, NOW - DAY)
    for damaged in ("", "{}", "[", '{"owner": 1, "more": 2}'):
        (next(tmp_path.rglob("*.json"))).write_text(damaged)
        assert files.find(token) is None
    assert files.old(NOW, 9) == [(token, "")]
