"""The life of a connection: its stages, its two ends, its one deadline, and how it ends."""

from __future__ import annotations

import asyncio
from enum import IntEnum

from .owner import Owner, PumpOptions
from .tls_session import TlsSession
from .wire import Endpoint, Machine, plain_host


class Stage(IntEnum):
    """Where a connection is in its life."""

    PROXY = 0
    HANDSHAKE = 1
    OPEN = 2
    CLOSING = 3
    GONE = 4


class Life(asyncio.Protocol):
    """What a `Pump` is apart from the bytes that it moves.

    It is a base class and no part of the pump: a part would cost each read and write a look-up.

    Args:
        owner: who made it.
        options: how it is treated.
        peer: the far end.
    """

    __slots__ = (
        "_error",
        "_local",
        "_machine",
        "_options",
        "_out",
        "_owner",
        "_peer",
        "_proxied",
        "_queued",
        "_stage",
        "_timer",
        "_tls",
        "_transport",
    )

    def __init__(self, owner: Owner, options: PumpOptions, peer: Endpoint) -> None:
        self._owner = owner
        self._options = options
        self._peer = peer
        self._local: Endpoint | None = None
        self._proxied = False
        self._stage: Stage = Stage.PROXY
        self._transport: asyncio.Transport | None = None
        self._machine: Machine | None = None
        self._tls: TlsSession | None = None
        self._out: list[bytes] | None = None
        self._queued = 0
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None

    @property
    def peer(self) -> Endpoint:
        """The far end; the original one where a trusted proxy named it."""
        return self._peer

    @property
    def local(self) -> Endpoint:
        """Our end; the original one where a trusted proxy named it."""
        if self._local is None:
            name = self._transport.get_extra_info("sockname") if self._transport else None
            self._local = endpoint(name) if name else Endpoint("0.0.0.0", 0)  # noqa: S104 -- no bind
        return self._local

    @property
    def proxied(self) -> bool:
        """Whether a PROXY protocol header was used."""
        return self._proxied

    def abort(self) -> None:
        """Close now and forget what is queued."""
        self._fail(None)

    def _end(self, exc: Exception | None) -> str | None:
        """The connection is gone; returns why, if it failed before it had a machine."""
        why = None if self._machine is not None else str(self._error or exc or "closed early")
        self._stage = Stage.GONE
        self._cancel_timer()
        machine, self._machine = self._machine, None
        tls, self._tls = self._tls, None
        if tls is not None:
            tls.release()
        self._transport = self._out = None
        self._queued = 0
        if machine is not None:
            try:
                machine.ended(self._error or exc)
            except Exception as error:
                self._owner.bug(error)
        return why

    def _bug(self, error: Exception) -> None:
        self._owner.bug(error)
        self._fail(error)

    def _fail(self, error: Exception | None) -> None:
        """Abort; `connection_lost` does the rest."""
        self._error = self._error or error
        self._out = None
        self._queued = 0
        self._stage = max(self._stage, Stage.CLOSING)
        self._cancel_timer()
        if self._transport is not None:
            self._transport.abort()

    def _deadline(self, seconds: float, why: str | None) -> None:
        self._cancel_timer()
        self._timer = self._owner.loop.call_later(seconds, self._late, why)

    def _late(self, why: str | None) -> None:
        self._timer = None
        self._fail(TimeoutError(why) if why else None)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bare(error: Exception) -> Exception:
    """The same error without its traceback, whose frames would tie a cycle around the pump."""
    return type(error)(*error.args)


def endpoint(name: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """The address of a socket, in its plain form."""
    return Endpoint(plain_host(name[0]), name[1])
