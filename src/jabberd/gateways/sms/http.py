"""An HTTP provider as a way out: a request made of a template, and what its call-backs say.

The defaults are those of Kannel (`sendsms`, `get-url` and `dlr-url`); most providers differ in
names only. Receiving the call-backs is up to whoever has an HTTP server: `read_incoming` and
`read_receipt` are given their parameters, and `HttpBackend.handler` takes what they return.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote, quote_plus

import httpx

from jabberd.gateways.events import Trouble
from jabberd.gateways.sms.backend import (
    Fragment,
    Handler,
    Incoming,
    Link,
    Outcome,
    Outgoing,
    Receipt,
)
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.segments import read_header, split
from jabberd.gateways.sms.text import Alphabet, Coding, clean, units
from jabberd.gateways.transport import Lost, NotDone

_SECONDS: Final = 50.0
_MOST_BYTES: Final = 65_536
_LONGEST_REASON: Final = 200
_PLACE: Final = re.compile(r"\{(username|password|from|to|text|coding|receipt|id)\}")
_LATER: Final = frozenset({401, 403, 407, 429, 503})
"""Statuses by which a provider says that it did not take a message, whatever the message was."""
_UNKNOWN: Final = "the provider did not answer: it may have arrived or not"
_KANNEL: Final[Mapping[str, Outcome]] = {
    "1": Outcome.DELIVERED,
    "2": Outcome.UNDELIVERABLE,
    "4": Outcome.PENDING,
    "8": Outcome.PENDING,
    "16": Outcome.REJECTED,
}
_WORDS: Final[Mapping[str, Outcome]] = {
    "delivered": Outcome.DELIVERED,
    "delivrd": Outcome.DELIVERED,
    "expired": Outcome.EXPIRED,
    "undeliv": Outcome.UNDELIVERABLE,
    "undelivered": Outcome.UNDELIVERABLE,
    "failed": Outcome.UNDELIVERABLE,
    "rejected": Outcome.REJECTED,
    "rejectd": Outcome.REJECTED,
    "deleted": Outcome.REJECTED,
}

Content = Literal["form", "json"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the provider is asked. In the texts, `{to}` and the like stand for what is sent.

    Attributes:
        url: with `{username}`, `{password}`, `{from}`, `{to}`, `{text}`, `{coding}` (0 or 2 for
            UCS-2, as Kannel has it), `{receipt}` (0 or 1) and `{id}`, a name that we make up.
        username: at the provider.
        password: at the provider.
        body: of a POST request; empty for GET.
        content: what the body is.
        bearer: whether the password goes into a header, as a bearer token.
        id_pattern: a regular expression for the answer to a message that was taken; its first
            group is the name of the message. Unless given, every answer of success does, and
            `{id}` is the name.
        most_parts: of a text.
        alphabet: how a text is counted.
    """

    url: str = field(repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    body: str = field(default="", repr=False)
    content: Content = "form"
    bearer: bool = False
    id_pattern: str = ""
    most_parts: int = 10
    alphabet: Alphabet = "gsm"


class HttpBackend:
    """See `Backend`.

    Args:
        settings: see there.

    Attributes:
        handler: takes what the call-backs bring; None until it is started.
    """

    def __init__(self, settings: Settings) -> None:
        self.link = Link()
        self.handler: Handler | None = None
        self._settings = settings
        self._client: httpx.AsyncClient | None = None

    async def start(self, handler: Handler) -> None:
        """See `Backend.start`."""
        # It logs the URL of each request, and with it passwords and texts.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.handler = handler
        self._client = httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False)
        self.link.up()

    async def stop(self) -> None:
        """See `Backend.stop`."""
        self.link.down("stopped")
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def parts(self, text: str) -> int:
        """See `Backend.parts`."""
        settings = self._settings
        return len(split(text, "udh8", ref=0, most=settings.most_parts, alphabet=settings.alphabet))

    async def send(self, sms: Outgoing) -> tuple[str, ...]:
        """See `Backend.send`."""
        client = self._client
        if client is None:
            raise Lost("the gateway is stopping")
        name = secrets.token_hex(8)
        try:
            status, said = await self._ask(client, self._request(client, sms, name))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise Lost("the provider cannot be reached") from None
        except httpx.HTTPError:
            raise NotDone(Trouble.UNKNOWN_FATE, _UNKNOWN) from None
        return self._understand(status, said, name)

    # Inside

    def _request(self, client: httpx.AsyncClient, sms: Outgoing, name: str) -> httpx.Request:
        settings = self._settings
        coding, _ = units(sms.text, settings.alphabet)
        values = {
            "username": settings.username,
            "password": settings.password,
            "from": sms.source,
            "to": sms.destination,
            "text": sms.text,
            "coding": "2" if coding is Coding.UCS2 else "0",
            "receipt": "1" if sms.receipt else "0",
            "id": name,
        }
        headers = {"Authorization": f"Bearer {settings.password}"} if settings.bearer else {}
        url = _filled(settings.url, values, "url")
        if not settings.body:
            return client.build_request("GET", url, headers=headers)
        kind = "application/json"
        if settings.content == "form":
            kind = "application/x-www-form-urlencoded"
        headers["Content-Type"] = kind
        body = _filled(settings.body, values, settings.content).encode()
        return client.build_request("POST", url, headers=headers, content=body)

    async def _ask(self, client: httpx.AsyncClient, request: httpx.Request) -> tuple[int, str]:
        answer = await client.send(request, stream=True)
        try:
            said = bytearray()
            async for chunk in answer.aiter_bytes():
                said += chunk
                if len(said) > _MOST_BYTES:
                    break
            return answer.status_code, bytes(said[:_MOST_BYTES]).decode(errors="replace")
        finally:
            await answer.aclose()

    def _understand(self, status: int, said: str, name: str) -> tuple[str, ...]:
        reason = clean(said.strip())[:_LONGEST_REASON]
        if status in _LATER:
            raise Lost(f"the provider answered {status}: {reason}")
        if status >= 500:
            raise NotDone(Trouble.UNKNOWN_FATE, f"the provider answered {status}: {reason}")
        if not 200 <= status < 300:
            raise NotDone(Trouble.NOT_ACCEPTABLE, f"the provider answered {status}: {reason}")
        if not self._settings.id_pattern:
            return (name,)
        found = re.search(self._settings.id_pattern, said)
        if found is None:
            raise NotDone(Trouble.NOT_ACCEPTABLE, f"the provider answered: {reason}")
        given = found[1] if found.re.groups and found[1] else name
        return (given,)


def _filled(template: str, values: Mapping[str, str], content: Literal["url"] | Content) -> str:
    def value(match: re.Match[str]) -> str:
        text = values[match[1]]
        if content == "url":
            return quote(text, safe="")
        return quote_plus(text) if content == "form" else json.dumps(text)[1:-1]

    return _PLACE.sub(value, template)


def read_incoming(parameters: Mapping[str, bytes], numbers: Numbers) -> Incoming:
    """An SMS that a provider brings.

    Args:
        parameters: `from`, `to` and `text`; `charset` of the text, UTF-8 unless given; `udh`, its
            user data header, where it is a part of a longer one.
        numbers: their spelling.

    Raises:
        ValueError: something is missing, or is no text.
    """
    source, destination = _word(parameters, "from"), _word(parameters, "to")
    if not source:
        raise ValueError("the parameter 'from' is missing")
    charset = _word(parameters, "charset") or "utf-8"
    try:
        said = parameters.get("text", b"").decode(charset)
    except LookupError:
        raise ValueError(f"the charset {charset!r} is not known") from None
    source, destination = numbers.sender(source), numbers.sender(destination)
    header = read_header(parameters.get("udh", b""))
    if header.part is None or header.part.total == 1:
        return Incoming(source, destination, clean(said))
    data = said.encode("utf-16-be", "replace")
    return Incoming(source, destination, fragment=Fragment(header.part, data, Coding.UCS2))


def read_receipt(parameters: Mapping[str, bytes], numbers: Numbers) -> Receipt:
    """A delivery report that a provider brings.

    Args:
        parameters: `id`, and `status`: a number as Kannel has it, or a word; `to` and `reason`
            may be there.
        numbers: their spelling.

    Raises:
        ValueError: something is missing.
    """
    name, status = _word(parameters, "id"), _word(parameters, "status").lower()
    if not name or not status:
        raise ValueError("the parameters 'id' and 'status' are required")
    outcome = _KANNEL.get(status) or _WORDS.get(status, Outcome.PENDING)
    contact = _word(parameters, "to")
    reason = clean(_word(parameters, "reason"))[:_LONGEST_REASON]
    return Receipt(name, outcome, reason, numbers.sender(contact) if contact else "")


def _word(parameters: Mapping[str, bytes], name: str) -> str:
    return parameters.get(name, b"").decode(errors="replace").strip()
