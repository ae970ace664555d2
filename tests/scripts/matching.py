"""How what is expected is compared with what was received; see `player` for the rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element

_PATTERN: Final = re.compile(r"\.\.\.|\{=([a-z]+)\}")


def match(wanted: Element, found: Element) -> dict[str, str] | None:
    """Compare what was received with what was expected.

    Returns:
        What the expectation keeps, by name; None where they differ.
    """
    return _matched(wanted, found, outermost=True)


def _matched(wanted: Element, found: Element, *, outermost: bool) -> dict[str, str] | None:
    if wanted.tag != found.tag:
        return None
    if not outermost and set(found.attrib) - set(wanted.attrib):
        return None
    kept: dict[str, str] = {}
    for name, value in wanted.items():
        if value == "...":
            continue
        more = _text(value, found.get(name))
        if more is None:
            return None
        kept.update(more)
    inside = _children(wanted, found)
    return None if inside is None else {**kept, **inside}


def _children(wanted: Element, found: Element) -> dict[str, str] | None:
    texts = [_stripped(text) for text in (wanted.text, *(child.tail for child in wanted))]
    open_ = "..." in texts
    kept: dict[str, str] = {}
    if not open_:
        if len(wanted) != len(found):
            return None
        more = _text("".join(texts), "".join(map(_stripped, _character_data(found))))
        if more is None:
            return None
        kept.update(more)
    rest = list(found)
    for child in wanted:
        for index, candidate in enumerate(rest):
            if (more := _matched(child, candidate, outermost=False)) is not None:
                kept.update(more)
                del rest[index]
                break
        else:
            return None
    return kept


def _character_data(element: Element) -> list[str | None]:
    return [element.text, *(child.tail for child in element)]


def _stripped(text: str | None) -> str:
    return (text or "").strip()


def _text(wanted: str, found: str | None) -> Mapping[str, str] | None:
    if found is None:
        return None
    parts = []
    end = 0
    for one in _PATTERN.finditer(wanted):
        parts.append(re.escape(wanted[end : one.start()]))
        parts.append(f"(?P<{one[1]}>.+)" if one[1] else ".*")
        end = one.end()
    parts.append(re.escape(wanted[end:]))
    matched = re.fullmatch("".join(parts), found, re.DOTALL)
    return None if matched is None else matched.groupdict()
