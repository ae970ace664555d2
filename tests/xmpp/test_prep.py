"""Preparation: the examples of the RFCs, the tables, and idempotence for anything."""

from __future__ import annotations

import stringprep
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jabberd.xmpp import prep

Prepare = Callable[[str], str]
STORED_LOCALPART = partial(prep.localpart, stored=True)
STORED_PASSWORD = partial(prep.password, stored=True)
EVERY: tuple[Prepare, ...] = (
    prep.localpart,
    STORED_LOCALPART,
    prep.domainpart,
    prep.resourcepart,
    prep.password,
    STORED_PASSWORD,
)


def refused(prepare: Prepare, text: str) -> bool:
    try:
        prepare(text)
    except prep.PrepError:
        return True
    return False


# --- SASLprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [  # RFC 4013 §3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # §2.1
        ("a\u00a0b\u3000c", "a b c"),
        ("a\u200bb", "a b"),
        ("a\u200db", "ab"),
        (" a ", " a "),
    ],
)
def test_password(text: str, prepared: str) -> None:
    assert prep.password(text) == prepared
    assert prep.password(text, stored=True) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u06271", "", "\u00ad", "a\0", "\ud800", "\ue000"])
def test_password_refused(text: str) -> None:
    assert refused(prep.password, text)


def test_unassigned_in_passwords_is_for_queries() -> None:
    assert prep.password("\U0001f339") == "\U0001f339"
    assert refused(STORED_PASSWORD, "\U0001f339")
    assert refused(STORED_PASSWORD, "\u0221")  # RFC 3454 table A.1 begins with it


def test_a_refusal_does_not_repeat_the_password() -> None:
    with pytest.raises(prep.PrepError) as caught:
        prep.password("hunter\x072")
    assert "hunter" not in str(caught.value)


# --- Nodeprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("juliet", "juliet"),
        ("JULIET", "juliet"),
        ("\u00dcBER", "\u00fcber"),
        ("u\u0308ber", "\u00fcber"),
        ("\uff2a\uff35\uff2c\uff29\uff25\uff34", "juliet"),
        ("ju\u00adli\u200det", "juliet"),
        ("fu\u00dfball", "fussball"),
        ("\u03a3", "\u03c3"),
        ("\u03c2", "\u03c3"),
        ("\u0130", "i\u0307"),
        ("\ufb01", "fi"),
        ("\u2163", "iv"),
        ("a\\20b", "a\\20b"),
        ("!#$%()*+,-.;=?[\\]^_`{|}~", "!#$%()*+,-.;=?[\\]^_`{|}~"),
        ("\u05d0\u05d1", "\u05d0\u05d1"),
        ("\u06271\u0628", "\u06271\u0628"),
    ],
)
def test_localpart(text: str, prepared: str) -> None:
    assert prep.localpart(text) == prepared
    assert prep.localpart(text, stored=True) == prepared


@pytest.mark.parametrize("char", "\"&'/:<>@ \t\n\x00\x1f\x7f")
def test_characters_that_localparts_may_not_have(char: str) -> None:
    for text in (char, f"a{char}b", f"\u00e4{char}b"):
        assert refused(prep.localpart, text)


@pytest.mark.parametrize(
    "char",
    # RFC 6122 §A.7
    "\u2100\u2101\u2105\u2106\u2a74\ufe60\ufe64\ufe65\ufe6b"
    "\uff02\uff06\uff07\uff0f\uff1a\uff1c\uff1e\uff20",
)
def test_characters_that_become_forbidden_ones(char: str) -> None:
    assert refused(prep.localpart, f"a{char}b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\u00ad",
        "\u00a0",
        "\u2028",
        "\ue000",
        "\ufdd0",
        "\U0010ffff",
        "\ud800",
        "a\ufffd",
        "\u202e",
        "\U000e0041",
        "\u0627a",
        "a\u0627",
        "\u06271",
        "1\u0627",
        "\u0627" + "a" + "\u0628",
    ],
)
def test_localpart_refused(text: str) -> None:
    assert refused(prep.localpart, text)


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f339",  # not in Unicode 3.2
        "\u265a",  # a symbol: RFC 7622 §3.5, example 21
        "\u1e9e",  # not in Unicode 3.2, and folded since
        "\u04c0",  # known then, but folded only since
        "\u1100",  # an old jamo that stands alone
        "\u30fb",
        "\u226e",  # RFC 6122 §A.7: decomposes to one with <, and is composed again
        "\ufe13",  # becomes : since Unicode 4.1
        "\u13a0",  # a letter without case then, a capital now
    ],
)
def test_names_that_may_be_asked_for_but_not_registered(text: str) -> None:
    assert prep.localpart(text) == text
    assert refused(STORED_LOCALPART, text)


# --- Resourceprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("Balcony", "Balcony"),
        (" a@b/c ", " a@b/c "),
        ("\u265a", "\u265a"),
        ("\U0001f339", "\U0001f339"),
        ("\U0001f468\u200d\U0001f469\ufe0f", "\U0001f468\U0001f469"),
        ("\U0001f1e9\U0001f1ea", "\U0001f1e9\U0001f1ea"),
        ("\U0001f44d\U0001f3fd", "\U0001f44d\U0001f3fd"),
        ("A\u030a", "\u00c5"),
        ("\u2163", "IV"),
        ("\u00df", "\u00df"),
    ],
)
def test_resourcepart(text: str, prepared: str) -> None:
    assert prep.resourcepart(text) == prepared


@pytest.mark.parametrize(
    "text", ["", "\ufe0f", "a\nb", "a\u1680b", "\ue000", "\ud83d", "\u0627a", "\U000e0067"]
)
def test_resourcepart_refused(text: str) -> None:
    assert refused(prep.resourcepart, text)


# --- Domains


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("a_b._tcp.example", "a_b._tcp.example"),
        ("r3---sn.example", "r3---sn.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0::0:1]", "[2001:db8::1]"),
        ("B\u00dcCHER.example", "b\u00fccher.example"),
        ("bu\u0308cher.example", "b\u00fccher.example"),
        ("xn--bcher-kva.example", "b\u00fccher.example"),
        ("XN--BCHER-KVA.example.", "b\u00fccher.example"),
        ("fa\u00df.example", "fa\u00df.example"),
        ("xn--fa-hia.example", "fa\u00df.example"),
        ("\uff45\uff58.example", "ex.example"),
        ("example\u3002com", "example.com"),
        ("example.com\u3002", "example.com"),
        ("\u05d0\u05d1.example", "\u05d0\u05d1.example"),
        ("l\u00b7l.example", "l\u00b7l.example"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
    ],
)
def test_domainpart(text: str, prepared: str) -> None:
    assert prep.domainpart(text) == prepared


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..",
        ".a",
        "a..b",
        "-a",
        "a-",
        "a b",
        "a@b",
        "a/b",
        "a:5222",
        "*.example",
        "a\x00b",
        "\n",
        "a\n",
        f"{'a' * 64}.example",
        "\u00fc" * 60,  # fits, but not as an A-label
        "xn--",
        "xn--a",
        "xn--\u00fc",
        "xn--abc-.example",
        "xn--BCHER-KVA" + "x" * 60,
        "\u2603.example",
        "\U0001f4a9.example",
        "\u05d0a.example",
        "\u0300a.example",
        "a_\u00fc.example",
        "\ud800",
        "[",
        "[]",
        "[::1",
        "::1",
        "[::1]x",
        "[::g]",
        "[fe80::1%25eth0]",
        "[127.0.0.1]",
        "[" + ":" * 5000 + "]",
    ],
)
def test_domainpart_refused(text: str) -> None:
    assert refused(prep.domainpart, text)


# --- Length, tables, idempotence


def test_lengths_are_in_bytes_of_the_prepared_text() -> None:
    for prepare in (prep.localpart, prep.resourcepart, prep.password):
        assert prepare("a" * 1023) == "a" * 1023
        assert refused(prepare, "a" * 1024)
        assert prepare("\u00e4" * 511) == "\u00e4" * 511
        assert refused(prepare, "\u00e4" * 512)
        assert prepare("u\u0308\u0304" * 511) == "\u01d6" * 511
        assert prepare("a" * 1023 + "\u00ad" * 100) == "a" * 1023
        assert refused(prepare, "a" + "\u00ad" * 100_000)
    labels = ".".join(["a" * 63] * 16)
    assert prep.domainpart(labels) == labels  # 1,023 bytes
    assert refused(prep.domainpart, labels + "b")
    assert refused(prep.domainpart, "b." + labels)
    assert refused(prep.domainpart, "\u00fc." * 400)


def some_characters() -> Iterator[str]:
    """The basic plane, where scripts are, and the neighbourhoods of what lies beyond."""
    yield from map(chr, range(0x10000))
    yield from map(chr, range(0x1D000, 0x1D800))
    yield from map(chr, range(0xE0000, 0xE0100))
    for plane in range(0x10000, 0x110000, 0x10000):
        yield from (chr(plane), chr(plane + 0xFFFD), chr(plane + 0xFFFE), chr(plane + 0xFFFF))


COMMON = (
    stringprep.in_table_c12,
    stringprep.in_table_c21,
    stringprep.in_table_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def test_the_tables_are_those_of_rfc_3454() -> None:
    trace = [table for i, table in enumerate(COMMON) if i not in (0, 7)]
    for char in some_characters():
        prohibited = any(table(char) for table in COMMON)
        assert bool(prep._NOT_IN_RESOURCE.fullmatch(char)) == prohibited, ascii(char)
        prohibited |= char in " \"&'/:<>@"
        assert bool(prep._NOT_IN_LOCAL.fullmatch(char)) == prohibited, ascii(char)
        in_trace = any(table(char) for table in trace)
        assert bool(prep._NOT_IN_TRACE.fullmatch(char)) == in_trace, ascii(char)
        assert bool(prep._NOTHING.fullmatch(char)) == stringprep.in_table_b1(char), ascii(char)
        assert bool(prep._SPACES.fullmatch(char)) == stringprep.in_table_c12(char), ascii(char)
        assert bool(prep._RANDAL.fullmatch(char)) == stringprep.in_table_d1(char), ascii(char)


@pytest.mark.parametrize(
    ("char", "folded"),
    [  # RFC 3454 table B.2, and below what it does not have but the standard library folds
        ("\u00b5", "\u03bc"),
        ("\u0149", "\u02bcn"),
        ("\u0345", "\u03b9"),
        ("\u1fb7", "\u03b1\u0342\u03b9"),
        ("\u2121", "tel"),
        ("\U0001d400", "a"),
        ("\U00010400", "\U00010428"),
        ("\u04c0", "\u04c0"),
        ("\u10a0", "\u10a0"),
        ("\u1e9e", "\u1e9e"),
        ("\u2c00", "\u2c00"),
    ],
)
def test_case_is_folded_by_the_table(char: str, folded: str) -> None:
    assert prep._fold(char) == folded


def test_text_without_a_stable_form_is_refused() -> None:
    assert refused(partial(prep._stable, lambda text: text + "a"), "a")


def test_trace() -> None:
    assert prep.trace("a@b \u00a0\U0001f339") == "a@b \u00a0\U0001f339"
    for text in ("\n", "\u0627a", "a" * 2049):
        assert refused(prep.trace, text)


TEXTS = st.text(st.characters(), max_size=12) | st.text(
    st.sampled_from("aAzZ.-_@ []:xn\u00ad\u0130\u0345\u0308\u0301\u03a3\u03c2\u00df\u0627\u05d0"
                    "\u0661\u1100\u1161\u11a8\u1e9b\u0323\u04c0\u1109a\U00011099\U000110ba\u212b"
                    "\u1fb7\u0f71\u0f72\u0f74\u3002\uff0e\u200d\u094d\u0915"),
    max_size=12,
)  # fmt: skip


@pytest.mark.parametrize("prepare", EVERY)
@given(text=TEXTS)
@example(text="\u0587\u0345")
@example(text="xn--bcher-kva")
@example(text="\u1e9b\u0323")
def test_idempotent_or_refused(prepare: Prepare, text: str) -> None:
    try:
        prepared = prepare(text)
    except prep.PrepError:
        return
    assert prepare(prepared) == prepared
    assert 1 <= len(prepared.encode()) <= 1023


@given(TEXTS)
def test_stored_is_a_subset_of_queries(text: str) -> None:
    for query, stored in ((prep.localpart, STORED_LOCALPART), (prep.password, STORED_PASSWORD)):
        if not refused(stored, text):
            assert stored(text) == query(text)


@given(st.text(st.characters(max_codepoint=127), max_size=20))
def test_the_fast_path_is_only_faster(text: str) -> None:
    for prepare, rules in (
        (prep.localpart, prep._nodeprep),
        (prep.resourcepart, prep._resourceprep),
        (prep.password, prep._saslprep),
        (prep.domainpart, prep._hostname),
    ):
        if text and not text.startswith("[") and not refused(rules, text):
            assert prepare(text) == rules(text)
        elif not text.startswith("["):
            assert refused(prepare, text)
