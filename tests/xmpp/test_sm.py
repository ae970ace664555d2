"""XEP-0198: counters against whole numbers that never wrap, and every element of the text."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jabberd.xmpp import ns, sm
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import Condition, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.framer import Framer
from jabberd.xmpp.frames import Limits, Nonza
from jabberd.xmpp.sm import Enable, Outbound, Resume, Tag
from jabberd.xmpp.stream.base import stream_error
from tests.xmpp.payload.trees import MANY, TEXTS

HIGHEST = 2**32 - 1


def sent(*items: str, base: int = 0) -> Outbound[str]:
    queue = Outbound[str]()
    queue.restore(base, [])
    for item in items:
        queue.push(item)
    return queue


def nonza(text: str) -> Nonza:
    """A first-level element as a stream brings it."""
    head = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'>"
    (_, found) = Framer(Limits()).feed((head + text).encode())
    assert isinstance(found, Nonza)
    return found


def either(text: str) -> list[Tag]:
    """The same request on a stream, and inside another element (§9)."""
    return [nonza(text), parse(text.encode())]


# Counters


def test_counting() -> None:
    queue = sent("a", "b", "c")
    assert (queue.sent, queue.acknowledged, len(queue), list(queue)) == (3, 0, 3, ["a", "b", "c"])
    assert queue.acknowledge(0) == []
    assert queue.acknowledge(1) == ["a"]
    assert queue.acknowledge(1) == []
    assert (queue.sent, queue.acknowledged, len(queue), list(queue)) == (3, 1, 2, ["b", "c"])
    assert queue.acknowledge(3) == ["b", "c"]
    assert (queue.sent, queue.acknowledged, len(queue), list(queue)) == (3, 3, 0, [])


def test_after_the_highest_number_comes_zero() -> None:
    # §4: h is reset from 2^32-1 back to zero.
    queue = sent("a", "b", "c", base=HIGHEST)
    assert queue.sent == 2
    assert queue.acknowledge(HIGHEST) == []
    assert queue.acknowledge(0) == ["a"]
    assert queue.acknowledge(2) == ["b", "c"]
    assert (queue.sent, queue.acknowledged) == (2, 2)


@pytest.mark.parametrize(
    ("base", "count", "h"),
    [(0, 0, 1), (0, 8, 10), (5, 2, 8), (5, 2, 4), (HIGHEST, 2, 2), (HIGHEST, 2, HIGHEST - 1)],
)
def test_more_than_was_sent(base: int, count: int, h: int) -> None:
    queue = sent(*map(str, range(count)), base=base)
    before = (queue.sent, queue.acknowledged, list(queue))
    with pytest.raises(StreamError) as caught:
        queue.acknowledge(h)
    assert caught.value.condition is StreamCondition.UNDEFINED_CONDITION
    assert caught.value.app == Element(
        ns.SM, "handled-count-too-high", {"h": str(h), "send-count": str(queue.sent)}
    )
    assert (queue.sent, queue.acknowledged, list(queue)) == before


def test_what_the_peer_is_told_then() -> None:
    # The example of §6, with the text where RFC 6120 §4.9.2 has it.
    assert stream_error(sm.too_high(10, 8)).decode() == (
        f"<stream:error><undefined-condition xmlns='{ns.STREAM_ERRORS}'/>"
        f"<text xmlns='{ns.STREAM_ERRORS}' xml:lang='en'>"
        "10 stanzas were acknowledged, but 8 were sent</text>"
        "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/></stream:error>"
    )


def test_restoring() -> None:
    queue = sent("a", "b")
    queue.restore(2**32 + 3, ["x", "y"])
    assert (queue.sent, queue.acknowledged, list(queue)) == (5, 3, ["x", "y"])
    assert queue.acknowledge(4) == ["x"]


class Wrapping(RuleBasedStateMachine):
    """Against a model that counts without an end; what is kept are the numbers themselves."""

    @initialize(base=st.integers(0, HIGHEST) | st.integers(HIGHEST - 3, HIGHEST))
    def begin(self, base: int) -> None:
        self.queue = Outbound[int]()
        self.queue.restore(base, [])
        self.pushed = self.acked = base

    @rule(count=st.integers(0, 5))
    def push(self, count: int) -> None:
        for _ in range(count):
            self.pushed += 1
            self.queue.push(self.pushed)

    @rule(share=st.floats(0, 1))
    def acknowledge(self, share: float) -> None:
        upto = self.acked + round(share * (self.pushed - self.acked))
        covered = self.queue.acknowledge(upto % 2**32)
        assert covered == list(range(self.acked + 1, upto + 1))
        self.acked = upto

    @rule(beyond=st.integers(1, 2**31))
    def too_high(self, beyond: int) -> None:
        with pytest.raises(StreamError):
            self.queue.acknowledge((self.pushed + beyond) % 2**32)

    @rule()
    def restore(self) -> None:
        copy = Outbound[int]()
        copy.restore(self.queue.acknowledged, self.queue)
        self.queue = copy

    @invariant()
    def agrees(self) -> None:
        assert self.queue.sent == self.pushed % 2**32
        assert self.queue.acknowledged == self.acked % 2**32
        assert list(self.queue) == list(range(self.acked + 1, self.pushed + 1))
        assert len(self.queue) == self.pushed - self.acked


Wrapping.TestCase.settings = settings(max_examples=60, deadline=None, derandomize=True)
TestWrapping = Wrapping.TestCase


# What the peer says


@pytest.mark.parametrize(
    ("attrs", "wish"),
    [
        ("", Enable(False, None)),
        ("resume='true'", Enable(True, None)),
        ("resume='1' max='600'", Enable(True, 600)),
        ("resume='false' max='1'", Enable(False, 1)),
        ("resume='0' max='0'", Enable(False, None)),
        ("max='soon'", Enable(False, None)),
        ("max='-1'", Enable(False, None)),
        ("max='99999999999999999999999'", Enable(False, None)),
    ],
)
def test_enable(attrs: str, wish: Enable) -> None:
    for tag in either(f"<enable xmlns='urn:xmpp:sm:3' {attrs}/>"):
        assert sm.read_enable(tag) == wish


def test_enable_with_a_resume_that_is_no_boolean() -> None:
    for tag in either("<enable xmlns='urn:xmpp:sm:3' resume='maybe'/>"):
        with pytest.raises(StanzaError) as caught:
            sm.read_enable(tag)
        assert caught.value.condition is Condition.BAD_REQUEST


def test_resume() -> None:
    for tag in either("<resume xmlns='urn:xmpp:sm:3' h='4294967295' previd='a &amp; b'/>"):
        assert sm.read_resume(tag) == Resume("a & b", HIGHEST)


@pytest.mark.parametrize(
    "attrs", ["", "h='1'", "previd='x'", "h='' previd='x'", "h='-1' previd='x'", "h='1' previd=''"]
)
def test_resume_without_what_it_must_have(attrs: str) -> None:
    for tag in either(f"<resume xmlns='urn:xmpp:sm:3' {attrs}/>"):
        with pytest.raises(StanzaError) as caught:
            sm.read_resume(tag)
        assert caught.value.condition is Condition.BAD_REQUEST


def test_acknowledgements() -> None:
    assert sm.read_a(nonza("<a xmlns='urn:xmpp:sm:3' h='0'/>")) == 0
    assert sm.read_a(nonza("<a xmlns='urn:xmpp:sm:3' h='4294967295'/>")) == HIGHEST


@pytest.mark.parametrize("attrs", ["", "h=''", "h='4294967296'", "h='-1'", "h='1.0'", "h='x'"])
def test_acknowledgements_without_a_number(attrs: str) -> None:
    with pytest.raises(StreamError) as caught:
        sm.read_a(nonza(f"<a xmlns='urn:xmpp:sm:3' {attrs}/>"))
    assert caught.value.condition is StreamCondition.BAD_FORMAT


@MANY
@given(st.dictionaries(st.sampled_from(["h", "previd", "resume", "max"]), TEXTS))
def test_nothing_said_does_harm(attrs: Mapping[str, str]) -> None:
    tag = Element(ns.SM, "x", attrs)
    for read in (sm.read_enable, sm.read_resume, sm.read_a):
        try:
            read(tag)
        except (StanzaError, StreamError):
            continue


# What is said to it


def test_elements_without_much_in_them() -> None:
    assert sm.FEATURE == b"<sm xmlns='urn:xmpp:sm:3'/>"
    assert sm.R == b"<r xmlns='urn:xmpp:sm:3'/>"
    assert sm.a(0) == b"<a xmlns='urn:xmpp:sm:3' h='0'/>"
    assert sm.a(HIGHEST) == b"<a xmlns='urn:xmpp:sm:3' h='4294967295'/>"


def test_enabled() -> None:
    assert parse(sm.enabled()) == Element(ns.SM, "enabled")
    assert parse(sm.enabled("some-long-sm-id", resume=True)) == Element(
        ns.SM, "enabled", {"id": "some-long-sm-id", "resume": "true"}
    )
    location = "[2001:41D0:1:A49b::1]:9222"
    assert parse(sm.enabled("it's", resume=True, max=300, location=location)) == Element(
        ns.SM, "enabled", {"id": "it's", "resume": "true", "max": "300", "location": location}
    )


def test_resumed() -> None:
    assert parse(sm.resumed("it's", 7)) == Element(ns.SM, "resumed", {"previd": "it's", "h": "7"})


def test_failed() -> None:
    assert parse(sm.failed(Condition.UNEXPECTED_REQUEST)) == Element(
        ns.SM, "failed", {}, [Element(ns.STANZA_ERRORS, "unexpected-request")]
    )
    text = Element(ns.STANZA_ERRORS, "text", {f"{ns.XML} lang": "en"}, ["too <late>"])
    assert parse(sm.failed(Condition.ITEM_NOT_FOUND, 0, "too <late>")) == Element(
        ns.SM, "failed", {"h": "0"}, [Element(ns.STANZA_ERRORS, "item-not-found"), text]
    )
