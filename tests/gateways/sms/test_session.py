"""The state of an SMPP connection, and the pace of messages."""

from __future__ import annotations

import struct

import pytest

from jabberd.gateways.sms.smpp.bodies import Bind, BindResp, Empty, Message, MessageResp
from jabberd.gateways.sms.smpp.fields import Address
from jabberd.gateways.sms.smpp.pace import Pace
from jabberd.gateways.sms.smpp.pdu import LAST_SEQUENCE, Command, Framer, Pdu, encode
from jabberd.gateways.sms.smpp.session import (
    Answered,
    BindRefused,
    Bound,
    Came,
    Ended,
    Event,
    Mode,
    Session,
    State,
    Unanswered,
)

HELLO = Message(destination=Address(1, 1, "491711234567"), short_message=b"hello")


def said(session: Session) -> list[Pdu]:
    framer = Framer()
    framer.feed(session.take())
    found = []
    while (pdu := framer.next()) is not None:
        found.append(pdu)
    return found


def hear(session: Session, *pdus: Pdu, now: float = 1.0) -> list[Event]:
    return session.receive(b"".join(map(encode, pdus)), now)


def bound(window: int = 10) -> Session:
    session = Session(Mode.TRANSCEIVER, Bind("gateway", "secret"), 0.0, window)
    (bind,) = said(session)
    assert (bind.command, bind.body) == (
        Command.BIND_TRANSCEIVER, Bind("gateway", "secret"),
    )  # fmt: skip
    answer = Pdu(Command.BIND_TRANSCEIVER_RESP, bind.sequence, body=BindResp("smsc"))
    assert hear(session, answer) == [Bound()]
    return session


def test_messages_and_their_answers_in_any_order() -> None:
    session = bound()
    first, second = session.submit(HELLO, 1.0), session.submit(HELLO, 1.0)
    assert [pdu.sequence for pdu in said(session)] == [first, second]
    answers = [
        Pdu(Command.SUBMIT_SM_RESP, second, 0x0B, MessageResp()),
        Pdu(Command.SUBMIT_SM_RESP, first, 0, MessageResp("a1")),
    ]
    assert hear(session, *answers) == [Answered(second, 0x0B, ""), Answered(first, 0, "a1")]
    assert hear(session, answers[0]) == []  # once more: nobody waits for it


def test_the_window() -> None:
    session = bound(window=2)
    first = session.submit(HELLO, 1.0)
    session.submit(HELLO, 1.0)
    rooms = [session.room]
    hear(session, Pdu(Command.SUBMIT_SM_RESP, first, 0, MessageResp("x")))
    assert [*rooms, session.room] == [False, True]


def test_nothing_is_sent_before_the_bind() -> None:
    session = Session(Mode.TRANSMITTER, Bind(), 0.0)
    assert not session.room
    assert said(session)[0].command is Command.BIND_TRANSMITTER
    deliver = Pdu(Command.DELIVER_SM, 4, body=HELLO)
    assert hear(session, deliver) == []
    assert said(session) == [Pdu(Command.GENERIC_NACK, 4, 0x04)]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Pdu(Command.BIND_TRANSCEIVER_RESP, 1, 0x0E, BindResp()), 0x0E),
        (Pdu(Command.GENERIC_NACK, 1, 0x03), 0x03),
        (Pdu(Command.GENERIC_NACK, 1, 0), 0x0D),
    ],
)
def test_a_bind_that_is_refused(answer: Pdu, status: int) -> None:
    session = Session(Mode.TRANSCEIVER, Bind(), 0.0)
    events = hear(session, answer)
    assert events[0] == BindRefused(status)
    assert isinstance(events[1], Ended)
    assert session.state is State.ENDED


def test_a_message_that_nobody_answers() -> None:
    session = bound()
    sequence = session.submit(HELLO, 100.0)
    hear(session, Pdu(Command.ENQUIRE_LINK, 5), now=159.0)
    assert session.deadline() == 160.0
    assert session.tick(160.0) == [Unanswered(sequence)]
    late = Pdu(Command.SUBMIT_SM_RESP, sequence, 0, MessageResp("x"))
    assert hear(session, late, now=161.0) == []


def test_a_message_that_is_nacked_counts_as_refused() -> None:
    session = bound()
    sequence = session.submit(HELLO, 1.0)
    assert hear(session, Pdu(Command.GENERIC_NACK, sequence, 0)) == [Answered(sequence, 8, "")]


def test_it_asks_whether_the_smsc_is_there() -> None:
    session = bound()
    assert session.deadline() == 31.0
    assert session.tick(31.0) == []
    (asked,) = said(session)
    assert asked == Pdu(Command.ENQUIRE_LINK, asked.sequence)
    assert session.deadline() == 41.0
    assert hear(session, Pdu(Command.ENQUIRE_LINK_RESP, asked.sequence), now=35.0) == []
    assert session.deadline() == 65.0
    session.tick(65.0)
    (ended,) = session.tick(75.0)
    assert ended == Ended("the SMSC did not answer whether it is still there")


def test_it_says_that_it_is_there() -> None:
    session = bound()
    hear(session, Pdu(Command.ENQUIRE_LINK, 77))
    assert said(session) == [Pdu(Command.ENQUIRE_LINK_RESP, 77)]


def test_what_comes_is_answered_when_it_is_safe() -> None:
    session = bound()
    (came,) = hear(session, Pdu(Command.DELIVER_SM, 9, body=HELLO))
    assert isinstance(came, Came)
    assert said(session) == []
    assert session.answer(came.pdu, 0)
    assert said(session) == [Pdu(Command.DELIVER_SM_RESP, 9, 0, MessageResp())]


def test_taking_leave() -> None:
    session = bound()
    session.unbind(1.0)
    (unbind,) = said(session)
    assert not session.room
    assert hear(session, Pdu(Command.UNBIND_RESP, unbind.sequence)) == [Ended("unbound")]
    assert session.deadline() is None
    hasty = bound()
    hasty.unbind(1.0)
    assert hasty.tick(6.0) == [Ended("the SMSC did not answer the unbind")]


def test_the_smsc_takes_leave() -> None:
    session = bound()
    (came, ended) = hear(
        session, Pdu(Command.DELIVER_SM, 8, body=HELLO), Pdu(Command.UNBIND, 9)
    )  # fmt: skip
    assert ended == Ended("the SMSC ended the session")
    assert said(session) == [Pdu(Command.UNBIND_RESP, 9)]
    assert isinstance(came, Came)
    assert not session.answer(came.pdu, 0)


def test_requests_that_are_none_of_ours() -> None:
    session = bound()
    query = Pdu(Command.QUERY_SM, 3, body=Message())
    events = session.receive(struct.pack(">4I", 16, 0x77, 0, 2), 1.0)
    events += hear(session, Pdu(Command.CANCEL_SM_RESP, 6, body=Empty()))
    events += session.receive(struct.pack(">4I", 17, query.command, 0, 3) + b"\1", 1.0)
    assert events == []
    assert said(session) == [Pdu(Command.GENERIC_NACK, 2, 3), Pdu(Command.GENERIC_NACK, 3, 1)]


def test_a_stream_that_is_no_smpp() -> None:
    session = bound()
    (ended,) = session.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n", 1.0)
    assert isinstance(ended, Ended)
    assert [pdu.command for pdu in said(session)] == [Command.UNBIND]
    assert session.receive(b"more", 2.0) == []


def test_sequence_numbers_wrap_around() -> None:
    session = bound()
    session._sequence = LAST_SEQUENCE - 1
    assert session.submit(HELLO, 1.0) == LAST_SEQUENCE
    assert session.submit(HELLO, 1.0) == 1


def test_no_secret_is_shown() -> None:
    assert "secret" not in repr(Session(Mode.TRANSCEIVER, Bind("gateway", "secret"), 0.0))


# Pace


def test_a_rate() -> None:
    pace = Pace(2.0, 0.0)
    assert [pace.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert pace.take(0.5) == 0.0
    assert pace.take(0.5) == 0.5


def test_throttling_and_recovery() -> None:
    pace = Pace(8.0, 0.0)
    pace.throttled(10.0)
    pace.throttled(10.1)  # of the same window
    assert pace.rate == 4.0
    assert pace.take(10.5) == 0.5
    assert pace.take(11.0) == 0.0
    for _ in range(100):
        pace.throttled(pace._silent_until)
    assert pace.rate == 8.0 / 64
    for _ in range(100):
        pace.taken()
    assert pace.rate == 8.0
