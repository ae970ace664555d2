"""XEP-0115 Entity Capabilities: the verification string of a disco#info result."""

from __future__ import annotations

import base64
import hashlib

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload import forms

_LANG = f"{ns.XML} lang"


def verification_input(info: Element) -> bytes:
    """The string S of XEP-0115 §5.1 for a disco#info query element.

    Everything is sorted by its UTF-8 bytes (the collation i;octet). Forms whose FORM_TYPE is
    absent or not hidden do not count (§5.4).
    """
    parts = sorted(
        _join(entry, "category", "type", _LANG, "name")
        for entry in info.find_all(ns.DISCO_INFO, "identity")
    )
    parts += sorted(e.get("var").encode() for e in info.find_all(ns.DISCO_INFO, "feature"))
    extensions = [x for x in info.find_all(ns.DATA_FORMS, "x") if _counts(x)]
    for extension in sorted(extensions, key=lambda x: forms.form_type(x).encode()):
        parts.append(forms.form_type(extension).encode())
        fields = forms.answers(extension)
        for name in sorted(fields, key=str.encode):
            if name != forms.FORM_TYPE:
                parts.append(name.encode())
                parts += sorted(value.encode() for value in fields[name])
    return b"".join(part + b"<" for part in parts)


def verification_string(info: Element) -> str:
    """The `ver` of a disco#info query element, with the hash that everybody has: SHA-1.

    SHA-1 is what XEP-0115 §9.1 makes mandatory; nothing secret depends on it.
    """
    digest = hashlib.sha1(verification_input(info), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def element(node: str, ver: str) -> Element:
    """The `<c/>` that announces capabilities in presence and in stream features."""
    return Element(ns.CAPS, "c", {"hash": "sha-1", "node": node, "ver": ver})


def _join(entry: Element, *attrs: str) -> bytes:
    return "/".join(entry.get(attr) for attr in attrs).encode()


def _counts(extension: Element) -> bool:
    return any(
        field.get("var") == forms.FORM_TYPE and field.get("type") == "hidden"
        for field in extension.find_all(ns.DATA_FORMS, "field")
    )
