"""What the operator says about SMS, and the way out that follows from it."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from jabberd.gateways.sms import http, spool
from jabberd.gateways.sms.backend import Backend
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.segments import Way
from jabberd.gateways.sms.smpp import backend as smpp
from jabberd.gateways.sms.smpp.bodies import Bind
from jabberd.gateways.sms.smpp.connection import Target
from jabberd.gateways.sms.text import Alphabet

_SECRET: Final = {"secret": True}
_LONGEST_PASSWORD: Final = 8  # SMPP 3.4 §4.1
_LONGEST_SYSTEM_ID: Final = 15
_LONGEST_NAME: Final = 11
_MOST_PARTS: Final = 255
_LARGEST_FILE: Final = 4_096


@dataclass(frozen=True)
class Options:
    """Text messages to telephones.

    Attributes:
        backend: the way out: "smpp" to an operator or aggregator, "http" to a provider, "spool"
            to the SMS Server Tools (smstools) on this machine.
        registration: "number": users prove that a telephone number is theirs by a code, and
            send under it. "shared": they only opt in, and all send under the same `number`;
            answers go to who has written to that telephone last, within 7 days. A modem has one
            number, so "spool" is for "shared" only.
        number: with "shared", the number, short code or name that all send under; with "number",
            who the codes come from, and empty for what the provider has set.
        country: of numbers without a country code, for example "DE".
        countries: to which SMS may go, for example ["DE", "AT"]; unless given, to all.
        sms_per_day: that one user may send; parts of long texts count each.
        max_parts: of one text.
        parts_seconds: how long the parts of a text that comes in are waited for.
        host: (smpp) of the SMSC.
        port: (smpp) of the SMSC; 3550 is usual with TLS.
        tls: (smpp) whether the connection is encrypted.
        tls_authority: (smpp) a file with the certificates that are trusted; unless given, those
            of the system.
        system_id: (smpp, http) the name of the account there.
        system_type: (smpp) where the SMSC asks for one.
        service_type: (smpp) where the SMSC asks for one.
        password: (smpp, http) of the account. At most one of these three is given.
        password_file: a file that has it.
        password_env: an environment variable that has it.
        rate: (smpp) messages per second.
        window: (smpp) messages that may be without an answer.
        long: (smpp) how the parts of a long text are told to belong together: "udh8", "udh16",
            "sar", or "payload" where the SMSC does the splitting.
        alphabet: (smpp, http) what data_coding 0 means there: "gsm" or "latin-1".
        url: (http) of the request, where {username}, {password}, {from}, {to}, {text}, {coding},
            {receipt} and {id} are filled in.
        body: (http) of a POST request, filled in the same way; unless given, it is a GET request.
        content: (http) what the body is: "form" or "json".
        bearer: (http) whether the password is sent as a bearer token, in a header.
        id_pattern: (http) a regular expression that the answer matches when a message was taken;
            its first group is the name of the message.
        folder: (spool) that has outgoing, incoming, sent and failed, usually "/var/spool/sms".
    """

    backend: Literal["smpp", "http", "spool"] = "smpp"
    registration: Literal["number", "shared"] = "number"
    number: str = ""
    country: str = ""
    countries: tuple[str, ...] = ()
    sms_per_day: int = 50
    max_parts: int = 6
    parts_seconds: int = 3_600
    host: str = ""
    port: int = 2775
    tls: bool = False
    tls_authority: Path | None = None
    system_id: str = ""
    system_type: str = ""
    service_type: str = ""
    password: str = field(default="", repr=False, metadata=_SECRET)
    password_file: Path | None = None
    password_env: str = ""
    rate: float = 5.0
    window: int = 10
    long: Way = "udh8"
    alphabet: Alphabet = "gsm"
    url: str = field(default="", repr=False, metadata=_SECRET)
    body: str = ""
    content: http.Content = "form"
    bearer: bool = False
    id_pattern: str = ""
    folder: Path | None = None

    def __post_init__(self) -> None:
        needed = {"smpp": "host", "http": "url", "spool": "folder"}[self.backend]
        if not getattr(self, needed):
            raise ValueError(f"{needed} is required with the backend {self.backend!r}")
        if self.backend == "spool" and self.registration != "shared":
            raise ValueError("a modem has one number: registration has to be 'shared'")
        if self.registration == "shared" and not self.number:
            raise ValueError("number is required where it is shared")
        is_name = not self.number.startswith("+") and not self.number.isdecimal()
        if is_name and len(self.number) > _LONGEST_NAME:
            raise ValueError(f"number: a name has at most {_LONGEST_NAME} characters")
        if sum(map(bool, (self.password, self.password_file, self.password_env))) > 1:
            raise ValueError("give one of password, password_file and password_env")
        if len(self.system_id) > _LONGEST_SYSTEM_ID and self.backend == "smpp":
            raise ValueError(f"system_id: SMPP has at most {_LONGEST_SYSTEM_ID} characters")
        if len(self.password) > _LONGEST_PASSWORD and self.backend == "smpp":
            raise ValueError(f"password: SMPP has at most {_LONGEST_PASSWORD} characters")
        self._check_amounts()

    def _check_amounts(self) -> None:
        for name in ("sms_per_day", "parts_seconds", "rate", "window", "port"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} has to be more than 0")
        if not 1 <= self.max_parts <= _MOST_PARTS:
            raise ValueError(f"max_parts has to be from 1 to {_MOST_PARTS}")
        for country in (*self.countries, *filter(None, [self.country])):
            if len(country) != 2 or not country.isupper():
                raise ValueError(f"{country!r} is no country: write it as in ISO 3166, like DE")

    @property
    def numbers(self) -> Numbers:
        """The rules for numbers."""
        return Numbers(self.country, frozenset(self.countries))


def backend_of(options: Options) -> Backend:
    """The way out.

    Raises:
        OSError: the password or the certificates are not where they should be.
    """
    if options.backend == "spool" and options.folder is not None:
        settings = spool.Settings(options.folder, most_parts=options.max_parts)
        return spool.SpoolBackend(settings, options.numbers)
    password = _password(options)
    if options.backend == "http":
        return http.HttpBackend(
            http.Settings(
                url=options.url,
                username=options.system_id,
                password=password,
                body=options.body,
                content=options.content,
                bearer=options.bearer,
                id_pattern=options.id_pattern,
                most_parts=options.max_parts,
                alphabet=options.alphabet,
            )
        )
    return smpp.SmppBackend(_smpp(options, password), options.numbers)


def _smpp(options: Options, password: str) -> smpp.Settings:
    tls = None
    if options.tls:
        tls = ssl.create_default_context(cafile=options.tls_authority)
    if len(password) > _LONGEST_PASSWORD:
        raise OSError(f"the password is longer than SMPP has: {_LONGEST_PASSWORD} characters")
    target = Target(
        options.host,
        options.port,
        Bind(options.system_id, password, options.system_type),
        tls,
        options.window,
    )
    return smpp.Settings(
        target,
        options.rate,
        options.long,
        options.max_parts,
        options.alphabet,
        options.service_type,
    )


def _password(options: Options) -> str:
    if options.password_file is not None:
        with options.password_file.open("rb") as stream:
            return stream.read(_LARGEST_FILE).decode(errors="replace").strip()
    if options.password_env:
        if options.password_env not in os.environ:
            raise OSError(f"the environment variable {options.password_env} is not set")
        return os.environ[options.password_env]
    return options.password
