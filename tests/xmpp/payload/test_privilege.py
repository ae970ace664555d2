"""What services are told of their privileges, and what they send (XEP-0356)."""

from __future__ import annotations

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID
from jabberd.xmpp.payload.privilege import Privileges, advertisement, read_advertisement

SERVER, SERVICE = JID.parse("localhost"), JID.parse("gateway.localhost")


def test_there_are_no_roster_pushes_and_that_is_said() -> None:
    """§4.2: `push` defaults to "true" where a service may read rosters."""
    told = advertisement(Privileges(roster="both", message="outgoing"), SERVER, SERVICE)
    element = told.child(ns.PRIVILEGE, "privilege")
    assert element is not None
    assert [(perm.get("access"), perm.get("push")) for perm in element] == [
        ("roster", "false"),
        ("message", ""),
    ]


@pytest.mark.parametrize(
    "privileges",
    [
        Privileges(roster="set"),
        Privileges(message="outgoing", presence="managed_entity"),
        Privileges("get", "none", "roster", {"vcard-temp": "get", "urn:x": "both"}),
    ],
)
def test_what_is_told_is_understood(privileges: Privileges) -> None:
    assert read_advertisement(advertisement(privileges, SERVER, SERVICE)) == privileges
