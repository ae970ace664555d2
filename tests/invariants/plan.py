"""What is going to happen in a run, all of it drawn from one seed before anything does.

The same seed gives the same plan and gives every link and client the same dice. It does not give
the same interleaving: servers and clients run as fast as they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

_AT: Final = 0.4  # seconds between two things that a client does, on average
_CLIQUE: Final = 4  # this many users, or one more, all talk to each other; the others in pairs
_SAY: Final = 0.8  # of the things that a client does are messages
_RESOURCES: Final = ("desk", "phone")


class What(Enum):
    """Something that happens."""

    SAY = "say"
    """A client says messages to an account, or to one of its resources."""
    LEAVE = "leave"
    """A client closes its stream."""
    DROP = "drop"
    """A client loses its connection and stays away; it can resume."""
    FORGET = "forget"
    """A client loses its connection and its session."""
    COME = "come"
    """A client is back."""
    LOOK = "look"
    """A client is active, or inactive where `count` is 0 (XEP-0352)."""
    KILL = "kill"
    """The server is killed (SIGKILL) and started."""
    KILL_AT_ACK = "kill at an acknowledgement"
    """The same, at the moment at which the next message is acknowledged to anybody."""
    RESTART = "restart"
    """The server is stopped (SIGTERM) and started."""
    JUMP = "jump"
    """The server's clock jumps by `count` seconds."""
    FILL = "fill"
    """The server's disk is full."""
    FREE = "free"
    """It is no more."""
    LOCK = "lock"
    """Another process holds the server's database."""
    UNLOCK = "unlock"
    """It does no more."""


@dataclass(frozen=True, slots=True)
class Who:
    """A client.

    Attributes:
        account: its account.
        resource: its resource.
        archive: whether it synchronises by the archive.
        priority: of its presence.
    """

    account: str
    resource: str
    archive: bool
    priority: int

    @property
    def name(self) -> str:
        """`account/resource`."""
        return f"{self.account}/{self.resource}"


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happens at a time.

    Attributes:
        at: seconds since the beginning.
        what: see there.
        who: the client that it happens to; empty where it is the server.
        to: to whom messages are said.
        resource: to which resource; empty for the account.
        count: of messages, or seconds.
    """

    at: float
    what: What
    who: str = ""
    to: str = ""
    resource: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        seed: what it was drawn from.
        clients: who takes part.
        acts: in order of time.
        seconds: until everything comes to rest.
        calm: the links do nothing.
    """

    seed: int
    clients: tuple[Who, ...]
    acts: tuple[Act, ...]
    seconds: float
    calm: bool = False

    @property
    def accounts(self) -> list[str]:
        """Whose clients they are."""
        return sorted({who.account for who in self.clients})


def draw(
    seed: int,
    *,
    seconds: float,
    users: int = 8,
    kills: int = 0,
    restarts: int = 0,
    jumps: int = 0,
    outages: tuple[tuple[What, What], ...] = (),
    calm: bool = False,
    loyal: bool = False,
) -> Plan:
    """Draw a run.

    Args:
        seed: the same one draws the same run.
        seconds: how long things happen.
        users: how many accounts; one in two has two clients.
        kills: how often the server is killed.
        restarts: how often it is restarted.
        jumps: how often its clock jumps.
        outages: pairs of what begins and what ends, one after the other in the middle of the run.
        calm: clients say and nothing else, over links that do nothing.
        loyal: clients never end a session by themselves.
    """
    random = Random(seed)
    clients = tuple(_clients(users))
    ways = (What.DROP,) if loyal else (What.LEAVE, What.DROP, What.FORGET)
    does = 1.0 if calm else _SAY
    acts = [act for who in clients for act in _life(random, who, clients, seconds, ways, does)]
    acts += _troubles(random, seconds, kills, restarts)
    acts += [
        Act(
            random.uniform(0.1, 0.9) * seconds, What.JUMP, count=random.choice((-86_400, -60, 7200))
        )
        for _ in range(jumps)
    ]
    acts += _outages(seconds, outages)
    return Plan(seed, clients, tuple(sorted(acts, key=lambda act: act.at)), seconds, calm)


def _outages(seconds: float, outages: tuple[tuple[What, What], ...]) -> Iterator[Act]:
    for number, (begin, end) in enumerate(outages):
        length = 0.6 * seconds / len(outages)
        start = 0.2 * seconds + number * length
        yield Act(start, begin)
        yield Act(start + 0.7 * length, end)


def _clients(users: int) -> Iterator[Who]:
    """Every second account has two clients, and every fourth one has no use for the archive."""
    for number in range(users):
        name = f"user{number}"
        archive = number % 4 != 3
        for priority, resource in enumerate(_RESOURCES[: 1 + (number + 1) % 2]):
            yield Who(name, resource, archive, priority * 5)


def _life(
    random: Random,
    who: Who,
    clients: tuple[Who, ...],
    seconds: float,
    ways: tuple[What, ...],
    says: float,
) -> Iterator[Act]:
    """What one client does: it says something, or is away for a while in one of these ways."""
    partners = _partners(who, clients)
    at = random.uniform(0.0, 0.5)
    yield Act(at, What.COME, who.name)
    while (at := at + random.expovariate(1 / _AT)) < seconds:
        if random.random() < says:
            to = random.choice(partners)
            resource = to.resource if random.random() < 0.2 else ""
            yield Act(at, What.SAY, who.name, to.account, resource, random.choice((1, 1, 2, 6)))
        elif random.random() < 0.3:
            yield Act(at, What.LOOK, who.name, count=random.randrange(2))
        else:
            yield Act(at, random.choice(ways), who.name)
            at += random.choice((0.0, 0.3, 1.0, 6.0)) * random.random()
            yield Act(at, What.COME, who.name)


def _partners(who: Who, clients: tuple[Who, ...]) -> list[Who]:
    """The clients of those to whom it talks."""
    names = sorted({client.account for client in clients})
    most = _CLIQUE + max(0, len(names) - _CLIQUE) % 2  # nobody is left without a partner
    clique, pairs = names[:most], names[most:]
    if who.account in clique:
        theirs = set(clique)
    else:
        place = pairs.index(who.account)
        theirs = set(pairs[place - place % 2 :][:2])
    theirs.discard(who.account)
    return [client for client in clients if client.account in theirs]


def _troubles(random: Random, seconds: float, kills: int, restarts: int) -> Iterator[Act]:
    """When the server dies: evenly spread, so that it also lives."""
    whats = [random.choice((What.KILL, What.KILL_AT_ACK)) for _ in range(kills)]
    whats += [What.RESTART] * restarts
    random.shuffle(whats)
    for number, what in enumerate(whats):
        yield Act((number + random.uniform(0.3, 0.9)) / len(whats) * seconds, what)
