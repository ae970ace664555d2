"""What answers for a component's domain, whether it is connected or not.

Towards a component with stream management (XEP-0198), messages wait in the same durable queue as
towards another server, in an outbox of their own, until they are acknowledged. What is written to
any other component counts as arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from jabberd.core.session import Session
from jabberd.core.verdict import Dropped, Relayed, Verdict
from jabberd.edge.outbox import Outbox, Outgoing, Post, Problem, is_lasting
from jabberd.xmpp.error import Condition, StanzaError, StreamError
from jabberd.xmpp.payload.keeping import is_fleeting
from jabberd.xmpp.stanza import Iq, Message, Stanza
from jabberd.xmpp.stream.events import Pair

_SWEEP_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 15.0
"""How long a component that had stream management may take to ask for it again.

What is written to it after that it cannot recognise as sent again: a busy machine needs its time.
"""


class Connection(Protocol):
    """The connection of a component, as its route sees it."""

    def send(self, stanza: Stanza) -> bool:
        """Write a stanza; False where the component can take no more and is disconnected."""

    def probe(self) -> None:
        """Write a space, which a dead connection does not survive (RFC 6120 §4.6.1)."""

    def close(self, error: StreamError | None = None) -> None:
        """End the stream from our side."""


class ComponentRoute:
    """What answers for a component's domain (`Route`).

    Args:
        domain: of the component.
        post: what outboxes of components share.
        seconds: how long a message waits for a component with stream management.
        changed: told of the component's domain, and whether it has stream management, when that
            is something new.

    Attributes:
        outbox: what waits for it. Both domains of its pair are the component's, as they never
            are towards another server.
        managed: the component has stream management on its stream; or had it on its last one,
            if it is not connected.
    """

    __slots__ = ("_changed", "_connection", "_plain", "_post", "_relayed", "_sweeper", "_timer",
                 "domain", "managed", "outbox")  # fmt: skip

    def __init__(
        self, domain: str, post: Post, seconds: float, changed: Callable[[str, bool], None]
    ) -> None:
        self.domain = domain
        self._changed = changed
        self.managed = False
        self._post = replace(post, kind="component", seconds=seconds)
        self.outbox = Outbox(Pair(domain, domain), self._post)
        self._connection: Connection | None = None
        self._relayed = Relayed(f"component {domain}")
        self._plain: _Plain | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection that is up."""
        return self._connection

    def wait(self, seconds: float) -> None:
        """Have messages wait for so long from now on."""
        self._post.seconds = seconds

    # Route

    def receive(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Write a stanza to the component, or have it wait for it.

        Raises:
            StanzaError: remote-server-timeout, where the component is not connected and the
                stanza cannot wait, or too much waits already.
        """
        connection = self._connection
        if self.managed or self.outbox.waiting:
            if connection is None and not _can_wait(stanza):
                if not isinstance(stanza, Iq) or not stanza.is_request:
                    return Dropped("component", f"{self.domain} is not connected")
                raise self._away()
            verdict = self.outbox.put(stanza, origin)
            self._sweep_later()
            return verdict
        if connection is None or not connection.send(stanza):
            raise self._away()
        return self._relayed

    def knows(self, account: str) -> bool:  # noqa: ARG002 -- Route
        """False: a component has no accounts of ours."""
        return False

    def _away(self) -> StanzaError:
        # RFC 6120 §8.3.3.17 has this for services too; its type, wait, says that the
        # component may come back. Prosody answers the same.
        text = f"{self.domain} is not connected at the moment"
        return StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text)

    # Its connection

    def enter(self, connection: Connection) -> None:
        """The component is here."""
        self._connection = connection
        if self.managed or self.outbox.waiting:
            # What waits must be acknowledged: the component has a moment to ask for that.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_GRACE_SECONDS, self._go_on_plainly)

    def manage(self, carry: Callable[[Outbox], None]) -> None:
        """The component has asked for stream management; what waits can be carried."""
        self._stop_timer()
        self._become(managed=True)
        carry(self.outbox)

    def leave(self) -> None:
        """The component is gone; its outlet gives back what was not acknowledged."""
        self._stop_timer()
        self._connection = None
        plain, self._plain = self._plain, None
        if plain is not None:
            self.outbox.detach(plain, (), "")
        self._sweep_later()

    def _go_on_plainly(self) -> None:
        """It does not ask for stream management, as it did on another stream."""
        self._timer = None
        self._become(managed=False)
        connection = self._connection
        if connection is not None:
            self._plain = _Plain(connection)
            self.outbox.attach(self._plain)

    def _become(self, *, managed: bool) -> None:
        if managed is not self.managed:
            self.managed = managed
            self._changed(self.domain, managed)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What waits

    def restore(self, outgoing: Outgoing) -> None:
        """Take what a former process has left: it was for a component with stream management."""
        self.managed = True
        self.outbox.restore(outgoing)
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self._sweeper is None and self.outbox.waiting:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(_SWEEP_SECONDS, self.sweep)

    def sweep(self) -> None:
        """Give back what has waited too long."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self.outbox.expire(asyncio.get_running_loop().time())
        self._sweep_later()

    # The end

    def gone(self) -> None:
        """The component is in the configuration no more: senders get back what waits."""
        problem = Problem(f"{self.domain} is not served here any more", lasting=True, found=False)
        self._become(managed=False)
        self.outbox.failed(problem)

    def close(self) -> None:
        """The server stops: what is durable waits for the next process."""
        self._stop_timer()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self.outbox.close()


class _Plain:
    """A stream without stream management (`edge.outbox.Carrier`): what is written has arrived."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def takes(self) -> bool:
        """Always: who does not read is disconnected."""
        return True

    def carry(self, outbox: Outbox, outgoing: Outgoing) -> None:
        """Write a stanza."""
        if self._connection.send(outgoing.stanza):
            outbox.arrived(outgoing)
        else:
            outbox.detach(self, [outgoing], "it did not read")


def _can_wait(stanza: Stanza) -> bool:
    """Whether a stanza for a component that is away is worth keeping."""
    return is_lasting(stanza) or (isinstance(stanza, Message) and not is_fleeting(stanza))
