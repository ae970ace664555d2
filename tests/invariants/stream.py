"""A client's stream up to the login, and the words that it needs after it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from bench.load.scram import Scram

from tests.integration.wire import BIND, CLIENT, SASL, STREAM, WAIT, StreamEnd, Wire
from tests.invariants.history import Key

DOMAIN: Final = "localhost"
PASSWORD: Final = "secret"
SM: Final = "{urn:xmpp:sm:3}"
MAM: Final = "{urn:xmpp:mam:2}"
CARBONS: Final = "{urn:xmpp:carbons:2}"
_SID: Final = "{urn:xmpp:sid:0}"
_DELAY: Final = "{urn:xmpp:delay}"
_FORWARD: Final = "{urn:xmpp:forward:0}"
_RSM: Final = "{http://jabber.org/protocol/rsm}"
_SASL_NS: Final = "urn:ietf:params:xml:ns:xmpp-sasl"


class Refused(StreamEnd):
    """The server did not go on with a login, for now.

    Attributes:
        condition: why.
    """

    def __init__(self, condition: str) -> None:
        super().__init__(clean=False)
        self.condition = condition


class Stream(Wire):
    """One connection, logged in by SCRAM-SHA-1 without TLS, as servers allow it on loopback."""

    _finished = False

    def write(self, text: str) -> None:
        """Write without waiting; what cannot be sent any more is lost, as on a bad line."""
        if not (self._finished or self._writer.transport.is_closing()):
            self._writer.write(text.encode())

    def finish(self) -> None:
        """Close the stream: nothing is written any more."""
        self.write("</stream:stream>")
        self._finished = True

    def abort(self) -> None:
        """Let go of the connection at once."""
        self._writer.transport.abort()

    async def next(self, wait: float = WAIT) -> Element:
        """The next complete child of the stream; nothing of it is kept."""
        element = await super().next(wait)
        self.raw = b""
        return element

    async def log_in(self, account: str) -> Element:
        """Authenticate and open the stream that comes after; its features.

        Raises:
            Refused: the server does not let it in, or not now.
            StreamEnd: the connection has ended.
        """
        await self.open(DOMAIN)
        await self._expect(f"{STREAM}features")
        scram = Scram(account, PASSWORD)
        self.write(f"<auth xmlns='{_SASL_NS}' mechanism='SCRAM-SHA-1'>{scram.first}</auth>")
        challenge = await self._expect(f"{SASL}challenge")
        final = scram.respond((challenge.text or "").encode())
        self.write(f"<response xmlns='{_SASL_NS}'>{final}</response>")
        success = await self._expect(f"{SASL}success")
        scram.verify((success.text or "").encode())
        await self.open(DOMAIN)
        return await self._expect(f"{STREAM}features")

    async def bind(self, resource: str) -> str:
        """Bind a resource; the full JID.

        Raises:
            Refused: the server does not.
            StreamEnd: the connection has ended.
        """
        self.write(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            f"<resource>{resource}</resource></bind></iq>"
        )
        answer = await self._expect(f"{CLIENT}iq")
        jid = answer.findtext(f"{BIND}bind/{BIND}jid")
        if jid is None:
            raise Refused(condition(answer))
        return jid

    async def _expect(self, tag: str) -> Element:
        element = await self.next()
        if element.tag != tag:
            raise Refused(condition(element))
        return element


@dataclass(frozen=True, slots=True)
class Inside:
    """A message as it is in a stanza: at its top, or forwarded in it.

    Attributes:
        message: the element.
        wrapper: the element around it: a carbon or a result; None at the top.
        stanza_id: given by the account, or the result's id.
    """

    message: Element
    wrapper: Element | None
    stanza_id: str | None

    @property
    def body(self) -> str | None:
        """The text of its body."""
        return self.message.findtext(f"{CLIENT}body")

    @property
    def key(self) -> Key | None:
        """Which message it is."""
        return Key.read(self.body or "")

    @property
    def error(self) -> bool:
        """Whether it says that another message could not be delivered."""
        return self.message.get("type") == "error"

    @property
    def delayed(self) -> bool:
        """Whether it says that it had waited."""
        return self.message.find(f"{_DELAY}delay") is not None


def look_inside(stanza: Element, account: str) -> Inside:
    """Unwrap a message from one's own account, and no other (XEP-0280 and 0313, security)."""
    own = f"{account}@{DOMAIN}"
    if stanza.get("from") in {own, None}:
        for tag in (f"{MAM}result", f"{CARBONS}received", f"{CARBONS}sent"):
            wrapper = stanza.find(tag)
            if wrapper is None:
                continue
            inner = wrapper.find(f"{_FORWARD}forwarded/{CLIENT}message")
            if inner is None:
                continue
            given = wrapper.get("id") if tag == f"{MAM}result" else _stanza_id(inner, own)
            return Inside(inner, wrapper, given)
    return Inside(stanza, None, _stanza_id(stanza, own))


def _stanza_id(message: Element, by: str) -> str | None:
    for child in message.iterfind(f"{_SID}stanza-id"):
        if child.get("by") == by:
            return child.get("id")
    return None


def message(key: Key, to: str, *, stamp: str = "") -> str:
    """A message to say, with a `<delay/>` where it is not said for the first time."""
    delay = f"<delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>" if stamp else ""
    return (
        f"<message to='{to}' type='chat' id='{key.id}'><body>{escape(key.body)}</body>"
        f"<origin-id xmlns='urn:xmpp:sid:0' id='{key.id}'/>{delay}</message>"
    )


def query(name: str, after: str | None, most: int) -> str:
    """A question for a page of the own archive (XEP-0313 §4, XEP-0059)."""
    follows = f"<after>{escape(after)}</after>" if after is not None else ""
    return (
        f"<iq id='{name}' type='set'><query xmlns='urn:xmpp:mam:2'>"
        f"<set xmlns='http://jabber.org/protocol/rsm'><max>{most}</max>{follows}</set>"
        "</query></iq>"
    )


@dataclass(frozen=True, slots=True)
class Page:
    """How a page of an archive ended.

    Attributes:
        complete: there is nothing behind it.
        last: the id of its last entry.
        error: the condition, where the question was refused.
    """

    complete: bool
    last: str | None
    error: str | None


def page(answer: Element) -> Page:
    """Read the answer to `query`."""
    fin = answer.find(f"{MAM}fin")
    if fin is None:
        return Page(complete=False, last=None, error=condition(answer))
    return Page(fin.get("complete") in {"true", "1"}, fin.findtext(f"{_RSM}set/{_RSM}last"), None)


def condition(stanza: Element) -> str:
    """The condition of an error, of whatever kind."""
    for name in _conditions(stanza):
        return name
    return "no condition"


def _conditions(stanza: Element) -> Iterator[str]:
    for element in stanza.iter():
        found = re.fullmatch(
            r"\{urn:ietf:params:xml:ns:xmpp-(stanzas|streams|sasl)\}(.*)", element.tag
        )
        if found is not None and found[2] not in {"text", "failure"}:
            yield found[2]
