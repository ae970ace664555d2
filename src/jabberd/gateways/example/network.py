"""The example network, as the gateway is told of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from jabberd.gateways.example.transport import ExampleTransport
from jabberd.gateways.transport import (
    BadAddress,
    Capability,
    Field,
    Form,
    Login,
    Network,
    Question,
    SignUpRefused,
    Site,
    Transport,
)

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9 _.@-]{0,62}[A-Za-z0-9]|[A-Za-z]")


@dataclass(frozen=True)
class Options:
    """The example network.

    Attributes:
        host: where its server is.
        port: where its server is.
        standing: keep users logged in while they are offline here.
    """

    host: str = "127.0.0.1"
    port: int = 7777
    standing: bool = False


class ExampleNetwork(Network):
    """See `Network`.

    Args:
        options: see there.
    """

    title = "Example network"
    identity = "example"
    capabilities = (
        Capability.PRESENCE
        | Capability.CONSENT
        | Capability.CONTACTS
        | Capability.TYPING
        | Capability.RECEIPTS
        | Capability.READ
        | Capability.CORRECTIONS
        | Capability.REPLIES
        | Capability.REACTIONS
        | Capability.RETRACTIONS
        | Capability.REPEATABLE  # its server knows a message by the id that we give it
    )
    form = Form(
        "Example network",
        "Enter the name and the password of your account on the example network.",
        (
            Field("username", "Name", required=True),
            Field("password", "Password", "text-private", required=True),
        ),
    )
    prompt = "Name"
    example = "echo"
    policy = (
        "Your password is stored encrypted, until you unregister.",
        "Messages are stored until the network has them. Their identifiers are kept for 30 days.",
    )
    transmission = "plain"

    def __init__(self, options: Options) -> None:
        self._options = options
        if options.standing:
            self.capabilities = type(self).capabilities | Capability.STANDING

    def canonical(self, text: str) -> str:
        """See `Network.canonical`: a name; the network tells upper and lower case apart."""
        name = text.strip()
        if not _NAME.fullmatch(name):
            raise BadAddress(f"{text[:70]!r} is no name of the example network")
        return name

    def transport(self, user: str, login: Login, site: Site) -> Transport:  # noqa: ARG002
        """See `Network.transport`."""
        options = self._options
        return ExampleTransport(options.host, options.port, login.name, login.data["password"])

    async def sign_up(
        self, user: str, answers: Mapping[str, str], state: Mapping[str, str], site: Site
    ) -> Login | Question:
        """See `Network.sign_up`: the answers are tried, and the name is in its usual form."""
        try:
            name = self.canonical(answers["username"])
        except BadAddress as error:
            raise SignUpRefused(str(error)) from None
        done = await super().sign_up(user, {**answers, "username": name}, state, site)
        return replace(done, name=name) if isinstance(done, Login) else done


def load(options: Options) -> Network:
    """The network, ready to be used."""
    return ExampleNetwork(options)
