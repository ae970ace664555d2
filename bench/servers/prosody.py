"""Prosody from Debian's package: few modules; its default storage (files), or SQLite."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Final

from bench.servers.base import DOMAIN, Mode, Server, ServerError, package_version

_CONFIG: Final = """\
pidfile = "{folder}/prosody.pid"
data_path = "{state}"
run_as_root = true
daemonize = false
network_settings = {{ tcp_backlog = 1024 }}
interfaces = {{ "127.0.0.1" }}; local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}; c2s_direct_tls_ports = {{ {tls_port} }}
s2s_ports = {{}}; http_ports = {{}}; https_ports = {{}}
c2s_require_encryption = false
authentication = "internal_hashed"
{store}
allow_registration = true
log = {{ {{ levels = {{ min = "warn" }}, to = "console" }} }}
modules_disabled = {{ "s2s", "limits" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "register_ibr"; "posix";
  {modules} }}
-- No limits that a run could reach: by default pages have at most 50 results, and the archive of an
-- account that is kept in files has at most 10,000.
max_archive_query_results = 100
storage_archive_item_limit = 1000000
ssl = {{ certificate = "{certificate}"; key = "{key}" }}
c2s_direct_tls_ssl = {{ certificate = "{certificate}"; key = "{key}" }}
VirtualHost "{domain}"
"""
_FILES: Final = 'storage = "internal"'
_SQLITE: Final = """\
storage = "sql"
sql = {{ driver = "SQLite3", database = "{state}/prosody.sqlite" }}"""
_MANAGED: Final = '"carbons"; "smacks"; "csi"; "csi_simple";'
_ARCHIVE: Final = '"mam";'


class Prosody(Server):
    """Runs as whoever runs this program."""

    name = "prosody"
    promise = "it is written to the files of both archives, and not synced"

    @classmethod
    def version(cls) -> str:
        """Of the package."""
        version = package_version("prosody")
        if not version or shutil.which("prosody") is None:
            raise ServerError("Debian's package prosody is not installed")
        if cls.sqlite and not package_version("lua-dbi-sqlite3"):
            raise ServerError("Debian's package lua-dbi-sqlite3 is not installed")
        return version

    def configure(self, mode: Mode) -> None:
        """Write the configuration."""
        setting = self.setting
        # It complains where there is no folder for certificates.
        (setting.folder / "certs").mkdir(exist_ok=True)
        (setting.folder / "prosody.cfg.lua").write_text(
            _CONFIG.format(
                folder=setting.folder,
                state=self.state,
                store=_SQLITE.format(state=self.state) if self.sqlite else _FILES,
                modules=_MANAGED * mode.managed + _ARCHIVE * mode.archive,
                port=setting.port,
                tls_port=setting.port + 1,
                certificate=setting.certificate,
                key=setting.key,
                domain=DOMAIN,
            )
        )

    def command(self) -> Sequence[str]:
        """What runs it in the foreground."""
        return ["prosody", "--config", str(self.setting.folder / "prosody.cfg.lua"), "-F"]


class ProsodySqlite(Prosody):
    """The same with everything in SQLite."""

    name = "prosody-sqlite"
    promise = "it is committed and synced for both archives, in two transactions"
    sqlite = True
