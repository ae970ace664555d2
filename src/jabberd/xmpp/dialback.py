"""XEP-0220 Server Dialback: keys, and the two elements in which they travel."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, escape_attr
from jabberd.xmpp.error import Condition, ErrorType, StanzaError

VALID: Final = "valid"
INVALID: Final = "invalid"
ERROR: Final = "error"
FEATURE: Final = Element(
    ns.DIALBACK_FEATURE, "dialback", {}, [Element(ns.DIALBACK_FEATURE, "errors")]
).to_bytes()
"""Among the stream features (§2.4.2)."""
MAX_KEY: Final = 1_024
"""Characters of the longest key that is passed on."""


def key(secret: bytes, receiving: str, originating: str, stream_id: str) -> str:
    """The key by which an originating server proves itself (XEP-0185, XEP-0220 §2.1.1).

    Args:
        secret: known to the originating server alone.
        receiving: the domain that it wants to send to.
        originating: the domain that it is.
        stream_id: of the stream, as the receiving server made it.
    """
    # Spaces are in no domain, so that no two triples make the same text (CVE-2016-0756).
    text = f"{receiving} {originating} {stream_id}"
    return hmac.new(
        hashlib.sha256(secret).hexdigest().encode(), text.encode(), hashlib.sha256
    ).hexdigest()


def matches(secret: bytes, receiving: str, originating: str, stream_id: str, given: str) -> bool:
    """Whether a key is the one that this secret makes; takes the same time either way."""
    made = key(secret, receiving, originating, stream_id)
    return hmac.compare_digest(made.encode(), given.encode("utf-8", "replace"))


def request(name: str, local: str, remote: str, text: str, *, stream_id: str = "") -> bytes:
    """A `<db:result/>` or `<db:verify/>` that carries a key.

    Its prefix is that of the stream header, as §2 wants it.
    """
    return f"<db:{name}{_attrs(local, remote, stream_id)}>{escape_attr(text)}</db:{name}>".encode()


def answer(
    name: str, local: str, remote: str, kind: str, error: StanzaError | None, *, stream_id: str = ""
) -> bytes:
    """The answer to one: valid, invalid, or an error (§2.4.2)."""
    head = f"<db:{name}{_attrs(local, remote, stream_id)} type='{kind}'"
    if error is None:
        return f"{head}/>".encode()
    inside = Element(ns.STANZA_ERRORS, error.condition.value).to_bytes()
    if error.text:
        lang = {f"{ns.XML} lang": "en"}
        inside += Element(ns.STANZA_ERRORS, "text", lang, [error.text]).to_bytes()
    return b"%s><error type='%s'>%s</error></db:%s>" % (
        head.encode(), error.type.value.encode(), inside, name.encode(),
    )  # fmt: skip


def read_error(element: Element) -> StanzaError:
    """The error inside an answer; undefined-condition where it names none that we know."""
    condition, text = Condition.UNDEFINED_CONDITION, ""
    kind: ErrorType | None = None
    for error in element:
        try:
            kind = ErrorType(error.get("type"))
        except ValueError:
            kind = None
        for child in error:
            if child.ns != ns.STANZA_ERRORS:
                continue
            if child.name == "text":
                text = child.text
            else:
                try:
                    condition = Condition(child.name)
                except ValueError:
                    # RFC 3920's remote-connection-failed is in XEP-0220's table still.
                    text = text or child.name[:100]
    return StanzaError(condition, text, kind)


def _attrs(local: str, remote: str, stream_id: str) -> str:
    named = f" id='{escape_attr(stream_id)}'" if stream_id else ""
    return f" from='{escape_attr(local)}' to='{escape_attr(remote)}'{named}"
