"""XEP-0363: slots, their limits, and how long files stay."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jabberd.core.command import CommandError, Table
from jabberd.core.module import AccountEvent
from jabberd.core.ports import HttpApi, UploadApi
from jabberd.core.uploads import Refused, UploadRefused
from jabberd.modules import disco, http_upload
from jabberd.modules.http_upload import care, usage
from jabberd.modules.http_upload.options import Options
from jabberd.modules.http_upload.service import SPACE, Uploads
from jabberd.storage.files import Files
from jabberd.xmpp.jid import JID
from tests.modules.host import START, World

pytestmark = pytest.mark.asyncio
NS = "{urn:xmpp:http:upload:0}"
ERRORS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
CLIENT = "{jabber:client}"
DAY = 86_400.0
Shop = Callable[..., "House"]


class Web:
    """Stands for the HTTP side."""

    url = "https://example.com:5443"

    def __init__(self, folder: Path) -> None:
        self.files = Files(folder, durable=False)
        self.files.prepare()


class House:
    """The world with the module, and shorter words for what is done with it."""

    def __init__(self, world: World, folder: Path, options: Options) -> None:
        self.world = world
        world.host.registry.ports[HttpApi] = Web(folder)
        self.module = http_upload.load(world.host, options)
        world.load("http_upload", self.module)
        found: object = self.module.provides[UploadApi]
        assert isinstance(found, Uploads)
        self.uploads = found
        self.care = care.Care(world.host, found)

    async def request(
        self, size: int = 10, inside: str = "", *, who: str = "alice", more: str = ""
    ) -> ET.Element:
        """Ask for a slot; returns the answer."""
        session = await self.world.login(f"{who}/desk")
        await self.world.says(
            session,
            "<iq type='get' id='s' to='example.com'><request xmlns='urn:xmpp:http:upload:0' "
            f"filename='a b.png' size='{size}' {more}>{inside}</request></iq>",
        )
        (text,) = session.take()
        await self.world.leaves(session)
        return ET.fromstring(text)

    async def slot(self, size: int = 10, inside: str = "", *, who: str = "alice") -> str:
        """Ask for a slot; returns its token."""
        answer = await self.request(size, inside, who=who)
        found = answer.find(f"{NS}slot/{NS}get")
        assert found is not None, ET.tostring(answer)
        return found.attrib["url"].split("/")[-2]

    async def put(self, size: int = 10, inside: str = "", *, who: str = "alice") -> str:
        """Upload a file; returns its token."""
        token = await self.slot(size, inside, who=who)
        upload = await self.uploads.begin(token, "a b.png", size, "image/png")
        await upload.write(b"x" * size)
        await upload.finish()
        await upload.abandon()
        return token

    async def there(self, token: str) -> bool:
        """Whether a file is served."""
        return await self.uploads.find(token, "a b.png") is not None


@pytest_asyncio.fixture
async def shop(world: World, tmp_path: Path) -> AsyncIterator[Shop]:
    def make(**options: Any) -> House:
        return House(world, tmp_path / "uploads", Options(**options))

    yield make


def _error(answer: ET.Element) -> tuple[str, str, ET.Element | None]:
    """Type and condition of an error, and what else is in it."""
    error = answer.find("error")
    assert error is not None, ET.tostring(answer)
    condition = next(one.tag for one in error if one.tag.startswith(ERRORS))
    app = next((one for one in error if one.tag.startswith(NS)), None)
    return error.attrib["type"], condition.removeprefix(ERRORS), app


def _again(answer: ET.Element) -> str:
    kind, condition, app = _error(answer)
    assert (kind, condition) == ("wait", "resource-constraint")
    assert app is not None
    assert app.tag == f"{NS}retry"
    return app.attrib["stamp"]


async def test_a_slot(shop: Shop) -> None:
    house = shop()
    answer = await house.request(more="content-type='image/png'")
    put, get = answer.find(f"{NS}slot/{NS}put"), answer.find(f"{NS}slot/{NS}get")
    assert put is not None
    assert get is not None
    assert put.attrib == get.attrib
    url = put.attrib["url"]
    assert url.startswith("https://example.com:5443/upload/example.com/20231214-")
    assert url.endswith("/a%20b.png")


async def test_it_is_found(shop: Shop, world: World) -> None:
    shop(max_file_bytes=5_242_880)
    world.load("disco", disco.load(world.host, disco.Options()))
    alice = await world.login("alice/desk")
    await world.says(
        alice,
        "<iq type='get' id='d' to='example.com'>"
        "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    )
    (text,) = alice.take()
    assert "<identity category='server' type='im'" in text
    assert "<identity category='store' type='file'" in text
    assert "<feature var='urn:xmpp:http:upload:0'/>" in text
    for purpose in ("message", "profile", "ephemeral"):
        assert f"<feature var='urn:xmpp:http:upload:purpose:0#{purpose}'/>" in text
    assert "<value>urn:xmpp:http:upload:0</value>" in text
    assert "<field var='max-file-size'><value>5242880</value></field>" in text


async def test_without_https_there_is_nothing(world: World) -> None:
    module = http_upload.load(world.host, Options())
    assert not module.features
    assert not module.handlers
    assert not module.commands


async def test_too_large(shop: Shop) -> None:
    house = shop(max_file_bytes=100)
    assert (await house.request(100)).attrib["type"] == "result"
    kind, condition, app = _error(await house.request(101))
    assert (kind, condition) == ("modify", "not-acceptable")
    assert app is not None
    assert app.tag == f"{NS}file-too-large"
    assert app.findtext(f"{NS}max-file-size") == "100"


async def test_who_may_not(shop: Shop, world: World) -> None:
    shop(allow=("sms.example.com",))
    ask = (
        "<iq type='get' id='s' from='{}' to='example.com'>"
        "<request xmlns='urn:xmpp:http:upload:0' filename='a' size='1'/></iq>"
    )
    for sender in ("x@other.example/y", "x@sub.sms.example.com", "x@example.com.evil.example"):
        other = world.domain(sender.partition("@")[2].partition("/")[0])
        await world.arrives(ask.format(sender))
        (text,) = other.take()
        assert "<error type='auth'" in text
        assert "<forbidden" in text
    component = world.domain("sms.example.com")
    await world.arrives(ask.format("49170@sms.example.com"))
    (text,) = component.take()
    assert "<slot" in text


async def test_a_component_has_the_limits_of_one_account(shop: Shop, world: World) -> None:
    shop(allow=("sms.example.com",), slots=1)
    component = world.domain("sms.example.com")
    for name in ("one", "two"):
        await world.arrives(
            f"<iq type='get' id='s' from='{name}@sms.example.com' to='example.com'>"
            "<request xmlns='urn:xmpp:http:upload:0' filename='a' size='1'/></iq>"
        )
    first, second = component.take()
    assert "<slot" in first
    assert "<resource-constraint" in second


async def test_bytes_within_a_day(shop: Shop, world: World) -> None:
    house = shop(account_day_bytes=100)
    await house.put(60)
    world.clock.pass_(3600)
    await house.slot(40)  # what is only asked for counts too
    answer = await house.request(1)
    assert _again(answer) == "2023-11-15T22:13:20.000Z"  # a day after the first
    assert (await house.request(1, who="bob")).attrib["type"] == "result"
    world.clock.pass_(23 * 3600 + 1)
    assert (await house.request(60)).attrib["type"] == "result"


async def test_bytes_of_an_account(shop: Shop, world: World) -> None:
    house = shop(account_bytes=100, account_day_bytes=100, keep_days=3)
    await house.put(60)
    world.clock.pass_(DAY + 1)
    await house.put(40)
    world.clock.pass_(DAY + 1)
    assert _again(await house.request(1)) == "2023-11-18T00:00:00.000Z"
    world.clock.pass_(2 * DAY)
    assert await house.care.round() == 1
    assert (await house.request(60)).attrib["type"] == "result"


async def test_bytes_of_the_host(shop: Shop) -> None:
    house = shop(host_bytes=100)
    await house.put(50)
    await house.slot(40, who="bob")
    kind, condition, app = _error(await house.request(11, who="carol"))
    assert (kind, condition, app) == ("wait", "resource-constraint", None)
    assert (await house.request(10, who="carol")).attrib["type"] == "result"


async def test_slots_are_few_and_come_back(shop: Shop, world: World) -> None:
    house = shop(slots=2, slot_seconds=60)
    first = await house.slot()
    await house.slot()
    assert _again(await house.request()) == "2023-11-14T22:14:20.000Z"
    world.clock.pass_(61)
    await house.slot()
    with pytest.raises(UploadRefused) as refused:
        await house.uploads.begin(first, "a b.png", 10, "")
    assert refused.value.why is Refused.UNKNOWN


async def test_a_clock_that_is_set_back_holds_no_slot(shop: Shop, world: World) -> None:
    house = shop(slots=1)
    await house.slot()
    world.clock.at = START - DAY
    assert (await house.request()).attrib["type"] == "result"


async def test_files_of_an_account_are_counted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "FILES_MOST", 2)
    house = shop()
    await house.put()
    await house.put()
    assert _again(await house.request()) == "2023-12-15T00:00:00.000Z"


async def test_files_go_when_their_time_is_over(shop: Shop, world: World) -> None:
    house = shop(keep_days=2)
    token = await house.put()
    assert await house.care.round() == 0
    world.clock.pass_(2 * DAY - 1)
    assert await house.there(token)
    world.clock.pass_(1)
    assert not await house.there(token)
    world.clock.pass_(DAY)
    assert await house.care.round() == 1
    assert await world.stores.keyvalue.keys("alice@example.com", SPACE) == []
    assert await house.uploads.total() == 0


async def test_files_can_stay(shop: Shop, world: World) -> None:
    house = shop(keep_days=0)
    token = await house.put()
    world.clock.pass_(10_000 * DAY)
    assert await house.care.round() == 0
    assert await house.there(token)


async def test_an_ephemeral_file_goes_when_it_was_said(shop: Shop, world: World) -> None:
    house = shop(keep_days=30)
    inside = "<ephemeral xmlns='urn:xmpp:http:upload:purpose:0' expire-before='{}'/>"
    token = await house.put(10, inside.format("2023-11-14T23:00:00Z"))
    late = await house.put(10, inside.format("2099-01-01T00:00:00Z"))
    assert late.startswith("20231214-")  # not later than any other
    assert await house.there(token)
    world.clock.at = 1_700_002_800.0
    assert not await house.there(token)
    assert await house.there(late)
    kind, condition, _ = _error(await house.request(10, inside.format("2023-11-14T23:00:00Z")))
    assert (kind, condition) == ("modify", "not-acceptable")


async def test_a_profiles_files_stay_until_newer_ones_need_the_room(
    shop: Shop, world: World
) -> None:
    house = shop(profile_bytes=100, keep_days=1)
    inside = "<profile xmlns='urn:xmpp:http:upload:purpose:0'/>"
    tokens = []
    for _ in range(3):
        tokens.append(await house.put(45, inside))
        world.clock.pass_(60)
    assert [await house.there(token) for token in tokens] == [False, True, True]
    world.clock.pass_(100 * DAY)
    assert await house.care.round() == 0
    assert await house.there(tokens[2])
    _, condition, app = _error(await house.request(101, inside))
    assert condition == "not-acceptable"
    assert app is not None
    assert app.findtext(f"{NS}max-file-size") == "100"


async def test_nothing_is_kept_for_ever(shop: Shop) -> None:
    house = shop()
    inside = "<permanent xmlns='urn:xmpp:http:upload:purpose:0'/>"
    assert _error(await house.request(1, inside))[1] == "not-acceptable"


async def test_bad_requests(shop: Shop) -> None:
    house = shop()
    assert _error(await house.request(0))[:2] == ("modify", "bad-request")


async def test_more_or_less_than_was_said(shop: Shop) -> None:
    house = shop()
    for size in (9, 11):
        token = await house.slot(10)
        upload = await house.uploads.begin(token, "a b.png", 10, "")
        await upload.write(b"x" * 9)
        end = upload.finish() if size == 9 else upload.write(b"xx")
        with pytest.raises(UploadRefused) as refused:
            await end
        assert refused.value.why is Refused.SIZE
        await upload.abandon()
        await upload.abandon()
        assert not await house.there(token)


async def test_files_go_with_their_account(shop: Shop, world: World) -> None:
    house = shop()
    token, other = await house.put(), await house.put(who="bob")
    waiting = await house.slot()
    upload = await house.uploads.begin(await house.slot(), "a b.png", 10, "")
    await upload.write(b"x" * 10)
    await world.host.emit_account(AccountEvent.DELETING, JID.parse("alice@example.com"))
    assert not await house.there(token)
    assert await house.there(other)
    with pytest.raises(UploadRefused):
        await house.uploads.begin(waiting, "a b.png", 10, "")
    with pytest.raises(UploadRefused):
        await upload.finish()
    await upload.abandon()
    assert await house.uploads.total() == 10


async def test_what_is_listed_but_gone_is_listed_no_more(shop: Shop, world: World) -> None:
    house = shop()
    token = await house.put()
    house.uploads.files.remove(token)
    assert await house.uploads.used("alice@example.com") == []
    assert await world.stores.keyvalue.keys("alice@example.com", SPACE) == []


async def test_the_operator_sees_and_removes(shop: Shop) -> None:
    house = shop(account_bytes=1000, account_day_bytes=500, host_bytes=9000)
    tokens = [await house.put(), await house.put(), await house.put()]
    await house.put(who="bob")
    assert (await house.care.usage("alice@example.com")).rows == [
        ("account", 30, 3, 1000),
        ("within 24 hours", 30, 3, 500),
        ("whole host", 40, None, 9000),
    ]
    listed = await house.care.list("alice@example.com")
    assert isinstance(listed, Table)
    assert {row[0] for row in listed.rows} == set(tokens)
    assert listed.rows[0][1:] == (
        "a b.png", "image/png", 10, "2023-11-14 22:13:20Z", "2023-12-14 22:13:20Z",
    )  # fmt: skip
    said = await house.care.delete("alice@example.com", tokens[0])
    assert said == "The file is removed, 10 bytes."
    assert not await house.there(tokens[0])
    with pytest.raises(CommandError, match="has no file"):
        await house.care.delete("bob@example.com", tokens[1])
    for words in ({}, {"file": tokens[1], "all_": True}):
        with pytest.raises(CommandError, match="name a file"):
            await house.care.delete("alice@example.com", **words)  # type: ignore[arg-type]
    said = await house.care.delete("alice@example.com", all_=True)
    assert said == "Files of alice@example.com removed: 2, 20 bytes in all."
    assert await house.uploads.total() == 10
