"""XEP-0054."""

from __future__ import annotations

import pytest

from jabberd.xmpp.element import parse
from jabberd.xmpp.payload import vcard


@pytest.mark.parametrize(
    ("card", "empty"),
    [
        ("<vCard xmlns='vcard-temp'/>", True),
        ("<vCard xmlns='vcard-temp' version='3.0'>\n </vCard>", True),
        ("<vCard xmlns='vcard-temp'><FN/></vCard>", False),
    ],
)
def test_is_empty(card: str, *, empty: bool) -> None:
    assert vcard.is_empty(parse(card.encode())) is empty
