"""XEP-0092."""

from __future__ import annotations

import platform
from importlib import metadata

import pytest

from jabberd.modules import version
from jabberd.xmpp.element import Element, parse
from tests.modules.host import World

NS = "jabber:iq:version"


async def _query(world: World, options: version.Options) -> Element:
    world.load("version", version.load(world.host, options))
    alice = await world.login("alice/desk")
    await world.says(alice, f"<iq type='get' id='1' to='example.com'><query xmlns='{NS}'/></iq>")
    (text,) = alice.take()
    return next(iter(parse(text.encode())))


@pytest.mark.asyncio
async def test_name_and_version_but_no_system(world: World) -> None:
    query = await _query(world, version.Options())
    assert [child.name for child in query] == ["name", "version"]
    assert query.child_text(NS, "name") == "jabberd"
    assert query.child_text(NS, "version")


@pytest.mark.asyncio
async def test_the_system_on_request(world: World) -> None:
    query = await _query(world, version.Options(show_os=True))
    system = query.child_text(NS, "os")
    assert system == f"{platform.system()} {platform.release()}"


@pytest.mark.asyncio
async def test_a_tree_that_nobody_installed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    query = await _query(world, version.Options())
    assert query.child_text(NS, "version") == "unknown"
