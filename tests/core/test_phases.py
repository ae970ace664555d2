"""The phases of a message: in which order handlers see it, and what their outcomes do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from jabberd.core.module import Flow, Module, OnMessage, Outcome, Phase, Side
from jabberd.core.ports import ArchiveRules
from jabberd.core.verdict import VERDICTS, Bounced, Delivered, Dropped
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message, read_stanza
from tests.modules.host import RecordingSession, World

pytestmark = pytest.mark.asyncio

TO_BOB = "<message to='bob@example.com/desk' type='chat' id='m1'><body>Hi</body></message>"
NS = "urn:example:x"
Handle = Callable[[Message, Flow], Outcome | Awaitable[Outcome]]


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.account("alice", "bob")
    yield world
    await world.host.close()


class Everything:
    """Rules by which every message is in the archive."""

    searchable = False

    def visible(self, message: Message, account: JID, *, outgoing: bool) -> bool:
        """Always."""
        return True


async def pair(world: World) -> tuple[RecordingSession, RecordingSession]:
    """Alice and Bob; Bob is available."""
    alice = await world.login("alice/desk")
    bob = await world.login("bob/desk")
    return alice, bob


def noting(
    seen: list[str], outcome: Outcome = None, *, late: bool = False
) -> Callable[[str], Handle]:
    """Handlers that write down by which name they were called."""

    def made(name: str) -> Handle:
        def now(message: Message, flow: Flow) -> Outcome:
            seen.append(name)
            return outcome

        async def later(message: Message, flow: Flow) -> Outcome:
            await asyncio.sleep(0)
            seen.append(name)
            return outcome

        return later if late else now

    return made


@pytest.mark.parametrize("late", [False, True])
async def test_the_order_of_the_phases(world: World, late: bool) -> None:
    seen: list[str] = []
    handle = noting(seen, late=late)
    world.load(
        "x",
        Module(
            handlers=[
                OnMessage(side, phase, handle(f"{side.value} {phase.value}"))
                for phase in (Phase.COPY, Phase.STAMP, Phase.SCREEN)
                for side in Side
            ]
        ),
    )
    alice, bob = await pair(world)
    assert await world.says(alice, TO_BOB) == Delivered((str(bob.jid),))
    assert seen == [
        "sent screen",
        "sent stamp",
        "received screen",
        "received stamp",
        "received copy",
        "sent copy",
    ]
    assert len(bob.take()) == 1


async def test_nothing_is_waited_for_where_no_handler_waits(world: World) -> None:
    seen: list[str] = []
    handle = noting(seen)
    phases = (Phase.SCREEN, Phase.STAMP, Phase.COPY)
    steps = [OnMessage(side, phase, handle("x")) for side in Side for phase in phases]
    world.load("x", Module(handlers=steps))
    alice, bob = await pair(world)
    message = read_stanza(TO_BOB.encode()).replace(from_=alice.jid)
    assert isinstance(world.router.submit(message, alice), VERDICTS)
    assert len(seen) == 6
    await world.quiet()
    assert len(bob.take()) == 1


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("phase", [Phase.SCREEN, Phase.STAMP])
@pytest.mark.parametrize("side", list(Side))
async def test_a_verdict_ends_the_way(world: World, side: Side, phase: Phase, late: bool) -> None:
    seen: list[str] = []
    handle = noting(seen, Dropped("x", "it is a test"), late=late)
    world.load("x", Module(handlers=[OnMessage(side, phase, handle("x"))]))
    alice, bob = await pair(world)
    verdict = await world.says(alice, TO_BOB)
    assert verdict == Dropped("x", "it is a test", phase.value)
    assert (seen, bob.take(), alice.take()) == (["x"], [], [])


@pytest.mark.parametrize("late", [False, True])
async def test_who_wants_other_elements_is_not_asked(world: World, late: bool) -> None:
    seen: list[str] = []
    handle = noting(seen, Dropped("x", "it is a test"), late=late)
    wants = [(NS, "x"), (NS, "y")]
    world.load("x", Module(handlers=[OnMessage(Side.SENT, Phase.SCREEN, handle("x"), wants=wants)]))
    alice, bob = await pair(world)
    await world.says(alice, TO_BOB)
    assert (seen, len(bob.take())) == ([], 1)
    await world.says(alice, f"<message to='{bob.jid}'><y xmlns='{NS}'/></message>")
    assert (seen, bob.take()) == (["x"], [])


def failing(error: Exception, *, late: bool) -> Handle:
    """A handler that fails."""

    def now(message: Message, flow: Flow) -> Outcome:
        raise error

    async def later(message: Message, flow: Flow) -> Outcome:
        raise error

    return later if late else now


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("error", [RuntimeError("a bug"), StanzaError(Condition.FORBIDDEN)])
async def test_what_is_delivered_stays_so_when_a_copy_fails(
    world: World, error: Exception, side: Side, late: bool
) -> None:
    seen: list[str] = []
    steps = [
        OnMessage(side, Phase.COPY, failing(error, late=late)),
        OnMessage(side, Phase.COPY, noting(seen)("after it")),
    ]
    world.load("x", Module(handlers=steps))
    alice, bob = await pair(world)
    with capture_logs() as logs:
        assert await world.says(alice, TO_BOB) == Delivered((str(bob.jid),))
    assert [line["handler"] for line in logs] == ["x in phase copy"]
    assert (len(bob.take()), alice.take(), seen) == (1, [], ["after it"])


@pytest.mark.parametrize("late", [False, True])
async def test_who_was_refused_by_a_bug_may_try_again(world: World, late: bool) -> None:
    world.load("archive", Module(provides={ArchiveRules: Everything()}))
    broken = [True]

    def now(message: Message, flow: Flow) -> Outcome:
        if broken:
            raise RuntimeError("a bug")
        return None

    async def later(message: Message, flow: Flow) -> Outcome:
        return now(message, flow)

    handle: Handle = later if late else now
    world.load("x", Module(handlers=[OnMessage(Side.SENT, Phase.SCREEN, handle)]))
    first, again = await world.login("alice/desk"), await world.login("alice/phone")
    bob = await world.login("bob/desk")
    with capture_logs():
        assert isinstance(await world.says(first, TO_BOB), Bounced)
    broken.clear()
    assert await world.says(again, TO_BOB) == Delivered((str(bob.jid),))


FORGED = "<stanza-id xmlns='urn:xmpp:sid:0' by='alice@example.com' id='forged'/>"


@pytest.mark.parametrize("forged", ["", FORGED, FORGED * 2])
async def test_copies_see_the_message_as_their_account_has_it(world: World, forged: str) -> None:
    world.load("archive", Module(provides={ArchiveRules: Everything()}))
    flows: dict[str, Flow] = {}

    def see(message: Message, flow: Flow) -> Outcome:
        flows[flow.account.text] = flow
        return None

    world.load("x", Module(handlers=[OnMessage(side, Phase.COPY, see) for side in Side]))
    alice, bob = await pair(world)
    await world.says(alice, TO_BOB.replace("<body>", f"{forged}<body>"))
    (received,) = bob.take()
    sender, recipient = flows["alice@example.com"], flows["bob@example.com"]
    for flow in (sender, recipient):
        assert flow.copy is not None
        assert flow.parcel is not None
        name = world.ledger.ids.id_of(flow.parcel.key)
        by = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{flow.account}' id='{name}'/>"
        assert by in flow.copy.to_bytes().decode()
        assert flow.copy.to_bytes().count(b"<stanza-id") == 1
    assert recipient.copy is not None
    assert recipient.copy.to_bytes().decode() == received
    assert (sender.origin, recipient.origin) == (alice, alice)
    assert (sender.reached, recipient.reached) == ((), (bob,))
