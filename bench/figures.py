"""The figures that are measured, and the targets they are held against."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        key: its name in the JSON report.
        what: the group it is chosen by on the command line.
        title: what is measured.
        unit: of the value.
        scenario: of the load generator, with its options.
        quick: further options where the figure is only tried, not measured.
        value: the field of the generator's result.
        target: in words.
        factor: jabberd's value has to be at most this times the smallest value of `against`...
        against: ...the servers named here.
        below: equality is not enough.
        busy_wait: servers may poll for work, where that is their default.
        repeats: the least number of runs that the median is taken of.
        contacts: the accounts with contacts are used.
    """

    key: str
    what: str
    title: str
    unit: str
    scenario: tuple[str, ...]
    quick: tuple[str, ...]
    value: str
    target: str
    factor: float
    against: tuple[str, ...]
    below: bool = False
    busy_wait: bool = True
    repeats: int = 1
    contacts: bool = False

    def limit(self, values: Mapping[str, float]) -> float | None:
        """What the target allows, by the values of the peers; None without one of them."""
        peers = [values[name] for name in self.against if name in values]
        if len(peers) < len(self.against):
            return None
        return self.factor * min(peers)

    def holds(self, ratio: float) -> bool:
        """Whether a value that is `ratio` times the limit meets the target."""
        return ratio < 1 if self.below else ratio <= 1


CONTACTS: Final = 10
_SHORT: Final = ("--duration", "1.5", "--warmup", "0.5", "--settle", "0.5")
_CHAT: Final = ("chat", "--duration", "6", "--warmup", "2", "--body", "80")
_SATURATED: Final = (*_CHAT, "--pairs", "50", "--window", "8")
_PLAIN: Final = Figure(
    key="chat_plain",
    what="chat",
    title="CPU per delivered message, saturated, plain",
    unit="µs",
    scenario=(*_SATURATED, "--tls", "plain"),
    quick=_SHORT,
    value="cpu_us_per_msg",
    target="at most half of ejabberd's",
    factor=0.5,
    against=("ejabberd",),
)

FIGURES: Final = (
    _PLAIN,
    dataclasses.replace(
        _PLAIN,
        key="chat_tls",
        title="CPU per delivered message, saturated, TLS",
        scenario=(*_SATURATED, "--tls", "starttls"),
    ),
    dataclasses.replace(
        _PLAIN,
        key="chat_4000",
        title="CPU per delivered message at 4,000/s, plain",
        scenario=(*_CHAT, "--pairs", "100", "--rate", "4000"),
        target="at most half of ejabberd's, no busy waiting",
        busy_wait=False,
    ),
    Figure(
        key="idle_tls",
        what="idle",
        title="memory per idle TLS connection, 10 contacts (PSS)",
        unit="KiB",
        scenario=("idle", "--tls", "starttls", "--rest", "20"),
        quick=("--rest", "3"),
        value="kib_per_connection",
        target="at most 0.7 of Prosody's",
        factor=0.7,
        against=("prosody",),
        contacts=True,
    ),
    Figure(
        key="login_tls",
        what="login",
        title="CPU per TLS login, SCRAM-SHA-1, roster, presence",
        unit="ms",
        scenario=("login", "--tls", "starttls", "--users", "200", "--logins", "600"),
        quick=("--users", "50", "--logins", "50", "--settle", "0.5"),
        value="cpu_ms_per_login",
        target="below ejabberd's",
        factor=1.0,
        against=("ejabberd",),
        below=True,
    ),
    Figure(
        key="latency_500",
        what="latency",
        title="p99 latency at 500 messages/s, plain",
        unit="ms",
        scenario=(*_CHAT, "--pairs", "100", "--rate", "500"),
        quick=_SHORT,
        value="p99_ms",
        target="below both",
        factor=1.0,
        against=("ejabberd", "prosody"),
        below=True,
        repeats=5,
    ),
)
"""In the order of the table."""
