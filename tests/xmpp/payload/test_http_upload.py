"""XEP-0363 on the wire."""

from __future__ import annotations

import pytest

from jabberd.xmpp.element import parse
from jabberd.xmpp.error import Condition, ErrorType, StanzaError
from jabberd.xmpp.payload import http_upload
from jabberd.xmpp.payload.http_upload import Purpose, Request

REQUEST = "<request xmlns='urn:xmpp:http:upload:0' {}>{}</request>"
PURPOSE = "<{} xmlns='urn:xmpp:http:upload:purpose:0'{}/>"


def read(attrs: str, inside: str = "") -> Request:
    return http_upload.read(parse(REQUEST.format(attrs, inside).encode()))


def test_the_example() -> None:
    assert read("filename='très cool.jpg' size='23456' content-type='image/jpeg'") == Request(
        "très cool.jpg", 23456, "image/jpeg"
    )
    assert read("filename='a' size='1'") == Request("a", 1)


@pytest.mark.parametrize(
    "attrs",
    [
        "", "filename='a'", "size='1'", "filename='a' size='0'", "filename='a' size='-1'",
        "filename='a' size='1.5'", "filename='a' size='x'", "filename='' size='1'",
        "filename='..' size='1'", "filename='a/' size='1'", "filename='&#10;' size='1'",
        "filename='a' size='99999999999999999999'",
        "filename='a' size='1' content-type='text/plain&#10;X: y'",
        "filename='a' size='1' content-type='é/x'",
        f"filename='a' size='1' content-type='{'x' * 121}'",
    ],
)  # fmt: skip
def test_what_is_no_request(attrs: str) -> None:
    with pytest.raises(StanzaError) as error:
        read(attrs)
    assert error.value.condition is Condition.BAD_REQUEST


def test_purposes() -> None:
    for purpose in (Purpose.MESSAGE, Purpose.PROFILE, Purpose.PERMANENT):
        found = read("filename='a' size='1'", PURPOSE.format(purpose.value, ""))
        assert (found.purpose, found.expires) == (purpose, None)
    until = " expire-before='2025-09-10T23:08:25Z'"
    found = read("filename='a' size='1'", PURPOSE.format("ephemeral", until))
    assert (found.purpose, found.expires) == (Purpose.EPHEMERAL, 1757545705.0)
    for odd in ("", " expire-before='soon'"):
        with pytest.raises(StanzaError):
            read("filename='a' size='1'", PURPOSE.format("ephemeral", odd))


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a.png", "a.png"),
        (" a b.png ", "a b.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.txt", "y.txt"),
        ("a\r\nb\x00c", "abc"),
        ("\u202egpj.exe", "gpj.exe"),
        (".", ""),
        ("...", ""),
        (".hidden", ".hidden"),
    ],
)
def test_names(name: str, clean: str) -> None:
    assert http_upload.clean_name(name) == clean


@pytest.mark.parametrize("letter", ["a", "é", "€", "😀"])
def test_a_long_name_keeps_its_ending(letter: str) -> None:
    clean = http_upload.clean_name(letter * 500 + ".tar.gz")
    assert clean.startswith(letter)
    assert clean.endswith(".tar.gz")
    assert len(clean.encode()) <= http_upload.MAX_NAME


def test_the_slot() -> None:
    assert http_upload.slot("https://a/x?y&z", "https://a/x").to_bytes() == (
        b"<slot xmlns='urn:xmpp:http:upload:0'><put url='https://a/x?y&amp;z'/>"
        b"<get url='https://a/x'/></slot>"
    )


def test_errors() -> None:
    error = http_upload.too_large(20_000)
    assert (error.condition, error.type) == (Condition.NOT_ACCEPTABLE, ErrorType.MODIFY)
    assert error.app is not None
    assert error.app.to_bytes() == (
        b"<file-too-large xmlns='urn:xmpp:http:upload:0'>"
        b"<max-file-size>20000</max-file-size></file-too-large>"
    )
    error = http_upload.not_now("later", 1512258125.0)
    assert (error.condition, error.type) == (Condition.RESOURCE_CONSTRAINT, ErrorType.WAIT)
    assert error.app is not None
    assert error.app.to_bytes() == (
        b"<retry xmlns='urn:xmpp:http:upload:0' stamp='2017-12-02T23:42:05.000Z'/>"
    )
    assert http_upload.not_now("who knows", None).app is None
