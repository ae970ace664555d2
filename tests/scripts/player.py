"""Plays for several actors, against a real server over real sockets.

A play is a file of lines, one thing that happens per line, in order::

    # what the play is about
    alice/desk  > <iq type='set' id='1'><enable xmlns='urn:xmpp:carbons:2'/></iq>
    alice/desk  < <iq type='result' id='1'/>
    bob/home    > <message to='{alice/phone}' type='chat'><body>Hi</body></message>
    alice/phone < <message from='{bob/home}'><body>Hi</body>...</message>
    bob/home    !

An actor is an account and a resource. It logs in (STARTTLS, SASL PLAIN, resource binding) when
it is first named, and again after it has left. The signs:

``>``  sends exactly this.
``<``  the next thing it receives is this.
``~``  among what it receives is this, in whatever order.
``?``  may have received this by now, or not; found out as by ``!``.
``!``  receives nothing at all: every actor and then this one pings the server, and nothing else
       may have come. No time is waited for.
``+``  is there: logs in, if it was not.
``-``  has received nothing more, closes its stream, and sees the server close its own.
``x``  loses its connection, without a word.
``/``  receives nothing more, and sees the server close the stream.
``@``  connects, and goes no further by itself than it says: ``@ tls`` (encrypted, and a stream is
       open) or ``@ login`` (by SASL as well, and a new stream is open, but no resource is bound).
       The resource in its name says nothing then, unless it binds it.

A line that begins with a space goes on with the line before it. ``include NAME`` plays the lines
of ``NAME.part`` first. At the end, whatever an actor has received and no line has named is a
failure. Stream features, and ``<r/>``, by which a server asks for an acknowledgement (XEP-0198),
need not be named.

Anything can be sent and expected, not only stanzas. After ``<enabled/>`` or ``<resumed/>`` both
sides count stanzas; from then on an actor does not ping for ``!`` and its like, but sends ``<r/>``
and takes the ``<a/>`` away, which changes no count. Who has no resource cannot do either: it is
left out, and whether it has received something is only looked at in the end.

In what is sent and what is expected:

``{alice}`` ``{alice/desk}`` ``{host}``  an address: of an account, a resource, the server.
``{plain/alice}``  what SASL PLAIN says for an account, as Base64; ``{ht/alice}``: what
             HT-SHA-256-NONE says with what is kept as ``token`` (XEP-0484).
``{name}``   what a line before has kept by that name.
``{=name}``  keeps what stands here; only in what is expected.
``...``      anything. In an attribute or in a text it stands for characters; as a whole
             attribute, also for its absence. Among the children of an element it stands for
             any further children or text.

What is expected is compared as XML: names and namespaces, not prefixes, quotes or the order of
attributes and children. An attribute that the stanza itself has beyond those expected is ignored;
inside, everything must be as written.

Comments beginning with ``#`` may say: ``# only: jabberd -- why`` (the play is for one server
alone), ``# config: sessions.resume_seconds = 0`` (a line of TOML, for jabberd) and ``# wait: 20``
(seconds that each line from here on may take; 5 otherwise).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, fromstring, tostring

from tests.integration.wire import StreamEnd
from tests.scripts.actor import STAGES, Actor
from tests.scripts.matching import match

_LINE: Final = re.compile(r"([a-z]+/[^\s]+)\s+([<>~?!+x@/-])\s*(.*)", re.DOTALL)
_ADDRESS: Final = re.compile(r"\{([a-z]+)(/[^{}]+)?\}")
_WAIT: Final = 5.0
ACTORS: Final = ("alice", "bob", "carol")
"""Whose accounts there are."""


class PlayError(Exception):
    """The play went otherwise, or its text makes no sense."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, as a play sees it.

    Attributes:
        name: of the software.
        domain: of the accounts.
        host: its IP address.
        port: its port for clients.
        suffix: keeps the accounts of plays on one server apart.
    """

    name: str
    domain: str
    host: str
    port: int
    suffix: str = ""

    def account(self, actor: str) -> str:
        """The localpart that an actor has here; its password is the same."""
        return f"{actor}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a play.

    Attributes:
        number: in its file.
        actor: who, with the resource.
        sign: what happens.
        text: XML, or an empty string.
        wait: seconds.
    """

    number: int
    actor: str
    sign: str
    text: str
    wait: float


@dataclass(frozen=True, slots=True)
class Play:
    """A whole play.

    Attributes:
        path: its file.
        only: the server it is for, with the reason; empty where it is for all.
        lines: in order.
        config: how jabberd has to be configured, in the shape of its configuration file.
    """

    path: Path
    only: str
    lines: tuple[Line, ...]
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Play:
        """Read a play.

        Raises:
            PlayError: a line cannot be understood.
        """
        only, wait, toml = "", _WAIT, ""
        lines: list[Line] = []
        for number, text in _joined(path.read_text(encoding="utf-8")):
            if text.startswith("#"):
                key, _, value = text[1:].strip().partition(": ")
                only = value if key == "only" else only
                wait = float(value) if key == "wait" else wait
                toml += f"{value}\n" if key == "config" else ""
            elif text.startswith("include "):
                part = path.with_name(f"{text.removeprefix('include ').strip()}.part")
                lines += cls.read(part).lines
            else:
                found = _LINE.fullmatch(text)
                if found is None or not _understood(found[2], found[3]):
                    raise PlayError(f"{path.name}:{number}: not understood: {text}")
                lines.append(Line(number, found[1], found[2], found[3], wait))
        return cls(path, only, tuple(lines), tomllib.loads(toml))


def _understood(sign: str, text: str) -> bool:
    return text in STAGES if sign == "@" else bool(text) is (sign in "<>~?")


def _joined(text: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if line[0].isspace() and found:
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{line.strip()}")
        else:
            found.append((number, line.rstrip()))
    return found


class Performance:
    """One play on one stage."""

    def __init__(self, play: Play, stage: Stage) -> None:
        self._play = play
        self._stage = stage
        self._actors: dict[str, Actor] = {}
        self._kept: dict[str, str] = {}
        self._fences = 0

    async def run(self) -> None:
        """Play it to the end.

        Raises:
            PlayError: it went otherwise; the text says on which line and how.
        """
        try:
            for line in self._play.lines:
                try:
                    await self._line(line)
                except (TimeoutError, StreamEnd, ConnectionError) as error:
                    what = str(error) or f"nothing came within {line.wait:g} s"
                    raise self._wrong(line, what) from error
                except ValueError as error:
                    raise self._wrong(line, str(error)) from error
            await self._leftovers()
        finally:
            for actor in self._actors.values():
                await actor.wire.cut()

    def _wrong(self, line: Line, what: str) -> PlayError:
        where = f"{self._play.path.name}:{line.number}"
        return PlayError(f"{where}: {line.actor} {line.sign} {line.text}\n  {what}")

    async def _line(self, line: Line) -> None:
        actor = self._actors.get(line.actor)
        if line.sign == "@" and actor is not None:
            raise self._wrong(line, "it is here already")
        if actor is None:
            actor = await self._enter(line)
        if line.sign == ">":
            await actor.send(self._filled(line.text))
        elif line.sign == "<":
            await self._expect(actor, line)
        elif line.sign == "~":
            await self._find(actor, line)
        elif line.sign == "?":
            await self._silence(line.wait)
            self._look(actor, self._wanted(line))
        elif line.sign == "!":
            await self._nothing(actor, line)
        elif line.sign in "-/x":
            await self._leave(actor, line)

    async def _enter(self, line: Line) -> Actor:
        local, _, resource = line.actor.partition("/")
        stage = self._stage
        account = f"{stage.account(local)}@{stage.domain}"
        stop = line.text if line.sign == "@" else ""
        actor = await Actor.enter((stage.host, stage.port), account, resource, stop)
        self._actors[line.actor] = actor
        return actor

    async def _leave(self, actor: Actor, line: Line) -> None:
        if line.sign == "-":
            await self._silence(line.wait)
        del self._actors[line.actor]
        try:
            if line.sign == "x":
                return
            end = await actor.ended(line.wait) if line.sign == "/" else None
            self._check_empty(line.actor, actor)
            end = end or await actor.wire.close()
            if not end.clean:
                raise self._wrong(line, "the server did not close its stream")
        finally:
            await actor.wire.cut()

    async def _nothing(self, actor: Actor, line: Line) -> None:
        if not actor.bound:
            raise self._wrong(line, "it has no resource, so nobody can tell")
        await self._silence(line.wait)
        found = actor.unnamed()
        if found is not None:
            raise self._wrong(line, f"received {_shown(found)}")

    async def _expect(self, actor: Actor, line: Line) -> None:
        wanted = self._wanted(line)
        found = await actor.next(wanted.tag, line.wait)
        kept = match(wanted, found)
        if kept is None:
            raise self._wrong(line, f"received {_shown(found)}")
        self._kept.update(kept)

    async def _find(self, actor: Actor, line: Line) -> None:
        wanted = self._wanted(line)
        if self._look(actor, wanted):
            return
        while (kept := match(wanted, found := await actor.receive(line.wait))) is None:
            actor.inbox.append(found)
        self._kept.update(kept)

    def _look(self, actor: Actor, wanted: Element) -> bool:
        """Take the first thing in the inbox that is as wanted."""
        for index, found in enumerate(actor.inbox):
            if (kept := match(wanted, found)) is not None:
                del actor.inbox[index]
                self._kept.update(kept)
                return True
        return False

    def _wanted(self, line: Line) -> Element:
        text = self._filled(line.text)
        try:
            root = fromstring(
                f"<x xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{text}</x>"
            )
        except ParseError as error:
            raise self._wrong(line, f"this is no XML: {error}") from None
        (wanted,) = root
        return wanted

    def _filled(self, text: str) -> str:
        def fill(found: re.Match[str]) -> str:
            name, resource = found[1], found[2]
            if name in ACTORS:
                return f"{self._stage.account(name)}@{self._stage.domain}{resource or ''}"
            if name == "host":
                return f"{self._stage.domain}{resource or ''}"
            if name in {"plain", "ht"} and resource:
                return self._login(name, self._stage.account(resource[1:]))
            if name not in self._kept or resource:
                raise ValueError(f"{found[0]} means nothing here")
            return self._kept[name]

        return _ADDRESS.sub(fill, text)

    def _login(self, how: str, account: str) -> str:
        said = f"\0{account}\0{account}".encode()
        if how == "ht":  # draft-schmaus-kitten-sasl-ht-09 §3.1
            proof = hmac.digest(self._kept.get("token", "").encode(), b"Initiator", "sha256")
            said = account.encode() + b"\0" + proof
        return base64.b64encode(said).decode()

    async def _silence(self, wait: float) -> None:
        # Twice: what the first round has let through reaches everybody before the second.
        for _ in range(2):
            for actor in [one for one in self._actors.values() if one.bound]:
                self._fences += 1
                await actor.fence(self._stage.domain, f"fence-{self._fences}", wait)

    async def _leftovers(self) -> None:
        await self._silence(_WAIT)
        for name, actor in self._actors.items():
            self._check_empty(name, actor)

    def _check_empty(self, name: str, actor: Actor) -> None:
        if actor.unnamed() is not None:
            raise PlayError(
                f"{self._play.path.name}: in the end, {name} has received what no line names: "
                + "\n  ".join(_shown(one) for one in actor.inbox)
            )


def _shown(element: Element) -> str:
    return tostring(element, encoding="unicode")


async def perform(play: Play, stage: Stage, wait: float = 60.0) -> None:
    """Play it; whatever it is, it is over in time.

    Raises:
        PlayError: it went otherwise.
        TimeoutError: it took too long.
    """
    async with asyncio.timeout(wait):
        await Performance(play, stage).run()
