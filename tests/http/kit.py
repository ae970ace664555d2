"""A server with uploads, and clients that talk to it by HTTP and XMPP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

import jabberd
from jabberd.core.ports import UploadApi
from jabberd.modules.http_upload.service import Uploads
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, read_stanza
from tests.modules.host import RecordingSession

WAIT = 20.0


@dataclass(frozen=True)
class Answer:
    """What an HTTP request was answered with."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class House:
    """A server with accounts alice and bob, and an HTTP client that trusts its certificate.

    Args:
        options: of the module.
        config: further settings of the server.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, **config: Any) -> None:
        modules = {"http_upload": dict(options or {})}
        values = {"host": {"localhost": {"modules": modules}}, **config}
        self.server = jabberd.Server(storage="sqlite:", config=values)

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        for name in ("alice", "bob"):
            await self.server.add_user(name, f"{name}spassword")
        self.context = ssl.create_default_context(
            cafile=str(self.server.running.config.data / "certificates" / "localhost.crt")
        )
        self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.context))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.client.close()
        await self.server.__aexit__(kind, error, traceback)

    @property
    def uploads(self) -> Uploads:
        """The module."""
        hosts = self.server.running.assembly.hosts
        found: object = hosts["localhost"].require(UploadApi)
        assert isinstance(found, Uploads)
        return found

    async def slot(
        self, name: str = "a.png", size: int = 5, kind: str = "", who: str = "alice"
    ) -> str:
        """Ask for a slot; returns its URL."""
        attrs = f"filename='{name}' size='{size}'" + (f" content-type='{kind}'" if kind else "")
        jid = JID.parse(f"{who}@localhost/desk")
        request = read_stanza(
            f"<iq type='get' id='1' from='{jid}' to='localhost'>"
            f"<request xmlns='{ns.HTTP_UPLOAD}' {attrs}/></iq>".encode()
        )
        assert isinstance(request, Iq)
        slot = await self.uploads.slot(request, RecordingSession(jid))
        found = slot.find(ns.HTTP_UPLOAD, "get")
        assert found is not None
        return found.get("url")

    async def ask(self, method: str, url: str, body: Any = None, **headers: str) -> Answer:
        """Make an HTTP request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            asyncio.timeout(WAIT),
            self.client.request(
                method, url, data=body, headers=named, allow_redirects=False
            ) as answer,
        ):
            return Answer(answer.status, answer.headers, await answer.read())

    async def put(
        self, body: bytes, name: str = "a.png", kind: str = "image/png", who: str = "alice"
    ) -> str:
        """Upload a file; returns its URL."""
        url = await self.slot(name, len(body), kind, who)
        answer = await self.ask("PUT", url, body, content_type=kind)
        assert answer.status == 201, answer
        return url

    def plain(self, url: str) -> str:
        """The same URL at the port without TLS."""
        return url.replace(
            f"https://localhost:{self.server.https_port}",
            f"http://127.0.0.1:{self.server.http_port}",
        )

    def path(self, url: str) -> str:
        """The path of a URL of this server."""
        return url.removeprefix(f"https://localhost:{self.server.https_port}")

    def kept(self) -> list[str]:
        """The names of all files in the folder of uploads, whole or not."""
        folder = self.server.running.config.data / "uploads"
        return sorted(path.name for path in folder.rglob("*") if path.is_file())


class Raw:
    """A connection in plain text on which every byte is the test's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, first: bytes = b"") -> Self:
        """Connect, and send something."""
        connection = cls(*await asyncio.open_connection("127.0.0.1", port))
        connection.writer.write(first)
        return connection

    async def until(self, mark: bytes) -> bytes:
        """What comes until some bytes have come."""
        async with asyncio.timeout(WAIT):
            return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """All that comes until the far end closes or breaks off; closes as well."""
        got = b""
        try:
            async with asyncio.timeout(WAIT):
                while data := await self.reader.read(65_536):
                    got += data
        except ConnectionResetError:
            pass
        finally:
            self.writer.close()
        return got
