"""XEP-0494 on the wire, and the token of XEP-0484."""

from __future__ import annotations

import pytest

from jabberd.xmpp.element import parse
from jabberd.xmpp.error import Condition, ErrorType, StanzaError
from jabberd.xmpp.payload import fast
from jabberd.xmpp.payload.clients import Entry, clients, password_reset_required, read_revoke


def test_an_empty_list() -> None:
    assert clients([]).to_bytes() == b"<clients xmlns='urn:xmpp:cam:0'/>"


def test_what_is_not_known_is_left_away() -> None:
    entry = Entry("HjEEr45_LQr", False, 1679930169.0, 1679931444.0, ("grant", "certificate"))
    # The second client of the example in §3.1, as far as we could have one.
    assert clients([entry]).to_bytes().decode() == (
        "<clients xmlns='urn:xmpp:cam:0'>"
        "<client connected='false' id='HjEEr45_LQr' type='session'>"
        "<first-seen>2023-03-27T15:16:09.000Z</first-seen>"
        "<last-seen>2023-03-27T15:37:24.000Z</last-seen>"
        "<auth><grant/></auth><permission status='unrestricted'/></client></clients>"
    )


def test_whatever_clients_say_of_themselves_is_text() -> None:
    entry = Entry("x", True, 0.0, 0.0, (), software="<b/>&", device="\x00'")
    (client,) = parse(clients([entry]).to_bytes())
    (agent,) = client.find_all("urn:xmpp:cam:0", "user-agent")
    assert [child.text for child in agent] == ["<b/>&", "\ufffd'"]


def test_revoking() -> None:
    assert read_revoke(parse(b"<revoke xmlns='urn:xmpp:cam:0' id='HjEEr45_LQr'/>")) == "HjEEr45_LQr"
    for text in (b"<revoke xmlns='urn:xmpp:cam:0'/>", b"<revoke xmlns='urn:xmpp:cam:0' id=''/>"):
        with pytest.raises(StanzaError) as caught:
            read_revoke(parse(text))
        assert caught.value.condition is Condition.BAD_REQUEST
    error = password_reset_required()
    assert (error.condition, error.type) == (Condition.SERVICE_UNAVAILABLE, ErrorType.CANCEL)
    assert error.app is not None
    assert error.app.to_bytes() == b"<password-reset-required xmlns='urn:xmpp:cam:0'/>"


def test_a_token() -> None:
    token = parse(fast.token("WXZzciBwYmFmdmZnZiBqdmd1IGp2eXFhcmZm", 1584023775.0))
    assert (token.ns, token.name) == ("urn:xmpp:fast:0", "token")
    assert token.attrs == {
        "token": "WXZzciBwYmFmdmZnZiBqdmd1IGp2eXFhcmZm",
        "expiry": "2020-03-12T14:36:15.000Z",
    }
