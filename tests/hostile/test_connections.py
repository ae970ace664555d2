"""More connections than there should be: half-open ones, and no descriptors left."""

from __future__ import annotations

import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.kit import HEADER, Client
from tests.hostile.server import Server, running

MANY = 3_000


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
