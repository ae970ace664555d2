"""XEP-0484 FAST: a token on its way to its client."""

from __future__ import annotations

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.payload.delay import stamp


def token(secret: str, expires: float) -> bytes:
    """The `<token/>` in a success (§3.3).

    Args:
        secret: the token.
        expires: until when it is good, in seconds since the epoch.
    """
    return Element(ns.FAST, "token", {"token": secret, "expiry": stamp(expires)}).to_bytes()
