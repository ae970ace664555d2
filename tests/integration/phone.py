"""A client of today, written by hand like `wire`: SASL2, tokens, and all of it in one flight."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from typing import Any, Final, Self
from xml.etree.ElementTree import Element, tostring

import jabberd
from tests.integration.wire import CLIENT, SASL, WAIT, Wire

SASL2: Final = "{urn:xmpp:sasl:2}"
BIND2: Final = "{urn:xmpp:bind:0}"
FAST: Final = "{urn:xmpp:fast:0}"
SM: Final = "{urn:xmpp:sm:3}"
IAP: Final = "{urn:xmpp:iap:0}"
PHONE: Final = "d4565fa7-4d72-4749-b3d3-740edbf87770"
TABLET: Final = "a9cfc1a8-9f10-4b7d-a6b7-8d7d8c7c6f4e"
ENDP: Final = "HT-SHA-256-ENDP"
NONE: Final = "HT-SHA-256-NONE"
ENABLE: Final = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"


def bind(tag: str = "", *features: str) -> str:
    """`<bind/>` of XEP-0386."""
    inside = f"<tag>{tag}</tag>" if tag else ""
    return f"<bind xmlns='urn:xmpp:bind:0'>{inside}{''.join(features)}</bind>"


def request_token(mechanism: str = ENDP) -> str:
    """`<request-token/>` of XEP-0484."""
    return f"<request-token xmlns='urn:xmpp:fast:0' mechanism='{mechanism}'/>"


class Phone(Wire):
    """One connection under TLS from its first byte.

    Attributes:
        flights: how often it has written something.
        client: the id that it tells.
        token: the last one that it got.
        version: of the last offer that it saw (XEP-0509).
    """

    flights = 0
    client = PHONE
    token = ""
    version = ""

    @classmethod
    async def dial(cls, server: jabberd.Server, client: str = PHONE) -> Self:
        """Connect, and say nothing."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        opening = asyncio.open_connection(
            server.host, server.tls_port, ssl=context, server_hostname=server.domain
        )
        phone = cls(*await asyncio.wait_for(opening, WAIT))
        phone.client = client
        return phone

    async def send(self, text: str) -> None:
        """Write this, and count it."""
        self.flights += 1
        await super().send(text)

    async def offered(self, domain: str = "example.com") -> Element:
        """Open a stream; returns the features."""
        await self.open(domain)
        return self.offer(await self.features())

    def offer(self, features: Element) -> Element:
        """Remember which offer this is."""
        version = features.find(f"{IAP}config-version")
        self.version = "" if version is None else version.get("value", "")
        return features

    def end_point(self) -> bytes:
        """tls-server-end-point of a certificate that is signed with SHA-256 (RFC 5929 §4.1)."""
        found: Any = self._writer.get_extra_info("ssl_object")
        return hashlib.sha256(found.getpeercert(binary_form=True)).digest()

    def binding(self, mechanism: str) -> bytes:
        """Channel binding data of a mechanism that takes tokens."""
        return self.end_point() if mechanism == ENDP else b""

    def agent(self) -> str:
        """`<user-agent/>`."""
        attrs = f" id='{self.client}'" if self.client else ""
        return f"<user-agent{attrs}><software>Phony</software><device>Desk</device></user-agent>"

    def authenticate(self, mechanism: str, first: bytes | None, inside: str = "") -> str:
        """`<authenticate/>`."""
        data = "" if first is None else base64.b64encode(first).decode()
        initial = "" if first is None else f"<initial-response>{data}</initial-response>"
        return (
            f"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'>"
            f"{initial}{self.agent()}{inside}</authenticate>"
        )

    def by_password(self, name: str, inside: str = "", password: str = "") -> str:
        """A login by PLAIN."""
        return self.authenticate("PLAIN", f"\0{name}\0{password or name}".encode(), inside)

    def by_token(
        self, name: str, token: str, inside: str = "", *, how: str = ENDP, fast: str = ""
    ) -> str:
        """A login by a token (draft-schmaus-kitten-sasl-ht-09 §3.1)."""
        proof = hmac.digest(token.encode(), b"Initiator" + self.binding(how), "sha256")
        inside += f"<fast xmlns='urn:xmpp:fast:0'{fast}/>"
        return self.authenticate(how, name.encode() + b"\0" + proof, inside)

    async def outcome(self) -> Element:
        """What comes of a login: `<success/>` or `<failure/>`; a token is remembered."""
        found = await self.next()
        assert found.tag in {f"{SASL2}success", f"{SASL2}failure"}, tostring(found)
        token = found.find(f"{FAST}token")
        if token is not None:
            self.token = token.get("token", "")
        return found

    async def login(self, name: str, inside: str = "", password: str = "") -> Element:  # type: ignore[override]
        """Log in by a password; returns the `<success/>`, behind which the features came."""
        await self.offered()
        await self.send(self.by_password(name, inside, password))
        success = await self.outcome()
        assert success.tag == f"{SASL2}success", tostring(success)
        await self.features()
        return success

    async def one_flight(self, said: str, domain: str = "example.com") -> Element:
        """Send a header and a login at once; returns what comes of the login."""
        self._renew()
        await self.send(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            f"xmlns:stream='http://etherx.jabber.org/streams' to='{domain}' version='1.0'>{said}"
        )
        await self.opened()
        self.offer(await self.features())
        return await self.outcome()

    async def stanza(self) -> Element:
        """The next stanza."""
        while True:
            found = await self.next()
            if found.tag.startswith(CLIENT):
                return found
            assert found.tag in {f"{SM}r", f"{SM}a"}, tostring(found)

    async def answer(self, iq: str) -> Element:
        """Send a request, and wait for an IQ."""
        await self.send(iq)
        while (found := await self.stanza()).tag != f"{CLIENT}iq":
            pass
        return found


def jid_of(success: Element) -> str:
    """The address that a login got."""
    assert success.tag == f"{SASL2}success", tostring(success)
    return success.findtext(f"{SASL2}authorization-identifier") or ""


def failure(outcome: Element) -> str:
    """The condition of a login that was refused."""
    assert outcome.tag == f"{SASL2}failure", tostring(outcome)
    (condition,) = [e.tag for e in outcome if e.tag.startswith(SASL)]
    return condition.removeprefix(SASL)


def names(element: Element) -> list[str]:
    """Of the children, in order."""
    return [child.tag for child in element]
