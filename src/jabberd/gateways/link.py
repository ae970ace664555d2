"""How a gateway reaches its server: from inside the server's process, or as a component."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Stanza


class Link(Protocol):
    """The way to the server, for one domain."""

    server: JID
    """The server itself."""

    async def send(self, stanza: Stanza) -> None:
        """Hand over a stanza; when this returns, the server is responsible for it.

        Raises:
            client.component.LinkLost: nobody knows whether it is. A server with stream
                management never leaves this open.
            StanzaError: the server cannot take it now.
        """

    def post(self, stanza: Stanza) -> None:
        """Hand over what may get lost: presence, chat states."""

    async def ask(self, iq: Iq, wait: float = 30.0) -> Iq:
        """Send a request and wait for its result; `id` is set here, and `from_` where it is not.

        Raises:
            StanzaError: the answer, or remote-server-timeout.
        """


class Far(Protocol):
    """What a link tells the gateway."""

    def receive(self, stanza: Stanza) -> Awaitable[None] | None:
        """A stanza for the gateway's domain. When this is done, the gateway is responsible.

        Raises:
            StanzaError: what its sender is to be told.
        """

    def up(self) -> None:
        """The server is there, perhaps again."""

    def down(self, why: str) -> None:
        """The server is gone for the moment."""


Connect = Callable[[Far], Link]
"""Makes the link for a gateway."""
