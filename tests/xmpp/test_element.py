"""Trees: what is written is read again as the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp.element import (
    Element,
    ParseError,
    escape_attr,
    escape_text,
    parse,
    parse_fragment,
)
from tests.xmpp.documents import plain, tree_of

SOME = settings(max_examples=200, deadline=None, derandomize=True)

NAMESPACES = st.sampled_from(["", ns.CLIENT, ns.SERVER, "urn:x", "urn:'\"&<>", ns.XML])
NAMES = st.sampled_from(["x", "body", "é", "a-b.c_1"])
KEYS = st.sampled_from(
    ["a", "b", "to", f"{ns.XML} lang", f"{ns.XML} space", "urn:a x", "urn:b x", "urn:a&' y"]
)
# What XML can carry; a line feed or a tab in an attribute only if it is escaped.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r<>&'\"]"),
    max_size=8,
)


def elements() -> st.SearchStrategy[Element]:
    def build(inside: st.SearchStrategy[list[Element | str]]) -> st.SearchStrategy[Element]:
        attrs = st.dictionaries(KEYS, TEXTS, max_size=3)
        return st.builds(Element, NAMESPACES, NAMES, attrs, inside)

    def lists(item: st.SearchStrategy[Element | str]) -> st.SearchStrategy[list[Element | str]]:
        return st.lists(item, max_size=3).map(merged)

    return st.recursive(
        build(lists(TEXTS)), lambda inner: build(lists(TEXTS | inner)), max_leaves=8
    )


def merged(children: list[Element | str]) -> list[Element | str]:
    """Neighbouring texts are one, and empty ones none, as a parser gives them."""
    out: list[Element | str] = []
    for child in children:
        if isinstance(child, str) and out and isinstance(out[-1], str):
            out[-1] += child
        elif child != "":
            out.append(child)
    return out


@SOME
@given(elements(), st.sampled_from(["", ns.CLIENT, "urn:x"]))
def test_what_is_written_is_read_as_the_same(element: Element, default: str) -> None:
    assert parse(element.to_bytes(default), default) == element


@SOME
@given(elements())
def test_a_full_parser_reads_the_same(element: Element) -> None:
    tree = tree_of(b"<w xmlns='jabber:client'>%s</w>" % element.to_bytes())
    assert tree is not None
    assert plain(tree[0]) == as_plain(element)


def as_plain(element: Element) -> object:
    def key(name: str) -> str:
        namespace, _, local = name.rpartition(" ")
        return f"{{{namespace}}}{local}" if namespace else local

    inside: list[object] = [""]
    for child in element.children:
        if isinstance(child, str):
            inside[-1] = child
        else:
            inside += [as_plain(child), ""]
    name = key(f"{element.ns} {element.name}" if element.ns else element.name)
    return (name, {key(name): value for name, value in element.attrs.items()}, inside)


@SOME
@given(st.text(max_size=20))
def test_any_text_can_be_escaped(text: str) -> None:
    data = f"<w a='{escape_attr(text)}' b=\"{escape_attr(text)}\">{escape_text(text)}</w>"
    tree = tree_of(data.encode())
    assert tree is not None
    assert tree.get("a") == tree.get("b") == (tree.text or "")
    clean = all(c in "\t\n\r" or " " <= c < "\ud800" or "\ue000" <= c < "\ufffe" or c > "\uffff"
                for c in text)  # fmt: skip
    assert (tree.get("a") == text) is (clean or ("\ufffd" in text and tree.get("a") == text))
    if not clean:
        assert "\ufffd" in (tree.text or "")


@pytest.mark.parametrize(
    "data",
    [b"<a>", b"</a>", b"<a></b>", b"<z:a/>", b"<a b/>", b"&e;", b"<!-- x -->", b"<?x y?>",
     b"<a b='1' b='2'/>", b"\xff", b"</x><x>", b"</x><x xmlns='y'/>", b"]]>", b"<![CDATA["],
)  # fmt: skip
def test_fragments_that_are_none(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_fragment(data)


@pytest.mark.parametrize("data", [b"", b"text", b"<a/>text", b"<a/><b/>"])
def test_not_exactly_one_element(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse(data)


def test_fragments() -> None:
    a, text, b = parse_fragment(b"<a/>t&amp;<![CDATA[<]]><b xmlns=''/>", "urn:d")
    assert a == Element("urn:d", "a")
    assert text == "t&<"
    assert b == Element("", "b")
    assert parse_fragment(b"") == []
    assert parse(b" <a/>\n") == Element(ns.CLIENT, "a")


def test_looking_into_a_tree() -> None:
    first, second = Element("urn:x", "a", {"k": "v", "none": None}), Element("urn:x", "a")
    tree = Element("urn:x", "r").add("one", first.add("in"), "two", second)
    assert first.attrs == {"k": "v"}
    assert (first.get("k"), first.get("none"), first.get("none", "-")) == ("v", "", "-")
    assert tree.text == "onetwo"
    assert list(tree) == [first, second]
    assert tree.find("urn:x", "a") is first
    assert tree.find("urn:y", "a") is None
    assert tree.find_all("urn:x", "a") == [first, second]
    assert tree.child_text("urn:x", "a") == "in"
    assert tree.child_text("urn:x", "b") is None
    assert tree != "tree"
    with pytest.raises(TypeError):
        hash(tree)


def test_the_namespace_of_xml_has_one_prefix_only() -> None:
    # Namespaces in XML §3: a declaration of it for any other would end the reader's stream.
    tree = Element(ns.XML, "x", {}, [Element(ns.CLIENT, "y")])
    assert tree.to_bytes() == b"<xml:x><y/></xml:x>"
