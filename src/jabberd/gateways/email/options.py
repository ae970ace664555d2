"""What an operator may say about the e-mail gateway."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

_SECRET: Final[Mapping[str, bool]] = {"secret": True}
PATH: Final[Mapping[str, bool]] = {"path": True}
"""A file name: relative to the configuration."""
_LONGEST: Final = 4_096
_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})\Z")


@dataclass(frozen=True)
class Options:
    """E-mail: every user has an address of ours (mode "domain"), or brings a mailbox.

    Attributes:
        mode: "domain": the gateway owns a mail domain, whose mail server hands over what comes by
            LMTP. "mailbox": users give the IMAP and SMTP account that they have elsewhere.
        mail_domain: the domain behind the @ of our users' addresses, in mode "domain".
        hostname: what we call ourselves to other mail servers; unless given, the mail domain.
        lmtp: where the mail server hands over mail, as "host:port" or the path of a socket.
        smtp: where mail is taken by SMTP from anybody, as "host:port". Better is a mail server in
            front of us, which knows about spam and forged senders.
        smtp_certificate: PEM file for STARTTLS there; without it, none is offered.
        smtp_key: PEM file of its key, where that is not in the same file.
        relay: the mail server that takes what our users send, as "host:port"; empty: it goes to
            the servers of each recipient's domain (MX).
        relay_security: "tls" from the first byte, "starttls", "opportunistic" (STARTTLS where it
            is offered) or "none".
        relay_verify: whether the relay's certificate must be good, where there is one.
        relay_user: to log in at the relay; empty: without.
        relay_password: for it.
        relay_password_file: a file that has it.
        relay_password_env: an environment variable that has it.
        authorities: PEM file of authorities to trust for certificates; unless given, the system's.
        dkim_key: PEM file of an RSA key that mails are signed with (RFC 6376); not needed where
            the relay signs.
        dkim_selector: the name below `_domainkey` where its public key is published.
        strangers: whether users get mail from people they have never written to, unless they say
            otherwise when they register.
        postmaster: user part of the registered address that mail to postmaster and abuse goes to.
        authserv_id: the name that our own mail server puts into Authentication-Results; only there
            is DMARC's verdict believed (RFC 8601).
        dmarc: what becomes of mail whose sender is forged, as DMARC says: "reject", "mark" (its
            subject says so) or "accept".
        mail_bytes: the largest mail that is taken.
        attachments: how many files of one mail are passed on.
        attachment_bytes: the largest of them; what is larger is named in the text.
        attach_bytes: files of a message up to this size together go along as attachments; others
            as links.
        hold_seconds: how long a mail waits for more lines and for corrections, which become part
            of it; 0: not at all.
        retry_hours: how long it is tried to get rid of a mail.
        mails_per_hour: how many mails one user may send.
        mails_per_minute: how many mails one contact may send to one user.
        private_servers: whether mailboxes may be at addresses that are not of the public internet.
        poll_seconds: how often a mailbox is looked into whose server does not tell by itself.
    """

    mode: Literal["domain", "mailbox"] = "domain"
    mail_domain: str = ""
    hostname: str = ""
    lmtp: str = ""
    smtp: str = ""
    smtp_certificate: str = field(default="", metadata=PATH)
    smtp_key: str = field(default="", metadata=PATH)
    relay: str = "127.0.0.1:25"
    relay_security: Literal["tls", "starttls", "opportunistic", "none"] = "opportunistic"
    relay_verify: bool = True
    relay_user: str = ""
    relay_password: str = field(default="", repr=False, metadata=_SECRET)
    relay_password_file: str = field(default="", metadata=PATH)
    relay_password_env: str = ""
    authorities: str = field(default="", metadata=PATH)
    dkim_key: str = field(default="", metadata=PATH)
    dkim_selector: str = ""
    strangers: bool = True
    postmaster: str = ""
    authserv_id: str = ""
    dmarc: Literal["reject", "mark", "accept"] = "reject"
    mail_bytes: int = 26_214_400
    attachments: int = 10
    attachment_bytes: int = 10_485_760
    attach_bytes: int = 5_242_880
    hold_seconds: int = 5
    retry_hours: int = 48
    mails_per_hour: int = 30
    mails_per_minute: int = 10
    private_servers: bool = False
    poll_seconds: int = 60

    def __post_init__(self) -> None:
        if self.mode == "domain" and not self.mail_domain:
            raise ValueError("mail_domain is needed in mode domain")
        if self.mode == "domain" and not (self.lmtp or self.smtp):
            raise ValueError("lmtp or smtp is needed in mode domain: where mail comes in")
        for name in ("smtp", "relay"):
            if getattr(self, name):
                host_port(getattr(self, name))
        if self.lmtp and "/" not in self.lmtp:
            host_port(self.lmtp)
        if bool(self.dkim_key) != bool(self.dkim_selector):
            raise ValueError("dkim_key and dkim_selector go together")
        secrets = (self.relay_password, self.relay_password_file, self.relay_password_env)
        if sum(map(bool, secrets)) > 1:
            raise ValueError("relay_password, its file and its variable exclude each other")
        self._check_numbers()

    def _check_numbers(self) -> None:
        least = {
            "mail_bytes": 65_536, "attachments": 0, "attachment_bytes": 0, "attach_bytes": 0,
            "hold_seconds": 0, "retry_hours": 1, "mails_per_hour": 1, "mails_per_minute": 1,
            "poll_seconds": 10,
        }  # fmt: skip
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ValueError(f"{name} is at least {smallest}")
        if self.hold_seconds > 600:
            raise ValueError("hold_seconds is at most 600")

    def secret(self) -> str:
        """The relay's password, from where it is; empty where there is none.

        Raises:
            ValueError: it is not where it should be.
        """
        if self.relay_password_file:
            try:
                with Path(self.relay_password_file).open("rb") as stream:
                    return stream.read(_LONGEST).decode().strip()
            except (OSError, UnicodeDecodeError):
                raise ValueError(f"{self.relay_password_file} cannot be read") from None
        if self.relay_password_env:
            if self.relay_password_env not in os.environ:
                raise ValueError(f"the variable {self.relay_password_env} is not set")
            return os.environ[self.relay_password_env]
        return self.relay_password


def host_port(text: str) -> tuple[str, int]:
    """The host and the port of "host:port"; an IPv6 address is in brackets.

    Raises:
        ValueError: that is not what it is.
    """
    match = _HOST_PORT.match(text)
    if match is None or int(match[2]) > 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return match[1].strip("[]"), int(match[2])
