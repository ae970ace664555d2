"""What answers HTTP requests: routes, headers that every answer has, and errors in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log: Final = structlog.get_logger("jabberd.http")
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
"""What an answer has unless it says something else itself."""
_TEXTS: Final = {
    404: "There is nothing here.",
    405: "This cannot be done here.",
    500: "This is a fault of the server. It has been written down.",
}
_SHOWN: Final = 2  # parts of a path that are logged: what follows may be all that protects a file


def make_app(routes: Sequence[BaseRoute], now: Callable[[], float] = time.time) -> ASGIApp:
    """The application.

    Args:
        routes: what there is.
        now: seconds since the epoch.
    """
    app = Starlette(
        routes=list(routes), exception_handlers={HTTPException: _refused, Exception: _failed}
    )
    app.router.redirect_slashes = False
    return Dressed(app, now)


def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    said = error.detail
    if said == HTTPStatus(error.status_code).phrase:  # Starlette's own
        said = _TEXTS.get(error.status_code, said)
    return PlainTextResponse(f"{said}\n", error.status_code, error.headers)


def _failed(_request: Request, _error: Exception) -> Response:
    # Starlette raises the error again after this, and it is logged with its traceback.
    return PlainTextResponse(f"{_TEXTS[500]}\n", 500, {"connection": "close"})


class Dressed:
    """Puts on every answer the headers that it has to have, and logs it.

    Args:
        app: what answers.
        now: seconds since the epoch.
    """

    def __init__(self, app: ASGIApp, now: Callable[[], float]) -> None:
        self._app = app
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun, status = time.monotonic(), 0

        async def dress(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["date"] = formatdate(self._now(), usegmt=True)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, dress)
        finally:
            client = scope.get("client")
            _log.info(
                "http request",
                method=scope["method"],
                path=_shown(scope["path"]),
                status=status,
                address=client[0] if client else "",
                seconds=round(time.monotonic() - begun, 3),
            )


def _shown(path: str) -> str:
    """The beginning of a path."""
    parts = path.split("/")
    return "/".join([*parts[: _SHOWN + 1], "…"]) if len(parts) > _SHOWN + 1 else path
