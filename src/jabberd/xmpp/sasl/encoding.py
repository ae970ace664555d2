"""Base 64 and UTF-8 as SASL in XMPP wants them: strict."""

from __future__ import annotations

import base64
import binascii

from jabberd.xmpp.error import SaslCondition, SaslError


def decode_base64(text: str) -> bytes | None:
    """Decode the character data of an element of SASL (RFC 6120 §6.3.5, §6.4.2).

    Returns:
        The data; no bytes for "=", and None where there is no text: what that means depends on
        the element (no initial response in `<auth/>`, an empty answer in `<response/>`).

    Raises:
        SaslError: incorrect-encoding: it is not base 64 in canonical form.
    """
    if not text:
        return None
    if text == "=":
        return b""
    data = canonical_base64(text)
    if data is None:
        raise SaslError(SaslCondition.INCORRECT_ENCODING)
    return data


def encode_base64(data: bytes | None, *, optional: bool = False) -> str:
    """Encode data as the character data of an element of SASL.

    Args:
        data: the data; None where there is none.
        optional: True for `<auth/>` and `<success/>`, where data of no bytes is "=", since no
            text means no data (RFC 6120 §6.4.2, §6.4.6); False for `<challenge/>` and
            `<response/>`, which always have data.
    """
    if data == b"" and optional:
        return "="
    return base64.b64encode(data or b"").decode("ascii")


def canonical_base64(text: str) -> bytes | None:
    """Decode base 64; None unless it is canonical: no other characters, padded, spare bits 0."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # the latter for text that is not ASCII
        return None
    return data if base64.b64encode(data).decode("ascii") == text else None


def decode_text(data: bytes) -> str:
    """Decode UTF-8 without NUL, which no mechanism's text may have.

    Raises:
        SaslError: malformed-request.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise SaslError(SaslCondition.MALFORMED_REQUEST, "the message is not UTF-8") from None
    if "\0" in text:
        raise SaslError(SaslCondition.MALFORMED_REQUEST, "the message has a NUL")
    return text
