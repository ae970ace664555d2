"""The link of a gateway that runs in a process of its own: an external component (XEP-0114)."""

from __future__ import annotations

from jabberd.client import component
from jabberd.gateways.link import Far, LinkLost
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Stanza


class RemoteLink:
    """A link to a server elsewhere (`gateways.link.Link`); `run` keeps it up.

    Args:
        domain: of the gateway.
        secret: that it shares with the server.
        address: host and port of the server.
        far: the gateway.
    """

    def __init__(self, domain: JID, secret: str, address: tuple[str, int], far: Far) -> None:
        host, port = address
        self._client = component.ComponentClient(
            domain, secret, host, port, receive=far.receive, up=far.up, down=far.down
        )

    @property
    def server(self) -> JID:
        """See `Link.server`."""
        return self._client.server

    async def run(self) -> None:
        """Connect, again and again, until cancelled."""
        await self._client.run()

    async def send(self, stanza: Stanza) -> None:
        """See `Link.send`."""
        try:
            await self._client.send(stanza)
        except component.LinkLost as lost:
            raise LinkLost(str(lost)) from None

    def post(self, stanza: Stanza) -> None:
        """See `Link.post`."""
        self._client.post(stanza)

    async def ask(self, iq: Iq, wait: float = 30.0) -> Iq:
        """See `Link.ask`."""
        return await self._client.ask(iq, wait)
