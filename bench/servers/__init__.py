"""The servers that are compared: how each is configured, started and stopped."""

from __future__ import annotations

from bench.servers.base import Server, ServerError, Setting
from bench.servers.ejabberd import Ejabberd
from bench.servers.jabberd import Jabberd
from bench.servers.prosody import Prosody

SERVERS: dict[str, type[Server]] = {
    "jabberd": Jabberd,
    "ejabberd": Ejabberd,
    "prosody": Prosody,
}
"""By the name used on the command line."""

__all__ = ["SERVERS", "Server", "ServerError", "Setting"]
