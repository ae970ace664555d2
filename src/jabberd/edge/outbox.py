"""What waits for another server, or for a component, until it is known to have arrived.

A message is in the durable queue (`Unit.relays`) before its sender is told that the server has
it; it leaves the queue when the other side has it for certain, or when it has been given back
to its sender with an error. Everything else waits in memory, in the same order.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from jabberd.core.session import Session
from jabberd.core.turn import Turn
from jabberd.core.turns import Turns
from jabberd.core.verdict import Relayed, Verdict
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Relay, Unit
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.payload.keeping import is_fleeting
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza
from jabberd.xmpp.stream.events import Pair

_log: Final = structlog.get_logger("jabberd.s2s")
_new: Final = tuple.__new__  # a named tuple's own is a function, and costs twice as much
_STANZA_ITSELF: Final = 512  # bytes: about what a stanza takes besides its payload
_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
_ABSENT_SECONDS: Final = 30.0
"""How long a server counts as not to be found, before somebody looks again."""
_BRIEF_SECONDS: Final = 60.0
"""How long anything but messages waits at most: nobody reads a late answer."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why another server cannot be reached.

    Attributes:
        text: in plain words.
        lasting: trying again soon is of no use, and senders are told at once.
        found: whether there is such a server at all.
        step: how far it came: "dns", "connect", "tls", "certificate", "authentication", "stream".
    """

    text: str
    lasting: bool = False
    found: bool = True
    step: str = ""

    def error(self) -> StanzaError:
        """What senders are told (RFC 6120 §8.3.3.16 and §8.3.3.17)."""
        condition = Condition.REMOTE_SERVER_TIMEOUT
        if not self.found:
            condition = Condition.REMOTE_SERVER_NOT_FOUND
        return StanzaError(condition, self.text)


class Outgoing:
    """One stanza on its way.

    Attributes:
        stanza: it.
        key: in the durable queue; 0 where it is not there.
        turn: in which that is committed; None once it is.
        expires: when it is given back to its sender, by the loop's clock.
        size: about how much memory it takes, in bytes.
    """

    __slots__ = ("expires", "key", "size", "stanza", "turn")

    def __init__(self, stanza: Stanza, key: int, turn: Turn | None, expires: float) -> None:
        self.stanza = stanza
        self.key = key
        self.turn = turn
        self.expires = expires
        self.size = len(stanza.inner) + len(stanza.extra) + _STANZA_ITSELF


class Carrier(Protocol):
    """A stream that stanzas of a pair can be written to."""

    @property
    def takes(self) -> bool:
        """Whether it takes more now; when it does again, it calls `Outbox.flush`."""

    def carry(self, outbox: Outbox, outgoing: Outgoing) -> None:
        """Write a stanza, and remember it until it has arrived."""


@dataclass(slots=True)
class Post:
    """What the outboxes of a server share.

    Attributes:
        turns: of the durable log.
        next_key: makes keys (`Log.next_key`).
        now: seconds since the epoch.
        give_back: tells the sender of a stanza why it did not arrive.
        refused: tells the sender that a stanza could not be stored: it, the session that sent
            it, where one of ours did, and the error.
        connect: begins to look for a stream for an outbox, which hears of it by `attach` or
            `failed`.
        seconds: how long a message waits at most.
        bytes: how much may wait for one pair.
        kind: what is at the other end, for the verdict.
    """

    turns: Turns
    next_key: Callable[[float], int]
    now: Callable[[], float]
    give_back: Callable[[Stanza, StanzaError], None]
    refused: Callable[[Stanza, Session | None, StorageError], None]
    connect: Callable[[Outbox], None]
    seconds: float
    bytes: int
    kind: str = "server"


class Outbox:
    """The queue of one pair of domains (`core.turn.Gate`).

    Args:
        pair: our domain and the other one.
        post: what all outboxes share.

    Attributes:
        problem: why the other server cannot be reached; None while nothing is known against it.
        used: when something was last put in, by the loop's clock.
        allowed_by: the rules that allow the pair; None while nobody has looked.
    """

    __slots__ = ("_arrived", "_attempts", "_bytes", "_carrier", "_connecting", "_post", "_queue",
                 "_relayed", "_retry_at", "_timer", "allowed_by", "pair", "problem",
                 "used")  # fmt: skip

    def __init__(self, pair: Pair, post: Post) -> None:
        self.pair = pair
        self.problem: Problem | None = None
        self.used = asyncio.get_running_loop().time()
        self.allowed_by: object = None
        self._post = post
        self._queue: deque[Outgoing] = deque()
        self._bytes = 0
        self._carrier: Carrier | None = None
        self._connecting = False
        self._attempts = 0  # that failed, since the last one that did not
        self._retry_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._arrived: list[int] = []  # keys that the durable queue can forget
        self._relayed = Relayed(f"{post.kind} {pair.remote}")

    @property
    def waiting(self) -> int:
        """How many stanzas wait for a stream."""
        return len(self._queue)

    @property
    def carrier(self) -> Carrier | None:
        """The stream that carries it now."""
        return self._carrier

    @property
    def connecting(self) -> bool:
        """Whether somebody is looking for a stream."""
        return self._connecting

    @property
    def retry_in(self) -> float | None:
        """Seconds until a stream is looked for again; None where that is not planned."""
        if self._timer is None:
            return None
        return max(0.0, self._timer.when() - asyncio.get_running_loop().time())

    @property
    def idle(self) -> bool:
        """Whether there is nothing that it is needed for."""
        return not (self._queue or self._carrier or self._connecting or self._timer)

    # In

    def put(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Take a stanza.

        Args:
            stanza: with `from_` and `to` of the pair.
            origin: the session that sent it, where one of ours did.

        Raises:
            StanzaError: remote-server-not-found or remote-server-timeout, where there is no use
                in waiting, or too much waits already.
        """
        now = self.used = asyncio.get_running_loop().time()
        durable = is_lasting(stanza)
        problem = self.problem
        if problem is not None and now < self._retry_at and (problem.lasting or not durable):
            raise problem.error()
        if self._bytes > self._post.bytes:
            text = f"too much waits for {self.pair.remote} already"
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text)
        seconds = self._post.seconds
        if durable:
            outgoing = self._keep(stanza, origin, now + seconds)
        else:
            outgoing = Outgoing(stanza, 0, None, now + min(seconds, _BRIEF_SECONDS))
        carrier = self._carrier
        if carrier is not None and not self._queue and outgoing.turn is None and carrier.takes:
            carrier.carry(self, outgoing)
            return self._relayed
        self._queue.append(outgoing)
        self._bytes += outgoing.size
        if carrier is None:
            self._connect()
        return self._relayed

    def _keep(self, stanza: Stanza, origin: Session | None, expires: float) -> Outgoing:
        post = self._post
        turn = post.turns.open()
        now = turn.at
        if not now:
            now = turn.at = post.now()
        key = post.next_key(now)
        wire = stanza.to_bytes()
        pair = self.pair
        row = (key, pair[0], pair[1], now + post.seconds, wire)
        turn.unit.relays.append(_new(Relay, row))
        turn.bytes += len(wire)
        turn.refused.append((post.refused, stanza, origin))
        turn.gates[self] = None
        return Outgoing(stanza, key, turn, expires)

    def restore(self, outgoing: Outgoing) -> None:
        """Take what a former process has left, oldest first."""
        self._queue.append(outgoing)
        self._bytes += outgoing.size

    def begin(self) -> None:
        """Look for a stream, where something waits for one."""
        if self._queue and self._carrier is None:
            self._connect()

    # Gate

    def journal(self, unit: Unit) -> None:
        """See `core.turn.Gate`: what the durable queue can forget."""
        unit.relayed += self._arrived
        self._arrived = []

    def committed(self, _turn: Turn, /) -> None:
        """See `core.turn.Gate`."""
        self.flush()
        problem = self.problem
        if self._queue and self._carrier is None and problem is not None and problem.lasting:
            self.failed(problem)  # it was found out before this was committed

    # Out

    def flush(self) -> None:
        """Write what may be written by now."""
        carrier, queue = self._carrier, self._queue
        while queue and carrier is not None and carrier is self._carrier:
            outgoing = queue[0]
            turn = outgoing.turn
            if turn is not None:
                if turn.pending:
                    return  # `committed` comes back to it
                outgoing.turn = None
                if turn.failed is not None:  # it is in no queue, and its sender was told
                    self._drop(queue.popleft())
                    continue
            if not carrier.takes:
                return
            self._drop(queue.popleft())
            carrier.carry(self, outgoing)

    def _drop(self, outgoing: Outgoing) -> None:
        self._bytes -= outgoing.size

    def arrived(self, outgoing: Outgoing) -> None:
        """The other server has a stanza for certain."""
        if outgoing.key:
            self._forget(outgoing.key)

    def _forget(self, key: int) -> None:
        self._arrived.append(key)
        self._post.turns.later(self)

    # Streams

    def attach(self, carrier: Carrier) -> None:
        """There is a stream that carries this pair."""
        self._connecting = False
        self._stop_timer()
        self._carrier = carrier
        self._attempts = 0
        self._retry_at = 0.0
        self.problem = None
        self.flush()

    def detach(self, carrier: Carrier, unconfirmed: Iterable[Outgoing], why: str) -> None:
        """A stream is gone; what is not known to have arrived goes ahead of all else.

        A request that may have been carried out is not sent again: its sender is told that no
        answer will come (RFC 6120 §8.3.3.17), and decides. Everything else is: it may come
        twice, but it is not lost.
        """
        back: list[Outgoing] = []
        for outgoing in unconfirmed:
            stanza = outgoing.stanza
            if isinstance(stanza, Iq) and stanza.is_request:
                text = f"the stream to {self.pair.remote} broke: {why}" if why else ""
                self._give_back(outgoing, StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text))
            else:
                back.append(outgoing)
                self._bytes += outgoing.size
        self._queue.extendleft(reversed(back))
        if self._carrier is carrier:
            self._carrier = None
        if self._carrier is not None:
            self.flush()
        elif self._queue:
            self._connect()

    def failed(self, problem: Problem) -> None:
        """No stream is to be had for now."""
        self._connecting = False
        if self._carrier is not None:  # the other side was quicker, by a stream of its own
            return
        self.problem = problem
        self._attempts += 1
        now = asyncio.get_running_loop().time()
        if problem.lasting:
            self._retry_at = now + _ABSENT_SECONDS
        else:
            wait = min(_LAST_RETRY, _FIRST_RETRY * 2 ** min(self._attempts - 1, 10))
            # So that servers which lost each other at once do not come back at once.
            self._retry_at = now + wait * random.uniform(0.5, 1.0)  # noqa: S311 -- no secret
        error = problem.error()
        keep: deque[Outgoing] = deque()
        for outgoing in self._take_all():
            # What is not committed yet cannot be given back: it may have to be refused.
            pending = outgoing.turn is not None and outgoing.turn.pending
            if not pending and (problem.lasting or not outgoing.key):
                self._give_back(outgoing, error)
            else:
                keep.append(outgoing)
                self._bytes += outgoing.size
        keep.extend(self._queue)  # what giving back has put in
        self._queue = keep
        if keep:
            self._retry_later()

    def expire(self, now: float) -> None:
        """Give back what has waited too long, by the loop's clock."""
        queue = self._queue
        if not queue or all(outgoing.expires > now for outgoing in queue):
            return
        known = f": {self.problem.text}" if self.problem is not None else ""
        text = f"{self.pair.remote} did not take it in time{known}"
        error = StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text)
        found = self._take_all()
        for outgoing in found:
            if outgoing.expires > now:
                self._queue.append(outgoing)
                self._bytes += outgoing.size
        for outgoing in found:
            if outgoing.expires <= now:
                self._give_back(outgoing, error)

    def close(self) -> None:
        """The server stops: what is not durable is given up."""
        self._stop_timer()
        self._queue.clear()
        self._bytes = 0

    def _take_all(self) -> list[Outgoing]:
        found = list(self._queue)
        self._queue.clear()
        self._bytes = 0
        return found

    def _give_back(self, outgoing: Outgoing, error: StanzaError) -> None:
        turn = outgoing.turn
        if turn is not None and turn.failed is not None:
            return  # its sender was told
        if outgoing.key:
            self._forget(outgoing.key)
        self._post.give_back(outgoing.stanza, error)

    def _connect(self) -> None:
        if self._connecting or self._timer is not None:
            return
        if self._retry_at > asyncio.get_running_loop().time():
            self._retry_later()
            return
        self._connecting = True
        self._post.connect(self)

    def _retry_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._retry_at, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self.begin()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def is_lasting(stanza: Stanza) -> bool:
    """Whether a stanza outlives the process on its way: what somebody would miss."""
    if isinstance(stanza, Message):
        return stanza.type != "error" and not is_fleeting(stanza)
    return isinstance(stanza, Presence) and stanza.type in Presence.SUBSCRIPTION_TYPES
