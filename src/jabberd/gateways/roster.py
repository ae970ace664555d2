"""Contacts on their way into a user's roster.

Where the server allows it and the user wants it, the gateway writes them itself (XEP-0356), and
takes them out again. Otherwise they are proposed to the user's client (XEP-0144).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from jabberd.gateways.desk import Desk
from jabberd.gateways.events import Contact
from jabberd.gateways.users import User
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message

_log: Final = structlog.get_logger("jabberd.gateway")


def writes(desk: Desk, user: User) -> bool:
    """Whether the gateway may write this user's roster."""
    return desk.grants.roster and user.manages


async def bring(desk: Desk, user: User, contacts: Sequence[tuple[JID, Contact]]) -> bool:
    """Put contacts into a roster, or propose them; whether the user is subscribed to them now."""
    if not writes(desk, user):
        await desk.link.send(_proposal(desk, user, contacts))
        return False
    for jid, contact in contacts:
        groups = contact.groups or (desk.network.title,)
        await _set(desk, user, jid, contact.name, groups, "both")
    return True


async def welcome(desk: Desk, user: User) -> bool:
    """Put the gateway itself into the roster; False where the user has to do it."""
    if not writes(desk, user):
        return False
    return await _set(desk, user, desk.domain, desk.network.title, (), "both")


async def remove(desk: Desk, user: User, contact: JID) -> bool:
    """Take somebody out of a roster; False where the user has to do it."""
    if not writes(desk, user):
        return False
    return await _set(desk, user, contact, "", (), "remove")


async def _set(
    desk: Desk, user: User, jid: JID, name: str, groups: Sequence[str], subscription: str
) -> bool:
    attrs = {"jid": jid.bare_text, "name": name or None, "subscription": subscription}
    item = Element(ns.ROSTER, "item", attrs)
    item.add(*(Element(ns.ROSTER, "group", None, [group]) for group in groups))
    query = Element(ns.ROSTER, "query", None, [item])
    iq = Iq.build([query], from_=desk.domain, to=user.jid, type="set")
    try:
        await desk.link.ask(iq)
    except StanzaError as error:
        _log.warning(
            "cannot write a contact list", user=user.jid.text, contact=jid.text, why=str(error)
        )
        return False
    return True


def _proposal(desk: Desk, user: User, contacts: Sequence[tuple[JID, Contact]]) -> Message:
    x = Element(ns.ROSTERX, "x")
    for jid, contact in contacts:
        attrs = {"action": "add", "jid": jid.bare_text, "name": contact.name or None}
        item = Element(ns.ROSTERX, "item", attrs)
        for group in contact.groups or (desk.network.title,):
            item.add(Element(ns.ROSTERX, "group", None, [group]))
        x.add(item)
    return desk.message(desk.domain, user.jid, [x], id=desk.token(), type="normal")
