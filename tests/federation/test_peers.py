"""Every kind of certificate, in both directions, with servers as people run them.

The outcome for each peer is written down here: how the pair is proved, or why not. ejabberd 23.01
does not take a certificate that is for TLS servers only from who connects to it (it does since
25.08), so we prove ourselves by dialback there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, tostring

import pytest

from tests.federation.names import Names, network
from tests.federation.peers import Ejabberd, Ours, Peer, Prosody
from tests.integration.wire import CLIENT, Wire
from tests.net.authority import SERVER, Authority, Files

KINDS: Final = ("valid", "narrow", "own", "expired", "wrong")
"""Of a certificate: in order; for TLS servers only; signed by nobody; and two faults."""
PEERS: Final = ("prosody", "ejabberd", "jabberd")
DIRECTIONS: Final = ("out", "in")
FAULTS: Final = {
    "expired": "the certificate of expired.{peer}.example expired on",
    "wrong": "wrong.{peer}.example presents a certificate for elsewhere.{peer}.example",
}
PROOFS: Final = {
    ("prosody", "narrow"): "EXTERNAL",
    ("ejabberd", "narrow"): "dialback",
    ("jabberd", "narrow"): "EXTERNAL",
}
"""How we prove ourselves by a certificate for TLS servers only."""


@dataclass(frozen=True)
class Stage:
    """All servers of this file.

    Attributes:
        ours: jabberd, with the hosts out.example and in.example (for either direction a pair of
            their own, since streams may carry both), narrow.example and own.example.
        peers: by name; each has a host for each kind of certificate.
    """

    ours: Ours
    peers: Mapping[str, tuple[Peer, ...]]

    def of(self, domain: str) -> Peer:
        """The peer that serves a domain; skips the test where it cannot run here."""
        name = domain.split(".")[1]
        for peer in self.peers[name]:
            if domain in peer.hosts:
                return peer
        raise LookupError(domain)


def certificates(authority: Authority, peer: str) -> dict[str, Files]:
    """One of each kind."""
    return {
        f"valid.{peer}.example": authority.sign(f"valid.{peer}.example"),
        f"narrow.{peer}.example": authority.sign(f"narrow.{peer}.example", uses=(SERVER,)),
        f"own.{peer}.example": authority.self_signed(f"own.{peer}.example"),
        f"expired.{peer}.example": authority.sign(f"expired.{peer}.example", days=(-9, -1)),
        f"wrong.{peer}.example": authority.sign(
            f"elsewhere.{peer}.example", file=f"wrong.{peer}.example"
        ),
    }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if why := Names.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("federation")
    prefix = network()
    authority = Authority(folder)
    names = Names(folder, f"{prefix}.53")
    places: dict[str, str] = {}
    number = iter(range(1, 50))

    def make(kind: type[Peer], hosts: Mapping[str, Files]) -> Peer:
        index = next(number)
        address = f"{prefix}.{index}"
        places.update(dict.fromkeys(hosts, address))
        return kind(folder / f"{kind.name}-{index}", address, names.address, authority.file, hosts)

    local = {
        "out.example": authority.sign("out.example"),
        "in.example": authority.sign("in.example"),
        "narrow.example": authority.sign("narrow.example", uses=(SERVER,)),
        "own.example": authority.self_signed("own.example"),
    }
    ours = make(Ours, local)
    assert isinstance(ours, Ours)
    peers: dict[str, tuple[Peer, ...]] = {}
    for kind in (Prosody, Ejabberd, Ours):
        if kind.missing():
            continue
        files = certificates(authority, kind.name)
        if kind is Ejabberd:  # it looks for a certificate by what is in it
            wrong = f"wrong.{kind.name}.example"
            apart = {wrong: files.pop(wrong)}
            peers[kind.name] = (make(kind, files), make(kind, apart))
        else:
            peers[kind.name] = (make(kind, files),)
    everybody = [ours, *(peer for some in peers.values() for peer in some)]
    try:
        names.start(places)
        for peer in everybody:
            peer.launch()
        for peer in everybody:
            peer.wait()
        asyncio.run(_accounts(everybody))
        yield Stage(ours, peers)
    finally:
        for peer in everybody:
            peer.stop()
        names.stop()


async def _accounts(peers: list[Peer]) -> None:
    for peer in peers:
        for domain in peer.hosts:
            await peer.add(f"user@{domain}")


async def next_message(wire: Wire) -> Element:
    """The next message; everything else is passed by."""
    async with asyncio.timeout(30):
        while True:
            stanza = await wire.next(30)
            if stanza.tag == f"{CLIENT}message":
                return stanza


def proofs(stage: Stage, host: str, server: str, directions: set[str]) -> set[str]:
    """How the streams of a pair are proved, as `jabberd s2s` tells."""
    return {
        row["proved by"]
        for row in stage.ours.streams(server)
        if row["host"] == host and row["stream"] in directions
    }


async def talk(stage: Stage, host: str, server: str, *, first: str) -> tuple[Element, Element]:
    """Who is first writes to the other, who answers; returns what each got.

    Where the first message does not arrive, its sender's error is both.
    """
    peer = stage.of(server)
    mine = await stage.ours.login(f"user@{host}")
    theirs = await peer.login(f"user@{server}")
    here, there = (mine, f"user@{server}"), (theirs, f"user@{host}")
    (one, to), (other, back) = (here, there) if first == "out" else (there, here)
    try:
        await one.send(f"<message to='{to}' type='chat' id='1'><body>hello</body></message>")
        got = asyncio.create_task(next_message(other))
        refused = asyncio.create_task(next_message(one))
        done, _ = await asyncio.wait({got, refused}, return_when=asyncio.FIRST_COMPLETED)
        if refused in done:
            got.cancel()
            return refused.result(), refused.result()
        await other.send(f"<message to='{back}' type='chat' id='2'><body>hi</body></message>")
        return got.result(), await refused
    finally:
        mine.abort()
        theirs.abort()


def body(message: Element) -> str:
    return message.findtext(f"{CLIENT}body") or ""


@pytest.mark.asyncio
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peer", PEERS)
async def test_their_certificate(stage: Stage, peer: str, kind: str, direction: str) -> None:
    if peer not in stage.peers:
        pytest.skip({"prosody": Prosody, "ejabberd": Ejabberd, "jabberd": Ours}[peer].missing())
    host, server = f"{direction}.example", f"{kind}.{peer}.example"
    first, second = await talk(stage, host, server, first=direction)
    if kind in FAULTS:
        why = FAULTS[kind].format(peer=peer)
        assert first.get("type") == "error", tostring(first)
        known = [row["last error"] for row in stage.ours.streams(server)]
        assert any(why in text for text in known), known
        if direction == "out":
            assert why in tostring(first).decode()
        return
    assert (body(first), body(second)) == ("hello", "hi"), (tostring(first), tostring(second))
    if direction == "out":
        assert "EXTERNAL" in proofs(stage, host, server, {"out", "both"})
    else:
        wanted = "dialback" if kind == "own" else "EXTERNAL"
        assert wanted in proofs(stage, host, server, {"in", "both"})


@pytest.mark.asyncio
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", ["narrow", "own"])
@pytest.mark.parametrize("peer", PEERS)
async def test_our_certificate(stage: Stage, peer: str, kind: str, direction: str) -> None:
    if peer not in stage.peers:
        pytest.skip({"prosody": Prosody, "ejabberd": Ejabberd, "jabberd": Ours}[peer].missing())
    host, server = f"{kind}.example", f"valid.{peer}.example"
    first, second = await talk(stage, host, server, first=direction)
    assert (body(first), body(second)) == ("hello", "hi"), (tostring(first), tostring(second))
    if direction == "out":
        wanted = PROOFS.get((peer, kind), "dialback")
        assert wanted in proofs(stage, host, server, {"out", "both"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peer", PEERS)
def test_a_check_says_where_it_ends(stage: Stage, peer: str, kind: str) -> None:
    stage.of(f"{kind}.{peer}.example")
    steps = stage.ours.check(f"{kind}.{peer}.example", "out.example")
    results = {step["step"]: step["result"] for step in steps}
    if kind in FAULTS:
        assert list(results) == ["dns", "connect", "tls", "certificate"]
        assert steps[-1]["result"] == "FAILED"
        assert FAULTS[kind].format(peer=peer) in steps[-1]["found"]
        assert steps[-1]["what to do"]
        return
    assert set(results.values()) == {"ok"}, steps
    assert list(results) == ["dns", "connect", "tls", "certificate", "authentication", "ping"]


def test_a_check_of_what_is_not_there(stage: Stage) -> None:
    (step,) = [
        one for one in stage.ours.check("nowhere.example", "out.example") if one["result"] != "ok"
    ]
    assert (step["step"], step["found"]) == ("dns", "the name nowhere.example does not exist")
