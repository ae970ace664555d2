"""Fill the archives of two accounts by sending messages."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from typing import Final

from bench.load.client import Client
from bench.load.many import login_all
from bench.load.target import LoadError, Result, Target
from bench.load.words import bodies

_WINDOW: Final = 50
_STALL: Final = 60.0
_CLOSE: Final = b"</message>"
_NUMBER: Final = re.compile(rb"<body>b(\d{8}) [^<]*</body>")


class _Sink:
    """Reads what arrives; all in order, or it is an error."""

    def __init__(self, client: Client) -> None:
        self._tail = b""
        self.got = 0
        self.news = asyncio.Event()
        self.wrong = ""
        client.hot = self._on

    def _on(self, data: bytes) -> None:
        data = self._tail + data
        end = data.rfind(_CLOSE) + 1
        if not end:
            self._tail = data
            return
        self._tail = data[end:]
        for number in map(int, _NUMBER.findall(data, 0, end)):
            if number != self.got:
                self.wrong = f"message {number} arrived, not {self.got}"
            self.got += 1
        self.news.set()


async def fill(target: Target, count: int) -> Result:
    """Send messages from the first account to the second one, `_WINDOW` under way.

    Raises:
        LoadError: one does not arrive.
    """
    sender, receiver = await login_all(target, 2)
    sink = _Sink(receiver)
    to = receiver.jid.split("/")[0]
    texts = bodies(count)
    start, sent = time.perf_counter(), 0
    while sink.got < count:
        due = list(itertools.islice(texts, sink.got + _WINDOW - sent))
        for body in due:
            sender.write(
                f"<message type='chat' to='{to}' id='f{sent}'><body>{body}</body></message>"
            )
            sent += 1
        try:
            await asyncio.wait_for(sink.news.wait(), _STALL)
        except TimeoutError:
            raise LoadError(f"{sink.got} of {count} messages arrived") from None
        sink.news.clear()
        if sink.wrong:
            raise LoadError(sink.wrong)
    seconds = time.perf_counter() - start
    sender.close()
    receiver.close()
    return {"messages": count, "seconds": round(seconds, 1)}
