"""A mailbox that a user has elsewhere: what is asked for it, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from jabberd.gateways.email import address
from jabberd.gateways.email.outbound import Account
from jabberd.gateways.email.post import yes
from jabberd.gateways.email.reach import Place, Security
from jabberd.gateways.transport import BadAddress, Field, Form, Login

_SECURITIES: Final = {
    "tls": "TLS from the first byte",
    "starttls": "STARTTLS",
    "none": "none: everybody on the way can read it",
}
_PORTS: Final = {
    "imap": {"tls": 993, "starttls": 143, "none": 143},
    "smtp": {"tls": 465, "starttls": 587, "none": 587},
}
_LONGEST: Final = 1_000
_LAST_PORT: Final = 65_535


def _server(kind: str, name: str) -> tuple[Field, ...]:
    usual = "Leave it empty for the usual one"
    return (
        Field(f"{kind}_host", f"{name} server", hint=usual),
        Field(f"{kind}_port", f"{name} port", hint=usual),
        Field(
            f"{kind}_security", f"{name} encryption", "list-single", default="tls",
            options=_SECURITIES,
        ),
        Field(f"{kind}_user", f"{name} user", hint="Leave it empty if it is the address"),
    )  # fmt: skip


FORM: Final = Form(
    "E-mail",
    "Give the mailbox that you have. Many providers want a password made for one application.",
    (
        Field("address", "E-mail address", required=True),
        Field("password", "Password", "text-private", required=True),
        Field("name", "Your name, as others see it"),
        Field("signature", "What stands below each mail", "text-multi"),
        *_server("imap", "Incoming (IMAP)"),
        *_server("smtp", "Outgoing (SMTP)"),
        Field(
            "smtp_password", "Outgoing (SMTP) password", "text-private",
            hint="Leave it empty if it is the same",
        ),
        Field("strangers", "Take mail from strangers", "boolean", default="true"),
        Field("seen", "Mark mail as read when it comes here", "boolean", default="false"),
        Field("sent", "Put a copy of what you write into Sent", "boolean", default="true"),
        Field("receipts", "Ask to be told when a mail was read", "boolean", default="false"),
    ),
)  # fmt: skip
"""What is asked at registration."""


class BadAnswer(ValueError):  # noqa: N818 -- a fact about an answer
    """An answer does not do; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A user's mailbox.

    Attributes:
        imap: where its mail is.
        imap_account: to log in there.
        smtp: where mail goes from it.
        smtp_account: to log in there.
        seen: mark mail as read.
        sent: keep a copy of what is written.
        strangers: take mail from people the user has never written to.
    """

    imap: Place
    imap_account: Account
    smtp: Place
    smtp_account: Account
    seen: bool
    sent: bool
    strangers: bool


def login_of(answers: Mapping[str, str]) -> Login:
    """What a user is registered with.

    Raises:
        BadAnswer: an answer does not do.
    """
    try:
        name = address.canonical(answers.get("address", ""))
    except BadAddress as error:
        raise BadAnswer(str(error)) from None
    known = {field.var for field in FORM.fields} - {"address"}
    data = {key: value for key, value in answers.items() if key in known and value}
    if any(len(value) > _LONGEST for value in data.values()):
        raise BadAnswer("An answer is too long.")
    return Login(name, data)


def mailbox_of(login: Login, *, anywhere: bool, authorities: str) -> Mailbox:
    """The mailbox of a login.

    Args:
        login: of the user.
        anywhere: see `Place`.
        authorities: see `Place`.

    Raises:
        BadAnswer: what the user has said names no server.
    """
    data, domain = login.data, address.wire_domain(address.split(login.name)[1])

    def place(kind: str) -> Place:
        security = data.get(f"{kind}_security", "tls")
        if security not in _SECURITIES:
            raise BadAnswer("There is no such encryption.")
        port = data.get(f"{kind}_port", "").strip() or str(_PORTS[kind][security])
        if not port.isascii() or not port.isdecimal() or not 0 < int(port) <= _LAST_PORT:
            raise BadAnswer(f"{port!r} is no port.")
        host = _host(data.get(f"{kind}_host", "").strip() or f"{kind}.{domain}")
        return Place(
            host, int(port), cast("Security", security), anywhere=anywhere, authorities=authorities
        )

    def account(kind: str, password: str) -> Account:
        return Account(data.get(f"{kind}_user", "").strip() or login.name, password)

    password = data.get("password", "")
    return Mailbox(
        place("imap"), account("imap", password),
        place("smtp"), account("smtp", data.get("smtp_password", "") or password),
        seen=yes(data.get("seen", "")), sent=yes(data.get("sent", "")),
        strangers=yes(data.get("strangers", "true")),
    )  # fmt: skip


def _host(text: str) -> str:
    try:
        return address.wire_domain(address.canonical_domain(text))
    except (BadAddress, UnicodeError):
        pass
    if all(char in "0123456789abcdefABCDEF.:" for char in text):
        return text  # an address; whether it may be used is looked at before it is
    raise BadAnswer(f"{text!r} is no server.")
