"""The servers that are compared: how each is configured, started and stopped."""

from __future__ import annotations

from bench.servers.base import Mode, Server, ServerError, Setting
from bench.servers.ejabberd import Ejabberd, EjabberdSqlite
from bench.servers.jabberd import Jabberd
from bench.servers.prosody import Prosody, ProsodySqlite

SERVERS: dict[str, type[Server]] = {
    server.name: server for server in (Jabberd, Ejabberd, EjabberdSqlite, Prosody, ProsodySqlite)
}
"""By the name used on the command line."""

__all__ = ["SERVERS", "Mode", "Server", "ServerError", "Setting"]
