"""Recognises a message that a client sends again because it never learned that it arrived.

A client whose stream broke and whose session could not be resumed (XEP-0198) sends again what was
not acknowledged, perhaps by now on another stream. What was acknowledged by nobody but is in the
log must not be there twice.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from jabberd.storage.log_api import Entry
from jabberd.xmpp.payload.sid import ORIGIN_ID, origin_id
from jabberd.xmpp.stanza import Message

_WINDOW: Final = 65_536  # messages of all accounts together
_LONGEST: Final = 256  # characters of an identifier; a longer one is not kept
_INNER: Final = re.compile(rb"<message(?:[^>'\"]|'[^']*'|\"[^\"]*\")*>(.*)</message>", re.DOTALL)


# XEP-0198 §4: who sends again may add when it was sent first.
_DELAY: Final = re.compile(rb"<delay\b[^>]*?(?:/>|>[^<]*</delay>)")


class Mark:
    """One stream of one client, as far as this matters.

    Attributes:
        clean: its client closed it in order, and knows what arrived.
    """

    __slots__ = ("clean",)

    def __init__(self) -> None:
        self.clean = False


def unique_of(message: Message) -> tuple[str, bool]:
    """The sender's identifier of a message; and whether it is an origin-id (XEP-0359 §3).

    The second is unique by its definition. The `id` of the stanza need only be so within a
    stream (RFC 6120 §8.1.3).
    """
    if ORIGIN_ID in message.children:
        text = origin_id(message)
        if text and len(text) <= _LONGEST:
            return text, True
    return (message.id, False) if len(message.id) <= _LONGEST else ("", False)


class Resent:
    """The last messages that local accounts sent, as far as they can be recognised.

    A second message is the first one sent again when it has the same sender, recipient,
    identifier and content, but comes by another stream; and, where the identifier is only the
    stanza's `id`, when the first stream was not closed in order: a script may call each of its
    messages "1".
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, str], tuple[Mark, int]] = OrderedDict()

    def again(
        self, owner: str, peer: str, unique: tuple[str, bool], inner: bytes, mark: Mark
    ) -> bool:
        """Whether a message was sent before; it is remembered if not.

        Args:
            owner: the sender's bare JID.
            peer: the recipient's.
            unique: see `unique_of`.
            inner: what is in the message.
            mark: the stream that it came by.
        """
        name, strong = unique
        if not name:
            return False
        key = (owner, peer, name)
        content = _content(inner)
        seen = self._seen.get(key)
        if seen is not None:
            first, before = seen
            if first is not mark and before == content and (strong or not first.clean):
                return True
        self._keep(key, mark, content)
        return False

    def forget(self, owner: str, peer: str, unique: tuple[str, bool]) -> None:
        """It was refused: the same one may come again."""
        self._seen.pop((owner, peer, unique[0]), None)

    def restore(self, entries: Iterable[Entry]) -> None:
        """Remember what a former process wrote into the log, oldest first."""
        mark = Mark()
        for entry in entries:
            inner = _INNER.match(entry.stanza)
            content = _content(inner[1] if inner else b"")
            self._keep((entry.owner, entry.peer, entry.unique), mark, content)

    def _keep(self, key: tuple[str, str, str], mark: Mark, content: int) -> None:
        self._seen[key] = (mark, content)
        if len(self._seen) > _WINDOW:
            self._seen.popitem(last=False)


def same(stanza: bytes, inner: bytes) -> bool:
    """Whether a message that was kept has this in it.

    Args:
        stanza: as an entry of the log has it.
        inner: what is in another message.
    """
    kept = _INNER.match(stanza)
    return kept is not None and _content(kept[1]) == _content(inner)


def _content(inner: bytes) -> int:
    # `find`, since `in` first tries, and fails, to take the bytes for a number.
    return hash(inner if inner.find(b"<delay") < 0 else _DELAY.sub(b"", inner))
