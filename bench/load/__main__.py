"""Command line of the load generator."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import sys
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

import uvloop

from bench.load.accounts import befriend, register
from bench.load.chat import ChatSettings, chat
from bench.load.fill import fill
from bench.load.kill import kill, survey
from bench.load.pages import PageSettings, pages
from bench.load.proc import calibrate
from bench.load.relay import relay
from bench.load.resumption import resumable, resume
from bench.load.sessions import idle, login
from bench.load.target import LoadError, Result, Target

_SCENARIOS: Final = (
    *("register", "befriend", "chat", "login", "idle", "fill", "pages", "kill", "survey"),
    *("resumable", "resume", "relay", "domains"),
)

_DOMAINS_RATE: Final = 200.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description="A neutral load generator for XMPP servers on loopback addresses.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("scenario", choices=_SCENARIOS)
    add("--port", type=int, required=True)
    add("--domain", default="bench.test")
    add("--host", default="127.0.0.1")
    add("--pid", type=int, action="append", default=[], help="server process; children are found")
    add("--far-host", default="127.0.0.1", help="relay: the receivers' server, on the same port")
    add("--far-domain", default="bench.test", help="relay: its domain")
    add("--far-pid", type=int, action="append", default=[], help="relay: its process")
    add("--network", default="127.0.0", help="domains: of the loopback addresses of all servers")
    add("--others", type=int, default=1000, help="domains: live ones")
    add("--tls", choices=("plain", "starttls", "direct"), default="plain")
    add("--prefix", default="u", help="accounts are PREFIX0, PREFIX1, ...")
    add("--concurrency", type=int, default=16, help="logins under way at once")
    add("--settle", type=float, default=2.0, help="seconds after the load still charged to it")
    add(
        "--users",
        type=int,
        default=100,
        help="register, befriend, login, idle, resumable, resume: accounts",
    )
    add("--contacts", type=int, default=10, help="befriend, idle, resumable: contacts of each")
    add("--logins", type=int, default=400, help="login: how many")
    add(
        "--rest",
        type=float,
        default=20.0,
        help="idle, resumable, domains: seconds before memory is read",
    )
    add("--pairs", type=int, default=50, help="chat, relay, kill")
    add("--window", type=int, default=8, help="chat, relay, kill: messages under way per pair")
    add(
        "--rate",
        type=float,
        default=0.0,
        help="chat, relay: open loop, messages per second in all; domains: to one of them",
    )
    add("--body", type=int, default=80, help="chat, relay: bytes of text")
    add("--warmup", type=float, default=3.0, help="chat, relay, domains: seconds")
    add("--duration", type=float, default=10.0, help="chat, relay, domains, pages, kill: seconds")
    add("--managed", action="store_true", help="chat: with stream management and carbons")
    add("--count", type=int, default=1000, help="fill: messages")
    add("--where", choices=("last", "middle"), default="last", help="pages: which one")
    add("--page", type=int, default=50, help="pages: results")
    add("--text", default="", help="pages: words to find")
    add("--acknowledged", type=json.loads, default=[], help="survey: list of numbers, as JSON")
    add("--archive", choices=("ignored", "complete", "refused"), default="ignored",
        help="chat, relay: what the archives must be in the end")  # fmt: skip
    return parser


def _target(options: argparse.Namespace) -> Target:
    return Target(
        port=options.port,
        domain=options.domain,
        host=options.host,
        pids=tuple(options.pid),
        tls=options.tls,
        prefix=options.prefix,
        concurrency=options.concurrency,
        settle=options.settle,
    )


def _scenario(options: argparse.Namespace, target: Target) -> Coroutine[Any, Any, Result]:
    match options.scenario:
        case "register":
            return register(target, options.users)
        case "befriend":
            return befriend(target, options.users, options.contacts)
        case "login":
            return login(target, options.users, options.logins)
        case "idle":
            return idle(target, options.users, options.contacts, options.rest)
        case "resumable":
            return resumable(target, options.users, options.contacts, options.rest)
        case "resume":
            return resume(target, options.users)
        case "fill":
            return fill(target, options.count)
        case "pages":
            return pages(
                target, PageSettings(options.where, options.page, options.text, options.duration)
            )
        case "kill":
            return kill(target, options.pairs, options.window, options.duration)
        case "survey":
            return survey(target, options.acknowledged)
        case "relay" | "domains":
            return _between_servers(options, target)
    return chat(target, _chat(options))


def _between_servers(options: argparse.Namespace, target: Target) -> Coroutine[Any, Any, Result]:
    if options.scenario == "domains":
        return _domains(options, target)
    pids = tuple(options.far_pid)
    far = replace(target, host=options.far_host, domain=options.far_domain, pids=pids)
    return relay(target, far, _chat(options))


def _chat(options: argparse.Namespace) -> ChatSettings:
    return ChatSettings(
        pairs=options.pairs,
        window=options.window,
        rate=options.rate,
        body=options.body,
        warmup=options.warmup,
        duration=options.duration,
        managed=options.managed,
        archive=options.archive,
    )


def _domains(options: argparse.Namespace, target: Target) -> Coroutine[Any, Any, Result]:
    # Its fake servers are made of jabberd's parts, which no other scenario needs.
    from bench.load.domains import DomainsSettings, domains  # noqa: PLC0415

    settings = DomainsSettings(
        network=options.network,
        others=options.others,
        rate=options.rate or _DOMAINS_RATE,
        warmup=options.warmup,
        duration=options.duration,
        rest=options.rest,
    )
    return domains(target, settings)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__


def main() -> int:
    """Run one scenario; the exit status is 1 if the server did not play along."""
    options = _parser().parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    head = {"scenario": options.scenario, "tls": options.tls, "calib_ms": calibrate()}
    # Collections would show up as latency of the server.
    gc.collect()
    gc.freeze()
    gc.disable()
    failure = ""
    result: Result = {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            result = runner.run(_scenario(options, _target(options)))
        except (LoadError, OSError) as error:
            failure = _reason(error)
        except BaseExceptionGroup as errors:
            failure = _reason(errors)
    if failure:
        result = {"correct": False, "failed": failure}
    print(json.dumps(head | result), flush=True)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
