"""XEP-0334 Message Processing Hints: what a sender wishes to happen to a message.

Hints in errors may be those of the message that the error returns, and SHOULD be ignored (§5).
`<store/>` is. Those that refuse something are not: the error often holds the whole message that
was to be in no archive, or copied to nobody (`keeping.archivable`, `carbons.eligible`).
"""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.stanza import Message, qname

STORE: Final = qname(ns.HINTS, "store")
NO_STORE: Final = qname(ns.HINTS, "no-store")
NO_PERMANENT_STORE: Final = qname(ns.HINTS, "no-permanent-store")
NO_COPY: Final = qname(ns.HINTS, "no-copy")


def store(message: Message) -> bool:
    """Whether it should be stored even if nothing else speaks for it (§4.4)."""
    return STORE in message.children and message.type != "error"
