"""Asks archives, and looks at what they answer."""

from __future__ import annotations

from dataclasses import dataclass

from jabberd.modules import mam, offline, presence, roster
from jabberd.storage.log_api import Doc, Entry, Flag, Unit
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.stanza import Iq, Message, read_error
from tests.modules.host import RecordingSession, World

TYPE = "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"
FULLTEXT = "{urn:xmpp:fulltext:0}fulltext"


def form(**fields: str | tuple[str, ...]) -> str:
    """A submission with these fields; an underscore stands for a hyphen, `text` for full text."""
    parts = []
    for name, given in fields.items():
        var = FULLTEXT if name == "text" else name.strip("_").replace("_", "-")
        values = (given,) if isinstance(given, str) else given
        inside = "".join(f"<value>{value}</value>" for value in values)
        parts.append(f"<field var='{var}'>{inside}</field>")
    return f"<x xmlns='jabber:x:data' type='submit'>{TYPE}{''.join(parts)}</x>"


def rsm(inside: str) -> str:
    """A `<set/>` of XEP-0059."""
    return f"<set xmlns='http://jabber.org/protocol/rsm'>{inside}</set>"


@dataclass(frozen=True, slots=True)
class Result:
    """One message of an archive, as its owner was sent it.

    Attributes:
        id: of the message in the archive.
        queryid: of the query.
        stamp: when the archive got it.
        message: the message itself.
        to: whom the result went to.
        sender: whom the result came from.
    """

    id: str
    queryid: str
    stamp: str
    message: Element
    to: str
    sender: str

    @property
    def body(self) -> str | None:
        """The text of the message."""
        return self.message.child_text(ns.CLIENT, "body")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one query.

    Attributes:
        results: in the order in which they came.
        iq: what came behind them.
    """

    results: list[Result]
    iq: Iq

    @property
    def ids(self) -> list[str]:
        """Identifiers of the messages, in the order in which they came."""
        return [result.id for result in self.results]

    @property
    def bodies(self) -> list[str | None]:
        """Texts of the messages, in the order in which they came."""
        return [result.body for result in self.results]

    @property
    def fin(self) -> Element:
        """The end of the answer."""
        assert self.iq.type == "result", self.iq.to_bytes()
        fin = self.iq.child(ns.MAM, "fin")
        assert fin is not None
        return fin

    @property
    def complete(self) -> bool:
        """Whether there is no further page."""
        return self.fin.get("complete") == "true"

    @property
    def first(self) -> str | None:
        """The identifier of the first message of the page."""
        return self._set.child_text(ns.RSM, "first")

    @property
    def last(self) -> str | None:
        """The identifier of the last message of the page."""
        return self._set.child_text(ns.RSM, "last")

    @property
    def index(self) -> str | None:
        """The place of the first message."""
        first = self._set.find(ns.RSM, "first")
        return None if first is None else first.attrs.get("index")

    @property
    def count(self) -> str | None:
        """How many there are in all."""
        return self._set.child_text(ns.RSM, "count")

    @property
    def error(self) -> str:
        """The condition of the error."""
        assert self.iq.type == "error", self.iq.to_bytes()
        return read_error(self.iq).condition.value

    @property
    def _set(self) -> Element:
        page = self.fin.find(ns.RSM, "set")
        assert page is not None
        return page


async def ask(
    world: World,
    session: RecordingSession,
    *inside: str,
    attrs: str = "",
    to: str = "",
    kind: str = "set",
) -> Answer:
    """Send a query; whatever else the client has received before is forgotten."""
    session.inbox.clear()
    address = f" to='{to}'" if to else ""
    query = f"<query xmlns='urn:xmpp:mam:2' {attrs}>{''.join(inside)}</query>"
    await world.says(session, f"<iq type='{kind}' id='q1'{address}>{query}</iq>")
    return answer(session)


def answer(session: RecordingSession) -> Answer:
    """What a client has received: results, and an IQ behind all of them."""
    *messages, iq = session.inbox
    session.inbox.clear()
    assert isinstance(iq, Iq)
    assert all(isinstance(message, Message) for message in messages)
    return Answer([_result(parse(message.to_bytes())) for message in messages], iq)


def _result(outer: Element) -> Result:
    (result,) = outer
    assert (result.ns, result.name) == (ns.MAM, "result")
    (forwarded,) = result
    delay, message = forwarded
    assert (delay.ns, delay.name) == (ns.DELAY, "delay")
    assert (message.ns, message.name) == (ns.CLIENT, "message")
    return Result(
        result.get("id"),
        result.get("queryid"),
        delay.get("stamp"),
        message,
        outer.get("to"),
        outer.get("from"),
    )


def load(world: World, options: mam.Options | None = None) -> None:
    """Load archives, and what they live with."""
    host = world.host
    world.load("roster", roster.load(host, roster.Options()))
    world.load("presence", presence.load(host, presence.Options()))
    world.load("offline", offline.load(host, offline.Options()))
    world.load("mam", mam.load(host, options or mam.Options()))


def put(
    world: World,
    owner: str,
    peer: str,
    body: str,
    *,
    flags: int = int(Flag.VISIBLE),
    resource: str = "home",
) -> str:
    """Put a message into the log of an account, as it is now; returns its identifier."""
    log, now = world.stores.log, world.clock()
    key = log.next_key(now)
    stanza = (
        f"<message from='{peer}/{resource}' to='{owner}' type='chat'><body>{body}</body></message>"
    )
    unit = Unit(
        entries=[Entry(key, owner, peer, resource, now, flags, "", key, stanza.encode())],
        docs=[Doc(key, body)],
    )
    log.commit(unit)
    return world.ledger.ids.id_of(key)
