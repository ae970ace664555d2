"""Which servers may talk to which of our domains, and how they must prove themselves."""

from __future__ import annotations

import pytest

from jabberd.edge.peers import Domains, Peers, Policy

DIALBACK, REQUIRED, OFF = Policy.DIALBACK, Policy.REQUIRED, Policy.OFF


@pytest.mark.parametrize(
    ("default", "host", "peer", "expected"),
    [
        (DIALBACK, None, None, DIALBACK),
        (REQUIRED, None, None, REQUIRED),
        (DIALBACK, REQUIRED, None, REQUIRED),
        (DIALBACK, None, REQUIRED, REQUIRED),
        # What host or peer says takes the place of the default, also where it is less strict.
        (REQUIRED, DIALBACK, None, DIALBACK),
        (REQUIRED, None, DIALBACK, DIALBACK),
        # Where both say something, the stricter holds.
        (DIALBACK, REQUIRED, DIALBACK, REQUIRED),
        (DIALBACK, DIALBACK, REQUIRED, REQUIRED),
        (REQUIRED, DIALBACK, DIALBACK, DIALBACK),
        (DIALBACK, OFF, REQUIRED, OFF),
        (DIALBACK, REQUIRED, OFF, OFF),
    ],
)
def test_host_and_peer_stand_in_for_the_default(
    default: Policy, host: Policy | None, peer: Policy | None, expected: Policy
) -> None:
    peers = Peers(
        policy=default,
        hosts={} if host is None else {"example.org": host},
        peers={} if peer is None else {"example.net": peer},
    )
    assert peers.policy("example.org", "example.net") is expected
    assert bool(peers.why_not("example.org", "example.net")) is (expected is OFF)
    assert peers.policy("example.com", "example.edu") is default


def test_components_have_the_policy_of_the_nearest_host_above() -> None:
    peers = Peers(hosts={"example.org": OFF, "chat.example.org": REQUIRED})
    assert peers.policy("sms.example.org", "example.net") is OFF
    assert peers.policy("a.b.example.org", "example.net") is OFF
    assert peers.policy("room.chat.example.org", "example.net") is REQUIRED
    assert peers.policy("example.com", "example.net") is DIALBACK
    assert peers.policy("notexample.org", "example.net") is DIALBACK


def test_the_domains_below_a_peer_are_other_peers() -> None:
    peers = Peers(peers={"example.net": OFF})
    assert peers.policy("example.org", "chat.example.net") is DIALBACK


@pytest.mark.parametrize(
    ("domain", "listed"),
    [
        ("example.net", False),
        ("a.example.net", True),
        ("b.a.example.net", True),
        ("notexample.net", False),
        ("only.test", True),
        ("below.only.test", False),
        ("net", False),
        ("", False),
    ],
)
def test_lists(domain: str, listed: bool) -> None:
    names = Domains(["*.example.net", "only.test"])
    assert (domain in names) is listed
    assert names


def test_an_empty_list_allows_everybody() -> None:
    assert not Domains([])
    assert Peers(allow=[]).policy("example.org", "example.net") is DIALBACK


def test_allow_and_deny() -> None:
    peers = Peers(allow=["example.net", "*.example.net"], deny=["*.bad.example.net"])
    assert peers.policy("example.org", "example.net") is DIALBACK
    assert peers.policy("example.org", "a.example.net") is DIALBACK
    assert peers.policy("example.org", "a.bad.example.net") is OFF
    assert peers.policy("example.org", "example.com") is OFF


def test_deny_is_stronger_than_all_else() -> None:
    peers = Peers(allow=["a.test"], deny=["a.test"], peers={"a.test": REQUIRED})
    assert peers.policy("example.org", "a.test") is OFF


@pytest.mark.parametrize(
    ("peers", "why"),
    [
        (Peers(enabled=False), "this server talks to no others"),
        (Peers(deny=["example.net"]), "example.net is on the list of servers that this server"),
        (Peers(allow=["a.test"]), "example.net is not on the list"),
        (Peers(hosts={"example.org": OFF}), "example.org does not talk to other servers"),
        (Peers(peers={"example.net": OFF}), "this server does not talk to example.net"),
    ],
)
def test_why_not(peers: Peers, why: str) -> None:
    assert peers.policy("example.org", "example.net") is OFF
    assert why in peers.why_not("example.org", "example.net")


def test_tls_is_required_unless_an_operator_says_otherwise() -> None:
    peers = Peers(plain=["old.example"])
    assert not peers.tls_required("old.example")
    assert peers.tls_required("example.net")
    assert peers.tls_required("a.old.example")
