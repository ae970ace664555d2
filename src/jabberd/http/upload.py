"""Files by HTTP (XEP-0363 §7): PUT into a slot, GET and HEAD of what was put there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from jabberd.core.ports import UploadApi
from jabberd.core.uploads import Refused, Stored, Upload, UploadRefused

PATH: Final = "/upload/{domain}/{token}/{name}"
_log: Final = structlog.get_logger("jabberd.upload")
_SILENCE: Final = 30.0  # seconds in which the next bytes have to come
_GRACE: Final = 60.0  # seconds that any upload may take, beside those of its size
_SLOWEST: Final = 8_192  # bytes per second
_YEAR: Final = 31_536_000.0
_STATUS: Final = {
    Refused.UNKNOWN: 404,
    Refused.SIZE: 413,
    Refused.TYPE: 415,
    Refused.BUSY: 503,
    Refused.FULL: 507,
}
_IMAGES: Final = frozenset(
    f"image/{kind}"
    for kind in ("apng", "avif", "bmp", "gif", "heic", "heif", "jpeg", "jxl", "png", "webp")
)
_MEDIA: Final = re.compile(r"(audio|video)/[a-z0-9][a-z0-9.+-]{0,60}")
_CORS: Final = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "OPTIONS, HEAD, GET, PUT",
    "access-control-allow-headers": "Authorization, Content-Type, Range",
    "access-control-expose-headers": "Content-Disposition, Content-Range",
    "access-control-max-age": "7200",
}
"""Any page may use what it has the URL of; nothing here goes by cookies or the like."""


def route(find: Callable[[str], UploadApi | None], now: Callable[[], float]) -> Route:
    """The route of uploads.

    Args:
        find: the files of a host, by its domain; None where it has none.
        now: seconds since the epoch.
    """
    return Route(PATH, _Files(find, now).answer, methods=["GET", "HEAD", "PUT", "OPTIONS"])


class _Files:
    """Answers requests about files."""

    def __init__(self, find: Callable[[str], UploadApi | None], now: Callable[[], float]) -> None:
        self._find = find
        self._now = now

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_CORS)
        uploads = self._find(request.path_params["domain"])
        if uploads is None:
            raise HTTPException(404, headers=_closing(request))
        token, name = request.path_params["token"], request.path_params["name"]
        if request.method == "PUT":
            return await _put(uploads, token, name, request)
        found = await uploads.find(token, name)
        if found is None:
            raise HTTPException(404, headers=_CORS)
        return _file(found, self._now())


async def _put(uploads: UploadApi, token: str, name: str, request: Request) -> Response:
    size = request.headers.get("content-length", "")
    if not (size.isascii() and size.isdecimal() and len(size) < 20):
        raise _error(411, "Say by Content-Length how large the file is.")
    kind = request.headers.get("content-type", "")
    try:
        upload = await uploads.begin(token, name, int(size), kind)
        try:
            await _receive(upload, request)
            await upload.finish()
        finally:
            await upload.abandon()
    except UploadRefused as error:
        _log.info("upload refused", reason=error.why.name.lower())
        raise _error(_STATUS[error.why], error.why.value) from None
    except TimeoutError:
        raise _error(408, "The file did not come in time.") from None
    except ClientDisconnect:
        raise _error(400, "The connection broke.") from None
    return PlainTextResponse("It is there.\n", 201, _CORS)


async def _receive(upload: Upload, request: Request) -> None:
    async with asyncio.timeout(_GRACE + upload.size / _SLOWEST):
        async for data in _pieces(request):
            await upload.write(data)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        async with asyncio.timeout(_SILENCE):
            data = await anext(stream, None)
        if data is None:
            return
        if data:
            yield data


def _file(found: Stored, now: float) -> Response:
    facts = found.facts
    kind = inline_type(facts.type)
    left = _YEAR if facts.expires is None else min(_YEAR, max(0.0, facts.expires - now))
    headers = {
        **_CORS,
        "cache-control": f"private, max-age={int(left)}, immutable",
        "cross-origin-resource-policy": "cross-origin",
        "x-robots-tag": "noindex",
    }
    return FileResponse(
        found.path,
        headers=headers,
        media_type=kind or "application/octet-stream",
        filename=facts.name,
        content_disposition_type="inline" if kind else "attachment",
    )


def inline_type(kind: str) -> str:
    """A type that a browser may show by itself; empty for what it must only download.

    Nothing on this list can run anything. SVG, HTML, XML and PDF can.
    """
    essence = kind.partition(";")[0].strip().lower()
    if essence in _IMAGES or _MEDIA.fullmatch(essence):
        return essence
    return "text/plain; charset=utf-8" if essence == "text/plain" else ""


def _closing(request: Request) -> Mapping[str, str]:
    """Headers of an error; with a body under way, nothing can follow on the connection."""
    return {**_CORS, "connection": "close"} if request.method == "PUT" else _CORS


def _error(status: int, text: str) -> HTTPException:
    headers = {**_CORS, "connection": "close"}
    if status == 503:
        headers["retry-after"] = "10"
    return HTTPException(status, text, headers)
