"""What a user can have the gateway do, in words: for its chat and its commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from jabberd.gateways import presence
from jabberd.gateways.desk import Desk
from jabberd.gateways.events import Show
from jabberd.gateways.session import Session, State
from jabberd.gateways.transport import BadAddress, NotDone
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Presence


@dataclass(slots=True)
class Acts:
    """The acts of one gateway; each returns a sentence or more.

    Attributes:
        desk: of the gateway.
        session: finds the session of a user by the bare JID.
        remove_user: unregisters somebody.
    """

    desk: Desk
    session: Callable[[str], Session | None]
    remove_user: Callable[[JID], Awaitable[None]]

    def of(self, jid: JID) -> Session:
        """Somebody's session.

        Raises:
            StanzaError: registration-required.
        """
        session = self.session(jid.text)
        if session is None:
            text = f'you are not registered with {self.desk.domain}: write "register" to it'
            raise StanzaError(Condition.REGISTRATION_REQUIRED, text)
        return session

    def address(self, text: str) -> JID:
        """The address of whom a user names (XEP-0100 §5.3).

        Raises:
            StanzaError: item-not-found, and why.
        """
        try:
            return self.desk.contact(self.desk.network.canonical(text)).bare
        except BadAddress as error:
            raise StanzaError(Condition.ITEM_NOT_FOUND, str(error)) from None

    async def add(self, jid: JID, text: str) -> str:
        """Add a contact."""
        session = self.of(jid)
        contact = self.address(text)
        asked = Presence(to=contact, from_=jid, type="subscribe")
        await session.contacts.subscribe(asked, session.transport)
        known = session.contacts.get(contact)
        if known is not None:
            known.offered = False
            await session.contacts.offer()
        return f"Added. The address here is {contact.text}"

    async def remove(self, jid: JID, text: str) -> str:
        """Remove a contact."""
        session = self.of(jid)
        contact = self.address(text)
        known = session.contacts.get(contact)
        if known is None:
            return f"I do not know {text} as a contact of yours."
        try:
            await session.contacts.unsubscribe(contact, session.transport)
        except NotDone as error:
            return f"The network did not do it: {error}"
        await session.contacts.removed_here(contact)
        return f"Removed {text}."

    async def contacts(self, jid: JID, _: str) -> str:
        """List the contacts."""
        session = self.of(jid)
        await session.contacts.load()
        lines = [
            f"{known.contact.name or known.contact.id}: {known.jid.bare_text}"
            for known in session.contacts.all()
        ]
        return "\n".join(sorted(lines)) or "You have no contacts here yet."

    async def status(self, jid: JID, _: str) -> str:
        """Tell how things stand."""
        if self.session(jid.text) is None:
            return 'You are not registered. Write "register" to begin.'
        session = self.of(jid)
        text = f"You are registered as {session.user.name}; {session.state.value}."
        if session.problem:
            text += f" {session.problem}"
        if waiting := len(session.outbox):
            text += f" Messages that wait for the network: {waiting}."
        return text

    async def log_in(self, jid: JID, _: str) -> str:
        """Begin the login."""
        session = self.of(jid)
        if session.state is State.WAITING:
            await session.end()  # so that the pause is over
        session.begin()
        return "Logging in."

    async def log_out(self, jid: JID, _: str) -> str:
        """End the login."""
        await self.of(jid).end()
        return "Logged out."

    async def unregister(self, jid: JID) -> None:
        """Remove somebody, with everything that is known of them."""
        self.of(jid)
        await self.remove_user(jid)

    async def policy(self, _jid: JID, _: str) -> str:
        """What is stored, and who sees it (XEP-0504)."""
        return "\n".join(self.desk.network.policy) or "Nothing is said about that."

    def probed(self, session: Session, contact: JID, to: JID) -> None:
        """Answer a presence probe."""
        if not contact.local:
            session.announce()
            return
        known = session.contacts.get(contact)
        if known is not None and known.show is not Show.OFFLINE:
            session.contacts.show(known, to)
        else:
            gone = presence.of_contact(self.desk.network, contact.bare, to, Show.OFFLINE)
            self.desk.link.post(gone)
