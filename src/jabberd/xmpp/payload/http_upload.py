"""XEP-0363 HTTP File Upload: what is asked for, the slot, and why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from jabberd.xmpp import lexical, ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, ErrorType, StanzaError
from jabberd.xmpp.payload import forms
from jabberd.xmpp.payload.delay import stamp

MAX_NAME: Final = 200
"""Bytes of a file name; a longer one loses its middle, so that its ending stays."""
MAX_TYPE: Final = 120
_MAX_SIZE: Final = 2**53
_END_KEPT: Final = 20  # bytes at the end of a name that is too long


class Purpose(Enum):
    """What a file is for (XEP-0363 §5); the value is the name of the element."""

    MESSAGE = "message"
    PROFILE = "profile"
    EPHEMERAL = "ephemeral"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True)
class Request:
    """A client wants to upload a file (§4).

    Attributes:
        name: of the file; fit to be the last part of a path.
        size: in bytes.
        type: its media type; empty where the client did not say.
        purpose: what it is for.
        expires: when it must not be there any more, seconds since the epoch; None: as it comes.
    """

    name: str
    size: int
    type: str = ""
    purpose: Purpose = Purpose.MESSAGE
    expires: float | None = None


def read(request: Element) -> Request:
    """What a `<request/>` asks for.

    Raises:
        StanzaError: bad-request where the name or the size is missing or is none.
    """
    name = clean_name(request.get("filename"))
    if not name:
        raise StanzaError(Condition.BAD_REQUEST, "a file has a name")
    size = lexical.unsigned(request.get("size"), _MAX_SIZE)
    if not size:
        raise StanzaError(Condition.BAD_REQUEST, "the size is a number of bytes, one at least")
    kind = request.get("content-type").strip()
    if len(kind) > MAX_TYPE or not (kind.isascii() and kind.isprintable()):
        raise StanzaError(Condition.BAD_REQUEST, "this is no content type")
    purpose, expires = _purpose(request)
    return Request(name, size, kind, purpose, expires)


def _purpose(request: Element) -> tuple[Purpose, float | None]:
    for purpose in Purpose:
        found = request.find(ns.HTTP_UPLOAD_PURPOSE, purpose.value)
        if found is None:
            continue
        if purpose is not Purpose.EPHEMERAL:
            return purpose, None
        expires = lexical.date_time(found.get("expire-before"))
        if expires is None:
            raise StanzaError(Condition.BAD_REQUEST, "expire-before is a time (XEP-0082)")
        return purpose, expires
    return Purpose.MESSAGE, None


def clean_name(name: str) -> str:
    """A file name without folders and without what does not show; empty where nothing is left."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in name if char.isprintable()).strip()
    if not name.strip("."):
        return ""
    data = name.encode()
    if len(data) <= MAX_NAME:
        return name
    start, end = data[: MAX_NAME - _END_KEPT], data[-_END_KEPT:]
    return (start.decode(errors="ignore") + end.decode(errors="ignore")).strip()


def slot(put: str, get: str) -> Element:
    """The answer: where to upload to, and where it will be then."""
    return Element(
        ns.HTTP_UPLOAD,
        "slot",
        None,
        [
            Element(ns.HTTP_UPLOAD, "put", {"url": put}),
            Element(ns.HTTP_UPLOAD, "get", {"url": get}),
        ],
    )


def limits_form(max_bytes: int) -> Element:
    """The largest size, for service discovery (§3)."""
    return forms.form(
        [forms.Field("max-file-size", "", values=[str(max_bytes)])],
        kind="result",
        form_type=ns.HTTP_UPLOAD,
    )


def feature_of(purpose: Purpose) -> str:
    """The feature that says that files of a purpose are taken (§5)."""
    return f"{ns.HTTP_UPLOAD_PURPOSE}#{purpose.value}"


def too_large(max_bytes: int) -> StanzaError:
    """The file is larger than any may be (§6)."""
    most = Element(ns.HTTP_UPLOAD, "max-file-size", None, [str(max_bytes)])
    return StanzaError(
        Condition.NOT_ACCEPTABLE,
        f"the file is too large: {max_bytes} bytes at most",
        ErrorType.MODIFY,
        Element(ns.HTTP_UPLOAD, "file-too-large", None, [most]),
    )


def not_now(text: str, again: float | None) -> StanzaError:
    """There is no room at present (§6).

    Args:
        text: why.
        again: when there may be some; None where nobody knows.
    """
    retry = None
    if again is not None:
        retry = Element(ns.HTTP_UPLOAD, "retry", {"stamp": stamp(again)})
    return StanzaError(Condition.RESOURCE_CONSTRAINT, text, ErrorType.WAIT, retry)
