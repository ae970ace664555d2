"""XEP-0334."""

from __future__ import annotations

import pytest

from jabberd.xmpp.payload import hints
from jabberd.xmpp.stanza import Message

ASKS = {
    "store": hints.store,
    "no-store": hints.no_store,
    "no-permanent-store": hints.no_permanent_store,
    "no-copy": hints.no_copy,
}


@pytest.mark.parametrize("name", ASKS)
def test_each_hint_is_itself(name: str) -> None:
    children = ("jabber:client body", f"urn:xmpp:hints {name}")
    for other, ask in ASKS.items():
        assert ask(Message(type="chat", children=children)) is (other == name)
        # §5: in errors they count for nothing.
        assert not ask(Message(type="error", children=children))
        assert not ask(Message(children=("jabber:client body", f"urn:x {other}")))
