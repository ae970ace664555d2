"""What passes from client to client without the disk, and what does not (docs/delivery.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jabberd.core.verdict import Delivered
from jabberd.modules import offline, presence, roster
from jabberd.storage.log_api import Unit
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message, read_stanza
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio
CHAT = "<message to='bob@example.com' type='chat' id='1'><body>hi</body></message>"


class Disk:
    """Counts the entries that are committed."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries = 0
        self._commit = world.stores.log.commit
        monkeypatch.setattr(world.stores.log, "commit", self.commit)

    def commit(self, unit: Unit) -> asyncio.Future[None] | None:
        self.entries += len(unit.entries)
        return self._commit(unit)


class Everything:
    """Rules by which every message is in the archive."""

    searchable = False

    def visible(self, message: Message, account: JID, *, outgoing: bool) -> bool:
        return True


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.account("alice", "bob")
    world.load("roster", roster.load(world.host, roster.Options()))
    world.load("presence", presence.load(world.host, presence.Options()))
    world.load("offline", offline.load(world.host, offline.Options()))
    yield world
    await world.host.close()
    await world.stores.close()


@pytest.fixture
def disk(world: World, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(world, monkeypatch)


async def pair(world: World) -> tuple[RecordingSession, RecordingSession]:
    return await world.login("alice/desk"), await world.login("bob/desk", "<presence/>")


def bodies(session: RecordingSession) -> list[str | None]:
    return [message.body() for message in session.take_all(Message)]


async def test_a_message_that_nobody_was_promised_needs_no_disk(world: World, disk: Disk) -> None:
    alice, bob = await pair(world)
    stanza = read_stanza(CHAT.encode()).replace(from_=alice.jid)
    assert isinstance(world.router.submit(stanza, alice), Delivered)
    assert bodies(bob) == ["hi"], "it has left when its verdict is there"
    await world.quiet()
    assert disk.entries == 0


async def test_what_the_archive_has_is_written(world: World, disk: Disk) -> None:
    alice, bob = await pair(world)
    world.host.keeper.rules = Everything()
    await world.says(alice, CHAT)
    assert bodies(bob) == ["hi"]
    assert disk.entries == 2


async def test_what_is_acknowledged_is_written(
    world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await pair(world)
    monkeypatch.setattr(RecordingSession, "managed", property(lambda session: session is alice))
    await world.says(alice, CHAT)
    assert bodies(bob) == ["hi"]
    assert disk.entries == 1


async def test_what_cannot_leave_at_once_is_written(world: World, disk: Disk) -> None:
    alice, bob = await pair(world)
    bob.hold()
    await world.says(alice, CHAT)
    assert disk.entries == 1
    assert bodies(bob) == []
    bob.release()
    await world.quiet()
    assert bodies(bob) == ["hi"]
    assert await world.waiting("bob@example.com") == 0


async def test_what_another_client_may_get_a_copy_of_is_written(world: World, disk: Disk) -> None:
    alice, bob = await pair(world)
    await world.login("bob/phone", "<presence><priority>-1</priority></presence>")
    bob.take()
    await world.says(alice, CHAT)
    assert bodies(bob) == ["hi"]
    assert disk.entries == 1
