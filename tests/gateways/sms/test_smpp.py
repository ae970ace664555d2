"""The SMS network against a real SMSC: the npm package smpp, whose codec is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from jabberd.gateways.events import Arrived, Failed, Received, Trouble
from jabberd.gateways.transport import NotDone, NotTaken
from tests.gateways.sms import smsc as npm
from tests.gateways.sms.site import Place, log_in, started, text

JULIET = "juliet@example.org"
HERS = "+491700000001"
ROMEO = "+491711234567"
NOBODY = "+491719999999"
LONG = "Wherefore art thou? " * 12  # 240 characters
LONG_UCS2 = "Любовь 😀! " * 18


def place() -> Place:
    here = Place()
    here.register(JULIET, HERS)
    return here


@pytest.mark.asyncio
@pytest.mark.parametrize("words", [True, False], ids=["text", "parameters"])
async def test_a_message_and_its_delivery(modules: Path, words: bool) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        transport = await log_in(network, here, JULIET)
        name = await transport.send_text(ROMEO, text("a {€} @ü", subject="Balcony"))
        sent = await smsc.happened("submit")
        assert (sent["to"], sent["ton"], sent["from"]) == (ROMEO[1:], 1, HERS[1:])
        assert (sent["text"], sent["coding"]) == ("Balcony: a {€} @ü", 0)
        assert (sent["receipt"], sent["id"]) == (1, name)
        await smsc.tell("report", ref=1, id=name, source=ROMEO[1:], state=2, words=words)
        assert await here.told(Received) == (JULIET, Received(ROMEO, name))
        assert (await smsc.happened("answered"))["status"] == 0
        assert not {"sms-sent", "sms-sent-part"} & here.records.spaces()
    assert (await smsc.happened("unbind")) is not None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("state", "trouble"), [(5, Trouble.UNREACHABLE), (8, Trouble.NOT_ACCEPTABLE)]
)
async def test_a_message_that_does_not_arrive(modules: Path, state: int, trouble: Trouble) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        transport = await log_in(network, here, JULIET)
        name = await transport.send_text(ROMEO, text("hello", receipt=False))
        assert (await smsc.happened("submit"))["receipt"] == 2  # of failure only
        await smsc.tell("report", id=name, source=ROMEO[1:], state=state)
        user, failed = await here.told(Failed)
        assert (user, failed.contact, failed.id, failed.trouble) == (JULIET, ROMEO, name, trouble)


@pytest.mark.asyncio
async def test_a_report_before_the_answer(modules: Path) -> None:
    here = place()
    async with npm.running(modules, early=True) as smsc, started(smsc.port, here) as network:
        transport = await log_in(network, here, JULIET)
        name = await transport.send_text(ROMEO, text("hello"))
        assert await here.told(Received) == (JULIET, Received(ROMEO, name))


@pytest.mark.asyncio
async def test_answers_in_hexadecimal_and_reports_in_decimal(modules: Path) -> None:
    here = place()
    async with (
        npm.running(modules, hex=True, first=0xA0FF) as smsc,
        started(smsc.port, here) as network,
    ):
        transport = await log_in(network, here, JULIET)
        name = await transport.send_text(ROMEO, text("hello"))
        assert name == "a100"
        await smsc.tell("report", id="a100", source="491715555555", state=2)  # of somebody else
        await smsc.happened("answered")
        await smsc.tell("report", id="a100", source=ROMEO[1:], state=2)
        assert await here.told(Received) == (JULIET, Received(ROMEO, "a100"))


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["udh8", "udh16", "sar", "payload"])
@pytest.mark.parametrize("said", [LONG, LONG_UCS2], ids=["gsm", "ucs2"])
async def test_a_long_message_out(modules: Path, way: str, said: str) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here, long=way) as network:
        transport = await log_in(network, here, JULIET)
        name = await transport.send_text(ROMEO, text(said))
        parts = []
        for number in range(1, network.hub.backend.parts(said) + 1):
            if way == "payload" and number > 1:
                break
            part = await smsc.happened("submit")
            parts.append(part)
            if way == "payload":
                assert part["payload"]
            elif way == "sar":
                assert part["sar"][1:] == [network.hub.backend.parts(said), number]
            else:
                assert part["udh"][0].startswith("0003" if way == "udh8" else "0804")
                assert part["esm"] & 0x40
        assert "".join(part["text"] for part in parts) == said
        assert smsc.all("submit") == []
        for part in reversed(parts):
            assert here.events == []
            await smsc.tell("report", id=part["id"], source=ROMEO[1:], state=2)
            await smsc.happened("answered")
        assert await here.told(Received) == (JULIET, Received(ROMEO, name))


@pytest.mark.asyncio
async def test_one_part_that_fails_is_a_message_that_failed(modules: Path) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        transport = await log_in(network, here, JULIET)
        name = await transport.send_text(ROMEO, text(LONG))
        first, second = [await smsc.happened("submit") for _ in range(2)]
        await smsc.tell("report", id=first["id"], source=ROMEO[1:], state=2)
        await smsc.tell("report", id=second["id"], source=ROMEO[1:], state=3)
        _, failed = await here.told(Failed)
        assert (failed.id, failed.trouble) == (name, Trouble.UNREACHABLE)
        assert here.events == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("said", "coding"), [("Ждун 😀 ж", 8), ("a {€} @ü_$", 0), ("a {€} @ü_$", 1), ("é", 3)]
)
async def test_a_message_in(modules: Path, said: str, coding: int) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        await log_in(network, here, JULIET)
        await smsc.tell(
            "message", ref=1, source=ROMEO[1:], destination=HERS[1:], text=said, coding=coding
        )
        assert await here.told(Arrived) == (JULIET, Arrived(ROMEO, said))
        assert await smsc.happened("answered") == {"on": "answered", "ref": 1, "status": 0}


@pytest.mark.asyncio
async def test_messages_from_senders_that_are_no_numbers(modules: Path) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        await log_in(network, here, JULIET)
        for source, ton, contact in (("DHL", 5, "DHL"), ("12345", 3, "12345")):
            await smsc.tell(
                "message", source=source, ton=ton, destination=HERS[1:], text="x", coding=0
            )
            assert await here.told(Arrived) == (JULIET, Arrived(contact, "x"))


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["udh8", "udh16", "sar", "payload"])
async def test_a_long_message_in(modules: Path, way: str) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        await log_in(network, here, JULIET)
        if way == "payload":
            await smsc.tell(
                "message", source=ROMEO[1:], destination=HERS[1:], text=LONG, coding=0, payload=True
            )
        for number in () if way == "payload" else (2, 1):  # the last one first
            head: dict[str, object] = {"sar": [9, 2, number]}
            if way == "udh8":
                head = {"udh": f"0500030902{number:02x}"}
            elif way == "udh16":
                head = {"udh": f"060804000902{number:02x}"}
            said = LONG[:150] if number == 1 else LONG[150:]
            await smsc.tell(
                "message", source=ROMEO[1:], destination=HERS[1:], text=said, coding=0, **head
            )
            assert (await smsc.happened("answered"))["status"] == 0
        user, arrived = await here.told(Arrived)
        assert (user, arrived.contact, arrived.body) == (JULIET, ROMEO, LONG)
        assert here.events == []


@pytest.mark.asyncio
async def test_what_is_not_taken_is_not_confirmed(modules: Path) -> None:
    here = place()
    here.refuse = [NotTaken("the server is away"), NotTaken("blocked", lasting=True)]
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        await log_in(network, here, JULIET)
        for ref, status in ((1, 0x64), (2, 0x65), (3, 0)):
            await smsc.tell(
                "message", ref=ref, source=ROMEO[1:], destination=HERS[1:], text="x", coding=0
            )
            assert await smsc.happened("answered") == {
                "on": "answered",
                "ref": ref,
                "status": status,
            }
        await smsc.tell(
            "message", ref=4, source=ROMEO[1:], destination=NOBODY[1:], text="x", coding=0
        )
        assert (await smsc.happened("answered"))["status"] == 0x65
        assert here.events == [(JULIET, Arrived(ROMEO, "x"))]


@pytest.mark.asyncio
async def test_messages_for_programs_on_the_phone_are_confirmed_and_dropped(modules: Path) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        await log_in(network, here, JULIET)
        await smsc.tell(
            "message", source=ROMEO[1:], destination=HERS[1:], text="x", coding=0,
            udh="060504158a0000",
        )  # fmt: skip
        assert (await smsc.happened("answered"))["status"] == 0
        assert here.events == []


@pytest.mark.asyncio
async def test_a_number_that_does_not_exist(modules: Path) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        transport = await log_in(network, here, JULIET)
        await smsc.tell("statuses", statuses=[0x0B])
        await smsc.happened("ready")
        with pytest.raises(NotDone, match="no such number") as caught:
            await transport.send_text(ROMEO, text("hello"))
        assert caught.value.trouble is Trouble.NO_SUCH_CONTACT
        assert await transport.send_text(ROMEO, text("hello"))
