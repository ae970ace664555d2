"""PBKDF2 off the loop, within bounds."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from jabberd.core.derive import DeriveBusy, Deriver


@pytest.mark.asyncio
async def test_it_is_pbkdf2() -> None:
    deriver = Deriver()
    salted = await deriver.derive(b"pencil", "sha1", b"salt", 4096)
    assert salted == hashlib.pbkdf2_hmac("sha1", b"pencil", b"salt", 4096)
    deriver.close()


@pytest.mark.asyncio
async def test_so_many_may_wait() -> None:
    deriver = Deriver(workers=1, waiting=2)
    first = [asyncio.create_task(deriver.derive(b"p", "sha512", b"s", 20_000)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(DeriveBusy, match="2 passwords are being checked already"):
        await deriver.derive(b"p", "sha1", b"s", 1)
    assert len(set(await asyncio.gather(*first))) == 1
    await deriver.derive(b"p", "sha1", b"s", 1)
    deriver.close()


@pytest.mark.asyncio
async def test_nobody_waits_for_ever() -> None:
    deriver = Deriver(workers=1, deadline=0.01)
    with pytest.raises(DeriveBusy, match="no answer within"):
        await deriver.derive(b"p", "sha512", b"s", 300_000)
    deriver.close()


@pytest.mark.asyncio
async def test_one_whose_asker_left_is_still_counted_until_it_is_done() -> None:
    deriver = Deriver(workers=1, waiting=1)
    task = asyncio.create_task(deriver.derive(b"p", "sha512", b"s", 1_000_000))
    await asyncio.sleep(0.01)  # the thread works on it now
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deriver.pending == 1
    with pytest.raises(DeriveBusy):
        await deriver.derive(b"p", "sha1", b"s", 1)
    deriver.close()
