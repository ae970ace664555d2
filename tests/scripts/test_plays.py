"""Every play on jabberd, and on Prosody, which checks the plays themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import jabberd
from tests.scripts import stages
from tests.scripts.player import ACTORS, Play, Stage, perform

FOLDER = Path(__file__).parent
PLAYS = sorted(FOLDER.glob("*.xmpp"))


def short(path: Path) -> str:
    """A play's name as the end of a localpart."""
    return "".join(filter(str.isalnum, path.stem))


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if stages.installed() is None:
        if os.environ.get("CI"):
            pytest.fail("Prosody is not installed: apt-get install prosody")
        pytest.skip("Prosody is not installed, so nothing checks the plays themselves")
    folder = tmp_path_factory.mktemp("prosody")
    with stages.prosody(folder, [short(path) for path in PLAYS]) as running:
        yield running


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PLAYS, ids=lambda path: path.stem)
async def test_on_jabberd(path: Path) -> None:
    play = Play.read(path)
    async with jabberd.Server(stages.DOMAIN, config=play.config) as server:
        for actor in ACTORS:
            await server.add_user(actor, actor)
        await perform(play, Stage("jabberd", server.domain, server.host, server.port))


PLAYED_BY_OTHERS = [path for path in PLAYS if not Play.read(path).only.startswith("jabberd")]


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PLAYED_BY_OTHERS, ids=lambda path: path.stem)
async def test_on_prosody(path: Path, prosody: Stage) -> None:
    await perform(Play.read(path), replace(prosody, suffix=short(path)))


def test_who_is_excused_has_a_reason() -> None:
    for path in PLAYS:
        only = Play.read(path).only
        assert not only or len(only.partition(" -- ")[2]) > 20, path.name
