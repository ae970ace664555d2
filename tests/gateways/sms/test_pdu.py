"""The codec of SMPP."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.gateways.sms.smpp import bodies
from jabberd.gateways.sms.smpp.bodies import Bind, Message, MessageResp
from jabberd.gateways.sms.smpp.fields import Address, FieldError
from jabberd.gateways.sms.smpp.pdu import (
    LONGEST,
    Command,
    Framer,
    Pdu,
    PduError,
    Tag,
    decode,
    encode,
    response_to,
)
from jabberd.gateways.sms.smpp.status import Status


def strings(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="latin-1", exclude_characters="\0"), max_size=most - 1)


U8 = st.integers(0, 255)
ADDRESSES = st.builds(Address, U8, U8, strings(21))
LONG_ADDRESSES = st.builds(Address, U8, U8, strings(65))
SHORT = st.binary(max_size=254)
MESSAGES = st.builds(
    Message, strings(6), ADDRESSES, ADDRESSES, U8, U8, U8, strings(17), strings(17), U8, U8, U8,
    U8, SHORT,
)  # fmt: skip
BINDS = st.builds(
    Bind, strings(16), strings(9), strings(13), U8, st.builds(Address, U8, U8, strings(41))
)
RESPS = st.builds(MessageResp, strings(65))
BODIES = {
    Command.BIND_RECEIVER: BINDS,
    Command.BIND_TRANSMITTER: BINDS,
    Command.BIND_TRANSCEIVER: BINDS,
    Command.BIND_TRANSCEIVER_RESP: st.builds(bodies.BindResp, strings(16)),
    Command.OUTBIND: st.builds(bodies.Outbind, strings(16), strings(9)),
    Command.SUBMIT_SM: MESSAGES,
    Command.DELIVER_SM: MESSAGES,
    Command.SUBMIT_SM_RESP: RESPS,
    Command.DELIVER_SM_RESP: RESPS,
    Command.DATA_SM_RESP: RESPS,
    Command.SUBMIT_MULTI: st.builds(
        bodies.MultiMessage, strings(6), ADDRESSES,
        st.lists(st.one_of(ADDRESSES, strings(21)), max_size=5).map(tuple),
        U8, U8, U8, strings(17), strings(17), U8, U8, U8, U8, SHORT,
    ),
    Command.SUBMIT_MULTI_RESP: st.builds(
        bodies.MultiMessageResp, strings(65),
        st.lists(st.tuples(ADDRESSES, st.integers(0, 2**32 - 1)), max_size=5).map(tuple),
    ),
    Command.DATA_SM: st.builds(
        bodies.Data, strings(6), LONG_ADDRESSES, LONG_ADDRESSES, U8, U8, U8
    ),
    Command.QUERY_SM: st.builds(bodies.Query, strings(65), ADDRESSES),
    Command.QUERY_SM_RESP: st.builds(bodies.QueryResp, strings(65), strings(17), U8, U8),
    Command.CANCEL_SM: st.builds(
        bodies.Cancel, strings(6), strings(65), ADDRESSES, ADDRESSES
    ),
    Command.REPLACE_SM: st.builds(
        bodies.Replace, strings(65), ADDRESSES, strings(17), strings(17), U8, U8, SHORT
    ),
    Command.ALERT_NOTIFICATION: st.builds(bodies.Alert, LONG_ADDRESSES, LONG_ADDRESSES),
}  # fmt: skip
TLVS = st.lists(st.tuples(st.integers(0, 65_535), st.binary(max_size=30)), max_size=4).map(tuple)
PDUS = st.sampled_from(sorted(BODIES)).flatmap(
    lambda command: st.builds(
        Pdu,
        st.just(command),
        st.integers(1, 0x7FFFFFFF),
        st.integers(0, 2**32 - 1),
        BODIES[command],
        TLVS,
    )
)


@given(PDUS)
def test_every_pdu_goes_there_and_back(pdu: Pdu) -> None:
    assert decode(encode(pdu)) == pdu


@given(st.lists(PDUS, max_size=4), st.integers(1, 40))
def test_pieces_of_any_size(pdus: list[Pdu], size: int) -> None:
    stream = b"".join(map(encode, pdus))
    framer, found = Framer(), []
    for at in range(0, len(stream), size):
        framer.feed(stream[at : at + size])
        while (pdu := framer.next()) is not None:
            found.append(pdu)
    assert found == pdus


@given(PDUS, st.data())
def test_what_is_cut_off_is_an_error_and_no_more(pdu: Pdu, data: st.DataObject) -> None:
    whole = encode(pdu)
    cut = whole[: data.draw(st.integers(17, len(whole)))] if len(whole) > 17 else whole
    framer = Framer()
    framer.feed(struct.pack(">I", len(cut)) + cut[4:])
    errors = []
    try:
        framer.next()
    except PduError as error:
        errors.append((error.fatal, error.sequence))
    assert errors in ([], [(False, pdu.sequence)])
    framer.feed(encode(Pdu(Command.ENQUIRE_LINK, 9)))
    assert framer.next() == Pdu(Command.ENQUIRE_LINK, 9)


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    framer = Framer()
    framer.feed(data)
    for _ in range(20):
        try:
            if framer.next() is None:
                return
        except PduError as error:
            if error.fatal:
                return


def test_the_octets_of_a_message() -> None:
    message = Message(
        source=Address(1, 1, "491"), destination=Address(5, 0, "X"), esm_class=3,
        registered_delivery=1, short_message=b"hi",
    )  # fmt: skip
    pdu = Pdu(Command.SUBMIT_SM, 7, body=message, tlvs=((Tag.SAR_MSG_REF_NUM, b"\0\5"),))
    body = bytes.fromhex("000101 343931000500 580003000000000100000002 6869")
    tlv = bytes.fromhex("020c00020005")
    head = struct.pack(">4I", 16 + len(body) + len(tlv), 4, 0, 7)
    assert encode(pdu) == head + body + tlv
    assert pdu.number(Tag.SAR_MSG_REF_NUM) == 5
    assert pdu.tlv(Tag.MESSAGE_PAYLOAD) is None


def test_answers_without_a_body() -> None:
    bare = struct.pack(">4I", 16, Command.SUBMIT_SM_RESP, 0x58, 3)
    assert decode(bare) == Pdu(Command.SUBMIT_SM_RESP, 3, 0x58, MessageResp())


@pytest.mark.parametrize("length", [0, 15, LONGEST + 1, 0xFFFFFFFF])
def test_lengths_that_cannot_be(length: int) -> None:
    framer = Framer()
    framer.feed(struct.pack(">4I", length, 0x15, 0, 1))
    with pytest.raises(PduError) as caught:
        framer.next()
    assert caught.value.fatal
    assert caught.value.status == Status.INVALID_COMMAND_LENGTH


def test_an_unknown_command() -> None:
    with pytest.raises(PduError) as caught:
        decode(struct.pack(">4I", 16, 0x77, 0, 5))
    assert (caught.value.status, caught.value.sequence) == (Status.INVALID_COMMAND_ID, 5)


def test_what_does_not_fit() -> None:
    for body in (
        Message(short_message=b"x" * 255),
        Message(source=Address(1, 1, "1" * 21)),
        Message(service_type="ab\0"),
        Message(service_type="ж"),
        Message(priority=256),
        Bind(password="123456789"),
    ):
        with pytest.raises(FieldError):
            encode(Pdu(Command.SUBMIT_SM, 1, body=body))
    with pytest.raises(FieldError):
        encode(Pdu(Command.DATA_SM, 1, body=bodies.Data(), tlvs=((1, b"x" * 65_536),)))


def test_what_answers_what() -> None:
    assert response_to(Command.DELIVER_SM) is Command.DELIVER_SM_RESP
    assert response_to(Command.ALERT_NOTIFICATION) is Command.GENERIC_NACK


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(Pdu(Command.BIND_RECEIVER, 1, body=Bind("me", "secret")))
