"""ejabberd from Debian's package: few modules; its default storage (Mnesia), or SQLite."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from bench.load.proc import name, tree
from bench.servers.base import DOMAIN, Mode, Server, ServerError, package_version

_USER: Final = "ejabberd"
_CONTROL: Final = """\
ERL_MAX_PORTS=64000
ERL_PROCESSES=500000
INET_DIST_INTERFACE=127.0.0.1
ERL_OPTIONS="-env ERL_CRASH_DUMP_BYTES 0{options}"
"""
_NO_BUSY_WAIT: Final = " +sbwt none +sbwtdcpu none +sbwtdio none"
_CONFIG: Final = """\
hosts: ["{domain}"]
loglevel: warning
certfiles: ["{folder}/both.pem"]
define_macro:
  'TLS_OPTIONS': ["no_sslv3", "no_tlsv1", "no_tlsv1_1", "cipher_server_preference",
                  "no_compression"]
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, shaper: none,
     access: all, starttls: true, starttls_required: false, backlog: 1024,
     protocol_options: 'TLS_OPTIONS'}}
  - {{port: {tls_port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144,
     shaper: none, access: all, tls: true, backlog: 1024, protocol_options: 'TLS_OPTIONS'}}
auth_password_format: scram
registration_timeout: infinity
cache_size: 20000
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
acl:
  local: {{user_regexp: ""}}
shaper: {{}}
shaper_rules:
  max_user_sessions: 1000
  max_user_offline_messages: 1000
  c2s_shaper: none
access_rules:
  local: {{allow: local}}
{store}
modules:
  mod_disco: {{}}
  mod_roster: {{versioning: true}}
  mod_ping: {{}}
  mod_register: {{access: all, access_from: all, ip_access: all, welcome_message: {{}},
                 password_strength: 0}}
  mod_offline: {{access_max_user_messages: max_user_offline_messages}}
{modules}"""
_MNESIA: Final = "default_db: mnesia"
_SQLITE: Final = """\
default_db: sql
auth_method: sql
sql_type: sqlite
sql_database: "{state}/ejabberd.sqlite\""""
_PROBE: Final = (
    f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client'"
    " xmlns:stream='http://etherx.jabber.org/streams'>"
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>"
    f"{base64.b64encode(b'n,,n=nobody,r=0123456789').decode()}</auth>"
).encode()
_MANAGED: Final = """\
  mod_carboncopy: {}
  mod_stream_mgmt: {resend_on_timeout: if_offline}
  mod_client_state: {}
"""
_ARCHIVE: Final = """\
  mod_mam: {default: always}
"""


def control(mode: Mode) -> str:
    """What its control script reads."""
    return _CONTROL.format(options="" if mode.busy_wait else _NO_BUSY_WAIT)


class Ejabberd(Server):
    """Runs as the user ejabberd, as its control script demands: so root has to start it."""

    name = "ejabberd"
    promise = (
        "it has been handed to Mnesia for the sender's archive, which writes every few seconds and "
        "does not sync; the recipient's copy follows"
    )

    @classmethod
    def version(cls) -> str:
        """Of the package."""
        version = package_version("ejabberd")
        if not version or shutil.which("ejabberdctl") is None:
            raise ServerError("Debian's package ejabberd is not installed")
        if os.geteuid() != 0:
            raise ServerError("ejabberd can only be started by root (it runs as its own user)")
        if cls.sqlite and not package_version("erlang-p1-sqlite3"):
            raise ServerError("Debian's package erlang-p1-sqlite3 is not installed")
        return version

    def configure(self, mode: Mode) -> None:
        """Write the configuration."""
        setting, folder = self.setting, self.setting.folder
        for part in ("etc", "log"):
            (folder / part).mkdir(exist_ok=True)
        shutil.copyfile("/etc/ejabberd/inetrc", folder / "etc/inetrc")
        both = setting.certificate.read_bytes() + setting.key.read_bytes()
        (folder / "both.pem").write_bytes(both)
        (folder / "etc/ejabberdctl.cfg").write_text(control(mode))
        (folder / "etc/ejabberd.yml").write_text(
            _CONFIG.format(
                domain=DOMAIN,
                folder=folder,
                port=setting.port,
                tls_port=setting.port + 1,
                store=_SQLITE.format(state=self.state) if self.sqlite else _MNESIA,
                modules=_MANAGED * mode.managed + _ARCHIVE * mode.archive,
            )
        )
        subprocess.run(["chown", "--recursive", f"{_USER}:", str(folder)], check=True)

    def command(self) -> Sequence[str]:
        """What runs it in the foreground.

        By setpriv rather than by the `su` inside ejabberdctl: PAM would put the limit of open
        files back to 1,024.
        """
        folder = self.setting.folder
        script = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "ejabberdctl"]
        script += ["--config-dir", f"{folder}/etc", "--config", f"{folder}/etc/ejabberd.yml"]
        script += ["--ctl-config", f"{folder}/etc/ejabberdctl.cfg", "--spool", str(self.state)]
        return [*script, "--logs", f"{folder}/log", "-n", "bench@localhost", "foreground"]

    def environment(self) -> Mapping[str, str]:
        """With a distribution port of its own, so that epmd is neither needed nor started."""
        return os.environ | {
            "HOME": str(self.setting.folder),
            "ERL_DIST_PORT": str(self.setting.port + 2),
            "INET_DIST_INTERFACE": "127.0.0.1",
        }

    def main_pid(self) -> int:
        """The virtual machine, which the control script waits for."""
        return next((pid for pid in tree([self.pid]) if name(pid).startswith("beam")), self.pid)


class EjabberdSqlite(Ejabberd):
    """The same with accounts, rosters and archives in SQLite."""

    name = "ejabberd-sqlite"
    promise = (
        "it is committed and synced for the sender's archive; the recipient's copy follows in "
        "another transaction"
    )
    sqlite = True

    def ready(self) -> bool:
        """Whether it answers a login: for a while it drops who comes before its database does."""
        answer = b""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.setting.port), timeout=5) as probe,
        ):
            probe.sendall(_PROBE)
            while b"<failure" not in answer and (data := probe.recv(65536)):
                answer += data
        return b"<failure" in answer
