"""The disk is full, the database is locked or damaged: nothing that was taken is lost.

RFC 6120 §8.3.3.18: "the server or recipient is busy or lacks the system resources necessary
to service the request" is resource-constraint, of type wait.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.hostile.kit import CLIENT, Client, Element, error_of
from tests.hostile.server import Server, command, environment, run_jabberd, running

FULL = ("wait", "resource-constraint")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of this size; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def settled(client: Client) -> list[Element]:
    """Ask what was handled (XEP-0198); returns what came before the answer."""
    client.send("<r xmlns='urn:xmpp:sm:3'/>")
    before: list[Element] = []
    while (element := client.next()) is not None:
        if element.tag == "{urn:xmpp:sm:3}a":
            return before
        if element.tag != "{urn:xmpp:sm:3}r":
            before.append(element)
    raise AssertionError("the stream ended")


def manage(client: Client) -> None:
    """Have acknowledgements: what is acknowledged is on the disk, or was refused by then."""
    client.send("<enable xmlns='urn:xmpp:sm:3'/>")
    enabled = client.next()
    assert enabled is not None
    assert enabled.tag == "{urn:xmpp:sm:3}enabled"


def send_until(client: Client, start: int, stop: str, most: int = 400) -> list[str]:
    """Send numbered offline messages until one is (not) refused; returns those taken."""
    taken = []
    for number in range(start, start + most):
        name = f"m{number}"
        client.send(
            f"<message to='carol@localhost' type='chat' id='{name}'>"
            f"<body>{name}</body><x xmlns='urn:x'>{'x' * 20_000}</x></message>"
        )
        answers = settled(client)
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
        manage(alice)
        bystander.login("watcher")
        taken = send_until(alice, 0, "taken")
        fill()
        taken += send_until(alice, 1, "refused")
        bystander.ping(1.0)
        # What needs no disk goes on, and so do logins.
        with Client(server.port) as bob:
            bob.login("bob")
            alice.send(
                "<message to='bob@localhost/test'><body>hello</body>"
                "<no-store xmlns='urn:xmpp:hints'/></message>"
            )
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
        manage(alice)
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
        assert alice.answer("after").get("type") == "result"  # it need not wait for the disk
        assert error_of(alice.answer("lost", 30)) == FULL
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
