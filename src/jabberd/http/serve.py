"""uvicorn's HTTP in our own loop: no server, sockets, signals or lifespan of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.server import ServerState

from jabberd.http.wire import Deadlines, HttpConnection
from jabberd.net.wire import Machine

_HEAD_BYTES: Final = 16_384
_KEEP_ALIVE: Final = 15  # seconds without a request


class HttpServer:
    """Makes the machines behind HTTP connections, and ends what they do.

    Args:
        app: what answers.
        deadlines: for the far ends.
    """

    def __init__(self, app: ASGIApp, deadlines: Deadlines | None = None) -> None:
        self._app = app
        self._deadlines = deadlines or Deadlines()
        self._state = ServerState()

    def machines(self, proxies: Sequence[str] = ()) -> Callable[[], Machine]:
        """What makes the machines of one listener.

        Args:
            proxies: addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are
                believed; those of anybody else are not looked at.
        """
        app = self._app
        if proxies:
            app = ProxyHeadersMiddleware(app, list(proxies))  # type: ignore[arg-type,assignment]
        config = Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",  # strangers' broken requests are no warnings of ours
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            h11_max_incomplete_event_size=_HEAD_BYTES,
        )
        config.load()
        return lambda: HttpConnection(config, self._state, self._deadlines)

    async def stop(self, seconds: float = 5.0) -> None:
        """Close connections without a request, and let the others end theirs for so long."""
        for connection in list(self._state.connections):
            connection.shutdown()
        if not self._state.tasks:
            return
        _, late = await asyncio.wait(set(self._state.tasks), timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=seconds)
