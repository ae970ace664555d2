"""XEP-0334."""

from __future__ import annotations

import pytest

from jabberd.xmpp.payload import hints
from jabberd.xmpp.stanza import Message


@pytest.mark.parametrize("name", ["store", "no-store", "no-permanent-store", "no-copy"])
def test_what_asks_to_be_stored(name: str) -> None:
    children = ("jabber:client body", f"urn:xmpp:hints {name}")
    assert hints.store(Message(type="chat", children=children)) is (name == "store")
    # §5: in errors it counts for nothing.
    assert not hints.store(Message(type="error", children=children))
    assert not hints.store(Message(children=("jabber:client body", "urn:x store")))
