"""One user's login on the example network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from jabberd.gateways.events import (
    Arrived,
    Changed,
    Consent,
    Contact,
    ContactAdded,
    ContactAsks,
    ContactRemoved,
    Event,
    Online,
    Reacted,
    Read,
    Received,
    Retracted,
    Show,
    Text,
    Trouble,
    Types,
    Typing,
)
from jabberd.gateways.example.wire import Line, Thing, WireError
from jabberd.gateways.transport import Emit, LoginRefused, Lost, NotDone, NotTaken, Transport

_MOST_EVENTS: Final = 10_000


class ExampleTransport(Transport):
    """A login; see `Transport`.

    Args:
        host: of the network's server.
        port: of the network's server.
        name: of the account.
        password: of the account.
    """

    def __init__(self, host: str, port: int, name: str, password: str) -> None:
        self._host = host
        self._port = port
        self._name = name
        self._password = password
        self._line: Line | None = None

    async def run(self, emit: Emit) -> None:
        """See `Transport.run`."""
        # Answers come by the same line as events, so it is read on while events wait: nothing may
        # hold it up. Too many end the login, after which those not confirmed come again.
        events: asyncio.Queue[Thing] = asyncio.Queue()

        async def happened(thing: Thing) -> None:
            if events.qsize() >= _MOST_EVENTS:
                raise WireError("too much happens at once")
            events.put_nowait(thing)

        try:
            line = await Line.connect(self._host, self._port)
        except WireError as error:
            raise Lost(str(error)) from None
        reading = asyncio.create_task(line.read(happened))
        try:
            await self._log_in(line)
            self._line = line
            await emit(Online())
            while True:
                await self._happened(line, await _next(events, reading), emit)
        except WireError as error:
            raise Lost(str(error)) from None
        finally:
            self._line = None
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            line.close()

    async def contacts(self) -> Sequence[Contact]:
        """See `Transport.contacts`."""
        told = await self._ask("contacts")
        return [_contact(one) for one in told["contacts"]]

    async def send_text(self, to: str, text: Text) -> str:
        """See `Transport.send_text`."""
        told = await self._ask(
            "send",
            to=to,
            id=text.id,
            text=text.body,
            replaces=text.replaces,
            replies_to=text.replies_to,
        )
        return str(told["id"])

    async def send_typing(self, to: str, typing: Typing) -> None:
        """See `Transport.send_typing`."""
        await self._ask("typing", to=to, typing=typing.value)

    async def send_read(self, to: str, id: str) -> None:  # noqa: A002 -- as the base class has it
        """See `Transport.send_read`."""
        await self._ask("read", to=to, id=id)

    async def send_reactions(self, to: str, id: str, emojis: Sequence[str]) -> None:  # noqa: A002
        """See `Transport.send_reactions`."""
        await self._ask("react", to=to, id=id, emojis=list(emojis))

    async def retract(self, to: str, id: str) -> None:  # noqa: A002
        """See `Transport.retract`."""
        await self._ask("retract", to=to, id=id)

    async def set_presence(self, show: Show, status: str) -> None:
        """See `Transport.set_presence`."""
        await self._ask("presence", show=show.value, status=status)

    async def add_contact(self, id: str, name: str) -> Contact:  # noqa: A002
        """See `Transport.add_contact`."""
        return _contact(await self._ask("add", id=id, name=name))

    async def remove_contact(self, id: str) -> None:  # noqa: A002
        """See `Transport.remove_contact`."""
        await self._ask("remove", id=id)

    async def answer(self, id: str, *, allow: bool) -> None:  # noqa: A002
        """See `Transport.answer`."""
        await self._ask("answer", id=id, allow=allow)

    # Inside

    async def _log_in(self, line: Line) -> None:
        try:
            await line.ask("login", name=self._name, password=self._password)
        except WireError as error:
            if error.answered:
                raise LoginRefused(str(error)) from None
            raise

    async def _happened(self, line: Line, thing: Thing, emit: Emit) -> None:
        event = _event(thing)
        if event is None:
            return  # a newer network: what is not known is left alone
        try:
            await emit(event)
        except NotTaken as error:
            if not error.lasting:
                raise Lost(str(error)) from None  # the network brings it again
        if isinstance(event, Arrived):
            await line.ask("got", id=event.id)

    async def _ask(self, verb: str, **what: object) -> Thing:
        line = self._line
        if line is None:
            raise Lost("not logged in")
        try:
            return await line.ask(verb, **what)
        except WireError as error:
            if error.answered:
                raise NotDone(Trouble.NO_SUCH_CONTACT, str(error)) from None
            raise Lost(str(error)) from None


async def _next(events: asyncio.Queue[Thing], reading: asyncio.Task[None]) -> Thing:
    """The next event.

    Raises:
        WireError: the line broke.
    """
    if events.empty():
        getting = asyncio.ensure_future(events.get())
        try:
            await asyncio.wait({getting, reading}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()
        finally:
            getting.cancel()
        await reading
    return events.get_nowait()


def _contact(thing: Thing) -> Contact:
    return Contact(
        str(thing["id"]),
        str(thing.get("name", "")),
        tuple(thing.get("groups", ())),
        Consent(thing.get("consent", "given")),
    )


def _event(thing: Thing) -> Event | None:
    who = str(thing.get("from", ""))
    name = str(thing.get("id", ""))
    own = bool(thing.get("own"))
    match thing.get("on"):
        case "message":
            return Arrived(
                who,
                str(thing["text"]),
                name,
                own=own,
                replies_to=str(thing.get("replies_to", "")),
                replaces=str(thing.get("replaces", "")),
                at=thing.get("at"),
            )
        case "presence":
            status = str(thing.get("status", ""))
            return Changed(who, Show(thing["show"]), status, thing.get("name"))
        case "typing":
            return Types(who, Typing(thing["typing"]))
        case "received":
            return Received(who, name)
        case "read":
            return Read(who, name)
        case "reacted":
            return Reacted(who, name, tuple(thing["emojis"]), own)
        case "retracted":
            return Retracted(who, name, own)
        case "contact":
            return ContactAdded(_contact(thing))
        case "gone":
            return ContactRemoved(name)
        case "asks":
            return ContactAsks(who, str(thing.get("text", "")))
    return None
