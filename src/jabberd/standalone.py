"""A gateway as a process of its own: `jabberd gateway NAME`."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Callable

from jabberd.client.component import ComponentClient
from jabberd.config import Config, StartError, parse_route
from jabberd.config.folder import locked
from jabberd.gateways.gateway import Gateway
from jabberd.gateways.link import Far
from jabberd.net.clock import SystemClock
from jabberd.storage.api import Stores
from jabberd.storage.open import open_stores
from jabberd.transports import network_of, options
from jabberd.xmpp.jid import JID


async def serve(config: Config, name: str, *, ready: Callable[[str], None]) -> None:
    """Run a gateway until SIGTERM or SIGINT.

    Args:
        config: what to run.
        name: domain of the gateway.
        ready: told when the gateway has begun, with a sentence.

    Raises:
        StartError: there is no such gateway in the configuration, or it cannot start.
        StorageError: its database cannot be had.
    """
    _check(config, name)
    with locked(config.data):
        stores = await open_stores(config.storage, data=config.data, durability=config.durability)
        try:
            stopping = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stopping.set)
            async with running(config, name, stores):
                ready(f"The gateway {name} connects to {config.gateway[name].server}.")
                await stopping.wait()
        finally:
            await stores.close()


@contextlib.asynccontextmanager
async def running(config: Config, name: str, stores: Stores) -> AsyncIterator[Gateway]:
    """A gateway that keeps itself connected to its server.

    Raises:
        StartError: it cannot start.
        StorageError: the database cannot be read.
    """
    table = config.gateway[name]
    host, port, _ = parse_route(table.server)
    links: list[ComponentClient] = []

    def connect(far: Far) -> ComponentClient:
        links.append(
            ComponentClient(
                JID.parse(name), table.secret, host, port,
                receive=far.receive, up=far.up, down=far.down,
            )
        )  # fmt: skip
        return links[0]

    gateway = Gateway(
        network_of(config, name),
        options(config, name),
        stores.records(name),
        connect,
        SystemClock().now,
        lambda: secrets.token_hex(16),
    )
    try:
        await gateway.start()
    except OSError as error:
        raise StartError(f"the gateway {name} cannot start: {error}") from None
    link = asyncio.create_task(links[0].run())
    try:
        yield gateway
    finally:
        await gateway.stop()
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)


def _check(config: Config, name: str) -> None:
    table = config.gateway.get(name)
    if table is None:
        known = ", ".join(config.gateway) or "none"
        raise StartError(f"the configuration has no gateway {name}; it has: {known}")
    if not table.server:
        text = "it runs inside the server, unless the configuration says which server to connect to"
        raise StartError(f'gateway.{name}: {text}: expected server = "127.0.0.1:5347" and a secret')
