"""XEP-0054 vcard-temp: everybody's card, kept by the server."""

from __future__ import annotations

from dataclasses import dataclass

from jabberd.core.module import At, Host, IqGet, IqSet, Module, Xep
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import vcard
from jabberd.xmpp.stanza import Iq

XEP = Xep(54, "1.3.0")
SPACE = "vcard"
_KEY = "vCard"


@dataclass(frozen=True)
class Options:
    """vCards.

    Attributes:
        max_bytes: the largest card that is accepted, in bytes of XML.
    """

    max_bytes: int = 65536


class VCard:
    """Keeps one card per account, as the bytes of its element."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._max_bytes = options.max_bytes

    async def own(self, iq: Iq, _session: Session | None) -> bytes:
        """One's own card (§3.1)."""
        card = await self._load(iq.from_)
        if card is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND, "you have no vCard")
        return card

    async def other(self, iq: Iq, _session: Session | None) -> bytes:
        """Another account's card (§3.3)."""
        card = await self._load(iq.to)
        if card is None:
            # The same whether the account has no card or does not exist: who asks learns nothing.
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return card

    async def update(self, iq: Iq, _session: Session | None) -> None:
        """Replace one's own card; an empty one removes it (§3.2)."""
        card = iq.request()
        data = None if vcard.is_empty(card) else card.to_bytes()
        if data is not None and len(data) > self._max_bytes:
            raise StanzaError(
                Condition.POLICY_VIOLATION,
                f"a vCard has at most {self._max_bytes} bytes, this one has {len(data)}",
            )
        await self._host.stores.keyvalue.put(_owner(iq.from_), SPACE, _KEY, data)

    def refuse(self, _iq: Iq, _session: Session | None) -> None:
        """Nobody changes somebody else's card (§3.2)."""
        raise StanzaError(Condition.FORBIDDEN, "this vCard is not yours")

    async def _load(self, account: JID | None) -> bytes | None:
        return await self._host.stores.keyvalue.get(_owner(account), SPACE, _KEY)


def _owner(account: JID | None) -> str:
    if account is None:
        raise StanzaError(Condition.BAD_REQUEST, "whose vCard?")
    return account.bare_text


def load(host: Host, options: Options) -> Module:
    """Cards of accounts; the server has none itself."""
    cards = VCard(host, options)
    return Module(
        handlers=[
            IqGet(ns.VCARD, "vCard", cards.own, At.OWN),
            IqGet(ns.VCARD, "vCard", cards.other, At.USER),
            IqSet(ns.VCARD, "vCard", cards.update, At.OWN),
            IqSet(ns.VCARD, "vCard", cards.refuse, At.USER | At.HOST),
        ],
        features=[ns.VCARD],
        account_features=[ns.VCARD],
    )
