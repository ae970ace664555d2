"""The protocol of the example network: one JSON object per line, in both directions.

A client asks `{"do": VERB, "ref": N, ...}` and gets `{"ref": N, ...}`, with `"error"` where it
failed. What happens comes as `{"on": EVENT, ...}`; messages among it are repeated after the next
login until the client has said `{"do": "got", "id": ID}`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

LONGEST_LINE: Final = 1_048_576
_SECONDS: Final = 30.0

Thing = Mapping[str, Any]


class WireError(Exception):
    """The far end broke a rule, said no, or is gone.

    Args:
        text: why.
        answered: the far end said no, and the connection goes on.
    """

    def __init__(self, text: str, *, answered: bool = False) -> None:
        super().__init__(text)
        self.answered = answered


def encode(thing: Thing) -> bytes:
    """One line."""
    return json.dumps(thing).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """What a line says.

    Raises:
        WireError: it is no JSON object.
    """
    try:
        thing = json.loads(line)
    except ValueError as error:
        raise WireError(f"this is no JSON: {error}") from None
    if not isinstance(thing, dict):
        raise WireError("an object is expected")
    return thing


class Line:
    """A client's connection.

    Args:
        reader: what the far end says.
        writer: to the far end.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._refs = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Thing]] = {}

    @classmethod
    async def connect(cls, host: str, port: int) -> Line:
        """Connect.

        Raises:
            WireError: nobody is there.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                return cls(*await asyncio.open_connection(host, port, limit=LONGEST_LINE))
        except (OSError, TimeoutError) as error:
            raise WireError(f"cannot connect to {host} port {port}: {error}") from None

    async def ask(self, verb: str, **what: Any) -> Thing:
        """Ask for something, and wait for the answer; `read` must run meanwhile.

        Raises:
            WireError: the answer is no, or there is none.
        """
        ref = next(self._refs)
        answer: asyncio.Future[Thing] = asyncio.get_running_loop().create_future()
        self._asked[ref] = answer
        try:
            async with asyncio.timeout(_SECONDS):
                await self._write({"do": verb, "ref": ref, **what})
                told = await answer
        except TimeoutError:
            raise WireError("no answer") from None
        finally:
            del self._asked[ref]
        if "error" in told:
            raise WireError(str(told["error"]), answered=True)
        return told

    async def read(self, happened: Callable[[Thing], Awaitable[None]]) -> None:
        """Read until the far end is gone.

        Args:
            happened: takes an event; the next line is read when it is done.

        Raises:
            WireError: always, in the end.
        """
        try:
            while line := await self._reader.readline():
                thing = decode(line)
                answer = self._asked.get(thing.get("ref", 0))
                if answer is not None and not answer.done():
                    answer.set_result(thing)
                elif "on" in thing:
                    await happened(thing)
        except (OSError, ValueError) as error:
            raise WireError(str(error)) from None
        finally:
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(WireError("the connection broke"))
        raise WireError("the network closed the connection")

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _write(self, thing: Thing) -> None:
        try:
            self._writer.write(encode(thing))
            await self._writer.drain()
        except OSError as error:
            raise WireError(str(error)) from None
