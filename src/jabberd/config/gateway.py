"""What the configuration file may say about gateways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from jabberd.config.texts import PathText, parse_route
from jabberd.gateways.transport import Network

_SECRETS: Final = ("secret", "secret_file", "secret_env")


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """One gateway to a foreign network; the table's name is its domain.

    It runs inside the server, unless `server` names another one. What else the table has are
    options of the network.

    Attributes:
        network: which: "email", "example" or "sms", or the name of a Python module elsewhere.
        allow: domains whose users may register; unless given, the hosts of this server, or
            with `server` the domain above the gateway's.
        key_env: an environment variable with the key that users' credentials are encrypted with:
            64 hexadecimal digits. Unless given, a key is made in the data folder.
        server: address and port of the server that the gateway connects to as an external
            component (XEP-0114), as "127.0.0.1:5347"; `jabberd gateway NAME` runs it.
        secret: that it shows to that server.
        secret_file: a file that has it.
        secret_env: an environment variable that has it.
    """

    network: str
    allow: tuple[str, ...] = ()
    key_env: str = ""
    server: str = ""
    secret: str = field(default="", repr=False, metadata={"secret": True})
    secret_file: PathText | None = None
    secret_env: str = ""

    def __post_init__(self) -> None:
        given = sum(bool(getattr(self, name)) for name in _SECRETS)
        if self.server:
            if parse_route(self.server)[2]:
                raise ValueError('server: components connect in plain text, without "tls:"')
            if given != 1:
                raise ValueError("with server, expected exactly one of " + ", ".join(_SECRETS))
        elif given:
            raise ValueError("a secret is for a server elsewhere: expected server as well")


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """The network of one gateway, ready to be loaded.

    Attributes:
        name: in the configuration.
        options: an instance of the network's `Options`.
        load: the network's `load`.
    """

    name: str
    options: Any
    load: Callable[[Any], Network] = field(repr=False)
