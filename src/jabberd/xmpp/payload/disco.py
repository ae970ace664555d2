"""XEP-0030 Service Discovery: identities, features and items."""

from __future__ import annotations

from collections.abc import Iterable

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID


def identity(category: str, kind: str, name: str = "", lang: str = "") -> Element:
    """What an entity is; categories and types are the XMPP registrar's."""
    return Element(
        ns.DISCO_INFO,
        "identity",
        {"category": category, "type": kind, "name": name or None, f"{ns.XML} lang": lang or None},
    )


def feature(var: str) -> Element:
    """One feature that an entity has."""
    return Element(ns.DISCO_INFO, "feature", {"var": var})


def features(names: Iterable[str]) -> list[Element]:
    """Features in order and each once: XEP-0115 §5.4 calls a doubled feature ill-formed."""
    return [feature(name) for name in sorted(set(names))]


def item(jid: JID, name: str = "", node: str = "") -> Element:
    """One item that belongs to an entity."""
    return Element(
        ns.DISCO_ITEMS, "item", {"jid": jid.text, "node": node or None, "name": name or None}
    )


def info(children: Iterable[Element], node: str | None = None) -> Element:
    """The query element of an answer; it repeats the request's node (XEP-0030 §3.2)."""
    return Element(ns.DISCO_INFO, "query", {"node": node}, children)


def items(children: Iterable[Element], node: str | None = None) -> Element:
    """The query element of an answer; it repeats the request's node (XEP-0030 §4.2)."""
    return Element(ns.DISCO_ITEMS, "query", {"node": node}, children)
