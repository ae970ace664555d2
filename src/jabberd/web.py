"""HTTP, as the configuration has it: made when the server starts, where it listens for HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from jabberd.config import Config, StartError
from jabberd.config import Listener as ListenerConfig
from jabberd.core.host import LocalHost
from jabberd.core.ports import HttpApi, UploadApi
from jabberd.http import upload
from jabberd.http.app import make_app
from jabberd.http.serve import HttpServer
from jabberd.http.wire import WATER
from jabberd.net.certs import a_label
from jabberd.net.clock import Clock
from jabberd.net.listen import Listener, ListenOptions, parse_network
from jabberd.net.owner import PumpOptions
from jabberd.net.tls import TlsContexts
from jabberd.net.wire import Machine
from jabberd.storage.files import Files

_HTTP: Final = b"http/1.1"
_BURST: Final = 1_048_576
_HTTPS_PORT: Final = 443


class HostWeb:
    """Implements `core.ports.HttpApi`.

    Args:
        url: tells what public URLs of the host begin with.
        files: of the host.
    """

    def __init__(self, url: Callable[[], str], files: Files) -> None:
        self._url = url
        self.files = files

    @property
    def url(self) -> str:
        """What public URLs begin with, without a slash at the end."""
        return self._url()


class Web:
    """The HTTP side of a server.

    Args:
        config: of the server.
        hosts: its hosts, by their domain; their modules need not be loaded yet.
        listeners: kind and listener, as they come to be.
        tls: the certificates.
        clock: the time.
    """

    def __init__(
        self,
        config: Config,
        hosts: Mapping[str, LocalHost],
        listeners: Sequence[tuple[str, Listener]],
        tls: TlsContexts,
        clock: Clock,
    ) -> None:
        self._config = config
        self._hosts = hosts
        self._listeners = listeners
        self._tls = tls
        app = make_app([upload.route(self._uploads, clock.now)], clock.now)
        self._server = HttpServer(app)

    def provide(self) -> None:
        """Give every host its part, where others can reach it by HTTPS.

        Raises:
            StartError: the folder of uploaded files cannot be used.
        """
        if not (self._config.http.url or self._config.listen.https):
            return
        for domain, host in self._hosts.items():
            folder = self._config.data / "uploads" / domain
            files = Files(folder, durable=self._config.durability == "power")
            try:
                files.prepare()
            except OSError as error:
                raise StartError(f"cannot use {folder}: {error.strerror}") from None
            host.registry.ports[HttpApi] = HostWeb(partial(self._url, domain), files)

    def _url(self, domain: str) -> str:
        if self._config.http.url:
            return self._config.http.url
        ports = (one.address.port for kind, one in self._listeners if kind == "https")
        port = next(ports, _HTTPS_PORT)
        return f"https://{a_label(domain)}" + ("" if port == _HTTPS_PORT else f":{port}")

    def nearby(self, url: str) -> str:
        """By which address this process reaches a URL of its own: the public one may lead afar."""
        for domain in self._hosts:
            public = self._url(domain)
            if url.startswith(f"{public}/"):
                return self._local() + url.removeprefix(public)
        return url

    def _local(self) -> str:
        for kind, one in self._listeners:
            if kind in {"http", "https"}:
                where = one.address
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where.host, where.host)  # noqa: S104 -- not listened to
                return f"{kind}://{f'[{host}]' if ':' in host else host}:{where.port}"
        raise LookupError("nothing listens for HTTP")

    def _uploads(self, domain: str) -> UploadApi | None:
        host = self._hosts.get(domain)
        if host is None:
            return None
        try:
            return host.require(UploadApi)
        except LookupError:  # the module is switched off
            return None

    def machines(self, address: ListenerConfig) -> Callable[[], Machine]:
        """What makes the machines of one listener."""
        return self._server.machines(address.proxy)

    def options(self, kind: str, address: ListenerConfig) -> ListenOptions:
        """How the connections of a listener are treated."""
        return ListenOptions(
            pump=self.pump_options(kind),
            relays=tuple(parse_network(network) for network in address.proxy),
        )

    def pump_options(self, kind: str) -> PumpOptions:
        """The part of it that is the same for all listeners of a kind."""
        return PumpOptions(
            tls=self._tls if kind == "https" else None,
            ask=False,
            direct_tls=kind == "https",
            alpn=(_HTTP,),
            high_water=WATER,
            low_water=WATER,
            rate=self._config.http.bytes_per_second,
            burst=max(_BURST, self._config.http.bytes_per_second),
        )

    async def stop(self) -> None:
        """Let requests end that are under way, within some seconds."""
        await self._server.stop()
