"""Which mechanisms are offered when, and that nothing else can be begun."""

from __future__ import annotations

import itertools

import pytest

from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.sasl import anonymous, external, plain, scram
from jabberd.xmpp.sasl.mechanism import Challenge, ClientMechanism
from jabberd.xmpp.sasl.offer import DEFAULT, MECHANISMS, Channel, Offer, Policy
from tests.xmpp.sasl.kit import (
    BINDINGS,
    DOMAIN,
    ITERATIONS,
    JULIET,
    PASSWORD,
    SECRET,
    counter,
    log_in,
    say,
)

SCRAMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
PLUSES = ("SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
POLICY = Policy(DOMAIN, SECRET, ITERATIONS)
ALL = Policy(DOMAIN, SECRET, ITERATIONS, MECHANISMS)
CLEAR = Channel(secure=False)
TLS = Channel(secure=True)
BOUND = Channel(secure=True, bindings=BINDINGS)
CERTIFIED = Channel(secure=True, bindings=BINDINGS, identities=[JULIET])


@pytest.mark.parametrize(
    ("policy", "channel", "names"),
    [
        (POLICY, CLEAR, SCRAMS),
        (POLICY, TLS, (*SCRAMS, "PLAIN")),
        (POLICY, BOUND, (*PLUSES, *SCRAMS, "PLAIN")),
        (POLICY, CERTIFIED, ("EXTERNAL", *PLUSES, *SCRAMS, "PLAIN")),
        (ALL, CERTIFIED, ("EXTERNAL", *PLUSES, *SCRAMS, "PLAIN", "ANONYMOUS")),
        (ALL, CLEAR, (*SCRAMS, "ANONYMOUS")),
        # what needs TLS is not offered without it, whatever else is said
        (POLICY, Channel(secure=False, bindings=BINDINGS, identities=[JULIET]), SCRAMS),
        (Policy("example.net", SECRET, 1, ["EXTERNAL"]), CERTIFIED, ()),
        (Policy(DOMAIN, SECRET, 1, ["PLAIN"]), CLEAR, ()),
        (Policy(DOMAIN, SECRET, 1, ["PLAIN", "SCRAM-SHA-1"]), BOUND,
         ("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN")),
    ],
)  # fmt: skip
def test_names(policy: Policy, channel: Channel, names: tuple[str, ...]) -> None:
    assert Offer(policy, channel).names == names


def test_anonymous_is_off_by_default() -> None:
    assert set(MECHANISMS) - set(DEFAULT) == {"ANONYMOUS"}


def test_binding_types_are_listed_where_there_is_plus() -> None:
    assert Offer(POLICY, BOUND).bindings == ("tls-exporter", "tls-server-end-point")
    assert Offer(POLICY, TLS).bindings == ()
    assert Offer(POLICY, Channel(secure=False, bindings=BINDINGS)).bindings == ()
    assert Offer(Policy(DOMAIN, SECRET, 1, ["PLAIN"]), BOUND).bindings == ()


def client(name: str, offer: Offer) -> ClientMechanism:
    if name == "PLAIN":
        return plain.client(JULIET, PASSWORD)
    if name == "EXTERNAL":
        return external.client()
    if name == "ANONYMOUS":
        return anonymous.client()
    binding = next(iter(BINDINGS.items())) if name.endswith("-PLUS") else None
    advertised = scram.Advertised(offer.names, offer.bindings or None)
    return scram.ScramClient(name, JULIET, PASSWORD, counter(), advertised, binding=binding)


@pytest.mark.parametrize("channel", [CLEAR, TLS, BOUND, CERTIFIED])
def test_everything_that_is_offered_works(channel: Channel) -> None:
    offer = Offer(ALL, channel)
    for name in offer.names:
        server = offer.server(name, counter())
        assert server.name == name
        username = "token-1" if name == "ANONYMOUS" else "juliet"
        assert log_in(server, client(name, offer)).username == username


def test_nothing_that_is_not_offered_can_be_begun() -> None:
    everything = Offer(ALL, CERTIFIED).names
    for policy, channel in itertools.product((POLICY, ALL), (CLEAR, TLS, BOUND, CERTIFIED)):
        offer = Offer(policy, channel)
        for name in {*everything, "", "plain", "X-OTHER", "SCRAM-MD5"} - set(offer.names):
            with pytest.raises(SaslError) as caught:
                offer.server(name, counter())
            expected = (
                SaslCondition.ENCRYPTION_REQUIRED
                if name == "PLAIN"
                else SaslCondition.INVALID_MECHANISM
            )
            assert caught.value.condition is expected


def test_plain_that_is_disabled_does_not_ask_for_tls() -> None:
    with pytest.raises(SaslError) as caught:
        Offer(Policy(DOMAIN, SECRET, 1, SCRAMS), CLEAR).server("PLAIN", counter())
    assert caught.value.condition is SaslCondition.INVALID_MECHANISM


def test_a_removed_plus_is_noticed() -> None:
    server = Offer(POLICY, BOUND).server("SCRAM-SHA-1", counter())
    with pytest.raises(SaslError):
        say(server, b"y,,n=juliet,r=x")
    server = Offer(POLICY, TLS).server("SCRAM-SHA-1", counter())
    assert isinstance(say(server, b"y,,n=juliet,r=x"), Challenge)


@pytest.mark.parametrize(
    ("channel", "attribute"),
    [
        (Channel(secure=True, version="TLSv1.3"), "0304"),
        (Channel(secure=True, version="TLSv1.2"), "0303"),
        (Channel(secure=True, version="of the future"), None),
        (TLS, None),
        (Channel(secure=False, version="TLSv1.3"), None),
    ],
)
def test_scram_tells_the_version_of_tls(channel: Channel, attribute: str | None) -> None:
    server = Offer(POLICY, channel).server("SCRAM-SHA-256", counter())
    challenge = say(server, b"n,,n=juliet,r=x")
    assert isinstance(challenge, Challenge)
    last = challenge.data.decode().split(",")[-1]
    assert last.startswith("h=") if attribute is None else last == f"t={attribute}"


@pytest.mark.parametrize("name", ["PLAIN", "SCRAM-SHA-256", "EXTERNAL"])
@pytest.mark.parametrize("authzid", ["", "juliet@example.com"])
def test_the_success_tells_whether_an_identity_was_named(name: str, authzid: str) -> None:
    offer = Offer(ALL, CERTIFIED)
    mine: ClientMechanism
    if name == "PLAIN":
        mine = plain.client(JULIET, PASSWORD, authzid=authzid)
    elif name == "EXTERNAL":
        mine = external.client(authzid)
    else:
        offered = scram.Advertised(offer.names, offer.bindings)
        mine = scram.ScramClient(name, JULIET, PASSWORD, counter(), offered, authzid=authzid)
    success = log_in(offer.server(name, counter()), mine)
    assert success.named is bool(authzid)
    assert success.authzid == "juliet@example.com"
