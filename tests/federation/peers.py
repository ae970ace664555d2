"""Real servers to talk to: Prosody and ejabberd from Debian's packages, and our own."""

from __future__ import annotations

import abc
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from tests.federation.names import PORT
from tests.integration.process import Jabberd as Commands
from tests.integration.wire import Wire
from tests.net.authority import Files
from tests.ports import free_port

C2S: Final = 5222
_START: Final = 60.0
_STOP: Final = 15.0
_PROSODY: Final = """\
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
run_as_root = true
unbound = {{ resolvconf = false; hoststxt = false; forward = "{names}@53" }}
interfaces = {{ "{address}" }}; local_interfaces = {{ "{address}" }}
c2s_ports = {{ 5222 }}; s2s_ports = {{ 5269 }}; c2s_direct_tls_ports = {{}}
s2s_direct_tls_ports = {{}}
http_ports = {{}}; https_ports = {{}}
c2s_require_encryption = true; s2s_require_encryption = true
s2s_secure_auth = {secure}
authentication = "internal_hashed"
allow_registration = true
registration_delete_deferred = false
log = {{ {{ levels = {{ min = "{level}" }}, to = "file", filename = "{folder}/peer.log" }} }}
modules_disabled = {{ "limits" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "register_ibr"; "posix";
  "dialback"; "presence"; "message"; "iq"; "c2s"; "s2s"; "offline"; {modules} }}
default_archive_policy = true
ssl = {{ cafile = "{authority}" }}
"""
_PROSODY_HOST: Final = """\
VirtualHost "{domain}"
  ssl = {{ certificate = "{certificate}"; key = "{key}"; cafile = "{authority}" }}
"""
_EJABBERD: Final = """\
hosts: [{hosts}]
loglevel: {level}
ca_file: "{authority}"
certfiles: [{certificates}]
s2s_use_starttls: required
s2s_timeout: 5 minutes
outgoing_s2s_families: [ipv4]
s2s_dns_retries: 5
s2s_max_retry_delay: 1 second
listen:
  - {{port: 5222, ip: "{address}", module: ejabberd_c2s, starttls: true, starttls_required: true}}
  - {{port: 5269, ip: "{address}", module: ejabberd_s2s_in}}
auth_password_format: scram
registration_timeout: infinity
acl:
  local: {{user_regexp: ""}}
access_rules:
  local: {{allow: local}}
modules:
  mod_disco: {{}}
  mod_roster: {{}}
  mod_ping: {{}}
  mod_s2s_dialback: {{}}
  mod_register: {{access: all, access_from: all, ip_access: all, welcome_message: {{}},
                 password_strength: 0}}
  mod_offline: {{}}
{modules}"""
_CTL: Final = 'INET_DIST_INTERFACE=127.0.0.1\nERL_OPTIONS="-env ERL_CRASH_DUMP_BYTES 0"\n'
_OURS: Final = """
data = "data"
[listen]
c2s = ["{address}:5222"]
c2s_tls = []
http = []
https = []
s2s = ["{address}:5269"]
[federation]
authorities = "{authority}"
nameservers = ["{names}"]
networks = ["127.0.0.0/8"]
{federation}
[log]
level = "{level}"
[limits]
bytes_per_second = 1000000000
burst_bytes = 1000000000
{hosts}
"""


_REGISTRATION: Final = (
    'modules.register = { enabled = "all", per_address = 1000000, per_host = 1000000 }\n'
)
_NO_ARCHIVE: Final = "modules.mam = false\n"
_PROSODY_LEVELS: Final = {"warning": "warn"}


class Peer(abc.ABC):
    """A server with some domains.

    Args:
        folder: for all that it keeps; made.
        address: its own loopback address.
        names: the address of the DNS.
        authority: whom it trusts.
        hosts: certificates by domain.
    """

    name: ClassVar[str]
    level: ClassVar[str] = "debug"
    """What is logged."""
    archive: ClassVar[bool] = True
    """Whether every message is archived."""

    def __init__(
        self,
        folder: Path,
        address: str,
        names: str,
        authority: Path,
        hosts: Mapping[str, Files],
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.address = address
        self.names = names
        self.authority = authority
        self.hosts = dict(hosts)
        self._process: subprocess.Popen[bytes] | None = None
        self._wires: list[Wire] = []

    @classmethod
    @abc.abstractmethod
    def missing(cls) -> str:
        """What keeps it from running here; empty where nothing does."""

    @abc.abstractmethod
    def configure(self) -> None:
        """Write its configuration."""

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """What runs it in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """The environment for it."""
        return os.environ

    def launch(self) -> Self:
        """Begin to start it."""
        self.configure()
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                env=dict(self.environment()),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    def wait(self) -> Self:
        """Wait until it accepts clients and servers."""
        until = time.monotonic() + _START
        for port in (C2S, PORT):
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection((self.address, port), timeout=1).close()
                    break
                assert self._process is not None
                ended = self._process.poll() is not None
                assert not ended, f"{self.name} did not start: {self.log()[-3000:]}"
                assert time.monotonic() < until, f"{self.name} is late: {self.log()[-3000:]}"
                time.sleep(0.1)
        return self

    def start(self) -> Self:
        """Start it."""
        return self.launch().wait()

    def kill(self) -> None:
        """As a power failure would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it, in good order if it can."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _signal(process.pid, number)
        until = time.monotonic() + _STOP
        # All of it: ejabberd's script ends before its virtual machine does.
        while process.poll() is None or _signal(process.pid, 0):
            if time.monotonic() > until:
                _signal(process.pid, signal.SIGKILL)
                until = time.monotonic() + _STOP
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The root of its processes."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What it has logged."""
        files = (self.folder / "output", self.folder / "peer.log", self.folder / "log/ejabberd.log")
        return "".join(path.read_text(errors="replace") for path in files if path.exists())

    async def add(self, account: str) -> None:
        """Make an account, whose password is its local part (XEP-0077)."""
        name, _, domain = account.partition("@")
        wire = await self._secure(domain)
        answer = await wire.ask(
            f"<iq type='set' id='reg' to='{domain}'><query xmlns='jabber:iq:register'>"
            f"<username>{name}</username><password>{name}</password></query></iq>"
        )
        assert answer.get("type") == "result", answer
        wire.abort()

    async def login(self, account: str, resource: str = "desk") -> Wire:
        """A client that is available."""
        wire = await Wire.connect(self.address, C2S)
        await wire.login(account, account.partition("@")[0], resource)
        self._wires.append(wire)
        # Subscriptions are told to those who have asked for the roster (RFC 6121 §3.1.6).
        await wire.ask("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        await wire.send("<presence/>")
        return wire

    def let_go(self) -> None:
        """Break the connections of all clients."""
        for wire in self._wires:
            wire.abort()
        self._wires.clear()

    async def _secure(self, domain: str) -> Wire:
        wire = await Wire.connect(self.address, C2S)
        await wire.open(domain)
        await wire.features()
        await wire.start_tls(domain)
        await wire.features()
        return wire


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group of processes; whether there is one of them."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


class Prosody(Peer):
    """Prosody; with both directions on one stream and stream management unless told otherwise."""

    name = "prosody"
    modules = '"s2s_bidi"; "smacks";'
    secure = False

    @classmethod
    def missing(cls) -> str:
        """What keeps it from running here; empty where nothing does."""
        return "" if shutil.which("prosody") else "Debian's package prosody is not installed"

    def configure(self) -> None:
        """Write its configuration."""
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "certs").mkdir(exist_ok=True)
        text = _PROSODY.format(
            folder=self.folder,
            names=self.names,
            address=self.address,
            authority=self.authority,
            secure="true" if self.secure else "false",
            modules=self.modules + '"mam";' * self.archive,
            level=_PROSODY_LEVELS.get(self.level, self.level),
        )
        for domain, files in self.hosts.items():
            text += _PROSODY_HOST.format(
                domain=domain,
                certificate=files.certificate,
                key=files.key,
                authority=self.authority,
            )
        (self.folder / "prosody.cfg.lua").write_text(text)

    def command(self) -> Sequence[str]:
        """What runs it in the foreground."""
        return ["prosody", "-F", "--config", str(self.folder / "prosody.cfg.lua")]


class Ejabberd(Peer):
    """ejabberd; it runs as its own user, so root has to start it."""

    name = "ejabberd"

    @classmethod
    def missing(cls) -> str:
        """What keeps it from running here; empty where nothing does."""
        if shutil.which("ejabberdctl") is None:
            return "Debian's package ejabberd is not installed"
        return "" if os.geteuid() == 0 else "only root can start ejabberd as its own user"

    def configure(self) -> None:
        """Write its configuration."""
        folder = self.folder
        for part in ("etc", "log", "spool", "certs"):
            (folder / part).mkdir(exist_ok=True)
        (folder / "etc/resolv.conf").write_text(f"nameserver {self.names}\n")
        (folder / "etc/inetrc").write_text(
            f'{{resolv_conf,"{folder}/etc/resolv.conf"}}.\n{{lookup,["file","dns"]}}.\n'
        )
        certificates = []
        for domain, files in self.hosts.items():
            both = folder / "certs" / f"{domain}.pem"
            both.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
            certificates.append(f'"{both}"')
        shutil.copyfile(self.authority, folder / "certs/authority")
        (folder / "etc/ejabberdctl.cfg").write_text(_CTL)
        (folder / "etc/ejabberd.yml").write_text(
            _EJABBERD.format(
                hosts=", ".join(f'"{domain}"' for domain in self.hosts),
                authority=folder / "certs/authority",
                certificates=", ".join(certificates),
                address=self.address,
                level=self.level,
                modules="  mod_mam: {default: always}\n" * self.archive,
            )
        )
        subprocess.run(["chown", "--recursive", "ejabberd:", str(folder)], check=True)
        for above in [folder, *folder.parents]:  # it must find its way there
            if above.stat().st_uid == 0 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o011)

    def command(self) -> Sequence[str]:
        """What runs it in the foreground."""
        folder = self.folder
        return [
            "setpriv", "--reuid=ejabberd", "--regid=ejabberd", "--init-groups", "ejabberdctl",
            "--config-dir", f"{folder}/etc", "--config", f"{folder}/etc/ejabberd.yml",
            "--ctl-config", f"{folder}/etc/ejabberdctl.cfg", "--spool", f"{folder}/spool",
            "--logs", f"{folder}/log", "-n", f"peer{self.address.replace('.', '')}@localhost",
            "foreground",
        ]  # fmt: skip

    def environment(self) -> Mapping[str, str]:
        """With a distribution port of its own, so that epmd is neither needed nor started."""
        return os.environ | {
            "HOME": str(self.folder),
            "ERL_DIST_PORT": str(free_port()),
            "ERL_INETRC": f"{self.folder}/etc/inetrc",
            "INET_DIST_INTERFACE": "127.0.0.1",
        }


class Ours(Peer):
    """jabberd, as a process."""

    name = "jabberd"
    federation = ""
    open = False
    """Whether everybody may register (XEP-0077)."""

    @classmethod
    def missing(cls) -> str:
        """Nothing."""
        return ""

    @property
    def commands(self) -> Commands:
        """What runs its commands."""
        return Commands(self.folder)

    def configure(self) -> None:
        """Write its configuration."""
        hosts = "".join(
            f'[host."{domain}"]\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
            f"{_REGISTRATION if self.open else ''}{_NO_ARCHIVE if not self.archive else ''}"
            for domain, files in self.hosts.items()
        )
        (self.folder / "jabberd.toml").write_text(
            _OURS.format(
                address=self.address,
                authority=self.authority,
                names=self.names,
                federation=self.federation,
                hosts=hosts,
                level=self.level,
            )
        )

    def command(self) -> Sequence[str]:
        """What runs it in the foreground."""
        return self.commands.command("run", "--config", "jabberd.toml")

    def environment(self) -> Mapping[str, str]:
        """With nothing of this user's own."""
        return self.commands.environment

    async def add(self, account: str) -> None:
        """Make an account, whose password is its local part."""
        name = account.partition("@")[0]
        self.out("user", "add", account, stdin=f"{name}\n")

    def out(self, *words: str, stdin: str = "") -> str:
        """What a command says."""
        return self.commands.out(*words, "--config", "jabberd.toml", stdin=stdin)

    def check(self, server: str, host: str) -> list[dict[str, Any]]:
        """What `jabberd s2s check` finds."""
        out = self.out("s2s", "check", server, "--host", host, "--json")
        rows: list[dict[str, Any]] = json.loads(out)
        return rows

    def streams(self, server: str) -> list[dict[str, Any]]:
        """What is known of one other server."""
        rows: list[dict[str, Any]] = json.loads(self.out("s2s", "--server", server, "--json"))
        return rows
