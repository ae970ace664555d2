"""A DNS server (dnsmasq) that knows what a test wants it to."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.ports import free_port

BINARY: Final = shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin")


@asynccontextmanager
async def zone(folder: Path, records: Sequence[str]) -> AsyncIterator[str]:
    """Run it; yields its address with the port.

    Args:
        folder: for its configuration.
        records: lines of dnsmasq's configuration, for names below "example".
    """
    assert BINARY is not None
    port = free_port()
    file = folder / "dnsmasq.conf"
    lines = [
        f"port={port}", "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts",
        "keep-in-foreground", "local=/example/", *records,
    ]  # fmt: skip
    file.write_text("\n".join(lines) + "\n")
    process = await asyncio.create_subprocess_exec(
        BINARY, f"--conf-file={file}", "--pid-file=", "--user=", "--log-facility=-",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(10):
            while b"started" not in (line := await process.stderr.readline()):
                assert line, "dnsmasq does not start"
        yield f"127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
