"""Tells senders what became of a stanza that was accepted and could not be brought to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from jabberd.core.host import LocalHost
from jabberd.core.router import Router
from jabberd.core.session import Session
from jabberd.storage.api import StorageError
from jabberd.storage.log_api import Flag
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Stanza, error_reply

_log: Final = structlog.get_logger("jabberd.returned")


class Returns:
    """The way back to senders, who may have left by now.

    Args:
        router: takes the answers.
        hosts: ours, by domain.
    """

    def __init__(self, router: Router, hosts: Mapping[str, LocalHost]) -> None:
        self._router = router
        self._hosts = hosts

    def give_back(self, stanza: Stanza, error: StanzaError) -> None:
        """Return a stanza with an error."""
        # RFC 6120 §8.3.1: an error is never answered.
        if stanza.type == "error" or (isinstance(stanza, Iq) and stanza.type == "result"):
            return
        _log.info(
            "given back to its sender", to=str(stanza.to), error=error.condition.value,
            text=error.text,
        )  # fmt: skip
        reply = error_reply(stanza, error)
        if isinstance(reply, Message) and reply.to is not None and self._is_away(reply.to):
            # Who wrote it is not there any more: the answer waits, as any message does.
            host = self._hosts[reply.to.domain]
            host.spawn("keep an answer", _keep(host, reply, reply.to.bare))
        else:
            self._router.route(reply)

    def not_stored(self, stanza: Stanza, origin: Session | None, error: StorageError) -> None:
        """A stanza was accepted, and then there was no room for it: it may be sent again."""
        if origin is not None and isinstance(stanza, Message):
            self._hosts[origin.jid.domain].keeper.forget_sent(stanza, origin)
        self._router.failed_later(stanza, origin, error)

    def _is_away(self, jid: JID) -> bool:
        """Whether an address is of an account of ours whose client is not there."""
        host = self._hosts.get(jid.domain)
        if host is None or not jid.local:
            return False
        sessions = host.sessions(jid.bare)
        if jid.resource:
            return not any(session.jid == jid for session in sessions)
        return not sessions


async def _keep(host: LocalHost, message: Message, account: JID) -> None:
    """Keep a message, if there is such an account, until it comes."""
    if await host.stores.accounts.get(account.text) is not None:
        flags = Flag.VISIBLE if host.keeper.rules is not None else Flag(0)
        host.keeper.store(message, account, None, int(flags))
