"""The SMS network against a real SMSC: the npm package smpp, whose codec is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jabberd.gateways.events import Arrived, Failed, Received, Text, Trouble
from jabberd.gateways.sms.network import SmsNetwork, load
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.smpp.backend import Settings, SmppBackend
from jabberd.gateways.sms.smpp.bodies import Bind
from jabberd.gateways.sms.smpp.connection import Connection, SmppError, Target
from jabberd.gateways.sms.smpp.session import Mode
from jabberd.gateways.transport import LoginRefused, Lost, NotDone, NotTaken
from tests.gateways.sms import smsc as npm
from tests.gateways.sms.site import WAIT, Place, Session, log_in, options, text

JULIET = "juliet@example.org"
HERS = "+491700000001"
ROMEO = "+491711234567"
NOBODY = "+491719999999"
LONG = "Wherefore art thou? " * 12  # 240 characters
LONG_UCS2 = "Любовь 😀! " * 18


@contextlib.asynccontextmanager
async def started(port: int, place: Place, **more: object) -> AsyncIterator[SmsNetwork]:
    network = load(options(port, **more))
    assert isinstance(network, SmsNetwork)
    await network.start(place)
    try:
        yield network
    finally:
        await network.stop()


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


@pytest.mark.asyncio
async def test_throttling(modules: Path) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        transport = await log_in(network, here, JULIET)
        await smsc.tell("statuses", statuses=[0x58, 0x14, 0])
        await smsc.happened("ready")
        name = await transport.send_text(ROMEO, text("hello"))
        tries = [await smsc.happened("submit") for _ in range(3)]
        assert [one["status"] for one in tries] == [0x58, 0x14, 0]
        assert name == tries[2]["id"]
        assert all(b["at"] - a["at"] >= 990 for a, b in itertools.pairwise(tries))
        backend = network.hub.backend
        assert isinstance(backend, SmppBackend)
        assert backend._client is not None
        assert backend._client._pace.rate == 1_000 / 4 + 20


@pytest.mark.asyncio
async def test_an_error_that_passes(modules: Path) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        transport = await log_in(network, here, JULIET)
        await smsc.tell("statuses", statuses=[0x08, 0, 0x08, 0x08])
        await smsc.happened("ready")
        assert await transport.send_text(ROMEO, text("hello"))
        with pytest.raises(NotDone) as caught:
            await transport.send_text(ROMEO, text("hello"))
        assert caught.value.trouble is Trouble.TIMEOUT


@pytest.mark.asyncio
async def test_no_more_than_the_window_is_without_an_answer(modules: Path) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here, window=3) as network:
        transport = await log_in(network, here, JULIET)
        await smsc.tell("silent", silent=True)
        await smsc.happened("ready")
        sending = [
            asyncio.create_task(transport.send_text(ROMEO, text(str(number))))
            for number in range(5)
        ]
        for _ in range(3):
            await smsc.happened("submit")
        await smsc.tell("enquire")
        await smsc.happened("alive")  # it has read everything there was
        assert smsc.all("submit") == []
        await smsc.tell("cut")
        done = await asyncio.wait_for(asyncio.gather(*sending[:3], return_exceptions=True), WAIT)
        assert all(isinstance(one, NotDone) and one.trouble is Trouble.UNKNOWN_FATE for one in done)
        await smsc.tell("silent", silent=False)
        assert all(
            await asyncio.wait_for(asyncio.gather(*sending[3:]), WAIT)
        )  # after the next bind
        assert {(await smsc.happened("submit"))["text"] for _ in range(2)} == {"3", "4"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("more", "why"),
    [({"password": "wrong"}, "password"), ({"system_id": "who"}, "system_id")],
)
async def test_wrong_credentials(modules: Path, more: dict[str, str], why: str) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here, **more) as network:
        backend = network.hub.backend
        assert isinstance(backend, SmppBackend)
        assert (await smsc.happened("bind"))["status"] in {0x0E, 0x0F}
        assert backend._client is not None
        await asyncio.wait_for(backend._client._task, WAIT)  # it does not try again
        assert why in backend.link.problem
        assert "configured anew" in backend.link.problem


@pytest.mark.asyncio
async def test_one_bind_for_each_direction(modules: Path) -> None:
    here = place()
    async with npm.running(modules, pair=True) as smsc, started(smsc.port, here) as network:
        transport = await log_in(network, here, JULIET)
        kinds = [(await smsc.happened("bind"))["kind"] for _ in range(2)]
        assert kinds == ["transmitter", "receiver"]
        assert await transport.send_text(ROMEO, text("hello"))
        await smsc.tell("message", source=ROMEO[1:], destination=HERS[1:], text="hi", coding=0)
        assert await here.told(Arrived) == (JULIET, Arrived(ROMEO, "hi"))
        assert (await smsc.happened("answered"))["status"] == 0


@pytest.mark.asyncio
async def test_a_login_lasts_as_long_as_the_bind(modules: Path) -> None:
    here = place()
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        session = Session(network.transport(JULIET, here.logins[JULIET], here)).begin()
        await session.wait_online()
        await smsc.kill()
        async with asyncio.timeout(WAIT):
            await network.hub.backend.link.wait_down()
        assert session._task is not None
        await asyncio.wait_for(session._task, WAIT)
        assert isinstance(session.ended, Lost)


@pytest.mark.asyncio
async def test_who_has_no_number_has_to_get_one(unused_port: int) -> None:
    here = Place()
    here.register(JULIET)  # from when there was a shared one
    async with started(unused_port, here) as network:
        session = Session(network.transport(JULIET, here.logins[JULIET], here)).begin()
        assert session._task is not None
        await asyncio.wait_for(session._task, WAIT)
        assert isinstance(session.ended, LoginRefused)


@pytest.mark.asyncio
async def test_users_of_a_shared_number(modules: Path) -> None:
    here = Place()
    here.register(JULIET)
    more = {"registration": "shared", "number": "JABBER"}
    async with npm.running(modules) as smsc, started(smsc.port, here, **more) as network:
        transport = await log_in(network, here, JULIET)
        await transport.send_text(ROMEO, text("hello"))
        sent = await smsc.happened("submit")
        assert (sent["from"], sent["from_ton"]) == ("JABBER", 5)
        with pytest.raises(NotDone, match="corrected"):
            await transport.send_text(ROMEO, Text("t2", "hallo", replaces="1"))


@pytest.mark.asyncio
async def test_an_smsc_that_is_killed_in_the_middle(modules: Path) -> None:
    """Every message is sent once, or its user is told that nobody knows, or it is not sent."""
    here = place()
    first = await npm.start(modules)
    async with started(first.port, here) as network:
        transport = await log_in(network, here, JULIET)

        async def send(number: int) -> str:
            try:
                return f"sent {await transport.send_text(ROMEO, text(f'm{number}'))}"
            except NotDone as error:
                return error.trouble.name

        sending = [asyncio.create_task(send(number)) for number in range(40)]
        await first.happened("submit")
        await first.kill()
        took = {said["text"] for said in first.all("submit")}
        second = await npm.start(modules, port=first.port, first=1_000)
        try:
            outcomes = await asyncio.wait_for(asyncio.gather(*sending), 2 * WAIT)
            again = [said["text"] for said in second.all("submit")]
        finally:
            await second.kill()
    assert len(again) == len(set(again))
    assert set(outcomes) - {"UNKNOWN_FATE"} == {one for one in outcomes if one.startswith("sent")}
    for number, outcome in enumerate(outcomes):
        name = f"m{number}"
        assert not (name in again and name in took)  # never twice
        if outcome == "UNKNOWN_FATE":
            assert name not in again
        elif int(outcome.split()[1]) > 1_000:
            assert name in again


@pytest.mark.asyncio
async def test_a_message_that_comes_again_since_its_answer_was_lost(modules: Path) -> None:
    here = place()
    gate = asyncio.Event()
    emit = here.emit

    async def slowly(user: str, event: object) -> None:
        await gate.wait()
        await emit(user, event)  # type: ignore[arg-type]  # as it came

    here.emit = slowly  # type: ignore[method-assign]  # slower than it was
    async with npm.running(modules) as smsc, started(smsc.port, here) as network:
        await log_in(network, here, JULIET)
        wish = {"source": ROMEO[1:], "destination": HERS[1:], "text": "once", "coding": 0}
        await smsc.tell("message", **wish)
        await smsc.tell("enquire")
        await smsc.happened("alive")  # the message was read
        await smsc.tell("cut")
        async with asyncio.timeout(WAIT):
            await network.hub.backend.link.wait_down()
        gate.set()
        await here.told(Arrived)
        async with asyncio.timeout(WAIT):
            await network.hub.backend.link.wait_up()
        for _ in range(2):
            await smsc.tell("message", **wish)
            assert (await smsc.happened("answered"))["status"] == 0
        # The first was the one that came before, the second is somebody who says it again.
        assert here.events == [(JULIET, Arrived(ROMEO, "once"))]


@pytest.mark.asyncio
async def test_nobody_is_there(unused_port: int) -> None:
    target = Target("127.0.0.1", unused_port, Bind())
    with pytest.raises(SmppError, match=r"cannot connect to 127\.0\.0\.1 port"):
        await Connection.open(target, Mode.TRANSCEIVER, SmppBackend(Settings(target), Numbers()))


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
