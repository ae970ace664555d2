"""When a session asks its client for an acknowledgement (XEP-0198 §8.2)."""

from __future__ import annotations

from typing import cast

import pytest

from jabberd.core.host import LocalHost
from jabberd.core.session import SessionFacts
from jabberd.core.turns import Turns
from jabberd.edge.client_session import ClientSession
from jabberd.edge.sm import Bounds, StreamManagement
from jabberd.storage.log_api import Unit
from jabberd.xmpp import sm as wire
from jabberd.xmpp.error import StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Message


class Carrier:
    """A connection that remembers what was written to it."""

    waiting = 0
    takes = True

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> bool:
        self.written.append(data)
        return True

    def release(self, error: StreamError | None) -> None:
        raise AssertionError(error)

    def close(self, error: StreamError | None = None) -> None:
        raise AssertionError(error)

    def abort(self) -> None:
        raise AssertionError("nothing is wrong")

    @property
    def asked(self) -> int:
        return self.written.count(wire.R)


class Host:
    """A host whose modules do not care."""

    def emit(self, *_about: object) -> None:
        """Nobody listens."""


class LaterOnly:
    """The turns, as far as a session says that it has something to remember."""

    def __init__(self) -> None:
        self.later_calls = 0

    def later(self, _session: ClientSession) -> None:
        self.later_calls += 1


class Keeping:
    """What sessions share, with a clock that stands still."""

    bounds = Bounds(60, 1000, 1_000_000)

    def __init__(self) -> None:
        self.own_turns = LaterOnly()
        self.turns = cast("Turns", self.own_turns)
        self.time = 100.0
        self.now = lambda: self.time

    def remove(self, session: ClientSession) -> None:
        raise AssertionError(session.jid)


@pytest.fixture
def keeping() -> Keeping:
    return Keeping()


@pytest.fixture
def carrier() -> Carrier:
    return Carrier()


@pytest.fixture
def session(keeping: Keeping, carrier: Carrier) -> ClientSession:
    facts = SessionFacts(address="", since=0.0, mechanism="", tls="")
    session = ClientSession(
        JID.parse("bob@a.b/x"), facts, cast("LocalHost", Host()), keeping, carrier
    )
    session.manage(StreamManagement(1, "id", 60, durable=True))
    return session


def send(session: ClientSession, count: int = 1) -> None:
    for _ in range(count):
        session.send(Message(id="1"))


def tidy(session: ClientSession) -> None:
    session.journal(Unit())


def burst(session: ClientSession) -> None:
    """So much, and so often acknowledged, that what follows can wait."""
    for number in range(3):
        send(session)
        tidy(session)
        session.acknowledged(number + 1)


def test_the_first_stanza_of_a_burst_is_asked_for_at_once(
    session: ClientSession, carrier: Carrier
) -> None:
    send(session)
    tidy(session)
    assert carrier.asked == 1
    send(session, 80)
    tidy(session)
    assert carrier.asked == 1, "one request at a time"


def test_a_few_more_are_asked_for_soon(
    session: ClientSession, carrier: Carrier, keeping: Keeping
) -> None:
    burst(session)
    send(session, 2)
    before = keeping.own_turns.later_calls
    tidy(session)
    assert carrier.asked == 3
    assert keeping.own_turns.later_calls > before, "somebody has to come back to it"
    keeping.time += 0.3
    tidy(session)
    assert carrier.asked == 4


def test_many_more_are_asked_for_at_once(session: ClientSession, carrier: Carrier) -> None:
    burst(session)
    send(session, 64)
    tidy(session)
    assert carrier.asked == 4


def test_a_client_that_is_back_is_asked_at_once(session: ClientSession, carrier: Carrier) -> None:
    burst(session)
    send(session)
    tidy(session)
    assert carrier.asked == 3
    session.away()
    session.attach(carrier)
    assert carrier.asked == 4
