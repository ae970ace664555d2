"""What it costs to lose no message: archive, carbons and stream management, over TLS."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bench.figures.model import Data, Figure, Load
from bench.figures.routing import CHAT, SATURATED, SHORT
from bench.load.words import COMMON, RARE
from bench.servers import Mode

_FILES: Final = ("ejabberd", "prosody")
_PEERS: Final = ("ejabberd", "ejabberd-sqlite", "prosody", "prosody-sqlite")
_ALL: Final = ("jabberd", *_PEERS)
_ON: Final = Mode(managed=True, archive=True)
_SEARCH: Final = Mode(managed=True, archive=True, search=True)
_OFF: Final = Mode(managed=True)
_TLS: Final = ("--managed", "--tls", "starttls")

_SATURATED: Final = Load("archive", (*SATURATED, *_TLS, "--archive", "complete"), SHORT, mode=_ON)
_INDEXED: Final = replace(_SATURATED, key="archive_search", mode=_SEARCH)
_BARE: Final = replace(
    _SATURATED, key="archive_off", scenario=(*SATURATED, *_TLS, "--archive", "refused"), mode=_OFF
)
_CPU: Final = Figure(
    key="archive_cpu",
    what="archive",
    title="CPU per archived and delivered message, saturated",
    unit="µs",
    load=_SATURATED,
    value="cpu_us_per_msg",
    target="at most 1/8 of the best peer's",
    servers=_ALL,
    factor=1 / 8,
    against=_PEERS,
)
_EXTRA: Final = replace(
    _CPU,
    key="archive_extra",
    title="CPU of that over the same load without an archive",
    minus=_BARE,
    target="at most 15",
    against=(),
    bound=15.0,
)
_ACK: Final = replace(
    _CPU,
    key="archive_ack",
    title="p99 of the acknowledgement in that load",
    unit="ms",
    value="ack_p99_ms",
    target="",
    against=(),
)
_OPEN: Final = Load(
    "archive_latency",
    (*CHAT, *_TLS, "--pairs", "100", "--rate", "500", "--archive", "complete"),
    SHORT,
    mode=_ON,
    repeats=5,
)
_LATENCY: Final = Figure(
    key="archive_latency",
    what="archive-latency",
    title="p99 latency at 500 archived messages/s",
    unit="ms",
    load=_OPEN,
    value="p99_ms",
    target="below all",
    servers=_ALL,
    against=_PEERS,
    below=True,
)
_PAGES: Final = ("pages", "--tls", "starttls", "--duration", "5")
_FEW: Final = ("--duration", "0.5", "--settle", "0.5")
_LONG: Final = Load("page_last", (*_PAGES, "--page", "50"), _FEW, mode=_SEARCH, data=Data.MILLION)
_PAGE: Final = Figure(
    key="page_last",
    what="pages",
    title="the last 50 of 1,000,000 messages, p99 at the client",
    unit="ms",
    load=_LONG,
    value="p99_ms",
    target="below 10",
    servers=("jabberd",),
    bound=10.0,
    below=True,
)
_FIND: Final = replace(
    _PAGE,
    key="search_rare",
    title="the last 50 of 1,000,000 with a word that 1,000 have, p99 at the client",
    load=replace(_LONG, key="search_rare", scenario=(*_LONG.scenario, "--text", RARE)),
    target="below 50",
    bound=50.0,
)
_HIBERNATION: Final = Load(
    "resumable",
    ("resumable", "--tls", "starttls", "--rest", "20"),
    ("--rest", "3"),
    mode=_ON,
    data=Data.CONTACTS,
)
_MEMORY: Final = Figure(
    key="resumable_connected",
    what="resumable",
    title="memory per idle resumable session, connected, 10 contacts (PSS)",
    unit="KiB",
    load=_HIBERNATION,
    value="kib_connected",
    target="below both",
    servers=("jabberd", *_FILES),
    against=_FILES,
    below=True,
)
_RESUME: Final = Figure(
    key="resume_cpu",
    what="resume",
    title="CPU to lose and resume a session: TLS, SASL, resume",
    unit="ms",
    load=Load(
        "resume",
        ("resume", "--tls", "starttls", "--users", "200"),
        ("--users", "50", "--settle", "0.5"),
        mode=_ON,
    ),
    value="cpu_ms_per_resumption",
    target="",
    servers=("jabberd", *_FILES),
)

ARCHIVE: Final = (
    _CPU,
    replace(
        _CPU,
        key="archive_search_cpu",
        title="the same, jabberd with its full-text index",
        ours=_INDEXED,
        target="at most 1/6 of the best peer's",
        factor=1 / 6,
    ),
    replace(
        _CPU,
        key="archive_rate",
        title="archived messages per second in that load",
        unit="1/s",
        value="msgs_per_s",
        target="at least 6 times the best peer's, and 15,000",
        factor=6.0,
        bound=15_000.0,
        more=True,
    ),
    _ACK,
    replace(
        _ACK,
        key="archive_search_ack",
        title="the same, jabberd with its full-text index",
        ours=_INDEXED,
    ),
    _EXTRA,
    replace(
        _EXTRA,
        key="archive_search_extra",
        title="the same, jabberd with its full-text index",
        ours=_INDEXED,
        target="at most 30",
        bound=30.0,
    ),
    _LATENCY,
    replace(
        _LATENCY,
        key="archive_latency_ack",
        title="p99 of the acknowledgement in that load",
        value="ack_p99_ms",
        target="",
        against=(),
    ),
    Figure(
        key="last_100",
        what="pages",
        title="CPU for the last 100 messages of a long archive",
        unit="ms",
        load=Load("last_100", (*_PAGES, "--page", "100"), _FEW, mode=_ON, data=Data.TALK),
        value="cpu_ms_per_query",
        target="below all",
        servers=_ALL,
        against=_PEERS,
        below=True,
    ),
    _PAGE,
    replace(
        _PAGE,
        key="page_middle",
        title="50 from the middle of 1,000,000 messages, p99 at the client",
        load=replace(_LONG, key="page_middle", scenario=(*_LONG.scenario, "--where", "middle")),
    ),
    replace(
        _PAGE,
        key="page_cpu",
        title="CPU for the last 50 of 1,000,000",
        value="cpu_ms_per_query",
        target="",
        bound=None,
    ),
    _FIND,
    replace(
        _FIND,
        key="search_common",
        title="the last 50 of 1,000,000 with a word that 100,000 have, p99 at the client",
        load=replace(_LONG, key="search_common", scenario=(*_LONG.scenario, "--text", COMMON)),
    ),
    _MEMORY,
    replace(
        _MEMORY,
        key="resumable_hibernated",
        title="memory per resumable session without a connection, 10 contacts (PSS)",
        value="kib_hibernated",
    ),
    replace(
        _RESUME,
        key="full_cpu",
        title="CPU of a full login and logout: TLS, SASL, bind, "
        "stream management, carbons, roster, presence",
        value="cpu_ms_per_login",
    ),
    _RESUME,
    replace(
        _RESUME,
        key="full_trips",
        title="round trips of a full login",
        unit="",
        value="trips_per_login",
    ),
    replace(
        _RESUME,
        key="resume_trips",
        title="round trips of a resumption",
        unit="",
        value="trips_per_resumption",
    ),
    Figure(
        key="kill",
        what="kill",
        title="acknowledged messages missing in an archive after SIGKILL under that load",
        unit="",
        load=Load(
            "kill",
            ("kill", "--tls", "starttls", "--pairs", "50", "--window", "8", "--duration", "3"),
            (),
            mode=_ON,
        ),
        value="missing",
        target="none",
        servers=_ALL,
        bound=0.0,
    ),
)
"""In the order of the table."""
