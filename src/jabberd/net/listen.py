"""Accepting connections: one listening socket, its limits, and the connections it brought."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from .holder import BindError, ours, where
from .life import endpoint
from .limits import Admission
from .owner import PumpOptions
from .pump import Pump
from .wire import Endpoint, Machine

Network: TypeAlias = IPv4Network | IPv6Network

_log = logging.getLogger(__name__)
_ACCEPTS_PER_TURN = 64
_IN_FLIGHT = 256
"""Connections accepted but not yet on the loop; more wait in the kernel."""
_RETRY_SECONDS = 1.0
_RETRY_SOON = 0.05
"""When to try again once one of our own connections has given its descriptor back."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PORT_MOST = 0xFFFF
_EVERY = "::"
_KEEP_ALIVE = (("TCP_KEEPIDLE", 300), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4))
"""A silent far end is asked after five minutes, and given up two minutes later."""


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """How a listener treats what comes in.

    Attributes:
        pump: how its connections are treated.
        proxies: networks from which a PROXY header is believed, and required.
        relays: networks of proxies that name the far end by other means, in HTTP for example:
            their own connections are not counted by address.
        backlog: connections that the kernel keeps for us.
    """

    pump: PumpOptions = field(default_factory=PumpOptions)
    proxies: tuple[Network, ...] = ()
    relays: tuple[Network, ...] = ()
    backlog: int = 1024


def _listening(address: Endpoint, backlog: int, *, v6_only: bool) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: the address cannot be had.
    """
    v6 = ":" in address.host
    listening = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(listening)
        if v6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
        listening.bind(_pair(address))
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def keep_alive(made: socket.socket) -> None:
    """Have the system find out about far ends that are gone; accepted sockets inherit it."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def parse_address(text: str) -> Endpoint:
    """Read "127.0.0.1:5222" or "[::1]:5222"; port 0 lets the system choose.

    Raises:
        ValueError: it is neither; the message says what is expected.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if colon and port.isascii() and port.isdecimal() and int(port) <= _PORT_MOST:
        try:
            address = ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            address = None
        if address is not None and (address.version == 6) is bracketed and "%" not in host:
            return Endpoint(str(address), int(port))
    raise ValueError(f'"{text}" is not an address and port, like 127.0.0.1:5222 or [::1]:5222')


def parse_network(text: str) -> Network:
    """Read an address or a network, like "10.0.0.1" or "fd00::/8".

    Raises:
        ValueError: it is neither, or has bits set beyond its prefix.
    """
    return ip_network(text)


class Listener:
    """One listening socket; the `Owner` of the pumps that it makes.

    Args:
        address: where to listen. `[::]` is every address of the machine, IPv4 as well; but where
            this process listens on the port by IPv4 already, it is every IPv6 address.
        machine: makes what drives a connection, once that is ready (past PROXY header and
            direct TLS).
        options: how connections are treated.
        admission: the count of connections, shared by all listeners of the server.
        on_bug: told of exceptions that machines raised; None to log them.
    """

    def __init__(
        self,
        address: Endpoint | str,
        machine: Callable[[], Machine],
        options: ListenOptions | None = None,
        *,
        admission: Admission | None = None,
        on_bug: Callable[[Exception], None] | None = None,
    ) -> None:
        self._address = parse_address(address) if isinstance(address, str) else address
        self._make = machine
        self._options = options or ListenOptions()
        self._admission = admission or Admission()
        self._on_bug = on_bug
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._pumps: dict[Pump, str | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._accepting = False
        self._exhausted = False
        self._idle: asyncio.Event | None = None

    @property
    def address(self) -> Endpoint:
        """Where it listens; with the real port once it is started."""
        return self._address

    @property
    def options(self) -> ListenOptions:
        """How connections are treated; what is set here is for those that come later."""
        return self._options

    @options.setter
    def options(self, options: ListenOptions) -> None:
        self._options = options

    @property
    def pumps(self) -> frozenset[Pump]:
        """The connections that are open now."""
        return frozenset(self._pumps)

    def start(self) -> None:
        """Bind and accept; call it on the running loop.

        Raises:
            BindError: the address cannot be had; the message says why.
        """
        self._loop = asyncio.get_running_loop()
        self._socket = self._bind()
        self._address = endpoint(self._socket.getsockname())
        self._accept_more()

    def stop_accepting(self) -> None:
        """Close the listening socket; connections stay."""
        self._pause_accepting()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def stop(self, seconds: float = 5.0) -> None:
        """Stop accepting, close all connections, abort those still there after `seconds`."""
        self.stop_accepting()
        self._idle = asyncio.Event()
        for pump in tuple(self._pumps):
            pump.close()
        try:
            async with asyncio.timeout(seconds):
                await self._wait_idle(self._idle)
        except TimeoutError:
            for pump in tuple(self._pumps):
                pump.abort()
            await self._wait_idle(self._idle)

    async def _wait_idle(self, idle: asyncio.Event) -> None:
        while self._pumps or self._tasks:
            idle.clear()
            await idle.wait()

    # Owner

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that everything runs on."""
        if self._loop is None:
            raise RuntimeError("the listener is not started")
        return self._loop

    def machine(self) -> Machine:
        """Make what a connection drives."""
        return self._make()

    def named(self, pump: Pump, peer: Endpoint) -> bool:
        """A proxy has named the far end; False when that one has too many connections."""
        if not self._admission.name(peer.source):
            return False
        self._pumps[pump] = peer.source
        return True

    def gone(self, pump: Pump, why: str | None) -> None:
        """A connection is no more."""
        if pump in self._pumps:
            self._admission.leave(self._pumps.pop(pump))
        if why is not None:
            _log.debug("connection from %s failed: %s", pump.peer.host, why)
        if self._idle is not None:
            self._idle.set()
        retry = self._retry
        if retry is not None and retry.when() - self.loop.time() > _RETRY_SOON:
            retry.cancel()
            self._retry = self.loop.call_later(_RETRY_SOON, self._accept_more)

    def bug(self, error: Exception) -> None:
        """A machine raised."""
        if self._on_bug is not None:
            self._on_bug(error)
        else:
            _log.error("a connection was aborted by a fault of ours", exc_info=error)

    # Accepting

    def _bind(self) -> socket.socket:
        address, backlog = self._address, self._options.backlog
        every = address.host == _EVERY
        try:
            try:
                return _listening(address, backlog, v6_only=not every)
            except OSError as error:
                # A stranger's port is not to be had by halves: IPv4 would end at the stranger.
                if not every or error.errno != errno.EADDRINUSE or not ours(address.port):
                    raise
                return _listening(address, backlog, v6_only=True)
        except OSError as error:
            raise BindError(address.host, address.port, error) from error

    def _accept_more(self) -> None:
        self._retry = None
        if self._socket is not None and not self._accepting and len(self._tasks) < _IN_FLIGHT:
            self._accepting = True
            self.loop.add_reader(self._socket.fileno(), self._accept)

    def _pause_accepting(self) -> None:
        if self._accepting and self._socket is not None:
            self._accepting = False
            self.loop.remove_reader(self._socket.fileno())

    def _accept(self) -> None:
        """Called by the loop: somebody is at the door. Bounded, so that others get their turn."""
        for _ in range(_ACCEPTS_PER_TURN):
            if self._socket is None:
                return
            if len(self._tasks) >= _IN_FLIGHT:
                self._pause_accepting()  # `_welcomed` comes back to it
                return
            try:
                connection, name = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                self._caught_up()
                return
            except OSError as error:
                if error.errno in _EXHAUSTED or error.errno in (errno.EBADF, errno.EINVAL):
                    self._exhaust(error)
                    return
                continue  # that one connection failed before it was ours (accept(2))
            self._admit(connection, endpoint(name))

    def _exhaust(self, error: OSError) -> None:
        """No descriptors or memory: wait, as the socket stays readable and would spin."""
        self._pause_accepting()
        if not self._exhausted:
            self._exhausted = True
            place = where(*_pair(self._address))
            _log.error("accepting no connections on %s for now: %s", place, error.strerror)
        self._retry = self.loop.call_later(_RETRY_SECONDS, self._accept_more)

    def _caught_up(self) -> None:
        """Nobody waits at the door any more."""
        if self._exhausted:
            self._exhausted = False
            _log.warning("accepting connections again on %s", where(*_pair(self._address)))

    def _admit(self, connection: socket.socket, peer: Endpoint) -> None:
        address = ip_address(peer.host)
        proxied = any(address in network for network in self._options.proxies)
        relayed = any(address in network for network in self._options.relays)
        source = None if proxied or relayed else peer.source
        if not self._admission.enter(source):
            connection.close()
            return
        connection.setblocking(False)
        pump = Pump(self, self._options.pump, peer, expect_proxy=proxied)
        self._pumps[pump] = source
        task = self.loop.create_task(self._welcome(connection, pump))
        self._tasks.add(task)
        task.add_done_callback(self._welcomed)

    async def _welcome(self, connection: socket.socket, pump: Pump) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: pump, connection)
        except Exception as error:  # the peer went away meanwhile, or the loop refuses it
            connection.close()
            self.gone(pump, str(error))

    def _welcomed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._idle is not None:
            self._idle.set()
        if self._retry is None:
            self._accept_more()


def _pair(address: Endpoint) -> tuple[str, int]:
    return address.host, address.port
