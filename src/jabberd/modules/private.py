"""XEP-0049 Private XML Storage: a client's own notes, by namespace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jabberd.core.module import At, Host, IqGet, IqSet, Module, Xep
from jabberd.core.session import Session
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse_fragment
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.stanza import Iq

XEP = Xep(49, "1.2")
SPACE = "private"
_MAX_NAMESPACE = 1000  # characters; far beyond any namespace in use, and bounds the key
_RESERVED = ("jabber:", "http://jabber.org/", ns.VCARD)  # §2.3


@dataclass(frozen=True)
class Options:
    """Private XML storage.

    Attributes:
        max_bytes: the most that is kept per account and namespace, in bytes of XML.
        max_namespaces: how many namespaces an account can use.
    """

    max_bytes: int = 65536
    max_namespaces: int = 100


class Private:
    """Keeps, per account and namespace, the elements that were last set."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options

    async def read(self, iq: Iq, _session: Session | None) -> Element:
        """What is kept in the namespace of the one child; the child itself where nothing is."""
        wanted = list(iq.request())
        _check(wanted)
        if len({child.ns for child in wanted}) > 1:
            raise StanzaError(Condition.BAD_REQUEST, "ask for one namespace at a time")
        store = self._host.stores.keyvalue
        data = await store.get(_owner(iq), SPACE, wanted[0].ns)
        kept = wanted[:1] if data is None else parse_fragment(data)
        return Element(ns.PRIVATE, "query", None, kept)

    async def write(self, iq: Iq, _session: Session | None) -> None:
        """Replace what is kept in the namespaces of the children; empty elements remove it."""
        children = list(iq.request())
        _check(children)
        changes: dict[str, bytes | None] = {}
        for namespace in {child.ns for child in children}:
            group = [child for child in children if child.ns == namespace]
            data = b"".join(child.to_bytes() for child in group)
            if len(data) > self._options.max_bytes:
                raise StanzaError(
                    Condition.POLICY_VIOLATION,
                    f"a namespace holds at most {self._options.max_bytes} bytes",
                )
            empty = not any(child.children or child.attrs for child in group)
            changes[namespace] = None if empty else data
        await self._make_room(_owner(iq), (n for n, data in changes.items() if data is not None))
        for namespace, value in changes.items():
            await self._host.stores.keyvalue.put(_owner(iq), SPACE, namespace, value)

    def refuse(self, _iq: Iq, _session: Session | None) -> None:
        """Private means private (§2.3)."""
        raise StanzaError(Condition.FORBIDDEN, "this storage is not yours")

    async def _make_room(self, owner: str, wanted: Iterable[str]) -> None:
        used = set(await self._host.stores.keyvalue.keys(owner, SPACE))
        if len(used.union(wanted)) > max(self._options.max_namespaces, len(used)):
            raise StanzaError(
                Condition.POLICY_VIOLATION,
                f"an account can use {self._options.max_namespaces} namespaces",
            )


def _check(children: list[Element]) -> None:
    # §2.3 names "Bad Format" with code 406 for a missing child; RFC 6120 has no such condition,
    # and not-acceptable is the one that 406 stands for. Reserved namespaces include the one
    # that a child without a namespace of its own inherits.
    if not children:
        raise StanzaError(Condition.NOT_ACCEPTABLE, "an element with a namespace is missing")
    for child in children:
        if not child.ns or child.ns.startswith(_RESERVED) or len(child.ns) > _MAX_NAMESPACE:
            raise StanzaError(Condition.NOT_ACCEPTABLE, "this namespace cannot be used here")


def _owner(iq: Iq) -> str:
    if iq.from_ is None:
        raise StanzaError(Condition.BAD_REQUEST, "whose storage?")
    return iq.from_.bare_text


def load(host: Host, options: Options) -> Module:
    """Private storage of accounts."""
    private = Private(host, options)
    return Module(
        handlers=[
            IqGet(ns.PRIVATE, "query", private.read, At.OWN),
            IqSet(ns.PRIVATE, "query", private.write, At.OWN),
            IqGet(ns.PRIVATE, "query", private.refuse, At.USER | At.HOST),
            IqSet(ns.PRIVATE, "query", private.refuse, At.USER | At.HOST),
        ],
        features=[ns.PRIVATE],
    )
