"""Server dialback (XEP-0220) with the network in between: who makes keys, and who is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from jabberd.edge.s2s_out import OutgoingServer, Unreachable
from jabberd.xmpp import dialback
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stream.events import Pair, PairClaimed

_SECONDS: Final = 30.0
_PER_SOURCE: Final = 20
"""Verifications under way that one address has caused."""


class Dialback:
    """Our part in each of the three roles.

    Args:
        secret: of this server; keys are made of it and nothing is kept of them.
        reach: finds or opens a stream on which the server of a pair can be asked; raises
            Unreachable.
        most: verifications under way at once. Each may mean a connection to whatever address
            a stranger has named.
    """

    def __init__(
        self, secret: bytes, reach: Callable[[Pair], Awaitable[OutgoingServer]], most: int
    ) -> None:
        self._secret = secret
        self._reach = reach
        self.most = most
        self._sources: Counter[str] = Counter()

    def key(self, stream_id: str, pair: Pair) -> str:
        """The key by which we prove to be `pair.local` on a stream to `pair.remote`."""
        return dialback.key(self._secret, pair.remote, pair.local, stream_id)

    def is_ours(self, pair: Pair, stream_id: str, key: str) -> bool:
        """Whether a key is one that we have made for a stream to `pair.remote`."""
        return dialback.matches(self._secret, pair.remote, pair.local, stream_id, key)

    async def ask(self, claim: PairClaimed, source: str) -> bool:
        """Ask the server of a domain whether it has sent a key, over a connection of our own.

        Args:
            claim: what a peer says.
            source: its address, which the number of questions is limited by.

        Raises:
            StanzaError: it cannot be found or reached (XEP-0220 §2.4), or there are too many
                questions under way.
        """
        if self._sources.total() >= self.most or self._sources[source] >= _PER_SOURCE:
            text = "too many domains are being verified: try again later"
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
        self._sources[source] += 1
        try:
            async with asyncio.timeout(_SECONDS):
                server = await self._reach(claim.pair)
                return await server.verify(claim.pair, claim.stream_id, claim.key)
        except TimeoutError:
            text = f"{claim.pair.remote} does not answer"
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text) from None
        except Unreachable as error:
            raise error.problem.error() from None
        finally:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]
