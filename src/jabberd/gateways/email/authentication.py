"""What our own mail server says about a sender: Authentication-Results (RFC 8601)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from jabberd.gateways.email.address import canonical_domain
from jabberd.gateways.email.mail import Verdict
from jabberd.gateways.transport import BadAddress

FIELD: Final = "Authentication-Results"
"""The field that is read."""

_PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[()"\\]|[^()"\\]++')
_FROM: Final = re.compile(r"\sheader\.from\s*=\s*([^\s;]+)")
_RESULT: Final = re.compile(r"\s*(spf|dkim|dmarc)\s*(?:/\s*\d+\s*)?=\s*([a-z]+)")


def verdict(values: Iterable[str], authserv_id: str, domain: str) -> Verdict:
    """The verdict of the topmost field that our own server has written.

    That server has to remove fields of its own name that come from outside (§5); as it adds its
    own above all others, only the topmost one is believed.

    Args:
        values: of the fields, the topmost first.
        authserv_id: what our mail server calls itself in them; empty: it writes none.
        domain: canonical, of the sender as we have read it. Where the server has read another
            one, From was written so that it can be read in two ways: DMARC counts as failed.
    """
    for value in values:
        name, *results = _plain(value).lower().split(";")
        if authserv_id and name.split()[:1] == [authserv_id.lower()]:
            return _verdict(results, domain)
    return Verdict()


def _verdict(results: list[str], domain: str) -> Verdict:
    found: dict[str, str] = {}
    for result in results:
        if not (said := _RESULT.match(result)):
            continue
        method, word = said.groups()
        if method == "dkim" and word == "pass":  # one good signature of several is enough
            found[method] = word
        if method == "dmarc" and (other := _FROM.search(result)) and not _same(other[1], domain):
            word = "fail"
        found.setdefault(method, word)
    return Verdict(**found)


def _same(found: str, domain: str) -> bool:
    """Whether a domain is the other one, or the organisation's above it (RFC 7489 §3.2)."""
    try:
        known = canonical_domain(found)
    except BadAddress:
        return False
    return f".{domain}".endswith(f".{known}")


def _plain(value: str) -> str:
    """A value without comments and quoted strings, in which senders can have put anything."""
    kept: list[str] = []
    depth = 0
    for piece in _PIECE.findall(value):
        if piece == "(":
            depth += 1
        elif piece == ")":
            depth = max(depth - 1, 0)
        elif piece == '"' and not depth:  # never closed: what follows cannot be told apart
            break
        elif not depth and piece[0] != '"':
            kept.append(piece)
    return "".join(kept)
