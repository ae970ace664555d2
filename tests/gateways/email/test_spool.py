"""Mails on their way out, with a post that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jabberd.gateways.email.network import Options, load
from jabberd.gateways.email.options import host_port
from jabberd.gateways.email.rates import Rate
from jabberd.gateways.email.spool import Held, Spool
from jabberd.gateways.events import Event, Failed, Text, Trouble
from jabberd.gateways.transport import Lost, NotDone, NotTaken
from jabberd.storage.api import StorageError
from jabberd.storage.records import Drop, Record
from tests.gateways.email.site import MemorySite

USER, TO = "romeo@jabber.example", "nurse@b.example"


class Post:
    """Gets rid of mails, or raises what is next."""

    def __init__(self, *troubles: Exception | None) -> None:
        self.troubles = list(troubles)
        self.gone: list[tuple[str, ...]] = []
        self.more = asyncio.Event()
        self.tried = asyncio.Event()

    async def __call__(self, held: Held) -> None:
        self.tried.set()
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        self.gone.append(tuple(text.body for text in held.texts))
        self.more.set()

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.gone) < count:
                self.more.clear()
                await self.more.wait()


def text(id_: str, body: str = "", **more: Any) -> Text:
    return Text(id_, body or id_, **more)


@asynccontextmanager
async def spooled(
    post: Post, site: MemorySite, *, hold: float = 0.0, lifetime: float = 100.0, retry: float = 0.0
) -> AsyncIterator[Spool]:
    spool = Spool(
        site, post, lambda _user, text: f"<{text.id}>", hold=hold, lifetime=lifetime, retry=retry
    )
    await spool.load()
    try:
        yield spool
    finally:
        await spool.close()


def waiting(site: MemorySite) -> int:
    return sum(record.space == "spool" for record in site.records.all.values())


@pytest.mark.asyncio
async def test_mails_to_one_contact_stay_in_order() -> None:
    post, site = Post(Lost("x"), Lost("y"), KeyError("a bug"), None), MemorySite()
    async with spooled(post, site) as spool:
        for name in ("1", "2", "3"):
            await spool.put(USER, TO, text(name))
        await post.wait(3)
        assert post.gone == [("1",), ("2",), ("3",)]
    assert waiting(site) == 0


@pytest.mark.asyncio
async def test_one_contact_does_not_hold_up_another() -> None:
    post, site = Post(Lost("x")), MemorySite()
    async with spooled(post, site, retry=1_000.0) as spool:
        await spool.put(USER, TO, text("1"))
        await asyncio.wait_for(post.tried.wait(), 10)
        await spool.put(USER, TO, text("2"))
        await spool.put(USER, "other@b.example", text("3"))
        await post.wait(1)
        assert post.gone == [("3",)]
    assert waiting(site) == 2
    # By the next start they are due.
    site.ahead = 2_000.0
    async with spooled(post, site, lifetime=10_000.0):
        await post.wait(3)
        assert post.gone == [("3",), ("1",), ("2",)]


@pytest.mark.asyncio
async def test_what_becomes_one_mail() -> None:
    post, site = Post(), MemorySite()
    async with spooled(post, site, hold=600.0) as spool:
        await spool.put(USER, TO, text("1", subject="A"))
        assert spool.joins(USER, TO, text("2"))
        await spool.put(USER, TO, text("2"))
        await spool.put(USER, TO, text("2"))  # the same once more
        await spool.put(USER, TO, text("c", "one", replaces="<1>"))
        assert not spool.joins(USER, TO, text("3", subject="B"))
        assert not spool.joins(USER, TO, text("3", thread="t"))
        assert not spool.joins(USER, TO, text("3", replies_to="<x>"))
        assert not spool.joins(USER, TO, text("3", "x" * 70_000))
        assert not spool.joins(USER, TO, text("3", replaces="<unknown>"))
        assert not spool.joins(USER, "other@b.example", text("3"))
        await spool.put(USER, TO, text("3", subject="B"))
    assert waiting(site) == 2
    site.ahead = 700.0
    async with spooled(post, site):
        await post.wait(2)
        assert post.gone == [("one", "2"), ("3",)]


@pytest.mark.asyncio
async def test_a_failure_is_told_until_it_is_heard() -> None:
    post, site = Post(*[NotDone(Trouble.GONE, "moved")] * 2), MemorySite()
    deaf = [True]

    def refuse(_user: str, _event: Event) -> None:
        if deaf:
            deaf.pop()
            raise NotTaken("down")

    site.refuse = refuse
    async with spooled(post, site) as spool:
        await spool.put(USER, TO, text("1"))
        assert await site.next(USER, Failed) == Failed(TO, "<1>", Trouble.GONE, "moved")
    assert deaf == []
    async with spooled(post, site):
        pass
    assert waiting(site) == 0


@pytest.mark.asyncio
async def test_a_bound_for_what_waits() -> None:
    post, site = Post(Lost("x")), MemorySite()
    async with spooled(post, site, retry=1_000.0) as spool:
        for number in range(200):
            await spool.put(USER, TO, text(f"n{number}"))
        with pytest.raises(NotDone) as refused:
            await spool.put(USER, TO, text("more"))
        assert refused.value.trouble is Trouble.FULL


@pytest.mark.asyncio
async def test_what_cannot_be_stored_was_not_taken() -> None:
    post, site = Post(), MemorySite()

    async def fail(_changes: list[Record | Drop]) -> None:
        raise StorageError("the disk is full")

    async with spooled(post, site) as spool:
        site.records.write = fail  # type: ignore[method-assign, assignment]
        with pytest.raises(Lost):
            await spool.put(USER, TO, text("1"))
        await asyncio.sleep(0)
        assert post.gone == []


def test_rates() -> None:
    rate = Rate(2, 60.0)
    assert [rate.allows("a", 0.0) for _ in range(3)] == [True, True, False]
    assert rate.allows("b", 0.0)
    assert not rate.allows("a", 29.0)
    assert rate.allows("a", 31.0)
    assert not rate.allows("a", 31.0)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"mail_domain": ""}, "mail_domain"),
        ({"lmtp": ""}, "lmtp or smtp"),
        ({"lmtp": "nowhere"}, "host:port"),
        ({"relay": "mx.example"}, "host:port"),
        ({"relay": "mx.example:99999"}, "host:port"),
        ({"dkim_key": "x"}, "go together"),
        ({"relay_password": "a", "relay_password_env": "B"}, "exclude"),
        ({"mails_per_hour": 0}, "mails_per_hour"),
        ({"hold_seconds": 601}, "hold_seconds"),
        ({"relay_password_file": "/nowhere"}, "cannot be read"),
        ({"relay_password_env": "JABBERD_NO_SUCH"}, "not set"),
        ({"dkim_key": "/nowhere", "dkim_selector": "s"}, "cannot be read"),
        ({"mail_domain": "[127.0.0.1]"}, "must be a name"),
    ],
)
def test_options_that_do_not_do(more: dict[str, object], why: str) -> None:
    facts: dict[str, object] = {"mail_domain": "xmpp.example", "lmtp": "127.0.0.1:2526", **more}
    with pytest.raises(ValueError, match=why):
        load(Options(**facts))  # type: ignore[arg-type]


def test_secrets_stay_secret() -> None:
    options = Options("domain", "xmpp.example", lmtp="/run/lmtp", relay_password="geheim")
    assert options.secret() == "geheim"
    assert "geheim" not in repr(options)
    assert host_port("[::1]:25") == ("::1", 25)
