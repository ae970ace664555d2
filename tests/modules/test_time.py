"""XEP-0202."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator

import pytest

from jabberd.modules import time
from tests.modules.host import World


@pytest.fixture
def denver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The zone of the XEP's example."""
    monkeypatch.setenv("TZ", "MDT+6")
    clock.tzset()
    yield
    monkeypatch.undo()
    clock.tzset()


@pytest.mark.asyncio
async def test_the_example(world: World, denver: None) -> None:
    world.load("time", time.load(world.host, time.Options()))
    world.clock.at = 1166551115.0
    alice = await world.login("alice/desk")
    await world.says(
        alice, "<iq type='get' id='t' to='example.com'><time xmlns='urn:xmpp:time'/></iq>"
    )
    (text,) = alice.take()
    assert text == (
        "<iq from='example.com' to='alice@example.com/desk' type='result' id='t'>"
        "<time xmlns='urn:xmpp:time'><tzo>-06:00</tzo>"
        "<utc>2006-12-19T17:58:35.000Z</utc></time></iq>"
    )
