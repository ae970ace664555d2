"""From a user's message to what the network is asked to do."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, replace
from typing import Final

from jabberd.gateways import reading
from jabberd.gateways.desk import Desk
from jabberd.gateways.events import Text
from jabberd.gateways.outbox import Item
from jabberd.gateways.reading import Said
from jabberd.gateways.session import Session, State
from jabberd.gateways.transport import Capability, NotDone
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Message

_SUSPICIOUS: Final = 1_000
"""So many messages after a connection may have come before."""


@dataclass(slots=True)
class Outgoing:
    """The way out of one gateway.

    Attributes:
        desk: of the gateway.
    """

    desk: Desk
    _suspicious: int = 0

    def reconnected(self) -> None:
        """The server may send again what a gateway that was killed has stored (XEP-0198)."""
        self._suspicious = _SUSPICIOUS

    def read(self, message: Message) -> Said:
        """What a message says.

        Raises:
            StanzaError: it cannot be for this network.
        """
        return reading.read(message, quotes=not self.desk.can(Capability.REPLIES))

    async def keep(self, session: Session, contact: str, message: Message, said: Said) -> None:
        """Put what has to arrive into the outbox; it is on the disk when this returns.

        Raises:
            StanzaError: the network cannot take it.
        """
        if said.reacts_to or said.retracts:
            await self._keep_about(session, contact, message, said)
            return
        if not said.body and not said.files:
            return
        self._check_state(session)
        user, ids, desk = session.user.jid.text, self.desk.ids, self.desk
        replaces = await ids.legacy(user, said.replaces) if said.replaces else ""
        if said.replaces and not (desk.can(Capability.CORRECTIONS) and replaces):
            why = f"{desk.network.title} cannot correct what was sent: write it anew"
            raise StanzaError(Condition.NOT_ACCEPTABLE, why)
        name = message_name(session, contact, message)
        if await self._came_before(session, name):
            if self._suspicious:
                return
            name = desk.token()
        text = Text(
            id=name,
            body=said.body,
            subject=said.subject,
            thread=said.thread,
            replies_to=await ids.legacy(user, said.replies_to) if said.replies_to else "",
            replaces=replaces,
            receipt=said.receipt,
            files=said.files,
            at=desk.now(),
        )
        if said.files and not desk.can(Capability.FILES):
            text = _files_as_text(text)
        await session.outbox.put(Item(contact, _sender(message), message.id, text))

    async def pass_on(self, session: Session, contact: str, said: Said) -> None:
        """Pass on what may get lost: typing, and how far somebody has read."""
        transport = session.transport
        if transport is None:
            return
        with contextlib.suppress(NotDone):
            if said.typing is not None and self.desk.can(Capability.TYPING):
                await session.attempt(transport.send_typing(contact, said.typing))
            if said.read and self.desk.can(Capability.READ):
                legacy = await self.desk.ids.legacy(session.user.jid.text, said.read)
                if legacy:
                    await session.attempt(transport.send_read(contact, legacy))

    async def _came_before(self, session: Session, name: str) -> bool:
        """Whether a message is here already, or was."""
        self._suspicious = max(0, self._suspicious - 1)
        if session.outbox.has(name):
            return True
        return await self.desk.ids.known(session.user.jid.text, name)

    async def _keep_about(
        self, session: Session, contact: str, message: Message, said: Said
    ) -> None:
        wanted = Capability.REACTIONS if said.reacts_to else Capability.RETRACTIONS
        named = said.reacts_to or said.retracts
        about = await self.desk.ids.legacy(session.user.jid.text, named)
        if not self.desk.can(wanted) or not about:
            return  # what is meant for those who know it has no words for others
        self._check_state(session)
        text = Text(id=self.desk.token(), body="", at=self.desk.now())
        emojis = said.emojis if said.reacts_to else None
        item = Item(contact, _sender(message), message.id, text, about, emojis)
        await session.outbox.put(item)

    def _check_state(self, session: Session) -> None:
        title = self.desk.network.title
        if session.state is State.REFUSED:
            text = f"{title} does not let you in: {session.problem}"
            raise StanzaError(Condition.NOT_AUTHORIZED, text)
        if session.state is State.OFF and not session.user.known:
            session.begin()  # the gateway has just started, and a message is a sign of life
        elif session.state is State.OFF:
            raise StanzaError(Condition.NOT_ALLOWED, f"you are logged out of {title}")


def message_name(session: Session, contact: str, message: Message) -> str:
    """The name of a message: the same when the server sends it again.

    A client may use the id of a stanza twice, for two messages that say the same.
    """
    said = f"{session.user.jid.text}\0{contact}\0{message.id}\0".encode() + message.inner
    return hashlib.sha256(said).hexdigest()[:32]


def _sender(message: Message) -> str:
    return message.from_.text if message.from_ is not None else ""


def _files_as_text(text: Text) -> Text:
    urls = "\n".join(file.url for file in text.files)
    return replace(text, body=f"{text.body}\n{urls}" if text.body else urls, files=())
