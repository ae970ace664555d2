"""Prosody from Debian's package: few modules, its default storage (files) and event loop."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Final

from bench.servers.base import DOMAIN, Server, ServerError, package_version

_CONFIG: Final = """\
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
run_as_root = true
daemonize = false
network_settings = {{ tcp_backlog = 1024 }}
interfaces = {{ "127.0.0.1" }}; local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}; c2s_direct_tls_ports = {{ {tls_port} }}
s2s_ports = {{}}; http_ports = {{}}; https_ports = {{}}
c2s_require_encryption = false
authentication = "internal_hashed"
storage = "internal"
allow_registration = true
log = {{ {{ levels = {{ min = "warn" }}, to = "console" }} }}
modules_disabled = {{ "s2s", "limits" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "register_ibr"; "posix" }}
ssl = {{ certificate = "{certificate}"; key = "{key}" }}
c2s_direct_tls_ssl = {{ certificate = "{certificate}"; key = "{key}" }}
VirtualHost "{domain}"
"""


class Prosody(Server):
    """Runs as whoever runs this program."""

    name = "prosody"

    @classmethod
    def version(cls) -> str:
        """Of the package."""
        version = package_version("prosody")
        if not version or shutil.which("prosody") is None:
            raise ServerError("Debian's package prosody is not installed")
        return version

    def configure(self, *, busy_wait: bool) -> None:  # noqa: ARG002 -- it never polls
        """Write the configuration."""
        setting = self.setting
        for part in ("data", "certs"):  # it complains where there is no folder for certificates
            (setting.folder / part).mkdir(exist_ok=True)
        (setting.folder / "prosody.cfg.lua").write_text(
            _CONFIG.format(
                folder=setting.folder,
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
