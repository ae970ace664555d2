"""XEP-0334 Message Processing Hints: what a sender wishes to happen to a message.

Hints in errors count for nothing: they may be those of the message that the error returns (§5).
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


def no_store(message: Message) -> bool:
    """Whether it should be stored nowhere, not even until it is delivered (§4.2)."""
    return NO_STORE in message.children and message.type != "error"


def no_permanent_store(message: Message) -> bool:
    """Whether it should be in no archive and in no log (§4.1)."""
    return NO_PERMANENT_STORE in message.children and message.type != "error"


def no_copy(message: Message) -> bool:
    """Whether nobody but its addressee should get a copy (§4.3)."""
    return NO_COPY in message.children and message.type != "error"
