"""XEP-0494 Client Access Management: which clients have access to an account."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import Condition, StanzaError
from jabberd.xmpp.payload.delay import stamp

_AUTH = ("password", "grant", "fast")


@dataclass(frozen=True, slots=True)
class Entry:
    """A client, as its account's owner sees it (§3.1).

    Attributes:
        id: names it.
        connected: whether it has a session, be it one that only waits for it (XEP-0198).
        first_seen: when it got access, in seconds since the epoch.
        last_seen: when it used it last.
        auth: by what it logs in, out of "password", "grant" and "fast"; others are not shown.
        software: what it is; may be empty.
        device: where it runs; may be empty.
    """

    id: str
    connected: bool
    first_seen: float
    last_seen: float
    auth: tuple[str, ...]
    software: str = ""
    device: str = ""


def clients(entries: Iterable[Entry]) -> Element:
    """The `<clients/>` that answers a `<list/>`."""
    return Element(ns.CAM, "clients", {}, map(_client, entries))


def _client(entry: Entry) -> Element:
    # Every client of ours is known by a session that it has or had.
    attrs = {
        "connected": "true" if entry.connected else "false",
        "id": entry.id,
        "type": "session",
    }
    auth = [Element(ns.CAM, way) for way in _AUTH if way in entry.auth]
    element = Element(ns.CAM, "client", attrs)
    element.add(
        Element(ns.CAM, "first-seen", {}, [stamp(entry.first_seen)]),
        Element(ns.CAM, "last-seen", {}, [stamp(entry.last_seen)]),
        Element(ns.CAM, "auth", {}, auth),
        Element(ns.CAM, "permission", {"status": "unrestricted"}),
    )
    described = (("software", entry.software), ("device", entry.device))
    agent = [Element(ns.CAM, name, {}, [text]) for name, text in described if text]
    return element.add(Element(ns.CAM, "user-agent", {}, agent)) if agent else element


def read_revoke(element: Element) -> str:
    """Which client a `<revoke/>` names (§3.2).

    Raises:
        StanzaError: bad-request, where it names none.
    """
    name = element.get("id")
    if not name:
        raise StanzaError(Condition.BAD_REQUEST, "say which client: id is missing")
    return name


def password_reset_required() -> StanzaError:
    """The error for a client that knows the password (§3.2)."""
    return StanzaError(
        Condition.SERVICE_UNAVAILABLE,
        "this client knows the password: change that",
        app=Element(ns.CAM, "password-reset-required"),
    )
