"""XEP-0220 and XEP-0185: keys, and the elements in which they travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp import dialback, ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import Condition, ErrorType, StanzaError

SECRET = b"s3cr3tf0rd14lb4ck"


def read(data: bytes) -> Element:
    """An element as it stands in a stream."""
    around = f"<x xmlns='{ns.SERVER}' xmlns:db='{ns.DIALBACK}'>".encode()
    (element,) = parse(around + data + b"</x>")
    return element


@pytest.mark.parametrize(
    ("secret", "receiving", "originating", "stream_id", "made"),
    [
        # XEP-0185 §3
        (
            SECRET, "xmpp.example.com", "example.org", "D60000229F",
            "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643",
        ),
        # XEP-0220 §2.1.1 and §2.2.2
        (
            SECRET, "montague.example", "capulet.example", "D60000229F",
            "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3",
        ),
        (
            b"d14lb4ck43v3r", "capulet.example", "montague.example", "417GAF25",
            "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d",
        ),
    ],
)  # fmt: skip
def test_the_keys_of_the_examples(
    secret: bytes, receiving: str, originating: str, stream_id: str, made: str
) -> None:
    assert dialback.key(secret, receiving, originating, stream_id) == made
    assert dialback.matches(secret, receiving, originating, stream_id, made)


@pytest.mark.parametrize(
    ("receiving", "originating", "stream_id"),
    [
        ("example.inform", "example.org", "1"),
        ("example.info", "rmexample.org", "1"),
        ("example.info", "example.org", "11"),
        ("example.org", "example.info", "1"),
        ("example.info example.org", "1", ""),
    ],
)
def test_a_key_is_good_for_one_stream_of_one_pair(
    receiving: str, originating: str, stream_id: str
) -> None:
    given = dialback.key(SECRET, "example.info", "example.org", "1")
    assert not dialback.matches(SECRET, receiving, originating, stream_id, given)
    assert not dialback.matches(b"other", "example.info", "example.org", "1", given)


@given(st.text())
def test_any_text_may_be_given_for_a_key(text: str) -> None:
    assert not dialback.matches(SECRET, "example.info", "example.org", "1", text)


def test_requests() -> None:
    element = read(dialback.request("result", "capulet.example", "montague.example", "k3y"))
    attrs = {"from": "capulet.example", "to": "montague.example"}
    assert element == Element(ns.DIALBACK, "result", attrs, ["k3y"])
    raw = dialback.request("verify", "a", "b", "<k&y>", stream_id="'i'")
    assert raw.startswith(b"<db:verify ")  # XEP-0220 §2: this prefix, and no other
    assert read(raw) == Element(
        ns.DIALBACK, "verify", {"from": "a", "to": "b", "id": "'i'"}, ["<k&y>"]
    )


def test_answers() -> None:
    raw = dialback.answer("verify", "a", "b", dialback.VALID, None, stream_id="i")
    attrs = {"from": "a", "to": "b", "id": "i", "type": "valid"}
    assert read(raw) == Element(ns.DIALBACK, "verify", attrs)
    raw = dialback.answer("result", "a", "b", dialback.INVALID, None)
    assert read(raw).get("type") == "invalid"


def test_errors_travel() -> None:
    error = StanzaError(Condition.REMOTE_SERVER_TIMEOUT, "a < b")
    element = read(dialback.answer("result", "a", "b", dialback.ERROR, error))
    assert element.get("type") == "error"
    # XEP-0220 §2.4.2: implicitly qualified by jabber:server.
    (child,) = element
    assert (child.ns, child.name, child.get("type")) == (ns.SERVER, "error", "wait")
    found = dialback.read_error(element)
    assert (found.condition, found.text, found.type) == (error.condition, "a < b", ErrorType.WAIT)


@pytest.mark.parametrize(
    ("inside", "condition", "kind", "text"),
    [
        (
            "<error type='wait'><remote-connection-failed xmlns='{}'/></error>",
            Condition.UNDEFINED_CONDITION, ErrorType.WAIT, "remote-connection-failed",
        ),
        ("<error><item-not-found xmlns='{}'/></error>", Condition.ITEM_NOT_FOUND,
         ErrorType.CANCEL, ""),
        ("<error type='?'><policy-violation xmlns='{}'/><other xmlns='urn:x'/></error>",
         Condition.POLICY_VIOLATION, ErrorType.MODIFY, ""),
        ("", Condition.UNDEFINED_CONDITION, ErrorType.CANCEL, ""),
        ("text<error/>", Condition.UNDEFINED_CONDITION, ErrorType.CANCEL, ""),
    ],
)  # fmt: skip
def test_errors_of_others(inside: str, condition: Condition, kind: ErrorType, text: str) -> None:
    raw = f"<db:result type='error'>{inside.format(ns.STANZA_ERRORS)}</db:result>"
    found = dialback.read_error(read(raw.encode()))
    assert (found.condition, found.type, found.text) == (condition, kind, text)
