"""Addresses: ``localpart@domainpart/resourcepart`` (RFC 7622, prepared as `prep` says)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from xml.sax.saxutils import escape

from jabberd.xmpp import prep

# The cache counts entries, not bytes, so longer addresses are parsed anew each time.
_LONGEST_KEPT: Final = 256
_QUOTES: Final = {"'": "&apos;", '"': "&quot;"}


class InvalidJID(ValueError):  # noqa: N818 -- named as the field names it
    """The text is not an XMPP address (RFC 7622 §3)."""


class JID:
    """A prepared XMPP address; immutable, hashable, compared by its text.

    Attributes:
        local: the localpart, or an empty string.
        domain: the domainpart, never empty.
        resource: the resourcepart, or an empty string.
        text: the whole address in its canonical form.
        bare_text: the same without the resourcepart.
        xml: `text` escaped for use as an attribute value.
    """

    __slots__ = ("_bare", "bare_text", "domain", "local", "resource", "text", "xml")

    def __init__(self, local: str, domain: str, resource: str = "") -> None:
        # Parts must have been prepared: use `parse` or `with_resource` on foreign text.
        self.local = local
        self.domain = domain
        self.resource = resource
        self.bare_text = text = f"{local}@{domain}" if local else domain
        if resource:
            text = f"{text}/{resource}"
        self.text = text
        self.xml = escape(text, _QUOTES)
        self._bare: JID | None = None

    @staticmethod
    def parse(text: str) -> JID:
        """Prepare and split an address.

        Raises:
            InvalidJID: a part is empty, too long (1,023 bytes) or has a forbidden character.
        """
        return parse_jid(text)

    @property
    def bare(self) -> JID:
        """The address without its resourcepart; itself where it has none."""
        if not self.resource:
            return self
        if self._bare is None:
            self._bare = JID(self.local, self.domain)
        return self._bare

    @property
    def is_bare(self) -> bool:
        """Whether there is no resourcepart."""
        return not self.resource

    def with_resource(self, resource: str) -> JID:
        """The full address with this resourcepart, which is prepared.

        Raises:
            InvalidJID: the resourcepart is empty, too long or has a forbidden character.
        """
        try:
            return JID(self.local, self.domain, prep.resourcepart(resource))
        except prep.PrepError as error:
            raise InvalidJID(str(error)) from None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"JID({self.text!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JID):
            return self.text == other.text
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __lt__(self, other: JID) -> bool:
        return self.text < other.text


# Bounded: peers choose these strings. The hot path meets the same few addresses again and again.
@lru_cache(maxsize=16384)
def _parse(text: str) -> JID:
    # RFC 7622 §3.1: the first "/" ends the domainpart; only then is "@" looked for.
    address, slash, resource = text.partition("/")
    local, at, domain = address.partition("@")
    if not at:
        local, domain = "", address
    if (at and not local) or (slash and not resource):
        raise InvalidJID(f"empty part in address {text[:100]!r}")
    try:
        return JID(
            prep.localpart(local) if at else "",
            prep.domainpart(domain),
            prep.resourcepart(resource) if slash else "",
        )
    except prep.PrepError as error:
        raise InvalidJID(str(error)) from None


def parse_jid(text: str) -> JID:
    """`JID.parse`, one call less for the hot path."""
    return _parse(text) if len(text) <= _LONGEST_KEPT else _parse.__wrapped__(text)
