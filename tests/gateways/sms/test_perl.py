"""The SMS network against a second SMSC, of another author: the Perl module Net::SMPP."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from jabberd.gateways.events import Arrived, Received
from jabberd.gateways.sms.network import SmsNetwork, load
from tests.gateways.sms.site import Place, log_in, options, text
from tests.gateways.sms.smsc import Smsc

JULIET = "juliet@example.org"
HERS = "+491700000001"
ROMEO = "+491711234567"


@pytest.fixture(scope="session")
def perl() -> str:
    """The interpreter, where it has the module."""
    found = shutil.which("perl") or ""
    if (
        not found
        or subprocess.run(
            [found, "-MNet::SMPP", "-e", "1"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("the Debian package libnet-smpp-perl is not installed")
    return found


@pytest_asyncio.fixture
async def smsc(perl: str) -> AsyncIterator[Smsc]:
    script = str(Path(__file__).with_name("smsc.pl"))
    made = await Smsc.start([perl, script], dict(os.environ))
    yield made
    await made.kill()


@pytest.mark.asyncio
async def test_texts_of_every_kind_there_and_back(smsc: Smsc) -> None:
    here = Place()
    here.register(JULIET, HERS)
    network = load(options(smsc.port))
    assert isinstance(network, SmsNetwork)
    await network.start(here)
    transport = await log_in(network, here, JULIET)
    for said in ("a {€} @ü_$", "Ждун 😀", "a €" * 100):
        name = await transport.send_text(ROMEO, text(said))
        assert await here.told(Received) == (JULIET, Received(ROMEO, name))
        user, arrived = await here.told(Arrived)
        assert (user, arrived.contact, arrived.body) == (JULIET, ROMEO, said)
    assert len(smsc.all("submit")) == 5
    await smsc.happened("enquire_link_resp")
    await network.stop()
    await smsc.happened("unbind")
    answers = smsc.all("deliver_sm_resp")
    assert len(answers) == 10
    assert {answer["status"] for answer in answers} == {0}
