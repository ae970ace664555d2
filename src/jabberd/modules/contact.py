"""XEP-0157 Contact Addresses: whom to write to about this server."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import urlsplit

from jabberd.core.module import Host, Module, Xep
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.payload import forms

XEP = Xep(157, "1.1.1")
_MAILTO: Final = re.compile(r"mailto:[^@\s<>]+@[^@\s<>?]+(\?\S*)?")


@dataclass(frozen=True)
class Options:
    """Contact addresses, each a list of URIs: `mailto:`, `xmpp:`, `https:` or `http:`.

    Attributes:
        abuse: about abusive traffic.
        admin: of the administrators.
        feedback: for feedback from users.
        sales: about sales and marketing.
        security: about security concerns.
        status: where the state of the service is shown.
        support: for technical support.
    """

    abuse: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()
    sales: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    support: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            for address in getattr(self, field.name):
                problem = _problem(address)
                if problem:
                    raise ValueError(f"{field.name}: {address!r} {problem}")


def _problem(address: str) -> str:
    """What is wrong with an address, or an empty string."""
    scheme, _, rest = address.partition(":")
    if scheme == "mailto":
        return "" if _MAILTO.fullmatch(address) else "is not mailto:NAME@DOMAIN"
    if scheme == "xmpp":
        try:
            JID.parse(rest.partition("?")[0])
        except InvalidJID as error:
            return f"is not an XMPP address: {error}"
        return ""
    if scheme in {"http", "https"}:
        try:
            good = bool(urlsplit(address).hostname) and not re.search(r"\s", address)
        except ValueError:
            good = False
        return "" if good else "is not a URL"
    return "must begin with mailto:, xmpp:, https: or http:"


def load(_host: Host, options: Options) -> Module:
    """The serverinfo form in the host's disco#info, where there is an address to show."""
    shown = [
        forms.Field(f"{field.name}-addresses", "list-multi", values=getattr(options, field.name))
        for field in fields(options)
        if getattr(options, field.name)
    ]
    if not shown:
        return Module()
    return Module(forms=[forms.form(shown, kind="result", form_type=ns.SERVERINFO)])
