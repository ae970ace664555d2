"""HTML of a mail as text: what a reader would see, with links (RFC 2854, as mail has it)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from bs4 import BeautifulSoup
from bs4.element import NavigableString, PageElement, PreformattedString, Tag

from jabberd.gateways.email.flowed import SIGNATURE

LONGEST: Final = 512 * 1024
"""Characters that are read."""
MOST_TAGS: Final = 20_000
"""Tags that are read; what is nested takes more time than its length."""

_DATA_URI: Final = re.compile(r"data:[\w/+.;=-]*,[A-Za-z0-9+/=%\s]*")
_INVISIBLE: Final = re.compile(r"(?i)(?:display\s*:\s*none|visibility\s*:\s*hidden)")
_DROPPED: Final = {"script", "style", "head", "title", "template", "noscript", "svg", "object"}
_BLOCKS: Final = {
    "address", "article", "aside", "body", "center", "dd", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "html", "li", "main", "nav", "ol",
    "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
}  # fmt: skip
_SPACED: Final = {"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "p", "pre"}
_SPACE: Final = re.compile(r"[ \t\r\n\f\u00a0\u200b\u200c\u00ad\u034f]+")
_RULE: Final = "_" * 32
_LONGEST_LINK: Final = 1_000
_MOST_QUOTES: Final = 20


def to_text(html: str) -> str:
    """The text that a reader of the HTML would see; never fails.

    Quoted blocks get `> ` before their lines, links their address behind them.
    """
    html = _DATA_URI.sub("", html)[:LONGEST]
    html = "<".join(html.split("<", MOST_TAGS)[:MOST_TAGS])
    # The element around it keeps the library from guessing whether this is XML or a file's name.
    soup = BeautifulSoup(f"<div>{html}</div>", "html.parser")
    writer = _Writer()
    todo: list[PageElement | _End] = [soup]
    while todo:  # not recursive: nesting is as deep as the sender likes
        node = todo.pop()
        if isinstance(node, _End):
            _leave(node.tag, writer)
        elif isinstance(node, Tag):
            if _seen(node):
                _enter(node, writer)
                todo.append(_End(node))
                todo.extend(reversed(node.contents))
        elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
            writer.text(str(node))
    return writer.result()


@dataclass(frozen=True)
class _End:
    tag: Tag


@dataclass
class _Writer:
    """Lines in the making.

    Attributes:
        lines: complete ones.
        line: the one that is written.
        quotes: how many quoted blocks are open.
        blank: an empty line has to come before the next text, in so many quoted blocks.
        preformatted: how many elements are open in which spaces count.
        links: where in `line` the text of open links begins.
    """

    lines: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    quotes: int = 0
    blank: int | None = None
    preformatted: int = 0
    links: list[int] = field(default_factory=list)

    def text(self, text: str) -> None:
        if self.preformatted:
            first, *rest = text.replace("\r", "").split("\n")
            self._add(first)
            for line in rest:
                self.newline(force=True)
                self._add(line)
            return
        text = _SPACE.sub(" ", text)
        if not self.line or self.line[-1].endswith(" "):
            text = text.removeprefix(" ")
        self._add(text)

    def _add(self, text: str) -> None:
        if text:
            if self.blank is not None and self.lines:
                self.lines.append(_prefix(min(self.blank, self.quotes)).rstrip())
            self.blank = None
            self.line.append(text)

    def newline(self, *, force: bool = False) -> None:
        content = "".join(self.line).rstrip()
        if content or force:
            line = (_prefix(self.quotes) + content).rstrip()
            self.lines.append(SIGNATURE if line == SIGNATURE.rstrip() else line)
        self.line = []

    def paragraph(self) -> None:
        self.newline()
        self.blank = self.quotes if self.blank is None else min(self.blank, self.quotes)

    def open_link(self) -> None:
        self.links.append(len(self.line))

    def close_link(self) -> str:
        """The text of the link that ends; of one inside of another, nothing."""
        start = self.links.pop()
        return "" if self.links else "".join(self.line[start:]).strip()

    def result(self) -> str:
        self.newline()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines)).strip("\n")


def _prefix(quotes: int) -> str:
    return "> " * min(quotes, _MOST_QUOTES)


def _seen(tag: Tag) -> bool:
    return tag.name not in _DROPPED and not _INVISIBLE.search(_attribute(tag, "style"))


def _attribute(tag: Tag, name: str) -> str:
    value = tag.get(name)
    return value if isinstance(value, str) else ""


def _enter(tag: Tag, writer: _Writer) -> None:
    match tag.name:
        case "br":
            writer.newline(force=True)
        case "hr":
            writer.newline()
            writer.text(_RULE)
            writer.newline()
        case "img":
            writer.text(_attribute(tag, "alt"))
        case "a":
            writer.open_link()
        case "td" | "th" if writer.line:
            writer.text(" ")
        case name if name in _SPACED:
            writer.paragraph()
            writer.quotes += name == "blockquote"
            writer.preformatted += name == "pre"
        case name if name in _BLOCKS:
            writer.newline()
            if name == "li":
                writer.text("- ")


def _leave(tag: Tag, writer: _Writer) -> None:
    match tag.name:
        case "a":
            _link(_attribute(tag, "href").strip(), writer.close_link(), writer)
        case name if name in _SPACED:
            writer.paragraph()
            writer.quotes -= name == "blockquote"
            writer.preformatted -= name == "pre"
        case name if name in _BLOCKS:
            writer.newline()


def _link(target: str, shown: str, writer: _Writer) -> None:
    """The address behind a link's text, where it says more."""
    if not target.lower().startswith(("http://", "https://", "mailto:")):
        return
    address = target.removeprefix("mailto:").partition("?")[0] if "mailto:" in target else target
    if len(target) > _LONGEST_LINK or shown.rstrip("/") in _spellings(address):
        return
    writer.text(f" <{address}>" if shown else f"<{address}>")


def _spellings(address: str) -> set[str]:
    plain = address.rstrip("/")
    return {plain, plain.removeprefix("https://"), plain.removeprefix("http://")}
