"""RFC 6121 §8.5: what becomes of a stanza for a local user, every row of it.

The table is transcribed from the RFC (§8.5.4, Table 1). Where it leaves a choice, the letter in
brackets is what this server does. The column for errors is from the text of §8.5.1 to §8.5.3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest
import pytest_asyncio

from jabberd.core.verdict import Bounced, Delivered, Dropped, Stored
from jabberd.modules import last, offline, presence, roster, subscription
from jabberd.storage.api import RosterItem, Subscription
from tests.modules.host import Domain, RecordingSession, World

pytestmark = pytest.mark.asyncio

KINDS: Final = ("normal", "chat", "groupchat", "headline", "error")
TABLE: Final = """
    ACCOUNT DOES NOT EXIST
        bare            |  S/[E]  |  S/[E]  |   E     |   S     |   S
        full            |  S/[E]  |  S/[E]  |  S/[E]  |  [S]/E  |   S
    ACCOUNT EXISTS, BUT NO ACTIVE RESOURCES
        bare            |  [O]/E  |  [O]/E  |   E     |   S     |   S
        full no match   |  S/[E]  |  [O]/E  |  S/[E]  |  [S]/E  |   S
    CONNECTED RESOURCES BUT NO AVAILABLE ONES
        bare            |  [O]/E  |  [O]/E  |   E     |   S     |   S
        full match      |   D     |   D     |   D     |   D     |   D
        full no match   |  S/[E]  |  [O]/E  |  S/[E]  |  [S]/E  |   S
    1+ NEGATIVE RESOURCES BUT ZERO NON-NEGATIVE RESOURCES
        bare            |  [O]/E  |  [O]/E  |   E     |   S     |   S
        full match      |   D     |   D     |   D     |   D     |   D
        full no match   |  S/[E]  |  [O]/E  |  S/[E]  |  [S]/E  |   S
    1 NON-NEGATIVE RESOURCE
        bare            |   D     |   D     |   E     |   D     |   S
        full match      |   D     |   D     |   D     |   D     |   D
        full no match   |  S/[E]  |   D     |  S/[E]  |  [S]/E  |   S
    1+ NON-NEGATIVE RESOURCES
        bare            |  [M]/A  |  [M]/A* |   E     |   A     |   S
        full match      |   D     |  [D]/A* |   D     |   D     |   D
        full no match   |  S/[E]  |  [M]/A* |  S/[E]  |  [S]/E  |   S
"""
# For each condition: the resources with what they say about themselves (None: nothing), which of
# them a full JID means, and whom "M" and "A" reach.
RESOURCES: Final[dict[str, dict[str, int | None]]] = {
    "ACCOUNT DOES NOT EXIST": {},
    "ACCOUNT EXISTS, BUT NO ACTIVE RESOURCES": {},
    "CONNECTED RESOURCES BUT NO AVAILABLE ONES": {"desk": None, "phone": None},
    "1+ NEGATIVE RESOURCES BUT ZERO NON-NEGATIVE RESOURCES": {"desk": -1, "phone": -128},
    "1 NON-NEGATIVE RESOURCE": {"desk": 0, "below": -1, "silent": None},
    "1+ NON-NEGATIVE RESOURCES": {
        "desk": 5,
        "phone": 1,
        "tablet": 0,
        "below": -1,
        "silent": None,
    },
}
MOST: Final = {"desk"}
ALL: Final = {"desk", "phone", "tablet"}
SENDER: Final = "romeo@example.net/orchard"


def cells() -> Iterator[tuple[str, str, str, str]]:
    """Condition, target, kind of message, and the letter for it."""
    condition = ""
    for line in TABLE.strip().splitlines():
        target, *letters = [part.strip() for part in line.split("|")]
        if not letters:
            condition = target
            continue
        for kind, letter in zip(KINDS, letters, strict=True):
            chosen = letter.partition("[")[2][:1] or letter
            yield condition, target, kind, chosen


async def test_the_table_is_whole() -> None:
    found = list(cells())
    assert len(found) == 16 * 5
    assert {letter for *_, letter in found} == set("SEODMA")


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """A host example.com with everything of RFC 6121, and the account juliet."""
    world = World()
    await world.account("juliet")
    host = world.host
    world.load("roster", roster.load(host, roster.Options()))
    world.load("subscription", subscription.load(host, subscription.Options()))
    world.load("presence", presence.load(host, presence.Options()))
    world.load("offline", offline.load(host, offline.Options()))
    world.load("last", last.load(host, last.Options()))
    yield world
    await world.host.close()
    await world.stores.close()


@pytest.fixture
def elsewhere(world: World) -> Domain:
    """The domain of whoever sends; it keeps the answers."""
    return world.domain("example.net")


async def arrange(world: World, condition: str) -> dict[str, RecordingSession]:
    """Bring juliet's resources into this condition."""
    found = {}
    for resource, priority in RESOURCES[condition].items():
        session = await world.login(f"juliet/{resource}")
        if priority is not None:
            inside = f"<priority>{priority}</priority>"
            await world.says(session, f"<presence>{inside}</presence>")
        found[resource] = session
    for session in found.values():
        session.inbox.clear()
    return found


def address(condition: str, target: str) -> str:
    name = "nobody" if condition == "ACCOUNT DOES NOT EXIST" else "juliet"
    resource = {"bare": "", "full match": "/desk"}.get(target, "/attic")
    return f"{name}@example.com{resource}"


async def stored(world: World) -> list[bytes]:
    return [one.stanza for one in await world.stores.log.waiting("juliet@example.com")]


@pytest.mark.parametrize(("condition", "target", "kind", "letter"), list(cells()))
async def test_messages(
    world: World, elsewhere: Domain, condition: str, target: str, kind: str, letter: str
) -> None:
    sessions = await arrange(world, condition)
    to = address(condition, target)
    named = "" if kind == "normal" else f" type='{kind}'"
    inside = "<body>hi</body>"
    if kind == "error":
        inside += "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    verdict = await world.arrives(
        f"<message from='{SENDER}' to='{to}'{named} id='m'>{inside}</message>"
    )
    got = {name: session.take() for name, session in sessions.items()}
    reached = {name for name, texts in got.items() if texts}
    answers, kept = elsewhere.take(), await stored(world)

    if letter in "DMA":
        assert reached == {"D": {"desk"}, "M": MOST, "A": ALL}[letter]
        for name in reached:
            (text,) = got[name]
            assert f" to='{to}'" in text, "the address must not be rewritten"
        assert isinstance(verdict, Delivered)
        assert {jid.partition("/")[2] for jid in verdict.to} == reached
    else:
        assert reached == set()
    if letter == "E":
        (answer,) = answers
        assert answer.startswith(f"<message from='{to}' to='{SENDER}'")
        assert " type='error'" in answer
        assert " id='m'" in answer
        assert "<error type='cancel' code='503'><service-unavailable " in answer
        assert isinstance(verdict, Bounced)
    else:
        assert answers == []
    if letter == "O":
        (stanza,) = kept
        assert stanza.startswith(b"<message ")
        assert b"<body>hi</body>" in stanza
        assert isinstance(verdict, Stored)
    else:
        assert kept == []
    if letter == "S":
        assert isinstance(verdict, Dropped)


async def test_a_type_that_nobody_knows_is_normal(world: World) -> None:
    """RFC 6121 §5.2.2: what is not understood counts as "normal"."""
    sessions = await arrange(world, "1+ NON-NEGATIVE RESOURCES")
    await world.arrives(
        f"<message from='{SENDER}' to='juliet@example.com' type='odd'><body>x</body></message>"
    )
    assert {name for name, session in sessions.items() if session.inbox} == MOST


async def test_resources_of_the_same_priority_share_a_message(world: World) -> None:
    first = await world.login("juliet/first", "<presence><priority>2</priority></presence>")
    second = await world.login("juliet/second", "<presence><priority>2</priority></presence>")
    third = await world.login("juliet/third", "<presence/>")
    for session in (first, second, third):
        session.inbox.clear()
    await world.arrives(
        f"<message from='{SENDER}' to='juliet@example.com' type='chat'><body>x</body></message>"
    )
    assert (len(first.inbox), len(second.inbox), len(third.inbox)) == (1, 1, 0)


# Presence: §8.5.1, §8.5.2.1.2, §8.5.2.2.2, §8.5.3.1, §8.5.3.2.2

SUBSCRIPTION: Final = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")
AVAILABLE: Final = {
    "ACCOUNT EXISTS, BUT NO ACTIVE RESOURCES": set[str](),
    "CONNECTED RESOURCES BUT NO AVAILABLE ONES": set[str](),
    "1+ NEGATIVE RESOURCES BUT ZERO NON-NEGATIVE RESOURCES": {"desk", "phone"},
    "1 NON-NEGATIVE RESOURCE": {"desk", "below"},
    "1+ NON-NEGATIVE RESOURCES": {"desk", "phone", "tablet", "below"},
}


def tag(kind: str, to: str) -> str:
    named = f" type='{kind}'" if kind else ""
    return f"<presence from='{SENDER}' to='{to}'{named}/>"


async def subscribed(world: World, kind: Subscription, ask: bool = False) -> None:
    item = RosterItem("romeo@example.net", subscription=kind, ask=ask)
    await world.stores.roster.change("juliet@example.com", item.contact, lambda _: item)


@pytest.mark.parametrize("target", ["bare", "full"])
@pytest.mark.parametrize("kind", ["", "unavailable", *SUBSCRIPTION, "error"])
async def test_presence_for_nobody(world: World, elsewhere: Domain, kind: str, target: str) -> None:
    verdict = await world.arrives(tag(kind, address("ACCOUNT DOES NOT EXIST", target)))
    assert isinstance(verdict, Dropped)
    assert elsewhere.take() == []


@pytest.mark.parametrize("target", ["bare", "full"])
async def test_a_probe_for_nobody(world: World, elsewhere: Domain, target: str) -> None:
    """Answered as a stranger's probe of an account is: that reveals nothing."""
    await world.arrives(tag("probe", address("ACCOUNT DOES NOT EXIST", target)))
    (nobody,) = elsewhere.take()
    await world.arrives(tag("probe", address("", target)))
    (stranger,) = elsewhere.take()
    assert " type='unsubscribed'" in nobody
    assert nobody.replace("nobody@", "juliet@") == stranger


@pytest.mark.parametrize("kind", ["", "unavailable"])
@pytest.mark.parametrize("condition", list(AVAILABLE))
async def test_presence_for_the_bare_jid(
    world: World, elsewhere: Domain, condition: str, kind: str
) -> None:
    sessions = await arrange(world, condition)
    await world.arrives(tag(kind, "juliet@example.com"))
    got = {name: session.take() for name, session in sessions.items()}
    assert {name for name, texts in got.items() if texts} == AVAILABLE[condition]
    assert all(" to='juliet@example.com'" in text for texts in got.values() for text in texts)
    assert elsewhere.take() == []


@pytest.mark.parametrize("kind", ["", "unavailable"])
@pytest.mark.parametrize("resource", ["desk", "below", "silent"])
async def test_presence_for_a_resource(world: World, kind: str, resource: str) -> None:
    sessions = await arrange(world, "1 NON-NEGATIVE RESOURCE")
    await world.arrives(tag(kind, f"juliet@example.com/{resource}"))
    assert {name for name, session in sessions.items() if session.inbox} == {resource}


@pytest.mark.parametrize("condition", list(AVAILABLE))
@pytest.mark.parametrize("kind", ["", "unavailable", "subscribed", "unsubscribe", "unsubscribed"])
async def test_presence_for_a_resource_that_is_not_there(
    world: World, elsewhere: Domain, condition: str, kind: str
) -> None:
    await subscribed(world, Subscription.BOTH)
    sessions = await arrange(world, condition)
    elsewhere.take()
    verdict = await world.arrives(tag(kind, "juliet@example.com/attic"))
    assert isinstance(verdict, Dropped)
    assert [name for name, session in sessions.items() if session.inbox] == []
    assert elsewhere.take() == []
    item = await world.stores.roster.item("juliet@example.com", "romeo@example.net")
    assert item is not None
    assert item.subscription is Subscription.BOTH


@pytest.mark.parametrize("target", ["bare", "full match", "full no match"])
@pytest.mark.parametrize("condition", list(AVAILABLE))
async def test_a_subscription_request_follows_section_3(
    world: World, elsewhere: Domain, condition: str, target: str
) -> None:
    """§3.1.3: to every available resource, or to the first that comes."""
    sessions = await arrange(world, condition)
    await world.arrives(tag("subscribe", address(condition, target)))
    got = {name: session.take() for name, session in sessions.items()}
    assert {name for name, texts in got.items() if texts} == AVAILABLE[condition]
    late = await world.login("juliet/late")
    await world.says(late, "<presence/>")
    assert [text for text in late.take() if "type='subscribe'" in text] == [
        "<presence from='romeo@example.net' to='juliet@example.com' type='subscribe'/>"
    ]
    assert elsewhere.take() == []


@pytest.mark.parametrize("target", ["bare", "full match"])
@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("subscribed", Subscription.NONE, Subscription.TO),
        ("unsubscribe", Subscription.BOTH, Subscription.TO),
        ("unsubscribed", Subscription.BOTH, Subscription.FROM),
    ],
)
async def test_the_other_subscription_stanzas_follow_appendix_a(
    world: World, target: str, kind: str, before: Subscription, after: Subscription
) -> None:
    await subscribed(world, before, ask=before is Subscription.NONE)
    await arrange(world, "1 NON-NEGATIVE RESOURCE")
    await world.arrives(tag(kind, address("", target)))
    item = await world.stores.roster.item("juliet@example.com", "romeo@example.net")
    assert item is not None
    assert item.subscription is after


@pytest.mark.parametrize("target", ["bare", "full match", "full no match"])
async def test_a_probe_is_answered_and_not_delivered(
    world: World, elsewhere: Domain, target: str
) -> None:
    await subscribed(world, Subscription.FROM)
    sessions = await arrange(world, "1 NON-NEGATIVE RESOURCE")
    elsewhere.take()
    await world.arrives(tag("probe", address("", target)))
    assert [name for name, session in sessions.items() if session.inbox] == []
    shown = {text.partition("from='")[2].partition("'")[0] for text in elsewhere.take()}
    resources = {"bare": {"desk", "below"}, "full match": {"desk"}, "full no match": {"attic"}}
    assert shown == {f"juliet@example.com/{name}" for name in resources[target]}


# IQ: §8.5.1, §8.5.2.1.3, §8.5.2.2.3, §8.5.3.1, §8.5.3.2.3


def iq(kind: str, to: str, inside: str = "<query xmlns='urn:example:unknown'/>") -> str:
    if kind in {"result", "error"}:
        inside = ""
    return f"<iq from='{SENDER}' to='{to}' type='{kind}' id='q'>{inside}</iq>"


def unavailable(to: str, answers: list[str]) -> bool:
    (answer,) = answers
    return (
        answer.startswith(f"<iq from='{to}' to='{SENDER}'")
        and " id='q'" in answer
        and " type='error'" in answer
        and "<error type='cancel' code='503'><service-unavailable " in answer
    )


@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize("target", ["bare", "full"])
async def test_a_request_to_nobody(world: World, elsewhere: Domain, target: str, kind: str) -> None:
    to = address("ACCOUNT DOES NOT EXIST", target)
    assert isinstance(await world.arrives(iq(kind, to)), Bounced)
    assert unavailable(to, elsewhere.take())


@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize("condition", list(AVAILABLE))
async def test_a_request_to_the_bare_jid_is_the_servers(
    world: World, elsewhere: Domain, condition: str, kind: str
) -> None:
    sessions = await arrange(world, condition)
    await world.arrives(iq(kind, "juliet@example.com"))
    assert unavailable("juliet@example.com", elsewhere.take())
    assert [name for name, session in sessions.items() if session.inbox] == []


@pytest.mark.parametrize("condition", ["1 NON-NEGATIVE RESOURCE", *list(AVAILABLE)[:1]])
async def test_the_server_answers_what_it_knows_on_behalf_of_the_user(
    world: World, elsewhere: Domain, condition: str
) -> None:
    await subscribed(world, Subscription.FROM)
    gone = await world.login("juliet/gone")
    await world.leaves(gone)
    sessions = await arrange(world, condition)
    elsewhere.take()
    await world.arrives(iq("get", "juliet@example.com", "<query xmlns='jabber:iq:last'/>"))
    (answer,) = elsewhere.take()
    assert " type='result'" in answer
    assert "<query xmlns='jabber:iq:last' seconds='0'/>" in answer
    assert [name for name, session in sessions.items() if session.inbox] == []


@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize(
    ("shared", "passes"),
    [
        (None, False),
        (Subscription.NONE, False),
        (Subscription.TO, False),
        (Subscription.FROM, True),
        (Subscription.BOTH, True),
    ],
)
async def test_a_request_to_a_resource_needs_shared_presence(
    world: World, elsewhere: Domain, shared: Subscription | None, passes: bool, kind: str
) -> None:
    if shared is not None:
        await subscribed(world, shared)
    sessions = await arrange(world, "1 NON-NEGATIVE RESOURCE")
    elsewhere.take()
    await world.arrives(iq(kind, "juliet@example.com/desk"))
    assert {name for name, session in sessions.items() if session.inbox} == (
        {"desk"} if passes else set()
    )
    answers = elsewhere.take()
    assert answers == [] if passes else unavailable("juliet@example.com/desk", answers)


async def test_directed_presence_is_shared_presence(world: World, elsewhere: Domain) -> None:
    sessions = await arrange(world, "1 NON-NEGATIVE RESOURCE")
    desk = sessions["desk"]
    await world.says(desk, f"<presence to='{SENDER}'/>")
    elsewhere.take()
    await world.arrives(iq("get", "juliet@example.com/desk"))
    assert len(desk.take()) == 1
    # Of this resource alone, and not for longer than it lasts.
    await world.arrives(iq("get", "juliet@example.com/below"))
    assert unavailable("juliet@example.com/below", elsewhere.take())
    await world.says(desk, f"<presence to='{SENDER}' type='unavailable'/>")
    elsewhere.take()
    await world.arrives(iq("get", "juliet@example.com/desk"))
    assert unavailable("juliet@example.com/desk", elsewhere.take())
    assert desk.take() == []


@pytest.mark.parametrize("kind", ["result", "error"])
@pytest.mark.parametrize("resource", ["desk", "below", "silent"])
async def test_an_answer_reaches_the_resource(world: World, kind: str, resource: str) -> None:
    sessions = await arrange(world, "1 NON-NEGATIVE RESOURCE")
    await world.arrives(iq(kind, f"juliet@example.com/{resource}"))
    assert {name for name, session in sessions.items() if session.inbox} == {resource}


@pytest.mark.parametrize("condition", list(AVAILABLE))
@pytest.mark.parametrize("kind", ["get", "set"])
async def test_a_request_to_a_resource_that_is_not_there(
    world: World, elsewhere: Domain, condition: str, kind: str
) -> None:
    await subscribed(world, Subscription.BOTH)
    await arrange(world, condition)
    elsewhere.take()
    await world.arrives(iq(kind, "juliet@example.com/attic"))
    assert unavailable("juliet@example.com/attic", elsewhere.take())


@pytest.mark.parametrize("kind", ["result", "error"])
@pytest.mark.parametrize("target", ["bare", "full no match"])
async def test_an_answer_is_never_answered(
    world: World, elsewhere: Domain, kind: str, target: str
) -> None:
    """RFC 6120 §8.2.3 and §8.3.1."""
    sessions = await arrange(world, "1 NON-NEGATIVE RESOURCE")
    assert isinstance(await world.arrives(iq(kind, address("", target))), Dropped)
    assert elsewhere.take() == []
    assert [name for name, session in sessions.items() if session.inbox] == []
