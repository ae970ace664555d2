"""What local users can do works between servers: with Prosody, ejabberd, and two of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from xml.etree.ElementTree import Element, tostring

import pytest
import pytest_asyncio

from tests.federation.names import Names, network
from tests.federation.peers import Ejabberd, Ours, Peer, Prosody
from tests.integration.wire import CLIENT, StreamEnd, Wire
from tests.net.authority import Authority

HERE = "alice@here.example"
KINDS: dict[str, Any] = {"prosody": Prosody, "ejabberd": Ejabberd, "jabberd": Ours}
ROSTER = "{jabber:iq:roster}"
DISCO = "{http://jabber.org/protocol/disco#info}"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"


@pytest.fixture(scope="module", params=list(KINDS))
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Ours, Peer]]:
    kind: type[Peer] = KINDS[request.param]
    if why := Names.missing() or kind.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("crossing")
    prefix, authority = network(), Authority(folder)
    names = Names(folder, f"{prefix}.53")
    mine = {"here.example": authority.sign("here.example")}
    theirs = {"there.example": authority.sign("there.example")}
    ours = Ours(folder / "ours", f"{prefix}.1", names.address, authority.file, mine)
    peer = kind(folder / "peer", f"{prefix}.2", names.address, authority.file, theirs)
    try:
        names.start({"here.example": ours.address, "there.example": peer.address})
        ours.launch()
        peer.launch()
        ours.wait()
        peer.wait()
        asyncio.run(_accounts(ours, peer))
        yield ours, peer
    finally:
        ours.stop()
        peer.stop()
        names.stop()


async def _accounts(ours: Ours, peer: Peer) -> None:
    for name in ("alice", "anna", "adam"):
        await ours.add(f"{name}@here.example")
        await peer.add(f"{name}@there.example")


@pytest_asyncio.fixture(autouse=True)
async def no_client_stays(pair: tuple[Ours, Peer]) -> AsyncIterator[None]:
    yield
    for peer in pair:
        peer.let_go()


async def until(wire: Wire, kind: str, **attrs: str) -> Element:
    """The next stanza of a kind with these attributes; everything else is passed by."""
    async with asyncio.timeout(15):
        while True:
            stanza = await wire.next(15)
            if stanza.tag == f"{CLIENT}{kind}" and all(
                (stanza.get(name.rstrip("_")) or "") == value for name, value in attrs.items()
            ):
                return stanza


async def befriend(one: Wire, other: Wire, address: str, contact: str) -> None:
    """Subscribe, and approve."""
    await one.send(f"<presence type='subscribe' to='{contact}'/>")
    await until(other, "presence", type="subscribe")
    await other.send(f"<presence type='subscribed' to='{address}'/>")
    await until(one, "presence", type="subscribed")


@pytest.mark.asyncio
@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_subscriptions_and_presence(pair: tuple[Ours, Peer], first: str) -> None:
    ours, peer = pair
    name = "anna" if first == "ours" else "adam"
    here, there = f"{name}@here.example", f"{name}@there.example"
    one, other = (ours, peer) if first == "ours" else (peer, ours)
    address, contact = (here, there) if first == "ours" else (there, here)
    a, b = await one.login(address, "desk"), await other.login(contact, "phone")
    await befriend(a, b, address, contact)
    seen = await until(a, "presence", type="", from_=f"{contact}/phone")
    assert seen is not None
    await b.send("<presence><show>away</show></presence>")
    async with asyncio.timeout(15):
        while (await until(a, "presence", from_=f"{contact}/phone")).findtext(
            f"{CLIENT}show"
        ) != "away":
            pass
    b.abort()
    await until(a, "presence", type="unavailable", from_=f"{contact}/phone")
    # Who comes back learns of it by a probe.
    a.abort()
    b = await other.login(contact, "phone")
    a = await one.login(address, "desk")
    await until(a, "presence", type="", from_=f"{contact}/phone")
    # And who withdraws is seen no more.
    await b.send(f"<presence type='unsubscribed' to='{address}'/>")
    await until(a, "presence", type="unsubscribed")


@pytest.mark.asyncio
async def test_messages_chat_states_and_errors(pair: tuple[Ours, Peer]) -> None:
    ours, peer = pair
    a = await ours.login(HERE, "desk")
    b = await peer.login("alice@there.example", "phone")
    await a.send(
        "<message to='alice@there.example' type='chat' id='1'><body>hello &amp; 你好</body>"
        "<active xmlns='http://jabber.org/protocol/chatstates'/>"
        "<request xmlns='urn:xmpp:receipts'/></message>"
    )
    got = await until(b, "message")
    assert got.findtext(f"{CLIENT}body") == "hello & 你好"
    assert got.find("{http://jabber.org/protocol/chatstates}active") is not None
    assert got.find("{urn:xmpp:receipts}request") is not None
    assert (got.get("from"), got.get("id")) == (f"{HERE}/desk", "1")
    await b.send(
        f"<message to='{HERE}/desk' type='chat'>"
        "<composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
    got = await until(a, "message")
    assert got.find("{http://jabber.org/protocol/chatstates}composing") is not None
    await a.send("<message to='nobody@there.example' type='chat' id='2'><body>x</body></message>")
    error = await until(a, "message", type="error", id="2")
    assert error.find(f".//{STANZAS}service-unavailable") is not None, tostring(error)
    await b.send("<message to='nobody@here.example' type='chat' id='3'><body>x</body></message>")
    error = await until(b, "message", type="error", id="3")
    assert error.find(f".//{STANZAS}service-unavailable") is not None, tostring(error)


@pytest.mark.asyncio
async def test_questions(pair: tuple[Ours, Peer]) -> None:
    ours, peer = pair
    a = await ours.login(HERE, "desk")
    b = await peer.login("alice@there.example", "phone")
    info = (
        "<iq type='get' id='{}' to='{}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    await a.send(info.format("1", "there.example"))
    answer = await until(a, "iq", id="1")
    assert answer.find(f"{DISCO}query/{DISCO}identity") is not None, tostring(answer)
    await b.send(info.format("2", "here.example"))
    answer = await until(b, "iq", id="2")
    features = {one.get("var") for one in answer.iter(f"{DISCO}feature")}
    assert "urn:xmpp:ping" in features
    await b.send(f"<iq type='get' id='3' to='{HERE}'><vCard xmlns='vcard-temp'/></iq>")
    answer = await until(b, "iq", id="3")
    assert answer.get("type") in {"result", "error"}


@pytest.mark.asyncio
async def test_both_archives_have_it(pair: tuple[Ours, Peer]) -> None:
    ours, peer = pair
    a = await ours.login(HERE, "desk")
    b = await peer.login("alice@there.example", "phone")
    await a.send("<message to='alice@there.example' type='chat'><body>kept</body></message>")
    assert (await until(b, "message")).findtext(f"{CLIENT}body") == "kept"
    for wire in (a, b):
        await wire.send("<iq type='set' id='m'><query xmlns='urn:xmpp:mam:2'/></iq>")
        bodies = []
        while True:
            stanza = await wire.next()
            if stanza.tag == f"{CLIENT}iq" and stanza.get("id") == "m":
                break
            bodies += [one.text for one in stanza.iter(f"{CLIENT}body")]
        assert "kept" in bodies
        wire.abort()


async def again(peer: Peer, account: str) -> Wire:
    """A client of a server that has just started, and may not be quite ready."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await peer.login(account, "phone")
            except (StreamEnd, OSError):
                await asyncio.sleep(0.2)


@pytest.mark.asyncio
async def test_the_peer_is_killed_under_load(pair: tuple[Ours, Peer]) -> None:
    """Whatever the peer has, nothing that we accepted is gone without a word.

    A peer may lose what it had itself, and has no way to tell; ejabberd and Prosody keep offline
    messages in files, so the recipient is online, and is asked what came.
    """
    ours, peer = pair
    a = await ours.login(HERE, "desk")
    said = 0
    b = await peer.login("alice@there.example", "phone")
    got: set[str] = set()
    for attempt in range(2):
        for _ in range(50):
            await a.send(
                f"<message to='alice@there.example' type='chat' id='k{said}'>"
                f"<body>k{said}</body></message>"
            )
            said += 1
        while f"k{said - 1}" not in got:
            got.add((await until(b, "message")).findtext(f"{CLIENT}body") or "")
        if attempt == 0:
            b.abort()
            peer.kill()
            for _ in range(20):
                await a.send(
                    f"<message to='alice@there.example' type='chat' id='k{said}'>"
                    f"<body>k{said}</body></message>"
                )
                said += 1
            peer.start()
            b = await again(peer, "alice@there.example")
            while f"k{said - 1}" not in got:
                got.add((await until(b, "message")).findtext(f"{CLIENT}body") or "")
    assert {f"k{number}" for number in range(said)} <= got
