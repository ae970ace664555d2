"""Put a long talk into jabberd's archive, past the network: `python -m bench.fill --help`."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.load.words import bodies
from bench.servers.base import DOMAIN
from jabberd.storage.api import Stores
from jabberd.storage.log_api import Doc, Entry, Flag, Unit
from jabberd.storage.open import open_stores

_SENDER: Final = f"u0@{DOMAIN}"
_RECIPIENT: Final = f"u1@{DOMAIN}"
_UNIT: Final = 2000
"""Messages in one transaction."""
_SPAN: Final = 30 * 86_400.0
"""Seconds that the talk took; it has just ended."""


def _messages(count: int) -> Iterator[tuple[float, str, str, bytes]]:
    """When, id, body and stanza of each message."""
    begin = time.time() - _SPAN
    for number, body in enumerate(bodies(count)):
        name = f"f{number}"
        stanza = (
            f"<message type='chat' from='{_SENDER}/load' to='{_RECIPIENT}' id='{name}'>"
            f"<body>{body}</body></message>"
        )
        yield begin + number * _SPAN / count, name, body, stanza.encode()


async def fill(stores: Stores, count: int) -> None:
    """Write what the server would have written: two entries and one text for each message.

    Args:
        stores: with nothing in the log yet.
        count: of messages.

    Raises:
        StorageError: it could not be written.
    """
    log, messages = stores.log, _messages(count)
    received, sent = int(Flag.VISIBLE), int(Flag.VISIBLE | Flag.SENT)
    while chunk := list(itertools.islice(messages, _UNIT)):
        unit = Unit()
        for at, name, body, stanza in chunk:
            first, second = log.next_key(at), log.next_key(at)
            unit.docs.append(Doc(first, body))
            unit.entries += (
                Entry(first, _SENDER, _RECIPIENT, "", at, sent, name, first, stanza),
                Entry(second, _RECIPIENT, _SENDER, "load", at, received, name, first, stanza),
            )
            unit.checkpoint = second
        done = log.commit(unit)
        if done is not None:
            await done


async def _fill(data: Path, count: int) -> None:
    stores = await open_stores("sqlite:", data=data)
    try:
        await fill(stores, count)
    finally:
        await stores.close()


def main() -> None:
    """Fill the database of a server that does not run."""
    parser = argparse.ArgumentParser(prog="python -m bench.fill", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the server's data folder")
    parser.add_argument("--count", type=int, required=True, help="messages")
    options = parser.parse_args()
    asyncio.run(_fill(options.data, options.count))


if __name__ == "__main__":
    main()
