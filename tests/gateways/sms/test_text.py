"""Alphabets, segmentation, numbers and reports: all that needs no connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.gateways.sms import receipts, text
from jabberd.gateways.sms.backend import Outcome
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.segments import Part, TooLong, Way, read_header, split
from jabberd.gateways.sms.text import Coding
from jabberd.gateways.transport import BadAddress, NotDone

GSM = "@£$¥èéùìòÇ\nØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡AZÄÖÑÜ§¿azäöñüà^{}\\[~]|€"
WAYS: tuple[Way, ...] = ("udh8", "udh16", "sar")


@given(st.text(alphabet=GSM))
def test_gsm_goes_there_and_back(said: str) -> None:
    coding, units = text.units(said)
    assert coding is Coding.DEFAULT
    assert text.decode(b"".join(units), coding) == said


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")))
def test_any_text_goes_there_and_back(said: str) -> None:
    coding, units = text.units(said)
    assert text.decode(b"".join(units), coding) == said


@given(st.binary(max_size=300), st.integers(0, 255))
def test_whatever_comes_is_a_text_for_xml_or_none(data: bytes, coding: int) -> None:
    said = text.decode(data, coding)
    assert said is None or said == text.clean(said)


def test_each_coding() -> None:
    assert text.decode("Grüße".encode("latin-1"), 3) == "Grüße"
    assert text.decode("Привет".encode("iso8859-5"), 6) == "Привет"
    assert text.decode("שלום".encode("iso8859-8"), 7) == "שלום"
    assert text.decode("😀".encode("utf-16-be"), 0x18) == "😀"  # with a message class
    assert text.decode(b"a@b", 1) == "a@b"
    assert text.decode(b"a\x00b\x02", 1) == "a@b$"  # the SMS alphabet, called ASCII
    assert text.decode(b"\x00", 0xF0) == "@"
    assert text.decode(b"\x00", 4) is None
    assert text.decode("né".encode("latin-1"), 0, "latin-1") == "né"
    assert text.decode("né".encode("utf-16-be"), 0x2F) == "né"  # not known: it looks like it
    assert text.decode(b"\x1b\x41", 0) == "A"  # not in the extension table
    assert text.decode(b"a\r\nb\x1b", 0) == "a\nb"


def test_latin_1_as_default_alphabet() -> None:
    assert text.units("é", "latin-1") == (Coding.DEFAULT, ["é".encode("latin-1")])
    assert text.units("€", "latin-1")[0] is Coding.UCS2


@given(st.text(alphabet=GSM + "😀ж", min_size=1, max_size=700), st.sampled_from(WAYS))
def test_no_character_is_split(said: str, way: Way) -> None:
    segments = split(said, way, ref=7, most=255)
    assert "".join(text.decode(one.data, one.coding) or "" for one in segments) == said
    for one in segments:
        size = len(one.header(way)) + len(one.data)
        assert size <= (160 if one.coding is Coding.DEFAULT else 140)
        head = one.header(way)
        if head:
            assert read_header(head + one.data).part == one.part
            assert read_header(head + one.data).rest == one.data


@pytest.mark.parametrize(
    ("said", "way", "parts"),
    [
        ("a" * 160, "udh8", 1),
        ("a" * 161, "udh8", 2),
        ("a" * 306, "udh8", 2),
        ("a" * 305, "udh16", 3),
        ("€" * 80, "udh8", 1),
        ("ж" * 70, "udh8", 1),
        ("ж" * 71, "udh8", 2),
        ("ж" * 134, "udh8", 2),
        ("ж" * 133, "udh16", 3),
        ("a" * 307, "sar", 3),
    ],
)
def test_how_many_parts_a_text_takes(said: str, way: Way, parts: int) -> None:
    assert len(split(said, way, ref=1, most=10)) == parts


def test_a_text_of_too_many_parts() -> None:
    with pytest.raises(TooLong, match="it takes 3 SMS"):
        split("a" * 400, "udh8", ref=1, most=2)


@given(st.binary(max_size=40))
def test_any_header_can_be_read(data: bytes) -> None:
    read_header(data)


def test_headers() -> None:
    both = bytes.fromhex("0b0504158a00000003ff0201") + b"x"
    header = read_header(both)
    assert (header.part, header.ports, header.rest) == (Part(255, 2, 1), True, b"x")
    assert read_header(bytes.fromhex("050003010203")).part is None  # part 3 of 2


# Numbers


@pytest.mark.parametrize(
    "said", ["+49 171 1234567", "0171 1234567", "0171/123-45.67", "0049 171 1234567"]
)
def test_a_number_has_one_spelling(said: str) -> None:
    assert Numbers("DE").canonical(said) == "+491711234567"


@pytest.mark.parametrize("said", ["112", "110", "", "+", "+49", "hello world, how are you", "😀"])
def test_what_is_no_number(said: str) -> None:
    with pytest.raises(BadAddress):
        Numbers("DE").canonical(said)


def test_numbers_without_a_country() -> None:
    assert Numbers().canonical("+491711234567") == "+491711234567"
    with pytest.raises(BadAddress, match="code of the country"):
        Numbers().canonical("0171 1234567")


@pytest.mark.parametrize("said", ["DHL", "12345"])
def test_senders_that_are_no_numbers_stay_as_they_are(said: str) -> None:
    assert Numbers("DE").canonical(said) == said
    with pytest.raises(NotDone, match="cannot be answered"):
        Numbers("DE").check(said)


def test_where_sms_may_go_to() -> None:
    numbers = Numbers("DE", frozenset({"DE"}))
    numbers.check("+491711234567")
    with pytest.raises(NotDone, match="no SMS to GB"):
        numbers.check("+447400123456")
    with pytest.raises(NotDone, match="special rates"):
        numbers.check("+499001234567")
    with pytest.raises(NotDone, match="no telephone number"):
        numbers.check("+4917")


def test_senders_without_a_plus() -> None:
    numbers = Numbers("DE")
    assert numbers.sender("491711234567") == "+491711234567"
    assert numbers.sender("01711234567") == "+491711234567"
    assert numbers.sender("447400123456") == "+447400123456"
    assert numbers.sender("+911123456789") == "+911123456789"  # not what begins like 911
    assert numbers.sender("INFO") == "INFO"
    assert numbers.sender("IN\x00FO") == "INFO"


# Delivery reports

REPORT = "id:{} sub:001 dlvrd:001 submit date:2601011200 done date:2601011201 stat:{} err:{} text:"


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("DELIVRD", Outcome.DELIVERED),
        ("EXPIRED", Outcome.EXPIRED),
        ("UNDELIV", Outcome.UNDELIVERABLE),
        ("REJECTD", Outcome.REJECTED),
        ("DELETED", Outcome.REJECTED),
        ("ENROUTE", Outcome.PENDING),
        ("UNKNOWN", Outcome.PENDING),
        ("SOMETHING", Outcome.PENDING),
    ],
)
def test_a_report_in_words(word: str, outcome: Outcome) -> None:
    receipt = receipts.read(REPORT.format("0A1", word, "000") + "id:5 stat:DELIVRD")
    assert receipt is not None
    assert (receipt.id, receipt.outcome) == ("0A1", outcome)


def test_reports_of_other_kinds() -> None:
    turned = receipts.read("STAT:undeliv ERR:027 ID:9 Text:hello")
    assert turned is not None
    assert (turned.id, turned.outcome, turned.text) == (
        "9", Outcome.UNDELIVERABLE, "UNDELIV, error 027",
    )  # fmt: skip
    tlv = receipts.read("", name="abc", state=2)
    assert tlv is not None
    assert (tlv.id, tlv.outcome) == ("abc", Outcome.DELIVERED)
    assert receipts.read("nothing of the kind") is None


@given(st.text(max_size=200))
def test_any_report_can_be_read(said: str) -> None:
    receipts.read(said)


def test_names_in_other_notations() -> None:
    assert receipts.normal("00A1") == receipts.normal("a1")
    assert "161" in receipts.others("00A1")
    assert "a1" in receipts.others("161")
    assert receipts.others("xyz") == ()
