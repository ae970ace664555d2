"""Trying credentials by a login, before anybody relies on them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from jabberd.gateways.events import Event, Online
from jabberd.gateways.transport import LoginRefused, Lost, SignUpRefused, Transport

_PATIENCE: Final = 60.0


async def try_login(transport: Transport, patience: float = _PATIENCE) -> None:
    """Log in and out again.

    Args:
        transport: not begun; it is used up.
        patience: how long it may take, in seconds.

    Raises:
        SignUpRefused: the network does not let the user in, or cannot be asked.
    """
    online = asyncio.Event()

    async def emit(event: Event) -> None:
        if isinstance(event, Online):
            online.set()
        # Nobody is told of anything else yet: the real login will hear of it again.
        else:
            await asyncio.Event().wait()

    run = asyncio.create_task(transport.run(emit))
    wait = asyncio.create_task(online.wait())
    try:
        await asyncio.wait({run, wait}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if online.is_set():
            return
        if not run.done():
            raise SignUpRefused("The network does not answer. Try again later.", timeout=True)
        try:
            run.result()
        except LoginRefused as refused:
            raise SignUpRefused(str(refused), wrong_password=True) from None
        except Lost as lost:
            raise SignUpRefused(str(lost), timeout=True) from None
        raise SignUpRefused("The network ended the login. Try again later.", timeout=True)
    finally:
        for task in (run, wait):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await transport.close()
