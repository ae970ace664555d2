"""Recognises what a server or a component sends again after its stream broke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from jabberd.core.eager import settle, start
from jabberd.core.resent import Mark, Resent, same, unique_of
from jabberd.core.verdict import Dropped, Verdict
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Log
from jabberd.xmpp.stanza import Message, Stanza

_SUSPICIOUS: Final = 20
"""When so many messages on the first stream after a start were new, the others are as well."""


class Repeats:
    """What one stream brings, and others have brought before.

    Args:
        resent: of all streams.
        log: where a former process has put what it was sent.
        route: takes what is new.

    Attributes:
        mark: of this stream.
    """

    __slots__ = ("_log", "_resent", "_route", "_suspicious", "mark")

    def __init__(
        self,
        resent: Resent,
        log: Log,
        route: Callable[[Stanza], Verdict | asyncio.Task[Verdict]],
    ) -> None:
        self._resent = resent
        self._log = log
        self._route = route
        self._suspicious = 0  # so many messages more are looked for in the log
        self.mark = Mark()

    def suspect(self) -> None:
        """This is the first stream with the peer since this process began."""
        self._suspicious = _SUSPICIOUS

    def came_before(self, message: Message) -> bool:
        """Whether a message was on a stream that broke."""
        sender, to = message.from_, message.to
        return (
            sender is not None
            and to is not None
            and self._resent.again(
                sender.text, to.bare_text, unique_of(message), message.inner, self.mark
            )
        )

    def route(self, stanza: Stanza) -> Verdict | asyncio.Task[Verdict]:
        """Route a stanza, unless a former process has done so."""
        if self._suspicious and isinstance(stanza, Message) and stanza.to is not None:
            return start(self._look_and_route(stanza))
        return self._route(stanza)

    async def _look_and_route(self, message: Message) -> Verdict:
        """What a killed process has written and not acknowledged any more comes again, first."""
        sender, to = message.from_, message.to
        name, _ = unique_of(message)
        if name and sender is not None and to is not None:
            try:
                entry = await self._log.find(to.bare_text, sender.bare_text, name, sent=False)
            except StorageError:
                entry = None  # whatever is wrong, the way of the message will tell its sender
            if entry is not None and same(entry.stanza, message.inner):
                self._suspicious = _SUSPICIOUS
                return Dropped("resent", "it is in the log already, and was sent again")
        self._suspicious = max(0, self._suspicious - 1)
        return await settle(self._route(message))
