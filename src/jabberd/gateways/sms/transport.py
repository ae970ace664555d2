"""One user's share of the way out."""

from __future__ import annotations

import asyncio
from typing import Final

from jabberd.gateways.events import Online, Text, Trouble
from jabberd.gateways.sms.hub import Hub
from jabberd.gateways.transport import Emit, LoginRefused, Lost, NotDone, Transport

_PATIENCE: Final = 20.0


class SmsTransport(Transport):
    """See `Transport`.

    Args:
        hub: what all users share.
        user: bare JID.
        source: the number that the user sends under.
    """

    def __init__(self, hub: Hub, user: str, source: str) -> None:
        self._hub = hub
        self._user = user
        self._source = source

    async def run(self, emit: Emit) -> None:
        """See `Transport.run`: it lasts as long as the way out can be used."""
        if not self._source:
            raise LoginRefused("SMS go out under numbers of their own now: register yours")
        link = self._hub.backend.link
        try:
            async with asyncio.timeout(_PATIENCE):
                await link.wait_up()
        except TimeoutError:
            raise Lost(link.problem) from None
        await emit(Online())
        await link.wait_down()
        raise Lost(link.problem)

    async def send_text(self, to: str, text: Text) -> str:
        """See `Transport.send_text`."""
        if text.replaces:
            raise NotDone(Trouble.NOT_ACCEPTABLE, "what was sent by SMS cannot be corrected")
        return await self._hub.send(self._user, self._source, to, text)
