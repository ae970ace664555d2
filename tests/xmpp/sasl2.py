"""What clients say when they log in by SASL2, and a server that knows everything about it."""

from __future__ import annotations

import base64
from typing import Any

from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.offer import Channel
from tests.xmpp.sasl.kit import PASSWORD
from tests.xmpp.streams import ALL_INLINE, CLIENT, DOMAIN, TLS, Talk, receiving

JULIET = JID("juliet", DOMAIN)
BIND = "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
AGENT = f"<user-agent id='{CLIENT}'><software>AwesomeXMPP</software></user-agent>"
SASL1 = "<{} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'{}>{}</{}>"


def sasl2(name: str, inside: str = "", attrs: str = "") -> str:
    return f"<{name} xmlns='urn:xmpp:sasl:2'{attrs}>{inside}</{name}>"


def authenticate(mechanism: str, data: bytes | str | None, inside: str = "") -> str:
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
    first = "" if text is None else f"<initial-response>{text}</initial-response>"
    return sasl2("authenticate", first + inside, f" mechanism='{mechanism}'")


def plain(inside: str = "", user: str = "juliet", password: str = PASSWORD, who: str = "") -> str:
    return authenticate("PLAIN", f"{who}\0{user}\0{password}".encode(), inside)


def sasl1_plain(password: str = PASSWORD) -> str:
    data = base64.b64encode(f"\0juliet\0{password}".encode()).decode()
    return SASL1.format("auth", " mechanism='PLAIN'", data, "auth")


def server(channel: Channel = TLS, **changes: Any) -> Talk:
    values: dict[str, Any] = {"sasl2": True, "inline": ALL_INLINE}
    return receiving(channel, **(values | changes))
