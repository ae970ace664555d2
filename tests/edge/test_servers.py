"""Two servers and the network between them: messages cross, whoever dies meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from jabberd.core.verdict import Relayed
from jabberd.xmpp.error import Condition
from jabberd.xmpp.stanza import Iq, Message, read_error
from tests.edge.pair import Directory, Server, arrives

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path, Directory(), "example.com")
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def there(tmp_path: Path, here: Server) -> AsyncIterator[Server]:
    server = Server(tmp_path, here.directory, "example.net")
    await server.start()
    yield server
    await server.stop()


def chat(text: str, to: str = "bob@example.net", name: str = "") -> str:
    return f"<message to='{to}' id='{name or text}' type='chat'><body>{text}</body></message>"


async def test_messages_cross_in_both_directions(here: Server, there: Server) -> None:
    alice, bob = await here.login("alice"), await there.login("bob")
    assert isinstance(await here.says(alice, chat("hello")), Relayed)
    received = await arrives(bob, Message)
    assert (received.body(), received.from_) == ("hello", alice.jid)
    await there.says(bob, chat("hi", "alice@example.com"))
    answered = await arrives(alice, Message)
    assert (answered.body(), answered.from_) == ("hi", bob.jid)


async def test_many_arrive_in_order(here: Server, there: Server) -> None:
    alice, bob = await here.login("alice"), await there.login("bob")
    for number in range(300):
        await here.says(alice, chat(str(number)))
    assert [(await arrives(bob, Message)).body() for _ in range(300)] == [
        str(number) for number in range(300)
    ]


async def test_a_domain_that_is_nowhere(here: Server) -> None:
    alice = await here.login("alice")
    await here.says(alice, chat("hello", "bob@example.org"))
    error = await arrives(alice, Message)
    assert error.type == "error"
    assert read_error(error).condition is Condition.REMOTE_SERVER_NOT_FOUND


async def test_an_account_that_is_nowhere(here: Server, there: Server) -> None:
    alice = await here.login("alice")
    await here.says(alice, chat("hello", f"nobody@{there.domain}"))
    assert read_error(await arrives(alice, Message)).condition is Condition.SERVICE_UNAVAILABLE


async def test_a_request_gets_its_answer(here: Server, there: Server) -> None:
    alice = await here.login("alice")
    await here.says(
        alice, f"<iq type='get' to='{there.domain}' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    answer = await arrives(alice, Iq)
    assert (answer.id, answer.type) == ("1", "error")  # nothing answers pings without a module
