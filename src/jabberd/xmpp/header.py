"""What of a stream header stays in force for the stanzas in its stream."""

from __future__ import annotations

from collections.abc import Mapping

from jabberd.xmpp import ns
from jabberd.xmpp.element import escape_attr
from jabberd.xmpp.stanza import Iq, Message, Presence, qname


class Header:
    """What of a stream header stays in force for the stanzas in it."""

    __slots__ = (
        "avoided",
        "content",
        "is_plain",
        "is_quick",
        "kinds",
        "prefixes",
        "scope",
        "start",
    )

    def __init__(self, tag: bytes, content: str, declared: Mapping[str, str]) -> None:
        self.content = content
        self.kinds = {qname(content, kind.tag): kind for kind in (Message, Presence, Iq)}
        # The prefixes that a stanza may use because the header declares them, each with the
        # declaration to give it when it leaves this stream.
        self.prefixes = tuple(
            (
                f"{prefix}:".encode(),
                f"xmlns:{prefix}".encode(),
                f" xmlns:{prefix}='{escape_attr(uri)}'".encode(),
            )
            for prefix, uri in sorted(declared.items())
            if prefix
        )
        default = f" xmlns='{escape_attr(declared.get('', ''))}'".encode()
        self.scope = default + b"".join(text for _, _, text in self.prefixes)
        self.start = b"<%s%s>" % (tag, self.scope)
        # Nothing but the prefix of the stream itself, as nearly all have it: its stanzas can
        # use nothing of the header unless they have "stream:" in them.
        self.is_plain = content == ns.CLIENT and len(self.prefixes) == 1
        # The same with the prefix of dialback, which all streams between servers declare.
        self.is_quick = self.is_plain or (
            content == ns.SERVER and set(declared) <= {"", "stream", "db"}
        )
        # What a stanza must not have in it to be understood without this header.
        own = () if content == ns.CLIENT else (content.encode(),)
        self.avoided = (*(prefix for prefix, _, _ in self.prefixes), *own)
