"""XEP-0106 JID Escaping: any text as a localpart, and back."""

from __future__ import annotations

import re
from typing import Final

_ESCAPED: Final = {
    " ": r"\20",
    '"': r"\22",
    "&": r"\26",
    "'": r"\27",
    "/": r"\2f",
    ":": r"\3a",
    "<": r"\3c",
    ">": r"\3e",
    "@": r"\40",
}
_PLAIN: Final = {code: char for char, code in _ESCAPED.items()} | {r"\5c": "\\"}
_CODE: Final = re.compile(r"\\(?:20|22|26|27|2f|3a|3c|3e|40|5c)")
# A backslash needs a code of its own only where what follows would be taken for one.
_NEEDS: Final = re.compile(r"""[ "&'/:<>@]|\\(?=20|22|26|27|2f|3a|3c|3e|40|5c)""")


def escape(text: str) -> str:
    """A text in a form that a localpart may have; spaces at its ends are not allowed in one."""
    return _NEEDS.sub(lambda match: _ESCAPED.get(match[0], r"\5c"), text)


def unescape(local: str) -> str:
    """What `escape` was given."""
    return _CODE.sub(lambda match: _PLAIN[match[0]], local)
