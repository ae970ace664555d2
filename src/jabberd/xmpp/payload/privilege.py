"""XEP-0356 Privileged Entity: what a service may do for users of its server."""

from __future__ import annotations

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message


def outgoing(message: Message, by: JID, server: JID) -> Message:
    """What a service sends to its server to send a message in the name of a user (§4.3).

    Args:
        message: its `from_` is the user's bare JID.
        by: the service.
        server: where the user has the account.
    """
    forwarded = Element(ns.FORWARD, "forwarded", None, [parse(message.in_namespace())])
    privilege = Element(ns.PRIVILEGE, "privilege", None, [forwarded])
    return Message.build([privilege], from_=by, to=server, id=message.id)
