"""Power cuts: whatever the disk had not been made to keep is lost, in part or in whole.

What a process does to its files is recorded; the power is cut at many moments of the record, and
the stores are opened over what a disk may have then (`power.py` says how that is modelled).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from jabberd.storage.open import open_stores
from tests.invariants import native
from tests.invariants.power import Cut, Disk, Keep, Op, cuts, marks, record
from tests.invariants.power_child import SUBJECTS
from tests.invariants.power_subjects import read_marks

_CUTS = 40
_SEED = 6


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that records."""
    if reason := native.missing():
        pytest.skip(reason)
    return native.build("disk", tmp_path_factory.mktemp("shim"))


def restore(cut: Cut, folder: Path) -> None:
    """Make the folder as it is when the power is back."""
    folder.mkdir()
    for name, content in cut.files.items():
        (folder / name).write_bytes(content)


async def judge(subject: str, cut: Cut, folder: Path) -> list[str]:
    """Open stores over what the disk has after a cut; what is wrong."""
    restore(cut, folder)
    try:
        stores = await open_stores("sqlite:", data=folder)
    except Exception as error:
        return [f"the stores do not open: {error!r}"]
    try:
        return await SUBJECTS[subject].judge(stores, read_marks(cut.marks))
    except Exception as error:
        return [f"the stores cannot be read: {error!r}"]
    finally:
        await stores.close()


async def judge_all(subject: str, ops: Sequence[Op], folder: Path) -> dict[str, list[str]]:
    """Cut the power again and again; what is wrong, by cut."""
    wrong = {}
    for number, cut in enumerate(cuts(ops, Random(_SEED), _CUTS)):
        if found := await judge(subject, cut, folder / str(number)):
            wrong[f"seed {_SEED}, before operation {cut.at}, {cut.keep.value} kept"] = found
    return wrong


@pytest.mark.asyncio
@pytest.mark.parametrize("subject", sorted(SUBJECTS))
async def test_what_has_returned_is_there(subject: str, shim: Path, tmp_path: Path) -> None:
    ops = record(subject, tmp_path, shim)
    kinds = Counter((op.kind, op.name) for op in ops)
    # The record has what it is about: commits, checkpoints into the database, and its closing.
    assert kinds["S", "jabberd.sqlite-wal"] > 20
    assert kinds["W", "jabberd.sqlite"] > 20
    assert kinds["U", "jabberd.sqlite-wal"] > 1
    assert await judge_all(subject, ops, tmp_path) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("subject", sorted(SUBJECTS))
async def test_what_is_not_synced_is_missed(subject: str, shim: Path, tmp_path: Path) -> None:
    """The same with `synchronous = NORMAL`: this test would see a server that does not sync."""
    ops = record(subject, tmp_path, shim, careless=True)
    wrong = await judge_all(subject, ops, tmp_path)
    assert any("returned" in text for texts in wrong.values() for text in texts)


def test_the_record_is_the_disk(shim: Path, tmp_path: Path) -> None:
    """What the record makes, all kept, is what the system has made."""
    ops = record("keyvalue", tmp_path, shim)
    disk = Disk()
    for op in ops:
        disk.apply(op)
    there = {
        entry.name: Path(entry).read_bytes()
        for entry in os.scandir(tmp_path / "data")
        if entry.name != "marks"
    }
    made = disk.after_cut(Keep.EVERYTHING, Random(1))
    assert {name: len(content) for name, content in made.items()} == {
        name: len(content) for name, content in there.items()
    }
    assert made == there
    assert "\n".join(marks(ops)) + "\n" == (tmp_path / "data" / "marks").read_text()


# The model


A, B = b"A" * 512, b"B" * 512


def disk(*ops: Op) -> Disk:
    made = Disk()
    for op in (Op("C", "f"), Op("S", ""), *ops):
        made.apply(op)
    return made


def outcomes(made: Disk, keep: Keep) -> set[bytes | None]:
    random = Random(1)
    return {made.after_cut(keep, random).get("f") for _ in range(200)}


def test_what_is_synced_stays() -> None:
    made = disk(Op("W", "f", 0, A + B), Op("S", "f"))
    for keep in Keep:
        assert outcomes(made, keep) == {A + B}


def test_what_is_not_synced_may_go() -> None:
    made = disk(Op("W", "f", 0, A), Op("S", "f"), Op("W", "f", 512, B))
    assert outcomes(made, Keep.NOTHING) == {A}
    assert outcomes(made, Keep.EVERYTHING) == {A + B}
    assert outcomes(made, Keep.SOME) == {A, A + B}
    # The size may have come without the data.
    assert outcomes(made, Keep.TORN) == {A, A + B, A + bytes(512)}


def test_a_write_may_be_torn_between_sectors_only() -> None:
    made = disk(Op("W", "f", 0, A + A), Op("S", "f"), Op("W", "f", 0, B + B))
    assert outcomes(made, Keep.SOME) == {A + A, B + B}
    assert outcomes(made, Keep.TORN) == {A + A, A + B, B + A, B + B}


def test_writes_may_be_done_out_of_order() -> None:
    made = disk(
        Op("W", "f", 0, A + A), Op("S", "f"), Op("W", "f", 0, B), Op("W", "f", 512, B)
    )  # fmt: skip
    assert outcomes(made, Keep.SOME) == {A + A, A + B, B + A, B + B}


def test_writes_to_one_sector_are_one_after_the_other() -> None:
    made = disk(Op("W", "f", 0, A), Op("S", "f"), Op("W", "f", 0, b"1"), Op("W", "f", 1, b"2"))
    versions = {A, b"1" + A[1:], b"12" + A[2:]}
    assert outcomes(made, Keep.SOME) == outcomes(made, Keep.TORN) == versions


def test_cutting_a_file_is_an_operation_as_any_other() -> None:
    made = disk(Op("W", "f", 0, A + B), Op("S", "f"), Op("T", "f", 0), Op("W", "f", 0, B))
    assert outcomes(made, Keep.NOTHING) == {A + B}
    assert outcomes(made, Keep.EVERYTHING) == {B}
    assert {A + B, b"", B} <= outcomes(made, Keep.SOME)


def test_a_name_is_kept_when_the_folder_is_synced() -> None:
    made = Disk()
    for op in (Op("C", "f"), Op("W", "f", 0, A), Op("S", "f")):
        made.apply(op)
    assert outcomes(made, Keep.NOTHING) == {None}
    made.apply(Op("S", ""))
    assert outcomes(made, Keep.NOTHING) == {A}
    made.apply(Op("U", "f"))
    assert outcomes(made, Keep.NOTHING) == {A}
    assert outcomes(made, Keep.SOME) == {A, None}
    made.apply(Op("S", ""))
    assert outcomes(made, Keep.NOTHING) == {None}


def test_a_file_is_renamed_with_what_it_has() -> None:
    made = disk(Op("C", "g"), Op("W", "g", 0, B), Op("S", "g"), Op("R", "g", 0, b"/data/f"))
    assert outcomes(made, Keep.SOME) == {b"", B}
