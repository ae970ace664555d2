"""Gateways, as the configuration has them: inside the server, or as a process of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import Final

from jabberd.config import Config, StartError
from jabberd.config.folder import secret
from jabberd.core.admin_gateways import GatewayUser
from jabberd.core.module import AccountEvent, Module, OnAccount
from jabberd.core.router import Router
from jabberd.core.services import Services
from jabberd.core.turns import Turns
from jabberd.edge.local import LocalComponent
from jabberd.gateways.gateway import Gateway, Options
from jabberd.gateways.link import Far, Link
from jabberd.gateways.transport import Network
from jabberd.gateways.vault import KEY_BYTES
from jabberd.net.clock import Clock
from jabberd.storage.api import Stores
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.privilege import Privileges

_ALL: Final = Privileges("both", "outgoing", iq={ns.HTTP_UPLOAD: "get"})


class GatewayInfo:
    """What the operator sees of a gateway (`core.admin_gateways.GatewayView`).

    Args:
        gateway: which.
        now: seconds since the epoch.
    """

    def __init__(self, gateway: Gateway, now: Callable[[], float]) -> None:
        self._gateway = gateway
        self._now = now

    @property
    def domain(self) -> str:
        """See `GatewayView.domain`."""
        return self._gateway.domain

    @property
    def network(self) -> str:
        """See `GatewayView.network`."""
        return self._gateway.network.title

    def members(self) -> Sequence[GatewayUser]:
        """See `GatewayView.members`."""
        return [
            GatewayUser(
                session.user.jid.text,
                session.user.name,
                session.state.value,
                int(self._now() - session.since),
                len(session.outbox),
                session.problem,
            )
            for session in self._gateway.sessions()
        ]


class Transports:
    """The gateways inside a server.

    Args:
        config: of the server.
        stores: durable state.
        router: gets a route for each gateway.
        turns: tell when something is on the disk.
        clock: the time.
        token: makes unpredictable strings.
        services: lists gateways, and lets them act for users.
        nearby: the address by which this machine reaches a URL of the server's own.

    Raises:
        StartError: the key of the credentials cannot be had.
    """

    def __init__(  # noqa: PLR0913 -- the parts of a server that it has to do with
        self,
        config: Config,
        *,
        stores: Stores,
        router: Router,
        turns: Turns,
        clock: Clock,
        token: Callable[[], str],
        services: Services,
        nearby: Callable[[str], str],
    ) -> None:
        self._services = services
        self._router = router
        self._links: dict[str, LocalComponent] = {}
        self._gateways: dict[str, Gateway] = {}
        self._now = clock.now
        for name in config.networks:
            if config.gateway[name].server:
                continue  # it runs in a process of its own
            domain = JID.parse(name)
            link = self._links[name] = LocalComponent(
                domain,
                JID.parse(_host_of(name, config)),
                router=router,
                turns=turns,
                log=stores.log,
                token=token,
            )
            # What the gateway would check is the server's own certificate, often a self-signed one,
            # on a connection that does not leave this machine.
            self._gateways[name] = Gateway(
                network_of(config, name),
                replace(options(config, name), verify_uploads=False, nearby=nearby),
                stores.records(name),
                partial(_linked, link),
                clock.now,
                token,
            )

    def infos(self) -> Sequence[GatewayInfo]:
        """What the operator sees."""
        return [GatewayInfo(gateway, self._now) for gateway in self._gateways.values()]

    async def start(self) -> None:
        """Begin, one after the other.

        Raises:
            StartError: a network cannot begin.
            StorageError: the database cannot be read.
        """
        for name, gateway in self._gateways.items():
            try:
                await gateway.start()
            except OSError as error:
                raise StartError(f"the gateway {name} cannot start: {error}") from None
            link = self._links[name]
            link.contain(gateway)
            self._router.add(name, link)
            # A gateway of this server needs nobody's grant but its user's: it asks at sign-up.
            self._services.grant(name, _ALL)
            self._services.came(name)
            gateway.up()

    def module(self) -> Module:
        """What hosts have to tell gateways, as a module of theirs."""
        return Module(handlers=[OnAccount(AccountEvent.DELETING, self._forget)])

    async def _forget(self, account: JID) -> None:
        for gateway in self._gateways.values():
            await gateway.forget(account)

    async def stop(self) -> None:
        """End."""
        for name, gateway in self._gateways.items():
            await gateway.stop()
            self._services.went(name)
            self._router.remove(name)


def network_of(config: Config, name: str) -> Network:
    """The network of a gateway, with its options.

    Raises:
        StartError: a file that they name cannot be used, or a library is missing.
    """
    choice = config.networks[name]
    try:
        return choice.load(choice.options)
    except ImportError as error:
        extra = f"install it by: pip install 'jabberd[{choice.name}]'"
        raise StartError(f"gateway.{name} needs {error.name!r}; {extra}") from None
    except (ValueError, OSError) as error:
        raise StartError(f"gateway.{name}: {error}") from None


def options(config: Config, name: str) -> Options:
    """What a gateway is made of.

    Raises:
        StartError: the key of the credentials cannot be had.
    """
    table = config.gateway[name]
    above = name.partition(".")[2]
    allow = table.allow or ((above,) if table.server else tuple(config.host))
    return Options(JID.parse(name), frozenset(allow), key_of(config, name), _version())


def key_of(config: Config, name: str) -> bytes:
    """The key that the credentials of a gateway's users are encrypted with.

    Raises:
        StartError: it cannot be had.
    """
    variable = config.gateway[name].key_env
    if not variable:
        return secret(config.data, "gateways", KEY_BYTES)
    text = os.environ.get(variable, "")
    if not text:
        raise StartError(f"the environment variable {variable} (gateway.{name}) is not set")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        digits = 2 * KEY_BYTES
        expected = f"expected {digits} hexadecimal digits, as `openssl rand -hex {KEY_BYTES}` makes"
        raise StartError(f"the environment variable {variable} is no key: {expected}")
    return key


def _version() -> str:
    try:
        return metadata.version("jabberd")
    except metadata.PackageNotFoundError:  # run from its source
        return "0"


def _linked(link: LocalComponent, _far: Far) -> Link:
    return link


def _host_of(name: str, config: Config) -> str:
    above = name.partition(".")[2]
    return above if above in config.host else next(iter(config.host))
