"""jabberd, from this checkout: default modules, default durability."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.servers.base import DOMAIN, Mode, Server, ServerError

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_CONFIG: Final = """\
[listen]
c2s = ["127.0.0.1:{port}"]
c2s_tls = ["127.0.0.1:{tls_port}"]
http = []
https = []
[host."{domain}"]
certificate = "{certificate}"
key = "{key}"
[host."{domain}".modules]
register = {{ enabled = "all", per_address = 1000000, per_host = 1000000 }}
mam = {archive}
[limits]
connections_per_address = 20000
bytes_per_second = 1000000000
burst_bytes = 1000000000
[log]
level = "warning"
"""


class Jabberd(Server):
    """Run by the interpreter that runs this program."""

    name = "jabberd"
    promise = "it is committed and synced for both archives, in one transaction"

    @classmethod
    def version(cls) -> str:
        """Of the package, and the commit of the checkout if git knows."""
        shown = subprocess.run(
            [sys.executable, "-m", "jabberd.cli", "--version"],
            capture_output=True,
            text=True,
            env=_environment(),
            check=False,
        )
        if shown.returncode:
            raise ServerError(f"jabberd cannot be run by {sys.executable}: {shown.stderr[-300:]}")
        python = ".".join(map(str, sys.version_info[:3]))
        return f"{shown.stdout.strip().removeprefix('jabberd ')} ({_commit()}, Python {python})"

    def configure(self, mode: Mode) -> None:
        """Write the configuration; stream management and carbons are among the defaults."""
        setting = self.setting
        search = str(mode.search).lower()
        (setting.folder / "jabberd.toml").write_text(
            _CONFIG.format(
                port=setting.port,
                tls_port=setting.port + 1,
                domain=DOMAIN,
                certificate=setting.certificate,
                key=setting.key,
                archive=f"{{ search = {search} }}" if mode.archive else "false",
            )
        )

    def fill(self, count: int, state: Path) -> None:
        """Write through the stores, as the server does, but with thousands in a transaction."""
        program = [sys.executable, "-m", "bench.fill", "--data", str(state), "--count", str(count)]
        done = subprocess.run(
            program, cwd=_ROOT, env=_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerError(f"the archive could not be filled: {done.stderr[-500:]}")

    def command(self) -> Sequence[str]:
        """What runs it in the foreground."""
        folder = self.setting.folder
        program = [sys.executable, "-m", "jabberd.cli", "run"]
        return [*program, "--config", f"{folder}/jabberd.toml", "--data", str(self.state)]

    def environment(self) -> Mapping[str, str]:
        """Without settings of jabberd's, so that the file alone counts."""
        return _environment()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JABBERD_")}
    path = os.pathsep.join(filter(None, [str(_ROOT / "src"), kept.get("PYTHONPATH", "")]))
    return kept | {"PYTHONPATH": path}


def _commit() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "commit unknown"
    return described.stdout.strip() or "commit unknown"
