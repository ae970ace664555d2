"""SMS as users have it: a server with the gateway inside, a real SMSC, real clients."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from slixmpp.xmlstream import ET

from jabberd.embed import Server
from tests.gateways.sms import smsc as npm
from tests.integration import mcabber
from tests.integration.mcabber import Mcabber
from tests.integration.slix import WAIT, Slix

pytestmark = pytest.mark.asyncio
GATEWAY: Final = "sms.localhost"
HERS: Final = "+491700000001"
ROMEO: Final = "+491711234567"
_CODE: Final = re.compile(r"\b(\d{6})\b")


@contextlib.asynccontextmanager
async def place(smsc: npm.Smsc) -> AsyncIterator[Server]:
    table = {
        "network": "sms", "host": "127.0.0.1", "port": smsc.port, "tls": False,
        "system_id": "gateway", "password": "secret", "country": "DE",
    }  # fmt: skip
    async with Server(config={"gateway": {GATEWAY: table}}) as server:
        await server.add_user("juliet", "secret")
        yield server


async def test_a_number_a_message_and_an_answer(modules: Path) -> None:
    async with npm.running(modules) as smsc, place(smsc) as server:
        juliet = Slix(server, "juliet@localhost/one", "secret", plugins=("xep_0030", "xep_0184"))
        await juliet.online()
        iq = juliet.client.make_iq_set(ito=GATEWAY)
        query = ET.SubElement(iq.xml, "{jabber:iq:register}query")
        ET.SubElement(query, "{jabber:iq:register}phone").text = "0170 0000001"
        await iq.send(timeout=WAIT)
        code = _CODE.search((await smsc.happened("submit"))["text"])
        assert code is not None
        await juliet.event("message", lambda m: "register" in m["body"])
        juliet.write(GATEWAY, "register", code[1])
        await juliet.event("message", lambda m: f"registered as {HERS}" in m["body"])
        message = juliet.client.make_message(f"{ROMEO}@{GATEWAY}", "Wilt thou?", mtype="chat")
        message["id"] = "first"
        message["request_receipt"] = True
        message.send()
        sent = await smsc.happened("submit")
        assert (sent["from"], sent["to"], sent["text"]) == (HERS[1:], ROMEO[1:], "Wilt thou?")
        await smsc.tell("report", id=sent["id"], source=ROMEO[1:], state=2)
        assert (await juliet.event("receipt_received"))["receipt"] == "first"
        await smsc.tell(
            "message", ref=2, source=ROMEO[1:], destination=HERS[1:], text="Я иду", coding=8
        )
        answer = await juliet.event("message", lambda m: m["body"] == "Я иду")
        assert answer["from"].bare == f"{ROMEO}@{GATEWAY}"
        assert (await smsc.happened("answered", lambda s: s.get("ref") == 2))["status"] == 0
        await juliet.leave()


async def test_a_console_client(modules: Path, tmp_path: Path) -> None:
    if mcabber.installed() is None:
        pytest.skip("Debian's package mcabber is not installed")
    async with npm.running(modules) as smsc, place(smsc) as server:
        address = (server.host, server.port)
        client = Mcabber(tmp_path / "mcabber", "juliet@localhost", "secret", address)
        try:
            await client.logged("juliet@localhost/mcabber")
            for line in ("register", "0170 0000001", "-"):
                await client.command(f"/say_to {GATEWAY} {line}")
            code = _CODE.search((await smsc.happened("submit"))["text"])
            assert code is not None
            await client.command(f"/say_to {GATEWAY} {code[1]}")
            await client.history(GATEWAY, f"You are registered as {HERS}")
            await client.command(f"/say_to {ROMEO}@{GATEWAY} Good night")
            assert (await smsc.happened("submit"))["text"] == "Good night"
            await smsc.tell(
                "message", ref=1, source=ROMEO[1:], destination=HERS[1:], text="Sweet dreams",
                coding=0,
            )  # fmt: skip
            await client.history(f"{ROMEO}@{GATEWAY}", "Sweet dreams")
        finally:
            await client.stop()
