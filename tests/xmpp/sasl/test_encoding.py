"""Base 64 as RFC 6120 §6.3.5 and §6.4.2 want it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.error import SaslCondition, SaslError
from jabberd.xmpp.sasl.encoding import decode_base64, decode_text, encode_base64


def test_nothing_and_empty_are_different() -> None:
    assert decode_base64("") is None
    assert decode_base64("=") == b""
    assert encode_base64(None, optional=True) == ""
    assert encode_base64(b"", optional=True) == "="
    assert encode_base64(b"") == ""  # a challenge always has data


def test_example_of_rfc_6120() -> None:
    assert decode_base64("AGp1bGlldAByMG0zMG15cjBtMzA=") == b"\0juliet\0r0m30myr0m30"


@pytest.mark.parametrize(
    "text",
    ["A", "AA", "AAA", "AA=", "A===", "==", "AAAA=", "AAAA====", "AAA=AAAA", "AB==", "AAB=",
     " AAAA", "AAAA\n", "AA AA", "AA-_", "AAAÄ", "\ud800", "!"],
)  # fmt: skip
def test_what_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(SaslError) as caught:
        decode_base64(text)
    assert caught.value.condition is SaslCondition.INCORRECT_ENCODING


@given(st.binary())
def test_round_trip(data: bytes) -> None:
    assert decode_base64(encode_base64(data, optional=True)) == data


@given(st.text(alphabet="AB/+=\n ") | st.text())
def test_any_text_is_canonical_or_refused(text: str) -> None:
    try:
        data = decode_base64(text)
    except SaslError:
        return
    assert encode_base64(data, optional=True) == text


def test_decode_text() -> None:
    assert decode_text("ä\U0001f339".encode()) == "ä\U0001f339"
    for data in (b"\xff", b"a\0", b"\xed\xa0\x80"):
        with pytest.raises(SaslError) as caught:
            decode_text(data)
        assert caught.value.condition is SaslCondition.MALFORMED_REQUEST
