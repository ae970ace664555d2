"""One server per module of tests, and a bystander who must never notice anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hostile.kit import Client
from tests.hostile.server import Server

Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server in a process of its own; a module's `SETTINGS` are added to its configuration."""
    settings = getattr(request.module, "SETTINGS", "")
    server = Server(tmp_path_factory.mktemp("server"), settings)
    server.populate()
    server.start()
    yield server
    server.stop()
    server.process.wait()


@pytest.fixture(scope="module")
def bystander(server: Server) -> Iterator[Client]:
    """Somebody who was there before the trouble began."""
    with Client(server.port) as client:
        client.login("watcher")
        client.send("<presence/>")
        client.ping()
        yield client


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each case: another client's ping is answered within a second, and nothing broke."""
    if "server" not in request.fixturenames:
        yield
        return
    server: Server = request.getfixturevalue("server")
    bystander: Client = request.getfixturevalue("bystander")
    pid = server.process.pid
    yield
    bystander.ping(1.0)
    server.check()
    assert server.process.pid == pid


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Make clients that are closed at the end."""
    made: list[Client] = []

    def connect(source: str = "127.0.0.1", *, port: int = 0, buffer: int = 0) -> Client:
        made.append(Client(port or server.port, source, buffer=buffer))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def alice(connect: Connect) -> Client:
    """Logged in."""
    return connect().login("alice")


@pytest.fixture
def bob(connect: Connect) -> Client:
    """Logged in and available."""
    client = connect().login("bob")
    client.send("<presence/>")
    client.ping()
    return client


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """For a server of one test's own."""
    return tmp_path
