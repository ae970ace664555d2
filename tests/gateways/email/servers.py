"""Mail servers that nobody here wrote: Postfix and Dovecot, each in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.ports import free_port

_START: Final = 30.0
_POSTFIX_PROGRAMS: Final = Path("/usr/lib/postfix/sbin")
MAIL: Final = "mail.example"
"""The domain of Dovecot's people."""
OURS: Final = "xmpp.example"
"""The domain of the gateway."""
REFUSED: Final = "refused.example"
"""A domain that Postfix refuses at RCPT."""

_MAIN: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {programs}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mta.example
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8
relay_domains = {ours}, {mail}
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{{refused} = 550 5.7.1 Not wanted}} }},
    permit_mynetworks, reject
transport_maps = inline:{{ {{{ours} = lmtp:inet:127.0.0.1:{lmtp}}},
    {{{mail} = lmtp:unix:{dovecot}/lmtp}}, {{* = error:5.1.2 No such domain}} }}
recipient_delimiter = +
smtp_host_lookup = native
lmtp_host_lookup = native
lmtp_destination_recipient_limit = 50
smtputf8_enable = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {dovecot}/auth
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_client_auth_rate_limit = 0
smtpd_error_sleep_time = 0
message_size_limit = 40000000
mailbox_size_limit = 0
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
transport_retry_time = 1s
lmtp_connection_cache_on_demand = no
destination_concurrency_failed_cohort_limit = 0
default_destination_concurrency_failed_cohort_limit = 0
"""
_MASTER: Final = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_DOVECOT: Final = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = no
first_valid_uid = 1
mail_uid = mail
mail_gid = mail
mail_location = maildir:{folder}/mail/%u
maildir_very_dirty_syncs = no
mailbox_list_index = no
mail_max_userip_connections = 1000
auth_failure_delay = 0
namespace inbox {{
  inbox = yes
  mailbox "Gesendet" {{
    special_use = \\Sent
    auto = create
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


def missing() -> str:
    """What keeps them from running here; empty where nothing does."""
    if os.geteuid() != 0:
        return "Postfix wants to be started by root"
    for program in ("/usr/sbin/postfix", "/usr/sbin/dovecot", "/usr/lib/dovecot/lmtp"):
        if not Path(program).exists():
            return f"{program} is not installed"
    return ""


class Dovecot:
    """IMAP for people of `MAIL`, and LMTP for Postfix.

    Args:
        folder: for all that it keeps; made.
        certificate: PEM file.
        key: PEM file.
        users: whom it knows: name → password.
    """

    def __init__(self, folder: Path, certificate: Path, key: Path, users: dict[str, str]) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        self.folder = folder
        self.certificate, self.key = certificate, key
        self.port, self.tls_port = free_port(), free_port()
        (folder / "mail").mkdir()
        os.chown(folder / "mail", pwd.getpwnam("mail").pw_uid, pwd.getpwnam("mail").pw_gid)
        lines = [f"{name}@{MAIL}:{password}" for name, password in users.items()]
        (folder / "users").write_text("\n".join(lines) + "\n")
        (folder / "users").chmod(0o644)
        self._config = folder / "dovecot.conf"
        self._config.write_text(
            _DOVECOT.format(
                folder=folder, certificate=certificate, key=key, imap=self.port, imaps=self.tls_port
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            ["/usr/sbin/dovecot", "-F", "-c", str(self._config)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        _wait_for(self.port, self._process, self.folder / "log")

    def stop(self) -> None:
        """Stop it, with all connections."""
        if self._process is not None:
            # Politely, it waits for those who idle.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=_START)
            self._process = None

    def forget_numbers(self, user: str) -> None:
        """Give every mail of a user another UID, and the mailbox another UIDVALIDITY."""
        for file in (self.folder / "mail" / f"{user}@{MAIL}").glob("dovecot*"):
            file.unlink()


class Postfix:
    """An MTA that hands our mail to `lmtp_port` and that of `MAIL` to Dovecot.

    Args:
        folder: for all that it keeps; made.
        dovecot: of `MAIL`.
    """

    def __init__(self, folder: Path, dovecot: Dovecot) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        self.folder = folder
        self.port, self.lmtp_port = free_port(), free_port()
        (folder / "queue").mkdir()
        data = folder / "data"
        data.mkdir()
        os.chown(data, pwd.getpwnam("postfix").pw_uid, pwd.getpwnam("postfix").pw_gid)
        self._config = folder / "etc"
        self._config.mkdir()
        main = _MAIN.format(
            folder=folder, programs=_POSTFIX_PROGRAMS, ours=OURS, mail=MAIL, refused=REFUSED,
            lmtp=self.lmtp_port, dovecot=dovecot.folder, certificate=dovecot.certificate,
            key=dovecot.key,
        )  # fmt: skip
        (self._config / "main.cf").write_text(main)
        (self._config / "master.cf").write_text(_MASTER.format(port=self.port))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("start")
        _wait_for(self.port, None, self.folder / "log")

    def stop(self) -> None:
        """Stop it."""
        self._run("abort")

    def flush(self) -> None:
        """Try again what waits."""
        self._run("flush")

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["/usr/sbin/postfix", "-c", str(self._config), command],
            capture_output=True, timeout=_START, check=False,
        )  # fmt: skip
        if done.returncode:
            log = self.folder / "log"
            said = log.read_text() if log.exists() else ""
            raise RuntimeError(f"postfix {command}: {done.stderr.decode()} {said}")


def folder_for_strangers() -> Path:
    """A folder that other users may look into, unlike pytest's; the caller removes it."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="jabberd-mail-"))
    folder.chmod(0o755)
    return folder


def remove(folder: Path) -> None:
    """Remove such a folder."""
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes] | None, log: Path) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0) as probe:
                probe.recv(10)
                return
        except OSError:
            pass
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > deadline:
            said = log.read_text() if log.exists() else ""
            raise RuntimeError(f"a mail server did not start: {said}")
        time.sleep(0.02)
