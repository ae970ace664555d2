"""A user's contacts on the network: who they are, what they show, and their subscriptions.

The contact list exists three times: on the network, in the user's roster, and here. Here is what
was agreed, so that nobody is asked again at every login.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from jabberd.gateways import presence, roster
from jabberd.gateways.desk import Desk
from jabberd.gateways.events import Changed, Consent, Contact, ContactAsks, Show
from jabberd.gateways.transport import BadAddress, Capability, NotDone, Transport
from jabberd.gateways.users import User
from jabberd.storage.records import Drop, Record
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Presence

_SPACE: Final = "contact"
_PICTURE: Final = "avatar"


@dataclass(slots=True)
class Known:
    """One contact of one user.

    Attributes:
        jid: with its resource.
        contact: as the network has it.
        subscribed: the user was told "subscribed".
        offered: it was put into the user's roster, or proposed for it.
        show: how available.
        status: in words.
        avatar: SHA-1 of the picture; "" for none, None while nobody has said.
    """

    jid: JID
    contact: Contact
    subscribed: bool = False
    offered: bool = False
    show: Show = Show.OFFLINE
    status: str = ""
    avatar: str | None = None

    def undecided(self) -> bool:
        """Whether nothing is known yet of the contact's consent."""
        return self.contact.consent is Consent.NONE


@dataclass(slots=True)
class Contacts:
    """The contacts of one user.

    Attributes:
        desk: of the gateway.
        user: whose.
        online: whether the user is logged in at the network.
    """

    desk: Desk
    user: User
    online: bool = False
    _known: dict[str, Known] = field(default_factory=dict)
    _loaded: bool = False

    async def load(self) -> None:
        """Read them, once.

        Raises:
            StorageError: that cannot be done.
        """
        if self._loaded:
            return
        after = ""
        while page := await self.desk.records.list(self.user.jid.text, _SPACE, after=after):
            for record in page:
                known = self._read(record)
                self._known[known.jid.local] = known
            after = page[-1].key
        self._loaded = True

    def get(self, contact: JID) -> Known | None:
        """One of them, by its address."""
        return self._known.get(contact.local)

    def all(self) -> Sequence[Known]:
        """All of them."""
        return list(self._known.values())

    # What the network says

    async def synchronise(self, transport: Transport) -> None:
        """Take over the network's contact list."""
        before = self.all()  # whoever is added meanwhile may not be in the list yet
        present = set()
        for contact in (await transport.contacts())[: self.desk.rules.contacts]:
            known = await self._take(contact)
            if known is not None:
                present.add(known.jid.local)
        for known in before:
            if known.jid.local not in present:
                await self.removed(known.contact.id)
        await self.offer()

    async def added(self, contact: Contact) -> None:
        """The network has one more, or one that changed."""
        if await self._take(contact) is not None:
            await self.offer()

    async def removed(self, legacy: str) -> None:
        """The network has one less."""
        known = self._known.get(self.desk.contact(legacy).local)
        if known is None:
            return
        await self._forget(known)
        await self.removed_here(known.jid.bare)

    async def removed_here(self, contact: JID) -> None:
        """Take somebody out of the user's roster, as far as that is in the gateway's hands."""
        if not await roster.remove(self.desk, self.user, contact):
            for kind in ("unsubscribe", "unsubscribed"):
                self._post(presence.of_type(kind, contact, self.user.jid))

    async def changed(self, event: Changed) -> None:
        """Presence, name or picture of a contact changed."""
        known = self._known.get(self.desk.contact(event.contact).local)
        if known is None:
            return
        before = (known.show, known.status, known.avatar)
        known.show = event.show or known.show
        known.status = known.status if event.status is None else event.status
        if event.avatar is not None:
            await self._picture(known, event.avatar)
        if event.name and event.name != known.contact.name:
            known.contact = replace(known.contact, name=event.name)
            await self._write(known)
        if before != (known.show, known.status, known.avatar):
            self.show(known)

    async def asks(self, event: ContactAsks) -> None:
        """Somebody wants to see the user: it is the user who says yes or no."""
        contact = self.desk.contact(event.contact)
        await self.desk.records.write(self.desk.spelling(self.user, event.contact))
        asking = presence.of_type("subscribe", contact.bare, self.user.jid, event.text, event.name)
        await self.desk.link.send(asking)

    # What the user does

    async def subscribe(self, asked: Presence, transport: Transport | None) -> None:
        """The user adds a contact.

        Raises:
            StanzaError: there is no such contact, or there are too many.
        """
        jid = _to(asked)
        legacy = await self.desk.legacy(self.user, jid)
        known = self._known.get(jid.local)
        if known is None:
            if len(self._known) >= self.desk.rules.contacts:
                text = "you have too many contacts here"
                raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
            # It is here before the network is asked: news of it can overtake the answer.
            known = self._make(Contact(legacy, consent=Consent.NONE))
        known.offered = True
        if known.undecided():
            try:
                contact = await self._ask_network(legacy, transport)
            except StanzaError:
                if known.undecided():
                    self._known.pop(known.jid.local, None)
                raise
            if not known.undecided():
                return  # and the user was told
            known.contact = contact
        if known.contact.consent is Consent.GIVEN:
            await self._consented(known)
        else:
            await self._write(known)

    async def unsubscribe(self, contact: JID, transport: Transport | None) -> None:
        """The user removes a contact.

        Raises:
            NotDone: the network did not do it.
        """
        known = self._known.get(contact.local)
        if known is None:
            return
        if transport is not None:
            await transport.remove_contact(known.contact.id)
        await self._forget(known)
        self._post(presence.of_type("unsubscribed", known.jid.bare, self.user.jid))

    async def answer(self, contact: JID, transport: Transport | None, *, allow: bool) -> None:
        """The user lets a contact see them, or no longer does.

        Raises:
            NotDone: the network did not do it.
            StanzaError: there is no such contact.
        """
        if transport is not None and self.desk.can(Capability.CONSENT):
            await transport.answer(await self.desk.legacy(self.user, contact), allow=allow)

    # Presence

    def show(self, known: Known, to: JID | None = None) -> None:
        """Send the presence of a contact, to all clients of the user unless one is named."""
        if known.contact.consent is Consent.GIVEN:
            self._post(self._presence(known, to or self.user.jid))

    def show_all(self, to: JID | None = None) -> None:
        """Send everybody's presence to a client that has just come."""
        for known in self._known.values():
            if known.show is not Show.OFFLINE:
                self.show(known, to)

    def went(self, *, online: bool) -> None:
        """The login at the network has begun or ended."""
        self.online = online
        for known in self._known.values():
            if online and self.desk.can(Capability.PRESENCE):
                continue  # the network will say
            known.show = Show.ONLINE if online else Show.OFFLINE
            known.status = ""
            self.show(known)

    def _presence(self, known: Known, to: JID) -> Presence:
        return presence.of_contact(
            self.desk.network, known.jid, to, known.show, known.status, known.avatar
        )

    # Inside

    async def _ask_network(self, legacy: str, transport: Transport | None) -> Contact:
        if transport is None:
            if self.desk.can(Capability.CONTACTS | Capability.CONSENT):
                text = "you are not logged in at the network; add the contact when you are"
                raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT, text)
            return Contact(legacy)
        try:
            return await transport.add_contact(legacy, "")
        except NotDone as error:
            raise refusal(error) from None

    async def _take(self, contact: Contact) -> Known | None:
        """Remember a contact of the network; None where it cannot have an address."""
        try:
            jid = self.desk.contact(contact.id)
        except BadAddress:
            return None
        known = self._known.get(jid.local)
        if known is None:
            known = self._make(contact)
        elif known.contact == contact:
            return known
        else:
            consented = known.contact.consent is not Consent.GIVEN
            known.contact = contact
            if consented and contact.consent is Consent.GIVEN and known.offered:
                await self._consented(known)
                return known
        await self._write(known)
        return known

    def _make(self, contact: Contact) -> Known:
        shows = self.desk.can(Capability.PRESENCE)
        jid = self.desk.contact(contact.id)
        show = Show.ONLINE if self.online and not shows else Show.OFFLINE
        known = self._known[jid.local] = Known(jid, contact, show=show)
        return known

    async def _consented(self, known: Known) -> None:
        known.subscribed = True
        await self._write(known)
        self._post(presence.of_type("subscribed", known.jid.bare, self.user.jid))
        if self.desk.can(Capability.CONSENT):
            # Other networks show nobody's presence: there is nothing to ask the user for.
            self._post(presence.of_type("subscribe", known.jid.bare, self.user.jid))
        self.show(known)

    async def offer(self) -> None:
        """Bring new contacts into the user's roster: by privilege, else by XEP-0144."""
        fresh = [known for known in self._known.values() if not known.offered]
        if not fresh:
            return
        contacts = [(known.jid.bare, known.contact) for known in fresh]
        subscribed = await roster.bring(self.desk, self.user, contacts)
        for known in fresh:
            known.offered = True
            known.subscribed = subscribed
        await self.desk.records.write([r for known in fresh for r in self._records(known)])
        for known in fresh:
            self.show(known)

    async def _forget(self, known: Known) -> None:
        del self._known[known.jid.local]
        owner = self.user.jid.text
        drops = [Drop(owner, space, known.jid.local) for space in (_SPACE, _PICTURE)]
        await self.desk.records.write(drops)
        known.show = Show.OFFLINE
        self.show(known)

    async def _picture(self, known: Known, data: bytes) -> None:
        owner, local = self.user.jid.text, known.jid.local
        known.avatar = hashlib.sha1(data, usedforsecurity=False).hexdigest() if data else ""
        kept = Record(owner, _PICTURE, local, data, self.desk.now())
        await self.desk.records.write([kept if data else Drop(owner, _PICTURE, local)])

    async def picture(self, contact: JID) -> bytes:
        """A contact's picture; empty where there is none.

        Raises:
            StorageError: it cannot be read.
        """
        found = await self.desk.records.get(self.user.jid.text, _PICTURE, contact.local)
        return found.value if found is not None else b""

    async def _write(self, known: Known) -> None:
        await self.desk.records.write(self._records(known))

    def _records(self, known: Known) -> list[Record]:
        contact = known.contact
        value = {
            "id": contact.id,
            "name": contact.name,
            "groups": contact.groups,
            "consent": contact.consent.value,
            "subscribed": known.subscribed,
            "offered": known.offered,
        }
        data = json.dumps(value).encode()
        record = Record(self.user.jid.text, _SPACE, known.jid.local, data, self.desk.now())
        return [record, *self.desk.spelling(self.user, contact.id)]

    def _read(self, record: Record) -> Known:
        value = json.loads(record.value)
        contact = Contact(
            value["id"], value["name"], tuple(value["groups"]), Consent(value["consent"])
        )
        jid = self.desk.contact(contact.id)
        return Known(jid, contact, value["subscribed"], value["offered"])

    def _post(self, stanza: Presence) -> None:
        self.desk.link.post(stanza)


def refusal(error: NotDone) -> StanzaError:
    """What a user is told of a verb that failed."""
    return StanzaError(Condition(error.trouble.value), error.text)


def _to(stanza: Presence) -> JID:
    if stanza.to is None:
        raise StanzaError(Condition.BAD_REQUEST)
    return stanza.to
