"""Key derivation off the event loop (RFC 5802 §2.2 "Hi", which is PBKDF2 of RFC 8018 §5.2).

Nothing is cached: a cache of derived keys would be a cache of passwords.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

_WORKERS: Final = min(4, os.cpu_count() or 1)


class DeriveBusy(Exception):  # noqa: N818 -- a condition of load, not a mistake
    """Too many derivations wait already, or this one waited too long: try again later."""


class Deriver:
    """A bounded pool of threads for PBKDF2; hashlib lets go of the interpreter meanwhile.

    Args:
        workers: threads; they are started when first needed.
        waiting: how many derivations may be under way or wait.
        deadline: seconds that one derivation may take, its wait included.
    """

    def __init__(
        self, *, workers: int = _WORKERS, waiting: int = 256, deadline: float = 20.0
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="derive")
        self._waiting = waiting
        self._deadline = deadline
        self._pending = 0
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """Derivations under way or waiting."""
        return self._pending

    async def derive(self, password: bytes, hash_name: str, salt: bytes, iterations: int) -> bytes:
        """The salted password.

        Args:
            password: prepared, in UTF-8.
            hash_name: hashlib's name of the hash function.
            salt: random bytes.
            iterations: of PBKDF2.

        Raises:
            DeriveBusy: the bound or the deadline is reached.
        """
        if self._pending >= self._waiting:
            raise DeriveBusy(f"{self._pending} passwords are being checked already")
        with self._lock:
            self._pending += 1
        job = self._pool.submit(hashlib.pbkdf2_hmac, hash_name, password, salt, iterations)
        # Counted until the thread is done with it: one whose asker went away still costs.
        job.add_done_callback(self._done)
        # Not `wait_for`: it wants a task, and `core.eager` may run this without one.
        future = asyncio.wrap_future(job)
        done, _ = await asyncio.wait((future,), timeout=self._deadline)
        if not done:
            future.cancel()
            raise DeriveBusy(f"no answer within {self._deadline:g} seconds")
        return future.result()

    def _done(self, _: Future[bytes]) -> None:
        with self._lock:  # called by the thread
            self._pending -= 1

    def close(self) -> None:
        """Drop what waits and let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
