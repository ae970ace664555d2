"""What a figure is: a load, a value of its result, and a target."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.servers import Mode


class Data(enum.Enum):
    """What a server has before a load."""

    ACCOUNTS = "accounts without contacts"
    CONTACTS = "accounts with contacts"
    TALK = "two accounts with a long talk, sent over the wire"
    MILLION = "two accounts with a talk of a million messages"
    PAIR = "nothing; there are two servers"
    OTHERS = "nothing; there are a thousand servers that are fakes"

    @property
    def federated(self) -> bool:
        """Whether more than one server takes part, which are started in a way of their own."""
        return self in {Data.PAIR, Data.OTHERS}


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of run.

    Attributes:
        key: its name in the JSON report.
        scenario: of the load generator, with its options.
        quick: further options where it is only tried, not measured.
        mode: how the servers are configured.
        data: what they have before it.
        repeats: the least number of runs that the median is taken of.
    """

    key: str
    scenario: tuple[str, ...]
    quick: tuple[str, ...]
    mode: Mode = field(default_factory=Mode)
    data: Data = Data.ACCOUNTS
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        key: its name in the JSON report.
        what: the group it is chosen by on the command line.
        title: what is measured.
        unit: of the value.
        load: what is run.
        value: the field of the generator's result.
        target: in words; empty where the value is only stated.
        servers: which have such a value.
        ours: what jabberd runs instead of `load`; None for the same.
        minus: the same field of this load's result is subtracted.
        factor: jabberd's value has to be at most this times the smallest value of `against`...
        against: ...the servers named here.
        bound: jabberd's value has to be at most this, whatever others have.
        below: equality is not enough.
        more: the other way round: at least, and the greatest value.
    """

    key: str
    what: str
    title: str
    unit: str
    load: Load
    value: str
    target: str
    servers: tuple[str, ...]
    ours: Load | None = None
    minus: Load | None = None
    factor: float = 1.0
    against: tuple[str, ...] = ()
    bound: float | None = None
    below: bool = False
    more: bool = False

    def runs(self, server: str) -> tuple[Load, ...]:
        """What has to be run with a server for this line."""
        if server not in self.servers:
            return ()
        load = self.ours if self.ours is not None and server == "jabberd" else self.load
        return (load,) if self.minus is None else (load, self.minus)

    def limit(self, values: Mapping[str, float]) -> float | None:
        """What the target allows, by the values of the peers; None if this cannot be told."""
        peers = [values[name] for name in self.against if name in values]
        if len(peers) < len(self.against):
            return None
        best = max if self.more else min
        limits = [] if self.bound is None else [self.bound]
        limits += [self.factor * best(peers)] if peers else []
        # Where there are two of them, both have to be met.
        return best(limits) if limits else None

    def ratio(self, value: float, limit: float) -> float:
        """How much of what is allowed is used: up to 1 it holds."""
        used, allowed = (limit, value) if self.more else (value, limit)
        if not allowed:
            return float("inf") if used else 0.0
        return used / allowed

    def holds(self, ratio: float) -> bool:
        """Whether the target is met."""
        return ratio < 1 if self.below else ratio <= 1
