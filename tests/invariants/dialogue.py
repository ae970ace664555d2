"""What a client says to the server after the login, and what it makes of what it hears.

It writes the client's history: it acknowledges a stanza after that is in there, and not before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final
from xml.etree.ElementTree import Element

from tests.integration.wire import CLIENT, STREAM, StreamEnd
from tests.invariants.history import ClientHistory, How, Key, Said, Seen, Session
from tests.invariants.outbox import Item, Outbox, Wrong
from tests.invariants.stream import (
    DOMAIN,
    SM,
    Inside,
    Refused,
    Stream,
    condition,
    look_inside,
    message,
    page,
    query,
)
from tests.invariants.timeline import Timeline

_STANZAS: Final = frozenset(f"{CLIENT}{name}" for name in ("message", "presence", "iq"))
_HOW: Final = {"result": How.ARCHIVE, "received": How.RECEIVED, "sent": How.SENT}
_TRUE: Final = frozenset({"true", "1"})


@dataclass(slots=True)
class World:
    """What the clients of a run share.

    Attributes:
        now: seconds since the beginning of the run.
        life: which life of the server this is, from 1.
        ended: how each former life ended: "kill" or "restart".
        counts: of whatever happens.
        acknowledged: called at once when the server acknowledges a message.
    """

    now: Callable[[], float]
    life: int = 0
    ended: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    acknowledged: Callable[[], None] = lambda: None


class Dialogue:
    """One client's stream management session, outbox and view of its archive.

    Args:
        history: what it writes; says also who the client is.
        world: see there.
        random: the client's dice.
        priority: of its presence.

    Attributes:
        history: see there.
        outbox: what the server has not taken on.
        timeline: the client's view of its conversations.
        stream: the connection, while there is one that has logged in.
        previous: the id of the session that may be resumed.
        heard: when the server last said something.
    """

    def __init__(self, history: ClientHistory, world: World, random: Random, priority: int) -> None:
        self.history = history
        self.outbox = Outbox()
        self.timeline = Timeline(history.account, history.timeline)
        self.stream: Stream | None = None
        self.previous: str | None = None
        self.heard = 0.0
        self._world = world
        self._random = random
        self._priority = priority
        self._said: dict[str, Said] = {}
        self._to: dict[str, str] = {}
        self._numbers: Counter[str] = Counter()
        # The server's stanzas in this session: recorded here, and acknowledged by us.
        self._handled = self._claimed = 0
        self._ids = 0
        self._query = ""  # the id of the question for the next page of the archive
        self._enabling = ""  # the id of the request for carbons

    # Saying

    def say(self, to: str, resource: str | None) -> None:
        """Say the next message to an account, or to one of its resources."""
        self._numbers[to] += 1
        key = Key(self.history.account, self.history.resource, to, self._numbers[to])
        said = Said(key, self._world.now(), full=resource is not None)
        self.history.said.append(said)
        self._said[key.id] = said
        self.timeline.live(key, None)
        self._to[key.id] = f"{to}@{DOMAIN}{f'/{resource}' if resource else ''}"
        self.outbox.add(Item(message(key, self._to[key.id]), said))
        self.flush()

    def flush(self) -> None:
        """Write what waits, where there is a connection."""
        if self.stream is None:
            return
        items = self.outbox.write()
        for item in items:
            self._write(self.stream, item)
        if items:
            self.ask()

    def ask(self) -> None:
        """Ask the server to acknowledge."""
        if self.stream is not None:
            self.stream.write("<r xmlns='urn:xmpp:sm:3'/>")

    def acknowledge(self) -> None:
        """Acknowledge what has been recorded."""
        if self.stream is not None:
            self._claimed = self._handled
            self.stream.write(f"<a xmlns='urn:xmpp:sm:3' h='{self._handled}'/>")

    @property
    def owes(self) -> bool:
        """Whether there is something that it has not acknowledged."""
        return self._claimed != self._handled

    def ping(self) -> None:
        """Say something that has to be acknowledged."""
        if self.stream is not None:
            ping = "<ping xmlns='urn:xmpp:ping'/>"
            iq = f"<iq id='{self._name()}' type='get' to='{DOMAIN}'>{ping}</iq>"
            self._write_now(self.stream, iq)

    def _name(self) -> str:
        self._ids += 1
        return f"q{self._ids}"

    def _write_now(self, stream: Stream, xml: str) -> None:
        """Write a stanza before what waits."""
        item = Item(xml)
        self.outbox.write_now(item)
        self._write(stream, item)

    def _write(self, stream: Stream, item: Item) -> None:
        item.claimed = self._claimed
        if item.said is not None:
            item.said.sessions.append(self.history.sessions[-1].number)
        stream.write(item.xml)

    # Sessions

    async def resume(self, stream: Stream, previous: str, life: int) -> bool:
        """Ask for the former session (XEP-0198 §5); whether it goes on.

        Args:
            stream: logged in.
            previous: the session's id.
            life: that of the server at the other end.

        Raises:
            Refused: the server does not go on.
            StreamEnd: the connection has ended.
        """
        stream.write(f"<resume xmlns='urn:xmpp:sm:3' h='{self._handled}' previd='{previous}'/>")
        answer = await stream.next()
        session = self.history.sessions[-1]
        since = self._since(session, life)
        handled = answer.get("h")
        if answer.tag == f"{SM}failed":
            self.previous = None
            told = "with" if handled is not None else "without"
            self._world.counts[f"resumptions failed, {since}"] += 1
            self._world.counts[f"resumptions failed {told} h"] += 1
            if handled is not None:
                self._acknowledged(handled)
            return False
        if answer.tag != f"{SM}resumed":
            raise Refused(condition(answer))
        self._world.counts[f"resumptions, {since}"] += 1
        session.resumed += 1
        session.last = life
        session.certain = self._claimed = self._handled
        self._acknowledged(handled or "")
        for item in self.outbox.again():
            self._write(stream, item)
        return True

    def _since(self, session: Session, now: int) -> str:
        how = {self._world.ended.get(life) for life in range(session.last, now)}
        return next((f"after a {one}" for one in ("kill", "restart") if one in how), "same server")

    async def begin(self, stream: Stream, life: int) -> None:
        """Bind, enable stream management and carbons, become available, read the archive.

        Args:
            stream: logged in.
            life: that of the server at the other end.

        Raises:
            Refused: the server does not go on.
            StreamEnd: the connection has ended.
        """
        history = self.history
        await stream.bind(history.resource)
        stream.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        enabled = await stream.next()
        if enabled.tag != f"{SM}enabled":
            raise Refused(condition(enabled))
        self.previous = enabled.get("id") if enabled.get("resume") in _TRUE else None
        self._handled = self._claimed = 0
        self._query = self._enabling = ""
        history.sessions.append(Session(len(history.sessions) + 1, life, life))
        self._world.counts["sessions"] += 1
        self._renew()
        if history.archive:
            self.timeline.begin()
            # The archive is read when copies come: nothing falls in between.
            self._enabling = self._name()
            enable = "<enable xmlns='urn:xmpp:carbons:2'/>"
            self._write_now(stream, f"<iq id='{self._enabling}' type='set'>{enable}</iq>")
        self._write_now(stream, f"<presence><priority>{self._priority}</priority></presence>")

    def _renew(self) -> None:
        """What was written before and not acknowledged is said again, as of its own time."""
        self.outbox.renew()
        for item in self.outbox.waiting():
            if item.said is not None and item.said.sessions:
                ago = self._world.now() - item.said.at
                stamp = datetime.fromtimestamp(datetime.now(UTC).timestamp() - ago, UTC)
                key = item.said.key
                item.xml = message(
                    key, self._to[key.id], stamp=stamp.strftime("%Y-%m-%dT%H:%M:%SZ")
                )
                self._world.counts["messages said again in a new session"] += 1

    # Hearing

    def take(self, stream: Stream, element: Element) -> None:
        """Record an element, then count it.

        Raises:
            StreamEnd: it is a stream error.
        """
        self.heard = self._world.now()
        if element.tag in _STANZAS:
            self._handled += 1
            if element.tag == f"{CLIENT}message":
                self._message(element)
            elif element.tag == f"{CLIENT}iq":
                self._iq(stream, element)
            if self._random.random() < 0.1:
                self.acknowledge()
        elif element.tag == f"{SM}r":
            self.acknowledge()
        elif element.tag == f"{SM}a":
            self._acknowledged(element.get("h") or "")
        elif element.tag == f"{STREAM}error":
            self._world.counts[f"stream errors: {condition(element)}"] += 1
            raise StreamEnd(clean=False)

    def _acknowledged(self, text: str) -> None:
        try:
            items = self.outbox.acknowledge(int(text))
        except (Wrong, ValueError) as wrong:
            self.history.faults.append(f"{self.history.name}: h={text!r}: {wrong}")
            return
        session = self.history.sessions[-1]
        for item in items:
            session.certain = max(session.certain, item.claimed)
            if item.said is not None and item.said.acknowledged is None:
                item.said.acknowledged = self._world.now()
                self._world.acknowledged()

    def _iq(self, stream: Stream, iq: Element) -> None:
        if iq.get("type") == "get":  # of a server that asks its clients
            self._write_now(stream, f"<iq type='result' id='{iq.get('id')}'/>")
        elif iq.get("id") == self._enabling:
            if iq.get("type") == "error":
                self.history.faults.append(f"{self.history.name}: no carbons: {condition(iq)}")
            self._read_on(stream)
        elif iq.get("id") == self._query:
            self._page(stream, iq)

    def _read_on(self, stream: Stream) -> None:
        most = self._random.choice((5, 20, 50))
        self._query = self._name()
        self._write_now(stream, query(self._query, self.timeline.last, most))

    def _page(self, stream: Stream, iq: Element) -> None:
        answer = page(iq)
        last = self.timeline.last
        if answer.error is not None:
            self._query = ""
            self.history.faults.append(
                f"{self.history.name}: asked for what follows {last}, the archive says"
                f" {answer.error}"
            )
            if answer.error != "item-not-found" or last is None:
                return  # another session may try again
            self.timeline.last = None
        if answer.complete:
            self._query = ""
            self._world.counts["archives read"] += 1
            self.timeline.complete()
        else:
            self._read_on(stream)

    def _message(self, stanza: Element) -> None:
        inside = look_inside(stanza, self.history.account)
        if inside.error:
            if inside.wrapper is None:
                self._error(stanza)
        elif inside.body is not None:
            self._record(inside)

    def _error(self, stanza: Element) -> None:
        said = self._said.get(stanza.get("id") or "")
        if said is not None and said.refused is None:
            said.refused = condition(stanza)
            self.outbox.refused(said)
            self._world.counts[f"messages refused: {said.refused}"] += 1

    def _record(self, inside: Inside) -> None:
        wrapper = inside.wrapper
        how = How.LIVE if wrapper is None else _HOW[wrapper.tag.rpartition("}")[2]]
        key = inside.key
        self.history.seen.append(
            Seen(
                key, inside.body or "", how, inside.stanza_id, self.history.sessions[-1].number,
                self._handled, self._world.now(), inside.delayed,
            )
        )  # fmt: skip
        self._world.counts[f"received: {how.value}"] += 1
        if key is None or not self.history.archive:
            return
        if how is not How.ARCHIVE:
            self.timeline.live(key, inside.stanza_id)
        elif inside.stanza_id is not None:
            self.timeline.result(key, inside.stanza_id)
