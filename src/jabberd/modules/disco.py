"""XEP-0030 Service Discovery, with the forms of XEP-0128: what this server is and has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jabberd.core.module import At, DiscoNodes, Host, IqGet, Module, Xep
from jabberd.core.ports import DiscoApi, ModulesApi, PresenceApi
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import disco
from jabberd.xmpp.stanza import Iq

XEPS = (Xep(30, "2.5.0"), Xep(128, "1.0.1"))


@dataclass(frozen=True)
class Options:
    """Service discovery.

    Attributes:
        name: what the server calls itself in its identity.
    """

    name: str = "jabberd"


class Disco:
    """Answers for the host and on behalf of its accounts."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._name = options.name
        self._items: dict[tuple[str, str], Element] = {}  # by JID and node

    def add_item(self, jid: JID, name: str, node: str = "") -> None:
        """List something under the host (XEP-0030 disco#items)."""
        self._items[jid.text, node] = disco.item(jid, name, node)

    def remove_item(self, jid: JID, node: str = "") -> None:
        """List it no more."""
        self._items.pop((jid.text, node), None)

    def info(self) -> Element:
        """The host's disco#info query element, as it stands now."""
        modules = self._modules()
        children = [disco.identity("server", "im", self._name)]
        children += [identity for module in modules for identity in module.identities]
        children += disco.features(name for module in modules for name in module.features)
        children += [form for module in modules for form in module.forms]
        return disco.info(children)

    def host_info(self, iq: Iq, _session: Session | None) -> Element:
        """What the host, or one of its nodes, is."""
        node = _node(iq)
        if not node:
            query = self.info()
            return disco.info(query, node)
        return disco.info(self._ask_nodes(node, lambda nodes: nodes.info(node, _sender(iq))), node)

    def host_items(self, iq: Iq, _session: Session | None) -> Element:
        """What belongs to the host, or to one of its nodes."""
        node = _node(iq)
        if not node:
            return disco.items(self._items.values(), node)
        found = self._ask_nodes(node, lambda nodes: nodes.items(node, _sender(iq)))
        return disco.items(found, node)

    async def account_info(self, iq: Iq, _session: Session | None) -> Element:
        """What an account is: for itself and for those who may see its presence."""
        account, asker = _account(iq), _sender(iq).bare
        if not await self._may_see(account, asker):
            # XEP-0030 §8: the same for accounts that do not exist, with or without a node.
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        node = _node(iq)
        if node:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        children = [disco.identity("account", "registered")]
        children += disco.features(
            name for module in self._modules() for name in module.account_features
        )
        return disco.info(children, node)

    async def account_items(self, iq: Iq, _session: Session | None) -> Element:
        """The available resources of an account, for those who may see its presence."""
        account, asker, node = _account(iq), _sender(iq).bare, _node(iq)
        if not await self._may_see(account, asker):
            # XEP-0030 §8: empty, not an error, and the same for accounts that do not exist.
            return disco.items((), node)
        if node:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        sessions = self._host.sessions(account)
        return disco.items((disco.item(s.jid) for s in sessions if s.presence is not None), node)

    def _modules(self) -> Iterable[Module]:
        return [module for _, module in self._host.require(ModulesApi).loaded()]

    def _ask_nodes(
        self, node: str, ask: Callable[[DiscoNodes], Sequence[Element] | None]
    ) -> Sequence[Element]:
        for module in self._modules():
            for nodes in module.nodes:
                found = ask(nodes)
                if found is not None:
                    return found
        raise StanzaError(Condition.ITEM_NOT_FOUND, f"no such node: {node[:100]}")

    async def _may_see(self, account: JID, asker: JID) -> bool:
        if account == asker:
            return True
        try:
            presence = self._host.require(PresenceApi)
        except LookupError:  # a host without presence has nobody who may see it
            return False
        return await presence.may_see(account, asker)


def _node(iq: Iq) -> str | None:
    return iq.request().attrs.get("node")


def _sender(iq: Iq) -> JID:
    if iq.from_ is None:
        raise StanzaError(Condition.BAD_REQUEST, "who asks?")
    return iq.from_


def _account(iq: Iq) -> JID:
    return _sender(iq).bare if iq.to is None else iq.to  # RFC 6120 §10.3.3


def load(host: Host, options: Options) -> Module:
    """Service discovery of the host and its accounts."""
    service = Disco(host, options)
    return Module(
        handlers=[
            IqGet(ns.DISCO_INFO, "query", service.host_info, At.HOST),
            IqGet(ns.DISCO_ITEMS, "query", service.host_items, At.HOST),
            IqGet(ns.DISCO_INFO, "query", service.account_info, At.ACCOUNT),
            IqGet(ns.DISCO_ITEMS, "query", service.account_items, At.ACCOUNT),
        ],
        features=[ns.DISCO_INFO, ns.DISCO_ITEMS],
        account_features=[ns.DISCO_INFO, ns.DISCO_ITEMS],
        provides={DiscoApi: service},
    )
