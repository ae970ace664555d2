"""What it costs to move messages and to keep connections, without an archive."""

from __future__ import annotations

import dataclasses
from typing import Final

from bench.figures.model import Data, Figure, Load
from bench.servers import Mode

_SERVERS: Final = ("jabberd", "ejabberd", "prosody")
SHORT: Final = ("--duration", "1.5", "--warmup", "0.5", "--settle", "0.5")
CHAT: Final = ("chat", "--duration", "6", "--warmup", "2", "--body", "80")
SATURATED: Final = (*CHAT, "--pairs", "50", "--window", "8")
_PLAIN: Final = Figure(
    key="chat_plain",
    what="chat",
    title="CPU per delivered message, saturated, plain",
    unit="µs",
    load=Load("chat_plain", (*SATURATED, "--tls", "plain"), SHORT),
    value="cpu_us_per_msg",
    target="at most half of ejabberd's",
    servers=_SERVERS,
    factor=0.5,
    against=("ejabberd",),
)

ROUTING: Final = (
    _PLAIN,
    dataclasses.replace(
        _PLAIN,
        key="chat_tls",
        title="CPU per delivered message, saturated, TLS",
        load=Load("chat_tls", (*SATURATED, "--tls", "starttls"), SHORT),
    ),
    dataclasses.replace(
        _PLAIN,
        key="chat_4000",
        title="CPU per delivered message at 4,000/s, plain",
        load=Load(
            "chat_4000",
            (*CHAT, "--pairs", "100", "--rate", "4000"),
            SHORT,
            mode=Mode(busy_wait=False),
        ),
        target="at most half of ejabberd's, no busy waiting",
    ),
    Figure(
        key="idle_tls",
        what="idle",
        title="memory per idle TLS connection, 10 contacts (PSS)",
        unit="KiB",
        load=Load(
            "idle_tls",
            ("idle", "--tls", "starttls", "--rest", "20"),
            ("--rest", "3"),
            data=Data.CONTACTS,
        ),
        value="kib_per_connection",
        target="at most 0.7 of Prosody's",
        servers=_SERVERS,
        factor=0.7,
        against=("prosody",),
    ),
    Figure(
        key="login_tls",
        what="login",
        title="CPU per TLS login, SCRAM-SHA-1, roster, presence",
        unit="ms",
        load=Load(
            "login_tls",
            ("login", "--tls", "starttls", "--users", "200", "--logins", "600"),
            ("--users", "50", "--logins", "50", "--settle", "0.5"),
        ),
        value="cpu_ms_per_login",
        target="below ejabberd's",
        servers=_SERVERS,
        against=("ejabberd",),
        below=True,
    ),
    Figure(
        key="latency_500",
        what="latency",
        title="p99 latency at 500 messages/s, plain",
        unit="ms",
        load=Load("latency_500", (*CHAT, "--pairs", "100", "--rate", "500"), SHORT, repeats=5),
        value="p99_ms",
        target="below both",
        servers=_SERVERS,
        against=("ejabberd", "prosody"),
        below=True,
    ),
)
"""In the order of the table."""
