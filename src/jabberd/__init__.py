"""Jabber, in Python: an XMPP server (RFC 6120, RFC 6121).

`Server` is what programs and tests embed. It is imported when it is first asked for, so that
using one part of the package does not import all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jabberd.embed import Server

__all__ = ["Server"]


def __getattr__(name: str) -> object:
    if name == "Server":
        from jabberd.embed import Server  # noqa: PLC0415 -- see the docstring

        return Server
    raise AttributeError(f"module 'jabberd' has no attribute {name!r}")
