"""Connecting to somebody: the first address that answers, of the first place that does."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from .dns import DnsError, Target
from .life import endpoint
from .listen import keep_alive
from .owner import PumpOptions
from .pump import Pump
from .wire import Endpoint, Machine

_STAGGER: Final = 0.25  # seconds (RFC 8305 §5)
_PER_TARGET: Final = 10.0
"""Seconds to reach one place; a TLS handshake has its own, by `PumpOptions`."""
_IN_ALL: Final = 30.0
_GOODBYE: Final = 1.0
"""Seconds for aborted connections to be gone: a turn of the loop will do."""
_MOST: Final = 5_000


class DialError(Exception):
    """Nobody could be reached; the message says why, place by place.

    Attributes:
        step: how far the last attempt came: "dns", "connect" or "tls".
        cause: the fault in the DNS, where that was all of it.
    """

    def __init__(self, message: str, step: str, cause: DnsError | None = None) -> None:
        super().__init__(message)
        self.step = step
        self.cause = cause


class Addresses(Protocol):
    """What knows the addresses of a place."""

    async def addresses(self, target: Target) -> Sequence[str]:
        """In the order of trying.

        Raises:
            DnsError: there are none.
        """


class Dialler:
    """Makes connections, and keeps count of them.

    Args:
        resolver: knows addresses.
        on_bug: told of exceptions that machines raised.
        most: connections that may be open at once; those that are being made count.
    """

    def __init__(
        self, resolver: Addresses, *, on_bug: Callable[[Exception], None], most: int = _MOST
    ) -> None:
        self._resolver = resolver
        self._on_bug = on_bug
        self._most = most
        self._calls: set[_Call] = set()
        self._reaching = 0
        self._idle: asyncio.Event | None = None

    async def dial(
        self,
        targets: Sequence[Target],
        machine: Callable[[], Machine],
        options: Callable[[Target], PumpOptions],
    ) -> Target:
        """Connect to the first place that can be reached.

        It is done when the machine is made: with TLS from the first byte, when that is up.

        Args:
            targets: in the order of trying.
            machine: makes what drives the connection.
            options: how to treat a connection to a place.

        Returns:
            Which place it is.

        Raises:
            DialError: none of them.
        """
        said: list[str] = []
        step, cause = "connect", None
        clock = asyncio.get_running_loop().time
        until = clock() + _IN_ALL
        for target in targets:
            if clock() >= until:
                said.append("there was no time for more places")
                break
            try:
                treatment = options(target)
                connected, peer = await self._reach(target, until)
                await self._begin(connected, peer, machine, treatment, until)
            except DnsError as error:
                step, cause = "dns", error
                said.append(str(error))
            except _Failed as error:
                step = error.step
                said.append(str(error))
            else:
                return target
        only = cause if len(targets) == 1 else None
        raise DialError("; ".join(dict.fromkeys(said)) or "there is nowhere to go", step, only)

    async def _reach(self, target: Target, until: float) -> tuple[socket.socket, Endpoint]:
        """A socket that is connected to a place."""
        if len(self._calls) + self._reaching >= self._most:
            raise _Failed("too many connections to other servers are open", "connect")
        until = min(until, asyncio.get_running_loop().time() + _PER_TARGET)
        self._reaching += 1
        try:
            async with asyncio.timeout_at(until):
                addresses = await self._resolver.addresses(target)
                return await connect([(address, target.port) for address in addresses])
        except TimeoutError:
            raise _Failed(f"{target} does not answer", "connect") from None
        finally:
            self._reaching -= 1

    async def _begin(
        self,
        connected: socket.socket,
        peer: Endpoint,
        machine: Callable[[], Machine],
        options: PumpOptions,
        until: float,
    ) -> None:
        """Give a connection its pump, and wait until it has its machine."""
        call = _Call(self, machine, f"{peer.host} port {peer.port}")
        self._calls.add(call)
        pump = Pump(call, options, peer)
        call.own(pump)
        try:
            async with asyncio.timeout_at(until):
                await call.loop.create_connection(lambda: pump, sock=connected)
                await call.made
        except asyncio.CancelledError:
            pump.abort()
            raise
        except TimeoutError:
            pump.abort()
            raise _Failed(f"{call.where}: TLS handshake took too long", "tls") from None
        except OSError as error:
            connected.close()
            self.left(call)
            raise _Failed(f"{call.where}: {_words(error)}", "connect") from None

    def left(self, call: _Call) -> None:
        """A connection is no more."""
        self._calls.discard(call)
        if self._idle is not None and not self._calls:
            self._idle.set()

    def bug(self, error: Exception) -> None:
        """A machine raised."""
        self._on_bug(error)

    async def stop(self, seconds: float = 5.0) -> None:
        """Close all connections, and abort those still there after `seconds`."""
        if not self._calls:
            return
        self._idle = asyncio.Event()
        for call in tuple(self._calls):
            call.close()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            for call in tuple(self._calls):
                call.abort()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await self._idle.wait()


class _Failed(Exception):  # noqa: N818 -- it says what the attempt has
    """One place could not be reached."""

    def __init__(self, message: str, step: str) -> None:
        super().__init__(message)
        self.step = step


class _Call:
    """One connection that we have made (`net.owner.Owner`)."""

    def __init__(self, dialler: Dialler, machine: Callable[[], Machine], where: str) -> None:
        self._dialler = dialler
        self._machine: Callable[[], Machine] | None = machine
        self._pump: Pump | None = None
        self.loop = asyncio.get_running_loop()
        self.made: asyncio.Future[None] = self.loop.create_future()
        self.made.add_done_callback(_looked_at)  # whoever dials may have given up
        self.where = where

    def machine(self) -> Machine:
        """The connection is ready."""
        if not self.made.done():
            self.made.set_result(None)
        make, self._machine = self._machine, None  # it may hold on to much
        if make is None:
            raise RuntimeError("a connection has one machine")
        return make()

    def named(self, pump: Pump, peer: Endpoint) -> bool:  # noqa: ARG002 -- Owner
        """False: nobody stands between us and whom we have called."""
        return False

    def gone(self, pump: Pump, why: str | None) -> None:  # noqa: ARG002 -- Owner
        """The connection is no more."""
        if not self.made.done():
            self.made.set_exception(_Failed(f"{self.where}: {why or 'closed early'}", "tls"))
        self._dialler.left(self)

    def bug(self, error: Exception) -> None:
        """The machine raised."""
        self._dialler.bug(error)

    def own(self, pump: Pump) -> None:
        """This is its connection."""
        self._pump = pump

    def close(self) -> None:
        """End it in order."""
        if self._pump is not None:
            self._pump.close()

    def abort(self) -> None:
        """End it now."""
        if self._pump is not None:
            self._pump.abort()


async def connect(addresses: Sequence[tuple[str, int]]) -> tuple[socket.socket, Endpoint]:
    """A socket that is connected to one of these: the first that answers (RFC 8305 §5).

    Each gets a head start on the next one; that begins at once where one has failed.
    Also returns which one it is: a socket that was reset meanwhile would not tell.

    Raises:
        _Failed: none of them; it says why.
    """
    waiting = list(addresses)
    under_way: dict[asyncio.Task[socket.socket], tuple[str, int]] = {}
    said: list[str] = []
    loop = asyncio.get_running_loop()
    try:
        while waiting or under_way:
            if waiting:
                address = waiting.pop(0)
                under_way[loop.create_task(_connect(address))] = address
            done, _ = await asyncio.wait(
                under_way,
                timeout=_STAGGER if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                host, port = under_way.pop(task)
                error = task.exception()
                if error is None:
                    return task.result(), endpoint((host, port))
                said.append(f"{host} port {port}: {_words(error)}")
    finally:
        for task in under_way:
            task.cancel()
            task.add_done_callback(_throw_away)
    raise _Failed("; ".join(said), "connect")


async def _connect(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(made)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _looked_at(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _throw_away(task: asyncio.Task[socket.socket]) -> None:
    """A socket that came too late is closed."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno == errno.ETIMEDOUT:
            return "no answer"
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
