"""Elements made of the words of one protocol, most of them in places where they do not belong."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st

from jabberd.xmpp.element import Element

MANY = settings(max_examples=300, deadline=None, derandomize=True)
TEXTS = st.text(max_size=6) | st.sampled_from(
    ["", "0", "1", "-1", "10", "4294967296", "9" * 30, "true", "false", "a@b.example", "@",
     "\u0663", "2010-06-07T00:00:00Z", "2010-02-30T25:00:00Z", " 1 "]
)  # fmt: skip


def trees(
    roots: Sequence[tuple[str, str]],
    names: Sequence[tuple[str, str]],
    attrs: Sequence[str],
    texts: Sequence[str] = (),
) -> st.SearchStrategy[Element]:
    """Elements with one of the `roots`' names, and those of `names` inside."""
    words = TEXTS if not texts else TEXTS | st.sampled_from(texts)
    keys = st.dictionaries(st.sampled_from(list(attrs)), words, max_size=len(attrs))

    def build(
        of: Sequence[tuple[str, str]], inside: st.SearchStrategy[list[Element | str]]
    ) -> st.SearchStrategy[Element]:
        return st.builds(
            lambda name, attrs, children: Element(name[0], name[1], attrs, children),
            st.sampled_from(list(of)),
            keys,
            inside,
        )

    def lists(item: st.SearchStrategy[Element]) -> st.SearchStrategy[list[Element | str]]:
        return st.lists(item | words, max_size=4)

    leaf = build(names, st.lists(words, max_size=1))
    inner = st.recursive(leaf, lambda item: build(names, lists(item)), max_leaves=8)
    return build(roots, lists(inner))
