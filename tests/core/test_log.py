"""Log lines: structured, escaped, without secrets, with a level that can change."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from jabberd.core import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_where_there_is_no_terminal(stream: io.StringIO) -> None:
    log.configure("info", "auto", stream)
    log.logger("jabberd.edge.c2s", stream="s1", account="a@h").info("logged in", mechanism="PLAIN")
    (entry,) = entries(stream)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "logged in",
        "stream": "s1",
        "account": "a@h",
        "mechanism": "PLAIN",
        "logger": "jabberd.edge.c2s",
        "level": "info",
    }


def test_the_standard_librarys_loggers_go_the_same_way(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    with log.context(stream="s2"):
        logging.getLogger("jabberd.net").warning("bad %s", "\x1b]0;x\x07")
    (entry,) = entries(stream)
    assert entry["event"] == "bad \\x1b]0;x\\x07"
    assert (entry["stream"], entry["logger"], entry["level"]) == ("s2", "jabberd.net", "warning")


@pytest.mark.parametrize("style", ["console", "json"])
def test_nothing_can_be_injected(stream: io.StringIO, style: log.Style) -> None:
    log.configure("info", style, stream)
    evil = "x\n2026-01-01 [error] forged\x1b[2J\x9b\u202e\r"
    logger = log.logger("jabberd")
    logger.info(evil, value=evil, nested={"a": evil}, **{evil: 1})
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert "\\x1b[2J" in line.replace("\\\\", "\\")


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_traceback_cannot_start_a_line(stream: io.StringIO, style: log.Style) -> None:
    log.configure("info", style, stream)
    try:
        raise ValueError("first\n2026-01-01 [error] forged\x1b[2J")
    except ValueError:
        log.logger("jabberd").exception("failed")
        logging.getLogger("jabberd").exception("failed too")
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "Traceback" in text
    if style == "json":
        shown = [entry["exception"] for entry in entries(stream)]
        lines = [line for one in shown for line in one.split("\n")]
    else:
        lines = [line for line in text.splitlines() if "failed" not in line]
    assert [line for line in lines if "forged" in line]
    assert all(line.startswith("  | ") for line in lines)


def test_secrets_are_left_out(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    log.logger("jabberd").info("x", password="hunter2", client_proof="p", auth_token=b"t")
    assert "hunter2" not in stream.getvalue()
    (entry,) = entries(stream)
    assert {entry["password"], entry["client_proof"], entry["auth_token"]} == {"(secret)"}


def test_the_level_can_change(stream: io.StringIO) -> None:
    log.configure("warning", "json", stream)
    logger = log.logger("jabberd")
    logger.info("one")
    log.set_level("debug")
    logger.debug("two")
    logging.getLogger("jabberd.net").debug("three")
    log.set_level("error")
    logger.warning("four")
    assert [entry["event"] for entry in entries(stream)] == ["two", "three"]


def test_a_person_gets_a_line_with_the_fields(stream: io.StringIO) -> None:
    log.configure("info", "console", stream)
    log.logger("jabberd", stream="s1").info("logged in", account="a@h")
    (line,) = stream.getvalue().splitlines()
    assert "logged in" in line
    assert "stream=s1" in line
    assert "account=a@h" in line


def test_long_values_are_cut(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    log.logger("jabberd").info("x" * 100_000)
    assert len(stream.getvalue()) < 3000
