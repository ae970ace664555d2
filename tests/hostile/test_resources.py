"""The machine gives out: connections, descriptors, disk, database, certificates, ports.

RFC 6120 §8.3.3.18: "the server or recipient is busy or lacks the system resources necessary
to service the request" is resource-constraint, of type wait.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from jabberd.net.certs import make_self_signed
from tests.hostile.kit import (
    CLIENT,
    HEADER,
    Client,
    Element,
    Server,
    command,
    environment,
    error_of,
    run_jabberd,
    tls_context,
    until,
)

FULL = ("wait", "resource-constraint")
MANY = 3_000


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server with accounts, until the end of the block."""
    server.populate()
    try:
        yield server.start()
    finally:
        server.stop()


def open_sockets(port: int, count: int, say: bytes = b"") -> list[socket.socket]:
    """Connect so often; not all need be accepted."""
    made = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        made.append(connection)
        if say:
            connection.sendall(say)
    return made


def close_all(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


def is_closed(connection: socket.socket, seconds: float = 5.0) -> bool:
    """Whether the server closes it in that time, whatever it may say first."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


# Half-open connections


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with room for many; it inherits the descriptors of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * MANY + 1000), hard))
    limits = "[limits]\nconnections = 10000\nconnections_per_address = 10000\n"
    with running(Server(tmp_path_factory.mktemp("crowded"), limits)) as server:
        yield server
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "say", [b"", HEADER.encode()[:60], HEADER.encode()], ids=["silent", "half a header", "header"]
)
def test_half_open_connections(crowded: Server, say: bytes) -> None:
    with Client(crowded.port) as bystander:
        bystander.login("watcher")
        before = resident(crowded)
        crowd = open_sockets(crowded.port, MANY, say)
        bystander.ping(1.0)
        begun = time.monotonic()
        with Client(crowded.port) as late:
            late.login("alice")
        assert time.monotonic() - begun < 1
        assert resident(crowded) - before < MANY * 40 * 1024, "too much memory for strangers"
        close_all(crowd)
        bystander.ping(1.0)
        crowded.check()


def resident(server: Server) -> int:
    """Bytes of memory in use."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def test_connections_per_address(own_folder: Path) -> None:
    with (
        running(Server(own_folder, "[limits]\nconnections_per_address = 20\n")) as server,
        Client(server.port, "127.0.0.3") as bystander,
    ):
        bystander.login("watcher")
        crowd = open_sockets(server.port, 30)
        assert sum(is_closed(connection) for connection in crowd[20:]) == 10
        assert not is_closed(crowd[0], 0.1)
        with Client(server.port, "127.0.0.2") as other:
            other.login("alice")
        close_all(crowd)
        bystander.ping(1.0)
        with Client(server.port) as again:
            again.login("bob")
        server.check()


def test_no_descriptors_left(own_folder: Path) -> None:
    """Accepting pauses without spinning, and goes on by itself."""
    with running(Server(own_folder)) as server, Client(server.port) as bystander:
        bystander.login("watcher")
        bystander.send("<presence/>")
        bystander.ping()
        in_use = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        pid = server.process.pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 10, hard))
        crowd = open_sockets(server.port, 60)
        bystander.ping(1.0)
        used = server.cpu()
        time.sleep(1.5)
        assert server.cpu() - used < 0.3, "it spins"
        bystander.ping(1.0)
        close_all(crowd)
        with Client(server.port) as late:
            late.login("alice")
        bystander.ping(1.0)
        events = [str(one["event"]) for one in server.check(["accepting no connections"])]
        assert len([one for one in events if one.startswith("accepting no connections")]) == 1
        assert any(one.startswith("accepting connections again") for one in events)


# A full disk


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of this size; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def send_until(client: Client, start: int, stop: str, most: int = 400) -> list[str]:
    """Send numbered offline messages until one is (not) refused; returns those taken."""
    taken = []
    for number in range(start, start + most):
        name = f"m{number}"
        client.send(
            f"<message to='carol@localhost' type='chat' id='{name}'>"
            f"<body>{name}</body><x xmlns='urn:x'>{'x' * 20_000}</x></message>"
        )
        answers = client.ping()
        if not answers:
            taken.append(name)
            if stop == "taken":
                return taken
            continue
        assert [error_of(one) for one in answers] == [FULL]
        if stop == "refused":
            return taken
    raise AssertionError(f"never {stop}")


def fetch(server: Server) -> list[str]:
    """What waited for Carol, in order."""
    with Client(server.port) as carol:
        carol.login("carol")
        carol.send("<presence/>")
        stanzas: list[Element] = []
        while True:  # delivery is a task of its own
            more = carol.ping()
            stanzas += more
            if not any(one.tag == f"{{{CLIENT}}}message" for one in more) and stanzas:
                break
            time.sleep(0.05)
        return [one.get("id") or "" for one in stanzas if one.tag == f"{{{CLIENT}}}message"]


def fill_and_recover(server: Server, fill: Callable[[], None], free: Callable[[], None]) -> None:
    """The common part: full, told so, freed, works again, nothing lost."""
    with Client(server.port) as alice, Client(server.port) as bystander:
        alice.login("alice")
        bystander.login("watcher")
        taken = send_until(alice, 0, "taken")
        fill()
        taken += send_until(alice, 1, "refused")
        bystander.ping(1.0)
        # What needs no disk goes on, and so do logins.
        with Client(server.port) as bob:
            bob.login("bob")
            alice.send("<message to='bob@localhost/test'><body>hello</body></message>")
            message = bob.next()
            assert message is not None
            assert message.get("type") != "error"
        answer = alice.ask(
            "<iq type='set' id='{}'><query xmlns='jabber:iq:private'>"
            f"<x xmlns='urn:x'>{'x' * 60_000}</x></query></iq>"
        )
        assert error_of(answer) == FULL
        free()
        taken += send_until(alice, 1000, "taken")
        bystander.ping(1.0)
        server.check(["storage failed"])
        assert fetch(server) == taken
        server.check(["storage failed"])


def test_disk_full(own_folder: Path) -> None:
    if os.geteuid() != 0:
        full_by_limit(own_folder)
        return
    with small_disk(own_folder / "disk", "4m") as disk:
        filler = disk / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass

        with running(Server(own_folder, data=disk / "data")) as server:
            fill_and_recover(server, fill, filler.unlink)


def test_file_that_must_not_grow(own_folder: Path) -> None:
    full_by_limit(own_folder)


def full_by_limit(folder: Path) -> None:
    """As a full disk, for one process: its files must not grow (EFBIG)."""
    with running(Server(folder)) as server:
        pid = server.process.pid

        def fill() -> None:
            largest = max(path.stat().st_size for path in server.data.glob("jabberd.sqlite*"))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

        def free() -> None:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)

        fill_and_recover(server, fill, free)


def test_disk_full_at_the_start(own_folder: Path) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    config = own_folder / "jabberd.toml"
    config.write_text(f'data = "{own_folder / "data"}"\n')
    done = subprocess.run(
        command("run", "--config", str(config)),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=no_room,
        env=environment(),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(own_folder / "data") in done.stderr, done.stderr


# A locked database


def test_database_locked(own_folder: Path) -> None:
    with (
        running(Server(own_folder)) as server,
        ExitStack() as stack,
        closing(sqlite3.connect(server.data / "jabberd.sqlite", isolation_level=None)) as other,
    ):
        alice, bob, bystander = (stack.enter_context(Client(server.port)) for _ in range(3))
        alice.login("alice")
        bob.login("bob")
        bystander.login("watcher")
        before = send_until(alice, 0, "taken")
        other.execute("BEGIN EXCLUSIVE")
        # Three things that must be written, asked for at the same time.
        alice.send(
            "<message to='carol@localhost' type='chat' id='lost'><body>x</body></message>"
            "<iq type='get' id='after'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        bob.send(
            "<iq type='set' id='roster'><query xmlns='jabber:iq:roster'>"
            "<item jid='alice@localhost'/></query></iq>"
        )
        with Client(server.port) as private:
            private.login("user1")  # reading goes on
            private.send(
                "<iq type='set' id='private'><query xmlns='jabber:iq:private'>"
                "<x xmlns='urn:x'/></query></iq>"
            )
            for _ in range(5):
                bystander.ping(1.0)
                time.sleep(0.05)
            assert error_of(private.answer("private", 30)) == FULL
        assert error_of(alice.answer("lost", 30)) == FULL
        assert alice.answer("after").get("type") == "result"
        assert error_of(bob.answer("roster", 30)) == FULL
        other.execute("ROLLBACK")
        after = send_until(alice, 1, "taken")
        done = bob.ask(
            "<iq type='set' id='{}'><query xmlns='jabber:iq:roster'>"
            "<item jid='alice@localhost'/></query></iq>"
        )
        assert done.get("type") == "result", ET.tostring(done)
        assert fetch(server) == before + after
        bystander.ping(1.0)
        server.check(["storage failed"])


def test_database_locked_for_a_moment(own_folder: Path) -> None:
    """Nobody is told of what passes in time."""
    with (
        running(Server(own_folder)) as server,
        Client(server.port) as alice,
        closing(sqlite3.connect(server.data / "jabberd.sqlite", isolation_level=None)) as other,
    ):
        alice.login("alice")
        other.execute("BEGIN EXCLUSIVE")
        alice.send("<message to='carol@localhost' type='chat' id='m'><body>x</body></message>")
        time.sleep(0.5)
        other.execute("COMMIT")
        assert alice.ping() == []
        assert fetch(server) == ["m"]
        server.check()


def test_database_locked_at_the_start(own_folder: Path) -> None:
    server = Server(own_folder)
    server.populate()
    with closing(sqlite3.connect(server.data / "jabberd.sqlite", isolation_level=None)) as other:
        # In WAL mode readers get past a writer; in this mode nobody does.
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "database" in done.stderr, done.stderr


@pytest.mark.parametrize("damage", ["no database", "zeros"])
def test_database_that_is_none(own_folder: Path, damage: str) -> None:
    server = Server(own_folder)
    server.populate()
    file = server.data / "jabberd.sqlite"
    data = file.read_bytes()
    file.write_bytes(
        {
            "no database": b"this is no database at all" * 100,
            "zeros": data[:100] + bytes(len(data) - 100),
        }[damage]
    )
    done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "database" in done.stderr, done.stderr


# Certificates


def with_certificate(folder: Path, *, now: float) -> tuple[Path, Path, str]:
    """A certificate made at that time, and the configuration that names it."""
    certificate, key = folder / "host.crt", folder / "host.key"
    make_self_signed(["localhost"], certificate, key, now=now)
    return certificate, key, f'[host.localhost]\ncertificate = "{certificate}"\nkey = "{key}"\n'


@pytest.mark.parametrize("fault", ["certificate", "key", "no pem", "wrong key"])
def test_certificate_that_cannot_be_used(own_folder: Path, fault: str) -> None:
    certificate, key, settings = with_certificate(own_folder, now=time.time())
    if fault == "certificate":
        certificate.unlink()
    elif fault == "key":
        key.unlink()
    elif fault == "no pem":
        certificate.write_text("hello")
    else:
        make_self_signed(["localhost"], own_folder / "x.crt", key, now=time.time())
    server = Server(own_folder, settings)
    done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(key if fault in {"key", "wrong key"} else certificate) in done.stderr, done.stderr


def test_expired_certificate(own_folder: Path) -> None:
    """It is served, as the operator may have no other, and the operator is told."""
    certificate, _, settings = with_certificate(own_folder, now=0.0)
    with running(Server(own_folder, settings)) as server:
        with Client(server.tls_port) as client:
            client.tls()
            client.login("alice")
            client.ping()
        context = tls_context()
        context.load_verify_locations(certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        with Client(server.tls_port) as client, pytest.raises(ssl.SSLError, match="expired"):
            context.wrap_socket(client.socket, server_hostname="localhost")
        assert server.process.stdout is not None
        said = server.process.stdout.readline()
        assert said.startswith(f"{certificate}: the certificate expired ")
        server.check()


def test_certificate_that_is_gone_at_a_reload(own_folder: Path) -> None:
    """The old one stays in use."""
    certificate, _, settings = with_certificate(own_folder, now=time.time())
    with running(Server(own_folder, settings)) as server, Client(server.port) as bystander:
        bystander.login("watcher")
        for spoil in (lambda: certificate.write_text("hello"), certificate.unlink):
            spoil()
            server.process.send_signal(signal.SIGHUP)
            until(lambda: str(certificate) in str(server.check(["reload refused"])))
            with Client(server.port) as late:
                late.open()
                late.starttls()
                late.login("alice")
            bystander.ping(1.0)
            server.check()


# Ports


@pytest.mark.parametrize(("kind", "host"), [("c2s", "127.0.0.1"), ("c2s_tls", "::1")])
def test_port_taken(own_folder: Path, kind: str, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as holder:
        holder.bind((host, 0))
        holder.listen()
        port = holder.getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        other = "c2s" if kind == "c2s_tls" else "c2s_tls"
        server = Server(
            own_folder, f'[listen]\n{kind} = ["{address}"]\n{other} = ["127.0.0.1:0"]\n'
        )
        done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    # Which, by whom, and where to change it.
    assert address in done.stderr
    assert f"process {os.getpid()}" in done.stderr, done.stderr
    assert f"listen.{kind}" in done.stderr, done.stderr


def test_address_of_another_machine(own_folder: Path) -> None:
    server = Server(own_folder, '[listen]\nc2s = ["192.0.2.1:5222"]\n')
    done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "192.0.2.1:5222" in done.stderr
    assert "no such address" in done.stderr


def test_second_server_in_the_same_folder(own_folder: Path) -> None:
    with running(Server(own_folder)) as server, Client(server.port) as bystander:
        bystander.login("watcher")
        done = run_jabberd("run", "--config", str(server.config))
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert str(server.data) in done.stderr
        bystander.ping(1.0)
        server.check()


def test_data_folder_that_cannot_be(own_folder: Path) -> None:
    (own_folder / "file").write_text("x")
    server = Server(own_folder, data=own_folder / "file" / "data")
    done = run_jabberd("run", "--config", str(server.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(own_folder / "file") in done.stderr
