"""The gateway as a process of its own, beside a server of ours and beside Prosody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.client.prosody import Prosody
from tests.gateways.place import GATEWAY, Place, approve, beside_jabberd, beside_prosody, join
from tests.integration.slix import WAIT

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=["jabberd", "prosody"])
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "jabberd":
        async with beside_jabberd(tmp_path) as made:
            yield made
        return
    if why := Prosody.missing():
        pytest.skip(why)
    async with beside_prosody(tmp_path) as made:
        yield made


async def test_the_whole_of_it(here: Place) -> None:
    romeo = await here.person("romeo")
    juliet = await here.client()
    await join(juliet, "Juliet", by_privilege=here.inside is not None)
    contact = f"romeo@{GATEWAY}"
    # A contact, by subscription.
    juliet.client.send_presence(pto=contact, ptype="subscribe")
    await romeo.happened("asks", lambda t: t["from"] == "Juliet")
    await romeo.line.ask("answer", id="Juliet", allow=True)
    await juliet.event("presence_available", lambda p: p["from"].bare == contact)
    await approve(juliet, contact)
    # Messages, in order, both ways.
    texts = [str(number) for number in range(50)]
    juliet.write(contact, *texts)
    for text in texts:
        assert (await romeo.happened("message"))["text"] == text
    for text in texts:
        await romeo.line.ask("send", to="Juliet", id=f"r{text}", text=text)
    assert (await juliet.bodies("49"))[-50:] == texts
    # What is wrong.
    juliet.client.send_message(f"nobody@{GATEWAY}", "Madam!", mtype="chat")
    assert (await juliet.event("message_error"))["error"]["condition"] == "item-not-found"
    # The end.
    await juliet.client.plugin["xep_0077"].cancel_registration(jid=GATEWAY, timeout=WAIT)
    juliet.client.send_message(contact, "Romeo?", mtype="chat")
    error = await juliet.event("message_error")
    assert error["error"]["condition"] == "registration-required"
