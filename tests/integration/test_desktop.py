"""Gajim, a desktop client of today: it catches up, gets carbons, and resumes where it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

import pytest
import pytest_asyncio

from tests.integration import gajim
from tests.integration.daemon import Daemon
from tests.integration.gajim import Desktop, Gajim
from tests.integration.link import Link, elements
from tests.integration.slix import WAIT, Slix, talk
from tests.integration.wire import BIND, CLIENT

pytestmark = pytest.mark.asyncio
ALICE, BOB = "alice@example.com", "bob@example.com"
SM: Final = "{urn:xmpp:sm:3}"
MAM: Final = "{urn:xmpp:mam:2}"
CARBONS: Final = "{urn:xmpp:carbons:2}"
PAGE: Final = 10


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, ("alice", "bob"), PAGE)
    yield daemon
    daemon.stop()


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    if missing := gajim.missing():
        reason = f"no {', '.join(missing)}: apt-get install dbus-daemon gajim xvfb"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    desktop = Desktop()
    yield desktop
    desktop.close()


@pytest_asyncio.fixture
async def link(daemon: Daemon) -> AsyncIterator[Link]:
    async with Link(daemon.port) as link:
        yield link


async def arrive(daemon: Daemon, jid: str) -> Slix:
    """slixmpp logs in; the password is the name."""
    name = jid.partition("@")[0]
    client = Slix(daemon, jid, name, plugins=("xep_0198", "xep_0199", "xep_0280"))
    await client.online()
    await client.client.plugin["xep_0280"].enable(timeout=WAIT)
    return client


def children(said: bytearray, tag: str) -> list[Element]:
    """What an end has said in its stanzas, by name, and what it has said beside them."""
    return [found for one in elements(said) for found in (one, *one) if found.tag == tag]


async def answered(link: Link, tag: str) -> None:
    """Wait until the newest connection has a request for this, and its result."""

    def there() -> bool:
        call = link.calls[-1]
        asked = {one.get("id") for one in elements(call.sent) if one.find(tag) is not None}
        return any(
            one.get("id") in asked and one.get("type") == "result"
            for one in elements(call.received)
        )

    await link.until(there, tag)


async def resumed(link: Link, calls: int) -> None:
    """Wait until Gajim has resumed its session, on a connection after so many others."""
    await link.until(
        lambda: len(link.calls) > calls and bool(children(link.calls[-1].received, f"{SM}resumed")),
        "resumed",
    )
    assert not children(link.calls[-1].sent, f"{BIND}bind")


async def test_gajim_stays_in_step(daemon: Daemon, desktop: Desktop, link: Link) -> None:
    bob, phone = await arrive(daemon, f"{BOB}/desk"), await arrive(daemon, f"{ALICE}/phone")
    said = [f"m{number}" for number in range(25)]
    await talk(bob, phone, said)
    gajim = Gajim(desktop, ALICE, "alice", (link.host, link.port))
    gajim.start()

    # It catches up with what its account has said before it was there, in three pages.
    history = [f"{'>' if number % 2 else '<'} {text}" for number, text in enumerate(said)]
    await gajim.history(BOB, history)
    first = link.calls[0]
    assert len(children(first.received, f"{MAM}result")) == 25
    ends = children(first.received, f"{MAM}fin")
    assert [end.get("complete") for end in ends] == [None, None, "true"]

    # It gets copies of what the phone hears and says, and the phone of what it says.
    await answered(link, f"{CARBONS}enable")
    bob.write(f"{ALICE}/phone", "to the phone")
    assert await phone.bodies("to the phone") == ["to the phone"]
    phone.write(BOB, "from the phone")
    assert await bob.bodies("from the phone") == ["from the phone"]
    history += ["< to the phone", "> from the phone"]
    await gajim.history(BOB, history)
    for tag in ("received", "sent"):
        assert len(children(first.received, CARBONS + tag)) == 1
    await gajim.send(BOB, "from the desktop")
    history += ["> from the desktop"]
    assert await bob.bodies("from the desktop") == ["from the desktop"]
    copy = await phone.event("carbon_sent")
    assert copy["carbon_sent"]["body"] == "from the desktop"

    # Its connection breaks, after each side has said something that the other does not get, and
    # it has got something that it could not acknowledge.
    link.mute()
    bob.write(ALICE, "heard")
    history += ["< heard"]
    await gajim.history(BOB, history)
    assert await phone.bodies("heard") == ["heard"]
    link.hold()
    bob.write(ALICE, "unheard")
    assert await phone.bodies("unheard") == ["unheard"]
    await gajim.send(BOB, "spoken into the void")
    assert bob.seen("message") == []
    link.cut()
    bob.write(ALICE, "meanwhile")
    assert await phone.bodies("meanwhile") == ["meanwhile"]
    await resumed(link, 1)
    assert await bob.bodies("spoken into the void") == ["spoken into the void"]
    history += ["> spoken into the void", "< unheard", "< meanwhile"]
    await gajim.history(BOB, history)

    # So does the server, under it.
    calls = len(link.calls)
    await asyncio.to_thread(daemon.again, "kill")
    for client in (bob, phone):
        await client.back()
    bob.write(ALICE, "still there?")
    await resumed(link, calls)
    await gajim.send(BOB, "still here")
    assert await bob.bodies("still here") == ["still here"]
    history += ["< still there?", "> still here"]
    await gajim.history(BOB, history)
    assert await phone.bodies("still there?") == ["still there?"]

    # It is away for a while, and so is the phone; then it catches up from where it was. What waited
    # for it comes as well, and it knows that as what it finds in the archive.
    await phone.leave()
    await gajim.log_out()
    await link.until(lambda: link.calls[-1].sent.endswith(b"</stream:stream>"), "end of its stream")
    await gajim.stop()
    missed = [f"n{number}" for number in range(15)]
    bob.write(ALICE, *missed)
    await bob.settled()
    gajim.start()
    history += [f"< {text}" for text in missed]
    await gajim.history(BOB, history)
    await answered(link, f"{CARBONS}enable")
    bob.write(ALICE, "end")
    await gajim.history(BOB, [*history, "< end"])
    # It asked for what comes after the last message it was sent; its own is younger.
    found = children(link.calls[-1].received, f"{MAM}result")
    assert [one.findtext(f".//{CLIENT}body") for one in found] == ["still here", *missed]
    await gajim.stop()
    await bob.leave()
