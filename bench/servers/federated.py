"""Servers that talk to others: two of a kind, or one that is told the way to a thousand.

They are started as the tests of `tests/federation` start them. Each has a loopback address of its
own, and a certificate of an authority that was made for the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.federation import peers
from tests.federation.names import Names, network
from tests.federation.peers import C2S, Peer
from tests.net.authority import Authority

from bench.load.places import routes
from bench.servers.base import Mode, ServerError, raise_descriptors
from bench.servers.ejabberd import control

_DOMAINS: Final = ("a.example", "b.example")
_NAMES_HOST: Final = 53
_WORDS: Final = 1500
_NO_LIMIT: Final = "bytes_per_second = 1000000000\nburst_bytes = 1000000000\n"
"""Of what one connection of another server may send."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Servers that run.

    Attributes:
        where: how the load generator finds them.
        peers: they themselves.
    """

    where: Sequence[str]
    peers: Sequence[Peer]

    def last_words(self) -> str:
        """The ends of the logs."""
        return "\n".join(peer.log()[-_WORDS:] for peer in self.peers)


def missing() -> str:
    """What keeps two servers from finding each other here; empty where nothing does."""
    return Names.missing()


@contextmanager
def two(name: str, mode: Mode, folder: Path) -> Iterator[Stage]:
    """Run two servers of a kind that find each other by DNS.

    Args:
        name: of the kind.
        mode: what they have to do.
        folder: for all that they keep.

    Raises:
        ServerError: they do not come up.
    """
    kind = _kind(name, mode)
    with _folder(folder) as inside, ExitStack() as stack:
        prefix, authority = network(), Authority(inside)
        names = Names(inside, f"{prefix}.{_NAMES_HOST}")
        both = [
            kind(
                inside / domain,
                f"{prefix}.{number}",
                names.address,
                authority.file,
                {domain: authority.sign(domain)},
            )
            for number, domain in enumerate(_DOMAINS, 1)
        ]
        stack.callback(names.stop)
        with _no_start(name):
            names.start({domain: peer.address for domain, peer in zip(_DOMAINS, both, strict=True)})
        here, there = _started(both, stack)
        where = (*_near(here, _DOMAINS[0]), "--far-host", there.address)
        yield Stage((*where, "--far-domain", _DOMAINS[1], "--far-pid", str(there.pid)), both)


@contextmanager
def alone(mode: Mode, folder: Path) -> Iterator[Stage]:
    """Run jabberd, which is told the way to the fake and the dead servers of the generator.

    Args:
        mode: what it has to do.
        folder: for all that it keeps.

    Raises:
        ServerError: it does not come up.
    """
    with _folder(folder) as inside, ExitStack() as stack:
        prefix, authority = network(), Authority(inside)
        ways = "\n".join(f'"{domain}" = "{way}"' for domain, way in routes(prefix).items())
        kind = _jabberd(mode, f'policy = "dialback"\n[route]\n{ways}')
        hosts = {_DOMAINS[0]: authority.sign(_DOMAINS[0])}
        names = f"{prefix}.{_NAMES_HOST}"
        server = kind(inside / "alone", f"{prefix}.1", names, authority.file, hosts)
        _started([server], stack)
        yield Stage((*_near(server, _DOMAINS[0]), "--network", prefix), [server])


def _near(peer: Peer, domain: str) -> tuple[str, ...]:
    where = ("--host", peer.address, "--port", str(C2S), "--domain", domain)
    return (*where, "--pid", str(peer.pid))


@contextmanager
def _folder(above: Path) -> Iterator[Path]:
    above.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="run-", dir=above) as name:
        folder = Path(name)
        folder.chmod(0o755)  # ejabberd runs as another user
        yield folder


def _started(servers: Sequence[Peer], stack: ExitStack) -> Sequence[Peer]:
    raise_descriptors()
    with _no_start(servers[0].name):
        for server in servers:
            server.launch()
            stack.callback(server.stop)
        for server in servers:
            server.wait()
    return servers


@contextmanager
def _no_start(name: str) -> Iterator[None]:
    try:
        yield
    except (AssertionError, OSError) as error:  # TimeoutError is one of the latter
        raise ServerError(f"{name} did not start: {error}") from error


def _kind(name: str, mode: Mode) -> type[Peer]:
    return {"jabberd": _jabberd, "ejabberd": _ejabberd, "prosody": _prosody}[name](mode)


def _jabberd(mode: Mode, others: str = 'policy = "required"') -> type[Peer]:
    class Jabberd(peers.Ours):
        level, archive, open = "warning", mode.archive, True
        federation = _NO_LIMIT + others

    return Jabberd


def _prosody(mode: Mode) -> type[Peer]:
    class Prosody(peers.Prosody):
        level, archive, secure = "error", mode.archive, True

    return Prosody


def _ejabberd(mode: Mode) -> type[Peer]:
    class Ejabberd(peers.Ejabberd):
        level, archive = "error", mode.archive

        def configure(self) -> None:
            super().configure()
            (self.folder / "etc/ejabberdctl.cfg").write_text(control(mode))

    return Ejabberd
