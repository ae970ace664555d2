"""Fixtures for every module's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from jabberd.modules import last, offline, presence, roster, subscription
from tests.modules.host import World
from tests.modules.push_town import Town


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """A host example.com without modules; accounts alice, bob and carol."""
    world = World()
    await world.account("alice", "bob", "carol")
    yield world
    await world.host.close()
    await world.stores.close()


@pytest_asyncio.fixture
async def im(world: World) -> World:
    """The same with everything of RFC 6121 loaded."""
    host = world.host
    world.load("roster", roster.load(host, roster.Options()))
    world.load("subscription", subscription.load(host, subscription.Options()))
    world.load("presence", presence.load(host, presence.Options()))
    world.load("offline", offline.load(host, offline.Options()))
    world.load("last", last.load(host, last.Options()))
    return world


@pytest_asyncio.fixture
async def town() -> AsyncIterator[Town]:
    """A host with push, and the accounts user and other."""
    town = Town()
    await town.world.account("user", "other")
    yield town
    await town.world.host.close()
