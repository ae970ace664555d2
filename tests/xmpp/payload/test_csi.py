"""XEP-0352."""

from __future__ import annotations

import pytest

from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.payload import csi


@pytest.mark.parametrize(
    ("namespace", "name", "active"),
    [
        ("urn:xmpp:csi:0", "active", True),
        ("urn:xmpp:csi:0", "inactive", False),
        ("urn:xmpp:csi:0", "csi", None),
        ("urn:x", "active", None),
    ],
)
def test_what_a_client_says(namespace: str, name: str, active: bool | None) -> None:
    raw = f"<{name} xmlns='{namespace}'/>".encode()
    assert csi.read(Nonza(namespace, name, {}, raw, b"")) is active


def test_the_feature() -> None:
    assert csi.FEATURE == b"<csi xmlns='urn:xmpp:csi:0'/>"
