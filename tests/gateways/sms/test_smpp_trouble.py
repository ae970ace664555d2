"""Binds that fail or break, and an SMSC that is slow: the npm package smpp again."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from jabberd.gateways.events import Arrived, Text, Trouble
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.smpp.backend import Settings, SmppBackend
from jabberd.gateways.sms.smpp.bodies import Bind
from jabberd.gateways.sms.smpp.connection import Connection, SmppError, Target
from jabberd.gateways.sms.smpp.session import Mode
from jabberd.gateways.transport import LoginRefused, Lost, NotDone
from tests.gateways.sms import smsc as npm
from tests.gateways.sms.site import WAIT, Place, Session, log_in, started, text

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
