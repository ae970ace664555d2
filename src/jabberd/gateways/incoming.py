"""From what happens on a network to stanzas for its user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from jabberd.client.component import LinkLost
from jabberd.gateways.contacts import Contacts
from jabberd.gateways.desk import Desk
from jabberd.gateways.events import (
    Arrived,
    Changed,
    ContactAdded,
    ContactAsks,
    ContactRemoved,
    Event,
    Failed,
    Notice,
    Reacted,
    Read,
    Received,
    Retracted,
    Types,
)
from jabberd.gateways.ids import Sent, stanza_id
from jabberd.gateways.transport import BadAddress, Capability, NotTaken
from jabberd.gateways.uploads import Uploads
from jabberd.gateways.users import User
from jabberd.storage.api import StorageError
from jabberd.storage.records import Drop, Record
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import delay, privilege
from jabberd.xmpp.stanza import Message, error_reply

_log: Final = structlog.get_logger("jabberd.gateway")
_OLD_SECONDS: Final = 300.0
_NO_STORE: Final = Element(ns.HINTS, "no-store")
_STORE: Final = Element(ns.HINTS, "store")


@dataclass(slots=True)
class Incoming:
    """The way in of one gateway.

    Attributes:
        desk: of the gateway.
        uploads: where files go.
    """

    desk: Desk
    uploads: Uploads

    async def take(self, user: User, contacts: Contacts, event: Event) -> None:
        """Bring an event to its user.

        Raises:
            NotTaken: a message could not be brought there.
        """
        try:
            await self._take(user, contacts, event)
        except LinkLost as error:
            raise NotTaken(str(error) or "the server is out of reach") from None
        except (StanzaError, StorageError) as error:
            raise NotTaken(str(error)) from None
        except BadAddress as error:
            raise NotTaken(str(error), lasting=True) from None

    async def _take(self, user: User, contacts: Contacts, event: Event) -> None:  # noqa: C901 -- one line for each kind of event
        match event:
            case Arrived():
                await self._arrived(user, event)
            case Types():
                self._types(user, event)
            case Received():
                await self._received(user, event)
            case Read():
                await self._read(user, event)
            case Failed():
                await self._failed(user, event)
            case Reacted():
                await self._reacted(user, event)
            case Retracted():
                await self._retracted(user, event)
            case Notice():
                await self.desk.say(user.jid, event.text)
            case Changed():
                await contacts.changed(event)
            case ContactAdded():
                await contacts.added(event.contact)
            case ContactRemoved():
                await contacts.removed(event.id)
            case ContactAsks():
                await contacts.asks(event)
            case _:
                pass  # `Online` is the session's

    # Messages

    async def _arrived(self, user: User, event: Arrived) -> None:
        name = self.desk.token()
        if event.id:
            name = stanza_id(event.contact, event.id)
            owner = user.jid.text
            if await self.desk.ids.known(owner, name):
                return
            if event.own and await self.desk.ids.sent(owner, event.id):
                return  # it was sent from here
        payload = await self._payload(user, event)
        kind = "chat" if event.solicited else "normal"
        changes: list[Record | Drop] = list(self.desk.spelling(user, event.contact))
        if event.body or not event.attachments:
            await self._send(user, event, name, payload, kind)
        for number, attachment in enumerate(event.attachments):
            file = await self.uploads.payload(user.jid, attachment)
            await self._send(user, event, f"{name}-{number + 1}", file, kind)
        if event.id:
            changes.append(self.desk.ids.arrived(user.jid.text, name, event.id, self.desk.now()))
        if changes:
            await self.desk.records.write(changes)

    async def _payload(self, user: User, event: Arrived) -> list[Element]:
        desk, owner = self.desk, user.jid.text
        payload = [Element(ns.CLIENT, "body", None, [event.body])]
        if event.subject:
            payload.append(Element(ns.CLIENT, "subject", None, [event.subject]))
        if event.replies_to:
            target = await desk.ids.here(owner, event.contact, event.replies_to)
            payload.append(Element(ns.REPLY, "reply", {"id": target}))
        if event.replaces:
            target = await desk.ids.here(owner, event.contact, event.replaces)
            payload.append(Element(ns.CORRECTION, "replace", {"id": target}))
        if event.name:
            payload.append(Element(ns.NICK, "nick", None, [event.name]))
        if desk.can(Capability.READ) and not event.own:
            payload.append(Element(ns.MARKERS, "markable"))
        if desk.can(Capability.TYPING) and not event.own:
            payload.append(Element(ns.CHAT_STATES, "active"))
        return payload

    async def _send(
        self, user: User, event: Arrived, name: str, payload: list[Element], kind: str
    ) -> None:
        desk = self.desk
        contact = desk.contact(event.contact)
        elements = [*payload, Element(ns.SID, "origin-id", {"id": name})]
        if event.thread:
            elements.append(Element(ns.CLIENT, "thread", None, [event.thread]))
        if event.at is not None and event.at < desk.now() - _OLD_SECONDS:
            elements.append(delay.delay(event.at, desk.domain))
        if not event.own:
            await desk.link.send(desk.message(contact, user.jid, elements, id=name, type=kind))
        elif desk.grants.message:
            own = desk.message(user.jid, contact.bare, elements, id=name, type=kind)
            await desk.link.send(privilege.outgoing(own, desk.domain, desk.link.server))

    # About messages

    def _types(self, user: User, event: Types) -> None:
        if self.desk.can(Capability.TYPING) and user.here:
            state = Element(ns.CHAT_STATES, event.typing.value)
            self.desk.link.post(self._small(user, event.contact, [state, _NO_STORE]))

    async def _received(self, user: User, event: Received) -> None:
        sent = await self._sent(user, event.contact, event.id)
        if sent is not None and sent.receipt:
            payload = [Element(ns.RECEIPTS, "received", {"id": sent.id}), _STORE]
            await self.desk.link.send(self._small(user, sent.contact, payload))

    async def _read(self, user: User, event: Read) -> None:
        sent = await self._sent(user, event.contact, event.id)
        if sent is not None:
            payload = [Element(ns.MARKERS, "displayed", {"id": sent.id}), _STORE]
            await self.desk.link.send(self._small(user, sent.contact, payload))

    async def _failed(self, user: User, event: Failed) -> None:
        sent = await self._sent(user, event.contact, event.id)
        if sent is None:
            _log.info("a message that nobody knows failed", user=user.jid.text, why=event.text)
            return
        sender = JID.parse(sent.sender)
        error = StanzaError(Condition(event.trouble.value), event.text)
        original = Message(from_=sender, to=self.desk.contact(sent.contact), id=sent.id)
        await self.desk.link.send(error_reply(original, error))

    async def _reacted(self, user: User, event: Reacted) -> None:
        target = await self.desk.ids.here(user.jid.text, event.contact, event.id)
        emojis = [Element(ns.REACTIONS, "reaction", None, [emoji]) for emoji in event.emojis]
        payload = [Element(ns.REACTIONS, "reactions", {"id": target}, emojis), _STORE]
        await self._about(user, event.contact, payload, own=event.own)

    async def _retracted(self, user: User, event: Retracted) -> None:
        target = await self.desk.ids.here(user.jid.text, event.contact, event.id)
        payload = [Element(ns.RETRACT, "retract", {"id": target}), _STORE]
        await self._about(user, event.contact, payload, own=event.own)

    async def _about(self, user: User, contact: str, payload: list[Element], *, own: bool) -> None:
        desk = self.desk
        if not own:
            await desk.link.send(self._small(user, contact, payload))
        elif desk.grants.message:
            to = desk.contact(contact).bare
            message = desk.message(user.jid, to, payload, id=desk.token())
            await desk.link.send(privilege.outgoing(message, desk.domain, desk.link.server))

    async def _sent(self, user: User, contact: str, legacy: str) -> Sent | None:
        sent = await self.desk.ids.sent(user.jid.text, legacy)
        return sent if sent is not None and contact in {"", sent.contact} else None

    def _small(self, user: User, contact: str, payload: list[Element]) -> Message:
        return self.desk.message(
            self.desk.contact(contact), user.jid, payload, id=self.desk.token()
        )
