"""The framer against a full parser, against itself in other pieces, and against the limits."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jabberd.xmpp import scanner
from jabberd.xmpp.error import StreamCondition
from jabberd.xmpp.framer import Framer
from jabberd.xmpp.frames import (
    BadAddress,
    Broken,
    Frame,
    Limits,
    Nonza,
    StreamEnd,
    StreamOpened,
)
from jabberd.xmpp.scanner import Pool
from jabberd.xmpp.stanza import Iq, Message, Presence, Stanza, qname
from tests.xmpp.documents import (
    CUTS,
    END,
    HEADER,
    LANG,
    ROOMY,
    STREAM,
    cut,
    documents,
    every_byte,
    frames_of,
    has_doctype,
    is_restricted,
    mutated,
    plain,
    shown,
    shown_of,
    tree_of,
)

SOME = settings(max_examples=100, deadline=None, derandomize=True)


def broken(frames: list[Frame]) -> StreamCondition | None:
    last = frames[-1] if frames else None
    return last.error.condition if isinstance(last, Broken) else None


def inside(*pieces: bytes, limits: Limits = ROOMY) -> list[Frame]:
    """The frames of a stream behind its header."""
    frames = frames_of((HEADER, *pieces), limits)
    assert isinstance(frames[0], StreamOpened)
    return frames[1:]


REQUEST = b"<r xmlns='urn:xmpp:sm:3'/>"


@pytest.mark.parametrize("request_", [REQUEST, REQUEST.replace(b"'", b'"')])
@pytest.mark.parametrize(
    ("before", "frames"),
    [
        (b"", 1),
        (b" \n", 1),
        (b"<message/>", 2),
        (b"<message><body>a &lt; b</body></message> ", 2),
        (REQUEST + b"<presence/>" + REQUEST, 4),
        (b"<message>", 0),
        (b"<message><body>", 0),
        (b"<message><body><![CDATA[", 0),
        (b"<message><body>]]", 0),
        (b"<message id=", 0),
        (b"<message", 0),
        (b"<", 0),
        (b"text", 0),
        (b"<!-- ", 0),
        (b"</message>", 0),
        (b"</stream:stream>", 1),
    ],
)
def test_a_request_at_the_end_is_read_as_any_other_element(
    before: bytes, frames: int, request_: bytes
) -> None:
    # XEP-0198 §4: what most of the bytes end with that a client sends need no parser.
    whole = [HEADER + before + request_ + b"<presence/>", END]
    quick = [HEADER, before + request_, b"<presence/>", END]
    assert shown_of(quick) == shown_of(whole)
    assert shown_of([HEADER, before, request_, b"<presence/>", END]) == shown_of(whole)
    found = [one for one in inside(before + request_) if not isinstance(one, Broken)]
    assert len(found) == frames


# However it is cut


@SOME
@given(documents() | mutated(), CUTS)
def test_any_chunking_gives_the_same_frames(data: bytes, places: list[float]) -> None:
    whole = shown_of([data])
    assert shown_of(cut(data, places)) == whole
    assert shown_of(every_byte(data)) == whole


@SOME
@given(documents() | mutated(), CUTS)
def test_one_frame_at_a_time_is_the_same(data: bytes, places: list[float]) -> None:
    framer = Framer(ROOMY, Pool())
    found: list[object] = []
    pending = b""
    for piece in cut(data, places):
        pending += piece
        while pending:
            frames, pending = framer.feed_one(pending)
            found += map(shown, frames)
            if not frames:
                assert pending == b""
            elif not isinstance(frames[-1], Broken):
                assert len(frames) == 1
    assert found == shown_of([data])


@SOME
@given(mutated(), CUTS, st.binary(max_size=40))
def test_an_error_is_the_last_word_and_said_once(
    data: bytes, places: list[float], more: bytes
) -> None:
    framer = Framer(ROOMY, Pool())
    frames = [frame for piece in cut(data, places) for frame in framer.feed(piece)]
    ends = [n for n, frame in enumerate(frames) if isinstance(frame, Broken | StreamEnd)]
    assert ends in ([], [len(frames) - 1])
    if ends:
        assert framer.feed(more) == []
        assert framer.feed(HEADER) == []
        assert framer.feed_one(b"<message/>") == ([], b"")


@settings(SOME, max_examples=30)
@given(st.lists(documents() | mutated(), min_size=2, max_size=5))
def test_recycled_parsers_change_nothing(streams: list[bytes]) -> None:
    before = [shown_of([data]) for data in streams]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner, "_RECYCLE_AFTER", 200)
        for data, expected in zip(streams, before, strict=True):
            assert shown_of([data]) == expected
            assert shown_of(every_byte(data)) == expected


@settings(SOME, max_examples=10)
@given(st.lists(documents() | mutated(), min_size=1, max_size=10), st.integers(0, 2**32))
def test_fifty_streams_on_shared_parsers(some: list[bytes], seed: int) -> None:
    rnd = random.Random(seed)
    streams = (some * 50)[:50]
    alone = [shown_of([data]) for data in streams]
    pool = Pool()
    framers = [Framer(ROOMY, pool) for _ in streams]
    found: list[list[object]] = [[] for _ in streams]
    left = dict(enumerate(streams))
    while left:
        at = rnd.choice(list(left))
        size = rnd.choice((1, 3, 17, 64, 200))
        piece, left[at] = left[at][:size], left[at][size:]
        found[at] += map(shown, framers[at].feed(piece))
        if not left[at]:
            del left[at]
    assert found == alone


# Against a full parser


@settings(SOME, max_examples=200)
@given(mutated())
def test_nothing_is_accepted_that_a_full_parser_rejects(data: bytes) -> None:
    framer = Framer(ROOMY, Pool())
    for at, byte in enumerate(every_byte(data)):
        frames = framer.feed(byte)
        if any(isinstance(frame, Broken) for frame in frames):
            return
        if any(isinstance(frame, StreamEnd) for frame in frames):
            document = data[: at + 1].lstrip(b" \t\r\n")
            tree = tree_of(document)
            assert tree is not None
            assert not is_restricted(tree)
            assert not has_doctype(document)
            assert tree.tag == f"{{{STREAM}}}stream"
            assert not (tree.text or "").strip()
            assert not any((child.tail or "").strip() for child in tree)
            return


@settings(SOME, max_examples=200)
@given(documents())
def test_what_passes_means_the_same_to_a_full_parser(data: bytes) -> None:
    frames = frames_of([data])
    tree = tree_of(data.lstrip())
    if tree is None:
        assert broken(frames) is StreamCondition.NOT_WELL_FORMED
        return
    assert broken(frames) is None
    assert isinstance(frames[-1], StreamEnd)
    passed = frames[1:-1]
    assert len(passed) == len(tree)
    lang = tree.get(LANG, "")
    for frame, original in zip(passed, tree, strict=True):
        if isinstance(frame, Nonza):
            wire, expected = frame.element().to_bytes(), plain(original)
            assert (frame.ns, frame.name) == split(original.tag)
        else:
            assert isinstance(frame, Stanza)
            wire, expected = frame.to_bytes(), plain(original, lang)
            if expected[1].get(LANG) == "":
                del expected[1][LANG]  # as good as none
            names = [qname(*split(child.tag)) for child in original]
            assert list(frame.children) == names
            assert [qname(child.ns, child.name) for child in frame.payload()] == names
        again = tree_of(HEADER + wire + END)
        assert again is not None
        assert plain(again[0]) == expected


def split(tag: str) -> tuple[str, str]:
    namespace, _, name = tag.rpartition("}")
    return namespace[1:], name


@SOME
@given(documents())
def test_a_stanza_inside_something_else_means_the_same(data: bytes) -> None:
    frames = frames_of([data])
    assume(broken(frames) is None)
    for frame in frames:
        if isinstance(frame, Stanza):
            wrapped = tree_of(b"<f xmlns='urn:xmpp:forward:0'>%s</f>" % frame.in_namespace())
            straight = tree_of(HEADER + frame.to_bytes() + END)
            assert wrapped is not None
            assert straight is not None
            assert plain(wrapped[0]) == plain(straight[0])


# By hand


def test_a_value_that_looks_like_a_declaration_hides_none() -> None:
    header = HEADER.replace(b"<stream:stream", b"<stream:stream xmlns:a='urn:a'")
    _, message = frames_of([header, b"<message foo=' xmlns:a='><a:x/></message>"])
    assert isinstance(message, Message)
    assert message.has("urn:a", "x")
    assert [child.ns for child in message.payload()] == ["urn:a"]
    assert tree_of(HEADER + message.to_bytes() + END) is not None


def test_a_prefixed_stanza_keeps_its_foreign_attributes() -> None:
    header = HEADER.replace(b"<stream:stream", b"<stream:stream xmlns:jc='jabber:client'")
    text = "<jc:message to='a@b' xmlns:e='urn:e' e:x='1' y='ä'><jc:body>ö</jc:body></jc:message>"
    _, message = frames_of([header, text.encode()])
    assert isinstance(message, Message)
    assert message.body() == "ö"
    found = tree_of(HEADER + message.to_bytes() + END)
    assert found is not None
    assert found[0].attrib == {"to": "a@b", "{urn:e}x": "1", "y": "ä"}


def test_the_header_as_it_is_read() -> None:
    data = HEADER.replace(b">", b" from='a@b' id='i' xml:lang='fi'>")
    assert frames_of([data]) == [
        StreamOpened("jabber:client", "example.com", "a@b", "i", "1.0", "fi")
    ]


@pytest.mark.parametrize(
    ("header", "condition"),
    [
        (b"<stream xmlns='jabber:client'>", StreamCondition.INVALID_NAMESPACE),
        (b"<stream:stream xmlns:stream='urn:other'>", StreamCondition.INVALID_NAMESPACE),
        (b"<a:b xmlns:a='http://etherx.jabber.org/streams'>", StreamCondition.BAD_FORMAT),
        (b"<stream:stream>", StreamCondition.NOT_WELL_FORMED),
        (b"hello world", StreamCondition.NOT_WELL_FORMED),
        (b"GET / HTTP/1.1\r\n\r\n", StreamCondition.NOT_WELL_FORMED),
        (b"\x16\x03\x01\x02\0\x01", StreamCondition.NOT_WELL_FORMED),
        (b"<?xml version='1.1'?>" + HEADER, StreamCondition.NOT_WELL_FORMED),
        (b"<?xml version='1.0' encoding='latin1'?>" + HEADER, StreamCondition.UNSUPPORTED_ENCODING),
        (b"<!DOCTYPE x>" + HEADER, StreamCondition.RESTRICTED_XML),
        (b"<!-- x -->" + HEADER, StreamCondition.RESTRICTED_XML),
        (b"<?x y?>" + HEADER, StreamCondition.RESTRICTED_XML),
        (HEADER.replace(b"example", b"\xff"), StreamCondition.UNSUPPORTED_ENCODING),
        (HEADER.replace(b"example", b"&e;"), StreamCondition.RESTRICTED_XML),
    ],
)
def test_headers_that_are_none(header: bytes, condition: StreamCondition) -> None:
    assert broken(frames_of([header])) is condition
    assert broken(frames_of(every_byte(header))) is condition


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<message><!-- x --></message>", StreamCondition.RESTRICTED_XML),
        (b"<!-- x --><message/>", StreamCondition.RESTRICTED_XML),
        (b"<message><?x y?></message>", StreamCondition.RESTRICTED_XML),
        (b"<message>&nbsp;</message>", StreamCondition.RESTRICTED_XML),
        (b"<message a='&x;'/>", StreamCondition.RESTRICTED_XML),
        (b"<!DOCTYPE x>", StreamCondition.NOT_WELL_FORMED),
        (b"<message><z:z/></message>", StreamCondition.NOT_WELL_FORMED),
        (b"<message z:a='1'/>", StreamCondition.NOT_WELL_FORMED),
        (b"<message a='1' a='1'/>", StreamCondition.NOT_WELL_FORMED),
        (b"<message></presence>", StreamCondition.NOT_WELL_FORMED),
        (b"<message>\xed\xa0\x80</message>", StreamCondition.UNSUPPORTED_ENCODING),
        (b"<message>&#0;</message>", StreamCondition.NOT_WELL_FORMED),
        (b"text<message/>", StreamCondition.BAD_FORMAT),
        (b"<message/>text" + END, StreamCondition.BAD_FORMAT),
    ],
)
def test_what_a_stream_may_not_contain(data: bytes, condition: StreamCondition) -> None:
    for pieces in (
        [b"<presence/>", data],
        [b"<presence/>" + data],
        every_byte(b"<presence/>" + data),
    ):
        frames = inside(*pieces)
        assert isinstance(frames[0], Presence)
        assert broken(frames) is condition


def test_addresses_that_are_none() -> None:
    frames = inside(b"<message to='@' id='1'/><message from='a@b/' to=''/><iq to='a@b'/>")
    first, second, third = frames
    assert isinstance(first, BadAddress)
    assert (first.attr, first.stanza.id, first.stanza.to) == ("to", "1", None)
    assert isinstance(second, BadAddress)
    assert isinstance(third, Iq)


def test_a_server_stream_in_memory_is_in_jabber_client() -> None:
    header = HEADER.replace(b"jabber:client", b"jabber:server")
    _, message = frames_of([header, b"<message><body>x</body><x xmlns='urn:x'/></message>"])
    assert isinstance(message, Message)
    assert message.children == ("jabber:client body", "urn:x x")
    assert message.body() == "x"
    _, foreign = frames_of([header, b"<message xmlns='jabber:client'/>"])
    assert isinstance(foreign, Nonza)


def test_nothing_is_read_behind_the_end() -> None:
    for rest in (b"junk", b"<!-- x -->", b"<message/>", b"\xff", END):
        assert inside(END + rest) == [StreamEnd()]
        assert inside(END, rest) == [StreamEnd()]
    assert frames_of([HEADER[:-1] + b"/>junk"])[1:] == [StreamEnd()]


def test_a_restart_forgets_the_old_stream() -> None:
    framer = Framer(ROOMY, Pool())
    framer.feed(HEADER + b"<message")
    framer.restart()
    assert framer.is_idle
    opened, message = framer.feed(b"\n" + HEADER.replace(b"example", b"other") + b"<message/>")
    assert isinstance(opened, StreamOpened)
    assert opened.to == "other.com"
    assert isinstance(message, Message)


# Limits

ENOUGH = Limits(
    stanza_bytes=2_000, depth=5, elements=20, attributes=6, declarations=7, name_bytes=40
)


def many(text: str, count: int) -> str:
    return "".join(text.format(n=n) for n in range(count))


@pytest.mark.parametrize(
    ("fits", "excess"),
    [
        (f"<message>{'a' * 1981}</message>", f"<message>{'a' * 1982}</message>"),
        (f"<message a='{'a' * 1985}'/>", f"<message a='{'a' * 1986}'/>"),
        ("<m>" * 5 + "</m>" * 5, "<m>" * 6 + "</m>" * 6),
        (f"<m>{'<x/>' * 19}</m>", f"<m>{'<x/>' * 20}</m>"),
        (f"<m>{'<x><y/></x>' * 9}</m>", f"<m>{'<x><y/></x>' * 10}</m>"),
        ("<m" + many(" a{n}=''", 6) + "/>", "<m" + many(" a{n}=''", 7) + "/>"),
        ("<m><x" + many(" a{n}=''", 6) + "/></m>", "<m><x" + many(" a{n}=''", 7) + "/></m>"),
        ("<m" + many(" xmlns:a{n}='u'", 7) + "/>", "<m" + many(" xmlns:a{n}='u'", 8) + "/>"),
        ("<m>" + "<x xmlns='u'/>" * 7 + "</m>", "<m>" + "<x xmlns='u'/>" * 8 + "</m>"),
        (f"<m><{'n' * 26}/></m>", f"<m><{'n' * 27}/></m>"),  # "jabber:client " has 14
        (f"<m {'n' * 40}=''/>", f"<m {'n' * 41}=''/>"),
        (f"<m xmlns='{'u' * 38}'/>", f"<m xmlns='{'u' * 39}'/>"),
        (f"<m><x xmlns:x='{'u' * 40}'/></m>", f"<m><x xmlns:x='{'u' * 41}'/></m>"),
    ],
)
def test_each_limit(fits: str, excess: str) -> None:
    for text, condition in ((fits, None), (excess, StreamCondition.POLICY_VIOLATION)):
        data = text.encode()
        for pieces in ([data], every_byte(data), [b"<presence/>" + data]):
            frames = inside(*pieces, limits=ENOUGH)
            assert broken(frames) is condition
    # Limits are for one stanza: the next begins anew.
    assert len(inside(fits.encode() * 3, limits=ENOUGH)) == 3


def test_a_header_has_limits_too() -> None:
    long = HEADER[:-1] + b" a='%s'>"
    for data in (
        long % (b"a" * 17_000),
        HEADER[:-1] + many(" a{n}=''", 70).encode() + b">",
        HEADER[:-1] + many(" xmlns:a{n}='u'", 70).encode() + b">",
        HEADER[:-1] + b" xmlns:a='%s'>" % (b"u" * 2_000),
    ):
        for pieces in ([data], every_byte(data)):
            assert broken(frames_of(pieces)) is StreamCondition.POLICY_VIOLATION
    assert len(frames_of([long % (b"a" * 15_000)])) == 1
    small = dataclasses.replace(ROOMY, stanza_bytes=1_000)
    assert broken(frames_of([long % (b"a" * 1_000)], small)) is StreamCondition.POLICY_VIOLATION


@pytest.mark.parametrize(
    "begin",
    [b"", b"<message a='", b"<message>", b"<message ", b"<m", b"<message><![CDATA[", b"<m>&", b"x"],
)
def test_what_never_ends_is_cut_off(begin: bytes) -> None:
    framer = Framer(ENOUGH, Pool())
    framer.feed(HEADER + begin)
    fed = 0
    frames: list[Frame] = []
    while not frames:
        frames = framer.feed(b"a" * 100)
        fed += 100
        assert fed <= 2_200
    assert isinstance(frames[0], Broken)


def test_limits_that_change_are_in_force_at_once() -> None:
    framer = Framer(ROOMY, Pool())
    framer.feed(HEADER + b"<message>")
    framer.limits = ENOUGH
    assert broken(framer.feed(b"a" * 3_000)) is StreamCondition.POLICY_VIOLATION


def test_a_flood_of_white_space_is_not_kept() -> None:
    framer = Framer(ENOUGH, Pool())
    framer.feed(HEADER)
    for _ in range(200):
        assert framer.feed(b" \t\r\n" * 1_000) == []
        assert framer.is_idle
    assert [type(frame) for frame in framer.feed(b"\n<message/>")] == [Message]
    early = Framer(ENOUGH, Pool())
    for _ in range(200):
        assert early.feed(b" \t\r\n" * 1_000) == []
        assert early.is_idle
    assert [type(frame) for frame in early.feed(HEADER)] == [StreamOpened]


def test_a_parser_is_owned_only_while_a_stanza_is_under_way() -> None:
    framer = Framer(ROOMY, Pool())
    idle = []
    for piece in (HEADER, b"<message/><mess", b"age/>"):
        framer.feed(piece)
        idle.append(framer.is_idle)
    assert idle == [True, False, True]


def test_the_pool_is_bounded() -> None:
    pool = Pool()
    for n in range(100):
        header = HEADER.replace(b" to", f" xmlns:p{n}='urn:p' to".encode())
        for _ in range(3):
            Framer(ROOMY, pool).feed(header + b"<message/>")
    kept = pool._headers.values()
    assert len(kept) <= scanner._POOL_HEADERS
    assert sum(map(len, pool._idle.values())) <= len(kept) * scanner._POOL_DEPTH


def test_names_are_forgotten_also_while_a_stanza_is_always_under_way() -> None:
    framer = Framer(ROOMY, Pool())
    framer.feed(HEADER + b"<message")
    first = framer._scanner
    size = 64 * 1024
    rounds = scanner._RECYCLE_AFTER // size + 2
    for n in range(rounds):
        frames = framer.feed(b" a%d='%s'/><message" % (n, b"x" * size))
        assert [type(frame) for frame in frames] == [Message]
    assert framer._scanner is not None
    assert framer._scanner is not first
    assert framer._scanner.total < scanner._RECYCLE_AFTER


# Tags that are scanned again and again (CVE-2023-52425)


def test_a_long_tag_in_many_pieces_is_not_scanned_for_each() -> None:
    framer = Framer(ROOMY, Pool())
    framer.feed(HEADER + b"<message a='")
    for _ in range(60_000):
        assert framer.feed(b"x") == []
    assert framer._scanner is not None
    assert framer._scanner.rescanned == 0
    (message,) = framer.feed(b"'/>")
    assert isinstance(message, Message)
    assert len(message.extra) == 60_000 + len(" a=''")


def test_what_is_scanned_again_is_bounded() -> None:
    limits = Limits(stanza_bytes=64 * 1024)
    framer = Framer(limits, Pool())
    framer.feed(HEADER + b"<message a='" + b"x" * 17_000)
    scanned = 0
    frames: list[Frame] = []
    while not frames:
        scanned += 17_000
        frames = framer.feed(b">")
        assert scanned < 2 * scanner._RESCAN_FACTOR * limits.stanza_bytes
    assert broken(frames) is StreamCondition.POLICY_VIOLATION


def test_a_large_stanza_in_packets_is_no_attack() -> None:
    message = b"<message a='%s'><body>%s</body></message>" % (b">" * 100_000, b"x>" * 75_000)
    limits = Limits()
    data = HEADER + message * 2
    frames = frames_of([data[at : at + 1_400] for at in range(0, len(data), 1_400)], limits)
    assert [type(frame) for frame in frames] == [StreamOpened, Message, Message]


@pytest.mark.parametrize(
    "header",
    [
        b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' to='a'>",
        (
            b"<?xml version='1.0'?>\n<stream:stream xmlns='jabber:client' version='1.0'"
            b" xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='urn:x' xml:lang='de'>"
        ),
        b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' to='a>b'>",
        b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client'/>",
        b"<s:stream xmlns:s='urn:no' xmlns='jabber:client'>",
        b"<?xml version='1.0'?>",
    ],
)
def test_a_header_means_the_same_every_time(header: bytes) -> None:
    pool = Pool()
    body = b"<message to='b@c' type='chat'><x:y/><body>1 > 0</body></message><iq id='1'/>"
    first = [repr(frame) for frame in Framer(ROOMY, pool).feed(header + body)]
    assert [repr(frame) for frame in Framer(ROOMY, pool).feed(header + body)] == first
    again = Framer(ROOMY, pool)
    byte_by_byte = [
        repr(f) for i in range(len(header + body)) for f in again.feed((header + body)[i : i + 1])
    ]
    assert byte_by_byte == first


def test_few_headers_are_remembered() -> None:
    pool = Pool()
    for number in range(2000):
        Framer(ROOMY, pool).feed(
            b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client'"
            b" to='host%d'>" % number
        )
    long = b"x" * 5000
    Framer(ROOMY, pool).feed(
        b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' to='%s'>"
        % long
    )
    assert 0 < len(pool.openings) <= scanner._OPENINGS
    assert max(map(len, pool.openings)) <= scanner._LONGEST_OPENING
