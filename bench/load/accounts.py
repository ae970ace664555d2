"""Preparation, the same for every server: accounts in band, contacts by subscription."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

from bench.load.client import Client
from bench.load.many import login_all, many
from bench.load.target import LoadError, Result, Target

_REQUEST: Final = re.compile(
    rb"<presence\b(?=[^>]*\btype=['\"]subscribe['\"])[^>]*\bfrom=['\"]([^'\"/]+)['\"][^>]*>"
)
_BATCH: Final = 50
"""Accounts that ask for their contacts at once: keeps the queues of every server short."""


async def register(target: Target, count: int) -> Result:
    """Make accounts (XEP-0077).

    Raises:
        LoadError: the server refuses one.
    """
    start = time.perf_counter()

    async def one(number: int) -> None:
        await Client(target, number).register()

    await many(count, one, target.concurrency)
    return {"accounts": count, "seconds": round(time.perf_counter() - start, 1)}


def neighbours(number: int, count: int, contacts: int) -> list[int]:
    """The contacts of an account: those beside it, on a ring; the relation is mutual."""
    steps = range(1, contacts // 2 + 1)
    return [(number + sign * step) % count for step in steps for sign in (1, -1)]


class _Acceptor:
    """Approves every subscription request that a client gets."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tail = b""
        self.approved = 0
        client.hot = self._on

    def _on(self, data: bytes) -> None:
        data = self._tail + data
        end = data.rfind(b">") + 1
        self._tail = data[end:]
        for contact in _REQUEST.findall(data, 0, end):
            self._client.write(f"<presence type='subscribed' to='{contact.decode()}'/>")
            self.approved += 1


async def befriend(target: Target, count: int, contacts: int) -> Result:
    """Give every account `contacts` mutual contacts by the handshake of RFC 6121 section 3.

    All log in; everybody asks for everybody's subscription and approves what is asked. At the end
    each roster is fetched and must have the contacts, with subscription "both".

    Raises:
        LoadError: a request does not arrive or a roster is not as it must be.
    """
    if contacts % 2 or contacts >= count:
        raise LoadError("the number of contacts must be even and less than that of the accounts")
    start = time.perf_counter()
    clients = await login_all(target, count)
    acceptors = [_Acceptor(client) for client in clients]
    for first in range(0, count, _BATCH):
        batch = range(first, min(first + _BATCH, count))
        for number in batch:
            for other in neighbours(number, count, contacts):
                to = f"{target.account(other)[0]}@{target.domain}"
                clients[number].write(f"<presence type='subscribe' to='{to}'/>")
        await _until(acceptors, contacts * len(batch) + first * contacts)
    await asyncio.sleep(target.settle)
    for client in clients:
        client.hot = None
        client.take()
        await client.fetch_roster()
        if client.contacts != contacts:
            raise LoadError(f"{client.jid}: {client.contacts} mutual contacts, not {contacts}")
        client.close()
    return {"accounts": count, "seconds": round(time.perf_counter() - start, 1)}


async def _until(acceptors: list[_Acceptor], expected: int) -> None:
    end = time.monotonic() + 120
    while (approved := sum(acceptor.approved for acceptor in acceptors)) < expected:
        if time.monotonic() > end:
            raise LoadError(f"{approved} of {expected} subscription requests arrived")
        await asyncio.sleep(0.01)
