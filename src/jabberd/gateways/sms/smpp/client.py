"""Keeps bound to an SMSC, and sends messages as fast as it likes them."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import structlog

from jabberd.gateways.sms.backend import Link
from jabberd.gateways.sms.smpp.bodies import Message
from jabberd.gateways.sms.smpp.connection import (
    BindRefused,
    Connection,
    Inlet,
    NoRoom,
    Rejected,
    SmppError,
    Target,
)
from jabberd.gateways.sms.smpp.pace import Pace
from jabberd.gateways.sms.smpp.session import Mode
from jabberd.gateways.sms.smpp.status import BUSY, PASSING, REFUSALS, Status, explain

_log: Final = structlog.get_logger("jabberd.sms")
_LONGEST_PAUSE: Final = 60.0
_STEADY_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 1.0


class Client:
    """A bind that lasts: one connection for both directions, or one for each.

    Args:
        target: where to.
        rate: messages per second.
        inlet: takes what comes.
        link: is told whether it is bound.
        first_pause: seconds before the second try to connect.
    """

    def __init__(
        self, target: Target, rate: float, inlet: Inlet, link: Link, first_pause: float = 1.0
    ) -> None:
        self._target = target
        self._pace = Pace(rate, asyncio.get_running_loop().time())
        self._inlet = inlet
        self._link = link
        self._first_pause = first_pause
        self._pair = False
        self._connections: list[Connection] = []
        self._sending = asyncio.Lock()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Take leave."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._hang_up()
        self._link.down("stopped")

    async def submit(
        self, message: Message, until: float, tlvs: tuple[tuple[int, bytes], ...] = ()
    ) -> str:
        """Send a message; returns what the SMSC calls it.

        Args:
            message: to send.
            until: when to give up waiting for a turn, by the loop's clock.
            tlvs: optional parameters.

        Raises:
            Rejected: the SMSC did not take it.
            NoAnswer: nobody knows whether it did.
            NoRoom: it was not sent, or not taken yet, and may be tried again.
            FieldError: it does not fit SMPP.
        """
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            connection = await self._turn(until)
            try:
                name = await connection.submit(message, tlvs)
            except Rejected as rejected:
                tries += 1
                if rejected.status in BUSY:
                    self._pace.throttled(loop.time())
                    _log.info("the SMSC slows us down", rate=round(self._pace.rate, 2))
                elif rejected.status in PASSING and tries == 1:
                    await asyncio.sleep(_AGAIN_SECONDS)
                elif rejected.status == Status.WRONG_BIND_STATE:
                    await connection.close()  # and bind again
                    raise NoRoom(str(rejected)) from None
                else:
                    raise
                continue
            self._pace.taken()
            return name

    # Inside

    async def _turn(self, until: float) -> Connection:
        """Wait until a message may be sent.

        Raises:
            NoRoom: that took too long.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(until), self._sending:
                while True:
                    await self._link.wait_up()
                    connection = self._connections[0]
                    try:
                        await connection.wait_room()
                    except NoRoom:
                        await self._link.wait_down()  # and up again
                        continue
                    pause = self._pace.take(loop.time())
                    if not pause:
                        return connection
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise NoRoom(self._link.problem or "the SMSC wants fewer messages") from None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            try:
                await self._connect()
                self._link.up()
                _log.info("bound to the SMSC", host=self._target.host, pair=self._pair)
                why = await self._wait_ended()
            except BindRefused as refused:
                why = str(refused)
                if refused.status in REFUSALS:
                    self._link.down(f"{why}; this gateway has to be configured anew")
                    _log.error("the SMSC refuses this gateway for good", why=why)
                    return
            except SmppError as error:
                why = str(error)
            except Exception as error:
                why = "an error in the gateway; its log has it"
                _log.error("a bind failed", exc_info=error)
            self._link.down(why)
            await self._hang_up()
            if loop.time() - began > _STEADY_SECONDS:
                failures = 0
            pause = min(self._first_pause * 2**failures, _LONGEST_PAUSE)
            failures = min(failures + 1, 10)
            _log.warning("not bound to the SMSC", why=why, pause=pause)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 -- jitter

    async def _connect(self) -> None:
        if not self._pair:
            try:
                self._connections = [await self._open(Mode.TRANSCEIVER)]
            except BindRefused as refused:
                if refused.status != Status.INVALID_COMMAND_ID:
                    raise
                _log.info("the SMSC wants one bind for each direction", why=explain(refused.status))
                self._pair = True
            else:
                return
        self._connections = []
        for mode in (Mode.TRANSMITTER, Mode.RECEIVER):
            self._connections.append(await self._open(mode))

    async def _open(self, mode: Mode) -> Connection:
        return await Connection.open(self._target, mode, self._inlet)

    async def _wait_ended(self) -> str:
        waiting = [asyncio.ensure_future(one.wait_ended()) for one in self._connections]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for one in waiting:
                one.cancel()

    async def _hang_up(self) -> None:
        connections, self._connections = self._connections, []
        await asyncio.gather(*(one.close() for one in connections))
