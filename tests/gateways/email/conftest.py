"""What the tests of e-mail share: real mail servers, started once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from jabberd.net.certs import make_self_signed
from tests.gateways.email import servers

_USERS: Final = {f"user{number}": "päss wörd" for number in range(40)}


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox at Dovecot that no other test has.

    Attributes:
        name: before the @.
        password: of it.
        server: where it is.
        authority: PEM file that its certificate is checked with.
    """

    name: str
    password: str
    server: servers.Dovecot
    authority: Path

    @property
    def address(self) -> str:
        return f"{self.name}@{servers.MAIL}"


@pytest.fixture(scope="session")
def mail_folder() -> Iterator[Path]:
    """A folder that Postfix and Dovecot may look into."""
    if why := servers.missing():
        pytest.skip(why)
    folder = servers.folder_for_strangers()
    make_self_signed(["localhost"], folder / "cert.pem", folder / "key.pem", now=time.time())
    yield folder
    servers.remove(folder)


@pytest.fixture(scope="session")
def dovecot(mail_folder: Path) -> Iterator[servers.Dovecot]:
    server = servers.Dovecot(
        mail_folder / "dovecot", mail_folder / "cert.pem", mail_folder / "key.pem", _USERS
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postfix(mail_folder: Path, dovecot: servers.Dovecot) -> Iterator[servers.Postfix]:
    server = servers.Postfix(mail_folder / "postfix", dovecot)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def names() -> Iterator[str]:
    """Names of users that no test has used yet."""
    return itertools.chain(_USERS)


@pytest.fixture
def mailbox(dovecot: servers.Dovecot, names: Iterator[str], mail_folder: Path) -> Mailbox:
    name = next(names)
    return Mailbox(name, _USERS[name], dovecot, mail_folder / "cert.pem")
