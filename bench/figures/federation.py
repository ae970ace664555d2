"""What it costs to talk to other servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bench.figures.model import Data, Figure, Load
from bench.figures.routing import SHORT
from bench.servers import Mode

_SERVERS: Final = ("jabberd", "ejabberd", "prosody")
_TIMES: Final = ("--warmup", "3", "--duration", "8")
_RELAY: Final = ("relay", "--tls", "starttls", "--body", "80", *_TIMES)
_BARE: Final = ("--archive", "refused")
_FULL: Final = ("--pairs", "50", "--window", "8")
_SATURATED: Final = Load("federation", (*_RELAY, *_FULL, *_BARE), SHORT, data=Data.PAIR)
_ARCHIVED: Final = Load(
    "federation_archive",
    (*_RELAY, *_FULL, "--archive", "complete"),
    SHORT,
    mode=Mode(archive=True),
    data=Data.PAIR,
)
_STEADY: Final = Load(
    "federation_1000",
    (*_RELAY, *_BARE, "--pairs", "100", "--rate", "1000"),
    SHORT,
    mode=Mode(busy_wait=False),
    data=Data.PAIR,
)
_OPEN: Final = Load(
    "federation_latency",
    (*_RELAY, *_BARE, "--pairs", "100", "--rate", "500"),
    SHORT,
    data=Data.PAIR,
    repeats=5,
)
_CPU: Final = Figure(
    key="federation_cpu",
    what="federation",
    title="CPU of both servers per message between them, saturated, TLS",
    unit="µs",
    load=_SATURATED,
    value="cpu_us_per_msg",
    target="below ejabberd's",
    servers=_SERVERS,
    against=("ejabberd",),
    below=True,
)
_SHARE: Final = replace(_CPU, target="", against=(), below=False)
_LATENCY: Final = replace(
    _SHARE,
    key="federation_p50",
    title="p50 latency at 500 messages/s between two servers",
    unit="ms",
    load=_OPEN,
    value="p50_ms",
)
_OTHERS: Final = Load(
    "domains",
    ("domains", "--tls", "starttls", "--rate", "200", "--warmup", "2", "--rest", "10"),
    ("--others", "100", "--warmup", "0.5", "--duration", "2", "--rest", "1"),
    data=Data.OTHERS,
)
_MEMORY: Final = Figure(
    key="domains_memory",
    what="domains",
    title="memory per stream to another server, 1,000 of them (PSS)",
    unit="KiB",
    load=_OTHERS,
    value="kib_per_stream",
    target="",
    servers=("jabberd",),
)
_LIVE: Final = replace(
    _MEMORY,
    key="domains_p99",
    title="p99 latency of 200 messages/s to one other server",
    unit="ms",
    value="p99_ms",
)

FEDERATION: Final = (
    _CPU,
    replace(
        _SHARE,
        key="federation_sending",
        title="the sender's server's share of that",
        value="cpu_us_sending",
    ),
    replace(
        _SHARE,
        key="federation_receiving",
        title="the receiver's server's share of that",
        value="cpu_us_receiving",
    ),
    replace(
        _SHARE,
        key="federation_rate",
        title="messages per second in that load",
        unit="1/s",
        value="msgs_per_s",
    ),
    replace(
        _CPU,
        key="federation_1000",
        title="CPU of both servers per message between them at 1,000/s, TLS",
        load=_STEADY,
        target="below ejabberd's, no busy waiting",
    ),
    replace(
        _SHARE,
        key="federation_archive",
        title="CPU of both servers per message between them and in both archives, saturated, TLS",
        load=_ARCHIVED,
    ),
    _LATENCY,
    replace(
        _LATENCY,
        key="federation_p99",
        title="p99 latency at 500 messages/s between two servers",
        value="p99_ms",
    ),
    _MEMORY,
    replace(
        _MEMORY,
        key="domains_cpu",
        title="CPU to make such a stream, with a message on it",
        unit="ms",
        value="cpu_ms_per_stream",
    ),
    _LIVE,
    replace(
        _LIVE,
        key="domains_dead_p99",
        title="the same beside as many messages to 50 domains whose servers are dead",
        value="dead_p99_ms",
    ),
)
"""In the order of the table."""
