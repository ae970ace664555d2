"""Two servers of a kind with one stream between them: what a message costs that crosses.

    python -m bench.federation --repeat 3 --json out.json

A sender's client is at one server, the recipient's at the other; both servers are on loopback
addresses of their own, find each other by a DNS server of this program (dnsmasq), have
certificates of an authority of this program, and talk TLS. CPU is that of both servers together,
clients' TLS included, per message that has arrived. Archives are off. Needs root, as ejabberd does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvloop
from tests.federation.names import Names, network
from tests.federation.peers import C2S, Ejabberd, Ours, Peer, Prosody
from tests.net.authority import Authority

from bench.load.chat import _drain, _paced
from bench.load.client import Client
from bench.load.many import login_all, many, percentile
from bench.load.pairs import Pair, Run
from bench.load.proc import Meter, calibrate
from bench.load.target import Result, Target

_DOMAINS: Final = ("a.example", "b.example")
_PAIRS: Final = 50
_BODY: Final = 80
_WARMUP: Final = 3.0
_SETTLE: Final = 2.0


class _Ours(Ours):
    level, archive, open = "warning", False, True
    federation = 'policy = "required"'


class _Prosody(Prosody):
    level, archive, secure = "error", False, True


class _Ejabberd(Ejabberd):
    level, archive = "error", False


_KINDS: Final[dict[str, Any]] = {"jabberd": _Ours, "prosody": _Prosody, "ejabberd": _Ejabberd}


@contextlib.contextmanager
def _two(kind: type[Peer]) -> Iterator[tuple[Peer, Peer]]:
    with tempfile.TemporaryDirectory(prefix="jabberd-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # ejabberd runs as another user
        prefix, authority = network(), Authority(folder)
        names = Names(folder, f"{prefix}.53")
        peers = [
            kind(
                folder / domain,
                f"{prefix}.{index}",
                names.address,
                authority.file,
                {domain: authority.sign(domain)},
            )
            for index, domain in enumerate(_DOMAINS, 1)
        ]
        try:
            names.start({domain: p.address for domain, p in zip(_DOMAINS, peers, strict=True)})
            for peer in peers:
                peer.launch()
            for peer in peers:
                peer.wait()
            yield peers[0], peers[1]
        finally:
            for peer in peers:
                peer.stop()
            names.stop()


async def _clients(peer: Peer, domain: str) -> list[Client]:
    target = Target(C2S, domain=domain, tls="starttls", host=peer.address)
    for attempt in range(20):  # a server may accept connections before it serves anybody
        try:
            await Client(target, 0).register()
            break
        except Exception:
            if attempt == 19:
                raise
            await asyncio.sleep(0.5)

    async def one(number: int) -> None:
        await Client(target, number + 1).register()

    await many(_PAIRS - 1, one, 8)
    return await login_all(target, _PAIRS)


async def _relay(peers: tuple[Peer, Peer], seconds: float, rate: float) -> Result:
    """Load in one direction; see `bench.load.chat.chat`."""
    run = Run(_BODY)
    senders = await _clients(peers[0], _DOMAINS[0])
    receivers = await _clients(peers[1], _DOMAINS[1])
    pairs = [Pair(tx, rx, run) for tx, rx in zip(senders, receivers, strict=True)]
    await asyncio.sleep(1)
    pairs[0].send(1)  # the stream is made before anything counts
    await _drain(pairs[:1])
    pacer: asyncio.Task[None] | None = None
    if rate:
        pacer = asyncio.create_task(_paced(pairs, rate))
    else:
        run.closed_loop = True
        for pair in pairs:
            pair.send(8)
    await asyncio.sleep(_WARMUP)
    del run.latencies[:]
    before = run.delivered
    meters = [Meter((peer.pid,)) for peer in peers]
    await asyncio.sleep(seconds)
    delivered = run.delivered - before
    latencies = sorted(run.latencies)
    run.closed_loop = False
    if pacer is not None:
        pacer.cancel()
    await _drain(pairs)
    await asyncio.sleep(_SETTLE)
    for meter in meters:
        meter.read()
    each = [meter.cpu / max(1, run.delivered - before) * 1e6 for meter in meters]
    correct = all(pair.settled and not pair.disorder and not pair.errors for pair in pairs)
    for client in (*senders, *receivers):
        client.close()
    return {
        "correct": correct and run.delivered > before,
        "msgs_per_s": round(delivered / seconds),
        "cpu_us_per_msg": round(sum(each), 1),
        "sender_us": round(each[0], 1),
        "recipient_us": round(each[1], 1),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "calib_ms": calibrate(),
    }


def main() -> int:
    """Measure; the exit status is 1 where something was not correct."""
    parser = argparse.ArgumentParser(prog="bench.federation", description=__doc__)
    parser.add_argument("--servers", default=",".join(_KINDS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.0, help="messages/s; 0: saturated")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs: dict[str, list[Result]] = {name: [] for name in options.servers.split(",")}
    if why := Names.missing():
        print(why, file=sys.stderr)
        return 2
    for _ in range(options.repeat):
        for name, results in runs.items():  # in turns, so that slow minutes hit all of them
            kind = _KINDS[name]
            if why := kind.missing():
                print(f"{name} is left out: {why}", file=sys.stderr)
                continue
            with _two(kind) as peers:
                results.append(uvloop.run(_relay(peers, options.seconds, options.rate)))
            print(name, results[-1], file=sys.stderr)
    print(
        "| pair of | CPU us per message | of it sender's, recipient's | messages/s | p50, p99 ms |"
    )
    print("|---|---|---|---|---|")
    for name, results in runs.items():
        if results:
            print(f"| {name} | {_row(results)} |")
    if options.json is not None:
        options.json.write_text(json.dumps(runs, indent=1) + "\n")
    return 0 if all(one["correct"] for results in runs.values() for one in results) else 1


def _row(results: list[Result]) -> str:
    def median(key: str) -> float:
        return round(float(statistics.median(one[key] for one in results)), 1)

    return (
        f"{median('cpu_us_per_msg')} | {median('sender_us')}, {median('recipient_us')} |"
        f" {median('msgs_per_s'):.0f} | {median('p50_ms')}, {median('p99_ms')}"
    )


if __name__ == "__main__":
    sys.exit(main())
