"""What the parts of one gateway share, and how its stanzas look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from jabberd.gateways.ids import Ids
from jabberd.gateways.link import Link
from jabberd.gateways.rules import Rules
from jabberd.gateways.transport import BadAddress, Capability, Network
from jabberd.gateways.users import User, Users
from jabberd.storage.records import Record, Records
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.escaping import escape, unescape
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.stanza import Message

_SPELLING: Final = "spelling"  # localpart → legacy id, where a localpart does not tell it


@dataclass(slots=True)
class Grants:
    """What the server lets the gateway do for users (XEP-0356).

    Attributes:
        roster: read and write their contact lists.
        message: send messages in their name.
        upload: ask for room for files in their name (XEP-0363).
    """

    roster: bool = False
    message: bool = False
    upload: bool = False


@dataclass(slots=True)
class Desk:
    """Shared by the parts of one gateway.

    Attributes:
        domain: of the gateway.
        network: what it leads to.
        link: to the server.
        records: durable state.
        users: who is registered.
        ids: names of messages.
        now: seconds since the epoch.
        token: makes unpredictable strings.
        rules: bounds.
        grants: what the server allows.
    """

    domain: JID
    network: Network
    link: Link
    records: Records
    users: Users
    ids: Ids
    now: Callable[[], float]
    token: Callable[[], str]
    rules: Rules
    grants: Grants = field(default_factory=Grants)

    def can(self, capability: Capability) -> bool:
        """Whether the network can do this."""
        return bool(self.network.capabilities & capability)

    def contact(self, legacy: str) -> JID:
        """The address of a contact, with the resource that it always has.

        Raises:
            BadAddress: no address can be made of it.
        """
        try:
            bare = JID.parse(f"{escape(legacy)}@{self.domain.domain}")
        except InvalidJID as error:
            raise BadAddress(str(error)) from None
        return bare.with_resource(self.network.identity)

    async def legacy(self, user: User, contact: JID) -> str:
        """Whom an address means on the network.

        Raises:
            StanzaError: item-not-found, where it means nobody.
        """
        spelt = await self.records.get(user.jid.text, _SPELLING, contact.local)
        text = spelt.value.decode() if spelt is not None else unescape(contact.local)
        try:
            return self.network.canonical(text)
        except BadAddress as error:
            raise StanzaError(Condition.ITEM_NOT_FOUND, str(error)) from None

    def spelling(self, user: User, legacy: str) -> list[Record]:
        """What to write so that an address leads back to a legacy id of unusual spelling.

        Addresses have no upper case (RFC 7622 §3.3), which some networks tell apart.
        """
        local = self.contact(legacy).local
        if unescape(local) == legacy:
            return []
        return [Record(user.jid.text, _SPELLING, local, legacy.encode(), self.now())]

    async def say(self, user: JID, text: str) -> None:
        """Tell a user something in the gateway's own name."""
        body = Element(ns.CLIENT, "body", None, [text])
        await self.link.send(self.message(self.domain, user, [body], id=self.token()))

    def message(
        self,
        from_: JID,
        to: JID,
        payload: Sequence[Element],
        *,
        id: str,  # noqa: A002 -- the attribute's name on the wire
        type: str = "chat",  # noqa: A002 -- the attribute's name on the wire
    ) -> Message:
        """A message to a user."""
        return Message.build(payload, from_=from_, to=to, id=id, type=type)
