"""A server that is killed between two components that are connected to it."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.client.line import SECRET, acting, text, until
from tests.integration.process import Jabberd
from tests.ports import free_port

_CONFIG = """
[listen]
c2s = ["127.0.0.1:0"]
c2s_tls = []
http = []
https = []
component = ["127.0.0.1:{port}"]
[host.localhost]
[component."a.localhost"]
secret = "{secret}"
[component."b.localhost"]
secret = "{secret}"
"""


@pytest.mark.asyncio
async def test_what_was_sent_arrives_once(tmp_path: Path) -> None:
    jabberd = Jabberd(tmp_path)
    file = tmp_path / "jabberd.toml"
    port = free_port()
    file.write_text(_CONFIG.format(port=port, secret=SECRET))
    words = ("run", "--config", str(file))
    server = jabberd.start(*words)
    try:
        async with acting("a.localhost", port) as a, acting("b.localhost", port) as b:
            await until(lambda: bool(a.ups and b.ups))
            sent = 0
            for kill in range(3):
                parts = [
                    asyncio.create_task(
                        a.client.send(text(str(number), "x@b.localhost", "y@a.localhost"))
                    )
                    for number in range(sent, sent + 200)
                ]
                sent += len(parts)
                before = len(b.inbox)
                await until(lambda before=before: len(b.inbox) >= before + 20)  # type: ignore[misc]
                if kill == 1:
                    b.line.cut()
                server.signal(signal.SIGKILL)
                server.ended()
                server = await asyncio.to_thread(jabberd.start, *words)
                await asyncio.gather(*parts)
            await until(lambda: len(b.inbox) >= sent)
            assert Counter(b.bodies) == Counter(map(str, range(sent)))
    finally:
        server.kill()
