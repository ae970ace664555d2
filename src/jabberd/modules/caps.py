"""XEP-0115 Entity Capabilities of the server itself: clients need not ask at every login."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jabberd.core.module import DiscoNodes, Host, Module, Xep
from jabberd.core.ports import DiscoApi
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload import caps

XEP = Xep(115, "1.6.0", "The optional optimisation of §8.4 is left out.")


@dataclass(frozen=True)
class Options:
    """Capabilities of the server.

    Attributes:
        node: a URI that identifies the software, best one that leads to a page about it.
    """

    node: str = "urn:x-jabberd:server"


class Caps:
    """The verification string; the modules of a host do not change once it is first asked for."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._node = options.node
        self._ver = ""

    def feature(self) -> Element:
        """The `<c/>` among the stream features (XEP-0115 §6.3)."""
        return caps.element(self._node, self._version())

    def info(self, node: str, _asker: JID) -> Sequence[Element] | None:
        """The host's own information, under the name that `<c/>` gives it."""
        return list(self._host.require(DiscoApi).info()) if self._is_ours(node) else None

    def items(self, node: str, _asker: JID) -> Sequence[Element] | None:
        """Nothing: it is a phantom node (XEP-0115 §6.2)."""
        return () if self._is_ours(node) else None

    def _is_ours(self, node: str) -> bool:
        return node == f"{self._node}#{self._version()}"

    def _version(self) -> str:
        if not self._ver:
            self._ver = caps.verification_string(self._host.require(DiscoApi).info())
        return self._ver


def load(host: Host, options: Options) -> Module:
    """Capabilities as a stream feature, and the disco node that explains them."""
    service = Caps(host, options)
    return Module(
        features=[ns.CAPS],
        nodes=[DiscoNodes(service.info, service.items)],
        stream_features=[service.feature],
    )
