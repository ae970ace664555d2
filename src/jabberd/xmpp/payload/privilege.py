"""XEP-0356 Privileged Entity: what a service may do for users of its server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, ParseError, parse
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import AnyStanza, Iq, Message, read_stanza

READING = frozenset({"get", "both"})
WRITING = frozenset({"set", "both"})


@dataclass(frozen=True, slots=True)
class Privileges:
    """What one service may do.

    Attributes:
        roster: "none", "get", "set" or "both": read and write the rosters of users.
        message: "none" or "outgoing": send messages in their name.
        presence: "none", "managed_entity" (of users) or "roster" (of their contacts as well).
        iq: namespace → "get", "set" or "both": ask for things in their name.
    """

    roster: str = "none"
    message: str = "none"
    presence: str = "none"
    iq: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.iq) or {self.roster, self.message, self.presence} != {"none"}


def advertisement(privileges: Privileges, server: JID, to: JID) -> Message:
    """What a server tells a service that has connected (§4.2 and alike)."""
    perms = []
    for access in ("roster", "message", "presence"):
        kind = getattr(privileges, access)
        if kind == "none":
            continue
        attributes = {"access": access, "type": kind}
        if access == "roster":
            # §4.2: without this, whoever may read rosters waits for pushes. We send none.
            attributes["push"] = "false"
        perms.append(Element(ns.PRIVILEGE, "perm", attributes))
    if privileges.iq:
        spaces = [
            Element(ns.PRIVILEGE, "namespace", {"ns": name, "type": kind})
            for name, kind in privileges.iq.items()
        ]
        perms.append(Element(ns.PRIVILEGE, "perm", {"access": "iq"}, spaces))
    return Message.build([Element(ns.PRIVILEGE, "privilege", None, perms)], from_=server, to=to)


def read_advertisement(message: Message) -> Privileges | None:
    """What a service was told; None where the message is another one."""
    element = message.child(ns.PRIVILEGE, "privilege")
    if element is None:
        return None
    kinds = {"roster": "none", "message": "none", "presence": "none"}
    spaces: dict[str, str] = {}
    for perm in element.find_all(ns.PRIVILEGE, "perm"):
        if perm.get("access") in kinds:
            kinds[perm.get("access")] = perm.get("type", "none")
        elif perm.get("access") == "iq":
            for one in perm.find_all(ns.PRIVILEGE, "namespace"):
                spaces[one.get("ns")] = one.get("type")
    return Privileges(**kinds, iq=spaces)


def outgoing(message: Message, by: JID, server: JID) -> Message:
    """What a service sends to its server to send a message in the name of a user (§5.3).

    Args:
        message: its `from_` is the user's bare JID.
        by: the service.
        server: where the user has the account.
    """
    return Message.build([_privilege(message)], from_=by, to=server, id=message.id)


def read_outgoing(message: Message) -> Message | None:
    """The message that is to be sent in the name of a user; None where there is none in it."""
    privilege = message.child(ns.PRIVILEGE, "privilege")
    inner = privilege.find(ns.FORWARD, "forwarded") if privilege is not None else None
    found = _inside(inner) if inner is not None else None
    return found if isinstance(found, Message) else None


def asking(iq: Iq, by: JID) -> Iq:
    """What a service sends to its server to ask for something in the name of a user (§7).

    Args:
        iq: the request; its `from_` is the user's bare JID.
        by: the service.
    """
    wrapper = Element(ns.PRIVILEGE, "privileged_iq", None, [parse(iq.in_namespace())])
    return Iq.build([wrapper], from_=by, to=iq.from_, id=iq.id, type=iq.type)


def read_answer(iq: Iq) -> Iq:
    """The answer that a service got in the name of a user.

    Raises:
        StanzaError: undefined-condition, where there is none in it.
    """
    wrapper = iq.child(ns.PRIVILEGE, "privilege")
    inner = wrapper.find(ns.FORWARD, "forwarded") if wrapper is not None else None
    found = _inside(inner) if inner is not None else None
    if not isinstance(found, Iq):
        raise StanzaError(Condition.UNDEFINED_CONDITION, "there is no answer in it")
    return found


def read_iq(iq: Iq) -> Iq | None:
    """The request that is to be made in the name of a user; None where there is none in it."""
    wrapper = iq.child(ns.PRIVILEGE, "privileged_iq")
    found = _inside(wrapper) if wrapper is not None else None
    return found if isinstance(found, Iq) else None


def answer(iq: Iq) -> Element:
    """The result of a request that was made in the name of a user."""
    return _privilege(iq)


def _privilege(stanza: AnyStanza) -> Element:
    forwarded = Element(ns.FORWARD, "forwarded", None, [parse(stanza.in_namespace())])
    return Element(ns.PRIVILEGE, "privilege", None, [forwarded])


def _inside(wrapper: Element) -> AnyStanza | None:
    children = list(wrapper)
    if len(children) != 1 or children[0].ns != ns.CLIENT:
        return None
    try:
        # In the form of a stream, whose default namespace it has.
        return read_stanza(children[0].to_bytes(""))
    except ParseError:
        return None
