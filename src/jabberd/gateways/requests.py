"""The IQ requests that a gateway answers, for itself and for its contacts."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import jabberd.gateways.discovery as found
from jabberd.gateways.acts import Acts
from jabberd.gateways.commands import Commands, data_form, first_values
from jabberd.gateways.desk import Desk
from jabberd.gateways.signup import SignUps
from jabberd.gateways.transport import Question
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import disco
from jabberd.xmpp.stanza import Iq

Answer = Element | None
_PLAIN: Final = frozenset(
    {"username", "nick", "password", "name", "first", "last", "email", "phone", "url"}
)
"""Fields that XEP-0077 §14.1 has elements for, as far as networks ask for such things."""


@dataclass(slots=True)
class Requests:
    """The answers of one gateway.

    Attributes:
        desk: of the gateway.
        signups: registers.
        acts: what users can do.
        commands: ad-hoc.
        version: of this software.
    """

    desk: Desk
    signups: SignUps
    acts: Acts
    commands: Commands
    version: str

    async def answer(self, iq: Iq) -> Answer:
        """What a request gets.

        Raises:
            StanzaError: why it gets nothing.
        """
        to, asker, request = iq.to, iq.from_, iq.request()
        if to is None or asker is None:
            raise StanzaError(Condition.BAD_REQUEST)
        key = (iq.type, request.ns, request.name)
        handlers = self._of_gateway() if not to.local else self._of_contacts()
        handle = handlers.get(key)
        if handle is None:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return await handle(asker, to, request)

    def _of_gateway(self) -> dict[tuple[str, str, str], _Handler]:
        return {
            ("get", ns.DISCO_INFO, "query"): self._info,
            ("get", ns.DISCO_ITEMS, "query"): self._items,
            ("get", ns.REGISTER, "query"): self._registration,
            ("set", ns.REGISTER, "query"): self._register,
            ("get", ns.GATEWAY, "query"): self._prompt,
            ("set", ns.GATEWAY, "query"): self._prompted,
            ("set", ns.COMMANDS, "command"): self._command,
            ("get", ns.VERSION, "query"): self._version,
            ("get", ns.VCARD, "vCard"): self._vcard,
            ("get", ns.PING, "ping"): self._ping,
        }

    def _of_contacts(self) -> dict[tuple[str, str, str], _Handler]:
        return {
            ("get", ns.DISCO_INFO, "query"): self._contact_info,
            ("get", ns.DISCO_ITEMS, "query"): self._no_items,
            ("get", ns.VCARD, "vCard"): self._contact_vcard,
            ("get", ns.PUBSUB, "pubsub"): self._contact_avatar,
            ("get", ns.PING, "ping"): self._ping,
        }

    # Discovery

    async def _info(self, _asker: JID, _to: JID, query: Element) -> Answer:
        node = query.get("node")
        if not node or node.startswith(f"{found.NODE}#"):
            info = found.gateway_info(self.desk.network)
            return disco.info(info, node or None)
        of_command = self.commands.info(node)
        if of_command is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        return disco.info(of_command, node)

    async def _items(self, asker: JID, _to: JID, query: Element) -> Answer:
        node = query.get("node")
        if node == ns.COMMANDS:
            return disco.items(self.commands.items(asker.bare), node)
        if node:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        session = self.acts.session(asker.bare_text)
        if session is None:  # a user's contacts are nobody else's business
            return disco.items([])
        await session.contacts.load()
        contacts = session.contacts.all()
        return disco.items([disco.item(one.jid.bare, one.contact.name) for one in contacts])

    async def _contact_info(self, asker: JID, _to: JID, query: Element) -> Answer:
        self.acts.of(asker.bare)
        return disco.info(found.contact_info(self.desk.network), query.get("node") or None)

    async def _no_items(self, _asker: JID, _to: JID, query: Element) -> Answer:
        return disco.items([], query.get("node") or None)

    # Registration (XEP-0077)

    async def _registration(self, asker: JID, _to: JID, _query: Element) -> Answer:
        user = self.desk.users.get(asker.bare_text)
        current = self.signups.current(user) if user is not None else {}
        form = self.signups.form(asker.bare)
        answer = Element(ns.REGISTER, "query")
        if user is not None:
            answer.add(Element(ns.REGISTER, "registered"))
        answer.add(Element(ns.REGISTER, "instructions", None, [form.instructions]))
        for one in form.fields:
            if one.var in _PLAIN:
                value = "" if one.kind == "text-private" else current.get(one.var, "")
                answer.add(Element(ns.REGISTER, one.var, None, [value] if value else []))
        return answer.add(data_form(form, current, ns.REGISTER))

    async def _register(self, asker: JID, _to: JID, query: Element) -> Answer:
        user = asker.bare
        form = query.find(ns.DATA_FORMS, "x")
        if query.find(ns.REGISTER, "remove") is not None:
            await self.acts.unregister(user)
            return None
        if form is not None and form.get("type") == "cancel":
            self.signups.cancel(user)
            return None
        if form is not None:
            answers = first_values(form)
        else:
            answers = {child.name: child.text for child in query if child.ns == ns.REGISTER}
        done = await self.signups.submit(user, answers)
        if isinstance(done, Question):
            # XEP-0077 knows one form only: the rest is asked for by chat.
            text = f'{done.form.instructions}\nWrite "register" to me to go on.'
            await self.desk.say(user, text)
        return None

    # Prompts (XEP-0100 §5.3)

    async def _prompt(self, _asker: JID, _to: JID, _query: Element) -> Answer:
        network = self.desk.network
        text = f"Enter the {network.prompt} of the person, for example {network.example}."
        children = [
            Element(ns.GATEWAY, "desc", None, [text]),
            Element(ns.GATEWAY, "prompt", None, [network.prompt]),
        ]
        return Element(ns.GATEWAY, "query", None, children)

    async def _prompted(self, _asker: JID, _to: JID, query: Element) -> Answer:
        text = query.child_text(ns.GATEWAY, "prompt")
        if not text:
            raise StanzaError(Condition.BAD_REQUEST, "there is no <prompt/>")
        jid = Element(ns.GATEWAY, "jid", None, [self.acts.address(text).text])
        return Element(ns.GATEWAY, "query", None, [jid])

    # The rest

    async def _command(self, asker: JID, _to: JID, command: Element) -> Answer:
        return await self.commands.execute(asker.bare, command)

    async def _version(self, _asker: JID, _to: JID, _query: Element) -> Answer:
        name = Element(ns.VERSION, "name", None, ["jabberd gateway"])
        version = Element(ns.VERSION, "version", None, [self.version])
        return Element(ns.VERSION, "query", None, [name, version])

    async def _ping(self, _asker: JID, _to: JID, _query: Element) -> Answer:
        return None

    async def _vcard(self, _asker: JID, _to: JID, _query: Element) -> Answer:
        name = Element(ns.VCARD, "FN", None, [self.desk.network.title])
        return Element(ns.VCARD, "vCard", None, [name])

    async def _contact_vcard(self, asker: JID, to: JID, _query: Element) -> Answer:
        session = self.acts.of(asker.bare)
        await session.contacts.load()
        known = session.contacts.get(to)
        if known is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        name = known.contact.name or known.contact.id
        card = Element(ns.VCARD, "vCard", None, [Element(ns.VCARD, "FN", None, [name])])
        picture = await session.contacts.picture(to)
        if picture:
            kind = Element(ns.VCARD, "TYPE", None, [media_type(picture)])
            data = Element(ns.VCARD, "BINVAL", None, [base64.b64encode(picture).decode()])
            card.add(Element(ns.VCARD, "PHOTO", None, [kind, data]))
        return card

    async def _contact_avatar(self, asker: JID, to: JID, pubsub: Element) -> Answer:
        """XEP-0084 §4.2: the picture itself; its hash came with the presence."""
        session = self.acts.of(asker.bare)
        await session.contacts.load()
        items = pubsub.find(ns.PUBSUB, "items")
        known, picture = session.contacts.get(to), await session.contacts.picture(to)
        if items is None or known is None or not picture or not known.avatar:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        node = items.get("node")
        if node == ns.AVATAR_DATA:
            payload = Element(node, "data", None, [base64.b64encode(picture).decode()])
        elif node == ns.AVATAR_METADATA:
            attrs = {
                "id": known.avatar,
                "type": media_type(picture),
                "bytes": str(len(picture)),
            }
            payload = Element(node, "metadata", None, [Element(node, "info", attrs)])
        else:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        item = Element(ns.PUBSUB, "item", {"id": known.avatar}, [payload])
        inner = Element(ns.PUBSUB, "items", {"node": node}, [item])
        return Element(ns.PUBSUB, "pubsub", None, [inner])


_Handler = Callable[[JID, JID, Element], Awaitable[Answer]]


def media_type(picture: bytes) -> str:
    """What kind of picture this is, by its first bytes."""
    for start, kind in (
        (b"\x89PNG", "image/png"),
        (b"\xff\xd8", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"RIFF", "image/webp"),
    ):
        if picture.startswith(start):
            return kind
    return "application/octet-stream"
