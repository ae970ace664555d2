"""The server's death under load: what it had acknowledged must still be there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import Final

from bench.load.archive import Archive
from bench.load.many import login_all, many
from bench.load.pairs import ManagedPair, Run
from bench.load.proc import tree
from bench.load.target import LoadError, Result, Target

_BODY: Final = 80
_LEAST: Final = 500
"""So many messages must be acknowledged before the server is killed."""
_PATIENCE: Final = 60.0


async def kill(target: Target, pairs: int, window: int, duration: float) -> Result:
    """Load the server for a while, then kill all its processes (SIGKILL).

    Returns:
        Of each pair, how many messages were acknowledged.

    Raises:
        LoadError: an account cannot log in, or the server acknowledges too little.
    """
    run = Run(_BODY)
    clients = await login_all(target, 2 * pairs, run.acks)
    await asyncio.sleep(1)
    made = [ManagedPair(tx, rx, run) for tx, rx in zip(clients[::2], clients[1::2], strict=True)]
    run.closed_loop = True
    for pair in made:
        pair.send(window)
    await asyncio.sleep(duration)
    end = time.monotonic() + _PATIENCE
    while (  # noqa: ASYNC110 -- the hot loop sets no events
        sum(pair.acknowledged for pair in made) < _LEAST and time.monotonic() < end
    ):
        await asyncio.sleep(0.02)
    for pid in tree(target.pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # What was on its way to us still counts: the server has said it.
    await asyncio.sleep(1)
    acknowledged = [pair.acknowledged for pair in made]
    if sum(acknowledged) < _LEAST:
        raise LoadError(f"only {sum(acknowledged)} messages were acknowledged")
    if not all(client.closed for client in clients):
        raise LoadError("the server lives on")
    return {
        "correct": not any(pair.disorder or pair.errors for pair in made),
        "sent": sum(pair.sent for pair in made),
        "acknowledged": acknowledged,
    }


async def survey(target: Target, acknowledged: list[int]) -> Result:
    """Look for acknowledged messages in the archives of both sides.

    Args:
        target: the server, started again with the same data.
        acknowledged: what `kill` returned.

    Raises:
        LoadError: the server does not play along.
    """
    missing = {"sender": 0, "recipient": 0}
    lost: list[set[int]] = [set() for _ in acknowledged]
    doubled = 0

    async def one(account: int) -> None:
        nonlocal doubled
        pair, side = divmod(account, 2)
        archive = Archive(target, account)
        await archive.open()
        found = await archive.numbers()
        archive.close()
        gone = set(range(acknowledged[pair])).difference(found)
        missing["recipient" if side else "sender"] += len(gone)
        lost[pair] |= gone
        doubled += len(found) - len(set(found))

    await many(2 * len(acknowledged), one, target.concurrency)
    return {
        "correct": not doubled,
        "acknowledged": sum(acknowledged),
        "missing": sum(map(len, lost)),
        "missing_in_sender_archives": missing["sender"],
        "missing_in_recipient_archives": missing["recipient"],
        "doubled": doubled,
    }
