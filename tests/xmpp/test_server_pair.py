"""Both roles between servers against each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import dialback
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Closed, Event, Pair
from jabberd.xmpp.stream.login import Tls
from jabberd.xmpp.stream.server_initiating import Purpose
from tests.xmpp.servers import (
    CAPULET,
    MONTAGUE,
    OURS,
    ROOMS,
    SECRET,
    THEIRS,
    ServerTalk,
    converse,
    initiating,
    key,
    receiving,
)

ROMEO, JULIET = JID("romeo", CAPULET), JID("juliet", MONTAGUE)


def hello(from_: JID, to: JID) -> Message:
    """A message."""
    return Message(to=to, from_=from_, type="chat", inner=b"<body>hi</body>")


def claims(talk: ServerTalk, before: int = 0) -> list[events.PairClaimed]:
    """What the peer has claimed, but for the first ones."""
    found: list[events.PairClaimed] = talk.of(events.PairClaimed)
    return found[before:]


def verify(talk: ServerTalk) -> None:
    """Look at the newest claim, as the server of the domain would."""
    claim = claims(talk)[-1]
    valid = dialback.matches(
        SECRET, claim.pair.local, claim.pair.remote, claim.stream_id, claim.key
    )
    talk.hear(talk.receiving.verified(claim.pair, valid))


def together(size: int = 1_000_000, *, accepts: Any = None, **opens: Any) -> tuple[ServerTalk, ...]:
    """Both ends, once they have said what they have to say."""
    one, other = initiating(**opens), receiving(**(accepts or {}))
    converse(one, other, size)
    if claims(other):
        verify(other)
        converse(one, other, size)
    return one, other


def exchange(one: ServerTalk, other: ServerTalk, message: Message) -> list[Event]:
    """What becomes of a stanza."""
    seen = len(other.events)
    other.hear(other.stream.receive(one.stream.send(message)))
    return other.events[seen:]


@settings(max_examples=60, deadline=None)
@given(
    secure=st.booleans(),
    ours=st.booleans(),
    theirs=st.booleans(),
    bidi=st.booleans(),
    plain=st.booleans(),
    size=st.sampled_from([1, 7, 100, 100_000]),
)
def test_two_servers_come_together(
    secure: bool, ours: bool, theirs: bool, bidi: bool, plain: bool, size: int
) -> None:
    one, other = together(
        size,
        secure=secure,
        external=ours,
        bidi=bidi,
        tls=Tls.WANTED if plain else Tls.REQUIRED,
        accepts={"secure": secure, "external": theirs, "tls_required": not plain},
    )
    how = "EXTERNAL" if ours and theirs else "dialback"
    assert one.proved() == [(THEIRS, how)]
    assert other.proved() == [(OURS, how)]
    assert one.ready()
    assert other.ready()
    assert one.stream.is_secure
    assert one.initiating.offers_sm
    assert one.initiating.max_bytes == 8000
    assert one.stream.stream_id == other.stream.stream_id
    assert one.stream.bidi == other.stream.bidi == bidi
    (message,) = exchange(one, other, hello(ROMEO, JULIET))
    assert isinstance(message, Message)
    assert message.body() == "hi"
    (back, *closed) = exchange(other, one, hello(JULIET, ROMEO))
    assert isinstance(back, Message) is bidi
    assert isinstance(back, Closed) is not bidi
    assert not closed


def test_without_any_tls() -> None:
    one, other = together(
        secure=False, tls=Tls.OFF, accepts={"secure": False, "tls_required": False}
    )
    assert one.proved() == [(THEIRS, "dialback")]
    assert not other.stream.is_secure
    one, other = together(secure=False, tls=Tls.OFF, accepts={"secure": False})
    assert isinstance(one.closed, Closed)
    assert not other.proved()


def test_a_key_of_somebody_else() -> None:
    one, other = together(
        external=False, dialback_key=lambda stream_id, pair: key("another stream", pair)
    )
    assert one.of(events.PairRefused) == [events.PairRefused(THEIRS, None)]
    assert one.closed.error is None
    assert not other.ready()


def test_where_a_certificate_is_required() -> None:
    one, other = together(accepts={"dialback": False})
    assert one.proved() == [(THEIRS, "EXTERNAL")]
    one, other = together(external=False, accepts={"dialback": False})
    (refused,) = one.of(events.PairRefused)
    assert refused.error.condition is Condition.NOT_AUTHORIZED
    assert not other.of(events.PairClaimed)


def test_a_server_that_cannot_be_asked() -> None:
    one, other = initiating(external=False), receiving()
    converse(one, other)
    error = StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "verona.example does not answer")
    other.hear(other.receiving.verified(OURS, False, error))
    converse(one, other)
    (refused,) = one.of(events.PairRefused)
    assert refused.error.text == error.text
    assert refused.error.type is error.type
    assert one.stream.closed
    assert other.stream.closed


@pytest.mark.parametrize("external", [True, False])
def test_more_pairs_on_one_stream(external: bool) -> None:
    one, other = together(external=external)
    before = len(claims(other))
    more = Pair(CAPULET, ROOMS)
    one.initiating.claim(more)
    converse(one, other)
    assert claims(other, before)[0].pair == Pair(ROOMS, CAPULET)
    verify(other)
    converse(one, other)
    assert one.proved()[-1] == (more, "dialback")
    (message,) = exchange(one, other, hello(ROMEO, JID("", ROOMS)))
    assert isinstance(message, Message)
    (back,) = exchange(other, one, hello(JID("", ROOMS), ROMEO))
    assert isinstance(back, Message)


def test_a_pair_that_is_not_served() -> None:
    one, other = together()
    more = Pair(CAPULET, "verona.example")
    one.initiating.claim(more)
    converse(one, other)
    (refused,) = one.of(events.PairRefused)
    assert refused.pair == more
    assert refused.error.condition is Condition.ITEM_NOT_FOUND
    assert one.ready()
    assert not one.stream.closed


@pytest.mark.parametrize("purpose", list(Purpose))
def test_keys_are_asked_about(purpose: Purpose) -> None:
    one, other = together(purpose=purpose)
    stream = one.initiating
    stream.verify(THEIRS, "a", key("a", OURS))
    stream.verify(THEIRS, "b", key("a", OURS))
    stream.verify(Pair(CAPULET, "verona.example"), "c", "k3y")
    converse(one, other)
    found = {verified.stream_id: verified for verified in one.of(events.Verified)}
    assert found["a"] == events.Verified(THEIRS, "a", valid=True, error=None)
    assert found["b"] == events.Verified(THEIRS, "b", valid=False, error=None)
    assert found["c"].error.condition is Condition.ITEM_NOT_FOUND
    assert bool(other.proved()) is (purpose is Purpose.FULL)
    one.hear(one.stream.close())
    converse(one, other)
    assert one.closed == Closed(None, by_peer=False)
    assert other.closed == Closed(None, by_peer=True)


def test_stream_management_in_both_directions() -> None:
    one, other = together()
    other.hear(other.stream.receive(b"<enable xmlns='urn:xmpp:sm:3'/>"))
    one.hear(one.stream.receive(b"<enabled xmlns='urn:xmpp:sm:3'/>"))
    assert isinstance(one.last(), Nonza)
    assert isinstance(other.last(), Nonza)
