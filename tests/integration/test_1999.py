"""The clients of 1999 (XEP-0078): the conversation of a client without `version`, as it was."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from xml.etree.ElementTree import fromstring

import pytest
import pytest_asyncio

import jabberd
from tests.integration.slix import Slix
from tests.integration.wire import CLIENT, STREAM, Wire, stanza_error, stream_error

pytestmark = pytest.mark.asyncio

HEADER = (
    '<?xml version="1.0"?> <stream:stream xmlns:stream="http://etherx.jabber.org/streams" '
    'xmlns="jabber:client" to="amessage.de">'
)
LOGIN = (
    '<iq type="set" id="auth_2" to="amessage.de" > <query xmlns="jabber:iq:auth"> '
    "<username>kuusipuu</username> <password>mypassword</password> "
    "<resource>Work</resource> </query> </iq>"
)
FAREWELL = (
    '<message to="tero@example.com" > <subject>test 1449</subject> <body>test 1449</body> '
    '</message> <presence type="unavailable" > <status>Logged out</status> </presence> '
    "</stream:stream>"
)
AUTH = "{jabber:iq:auth}"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[jabberd.Server]:
    async with jabberd.Server("amessage.de", config={"host": {"example.com": {}}}) as server:
        await server.add_user("kuusipuu@amessage.de", "mypassword")
        await server.add_user("tero@example.com", "terospassword")
        yield server


async def test_the_conversation(server: jabberd.Server) -> None:
    tero = Slix(server, "tero@example.com/today", "terospassword")
    await tero.online()
    reader, writer = await asyncio.open_connection(server.host, server.port)

    async def read(until: str) -> str:
        return (await asyncio.wait_for(reader.readuntil(until.encode()), 10)).decode()

    writer.write(HEADER.encode())
    header = (await read(">") + await read(">")).replace('"', "'")
    assert header.startswith("<?xml version='1.0'?><stream:stream ")
    assert " from='amessage.de'" in header
    assert re.search(r" id='[^']+'", header)
    assert " version=" not in header.partition("?>")[2]
    writer.write(LOGIN.encode())
    answer = await read(">")  # the very next element: no features came before it
    iq = fromstring(answer)
    assert iq.tag == "iq"
    assert (iq.get("from"), iq.get("id"), iq.get("type")) == ("amessage.de", "auth_2", "result")
    assert len(iq) == 0
    assert not iq.text
    writer.write(FAREWELL.encode())
    rest = await asyncio.wait_for(reader.read(), 10)
    assert rest == b"</stream:stream>"
    writer.close()
    await writer.wait_closed()

    message = await tero.message()
    assert message["subject"] == "test 1449"
    assert message["body"] == "test 1449"
    assert message["from"] == "kuusipuu@amessage.de/Work"
    await tero.leave()


async def legacy(server: jabberd.Server) -> Wire:
    wire = await Wire.connect(server.host, server.port)
    await wire.open("amessage.de", version=None)
    return wire


def query(**fields: str) -> str:
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f"<iq type='set' id='a'><query xmlns='jabber:iq:auth'>{inside}</query></iq>"


async def test_the_form_has_no_digest(server: jabberd.Server) -> None:
    async with await legacy(server) as wire:
        for name in ("kuusipuu", "nobody"):
            form = await wire.ask(
                "<iq type='get' id='g' to='amessage.de'><query xmlns='jabber:iq:auth'>"
                f"<username>{name}</username></query></iq>"
            )
            assert (form.get("type"), form.get("from")) == ("result", "amessage.de")
            fields = form.find(f"{AUTH}query")
            assert fields is not None
            assert [field.tag.removeprefix(AUTH) for field in fields] == [
                "username",
                "password",
                "resource",
            ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"username": "kuusipuu", "password": "wrong", "resource": "x"}, "401 not-authorized"),
        ({"username": "nobody", "password": "wrong", "resource": "x"}, "401 not-authorized"),
        ({"username": "kuusipuu", "password": "mypassword"}, "406 not-acceptable"),
        ({"username": "kuusipuu", "resource": "x"}, "406 not-acceptable"),
        ({"password": "mypassword", "resource": "x"}, "406 not-acceptable"),
        ({"username": "kuusipuu", "digest": "0" * 40, "resource": "x"}, "406 not-acceptable"),
    ],
)
async def test_refusals(server: jabberd.Server, fields: dict[str, str], expected: str) -> None:
    async with await legacy(server) as wire:
        answer = await wire.ask(query(**fields))
        assert answer.get("type") == "error"
        error = answer.find(f"{CLIENT}error")
        assert error is not None
        # XEP-0086: a client of 1999 reads the number, not the condition.
        assert f"{error.get('code')} {stanza_error(answer)[1]}" == expected
        # The stream goes on, and the right password still works.
        right = query(username="kuusipuu", password="mypassword", resource="Work")
        assert (await wire.ask(right)).get("type") == "result"


async def test_nothing_else_before_the_login(server: jabberd.Server) -> None:
    async with await legacy(server) as wire:
        await wire.send("<message to='tero@example.com'><body>hi</body></message>")
        assert stream_error(await wire.next()) == "not-authorized"


async def test_a_stanza_after_the_login_is_answered(server: jabberd.Server) -> None:
    async with await legacy(server) as wire:
        login = query(username="kuusipuu", password="mypassword", resource="Work")
        assert (await wire.ask(login)).get("type") == "result"
        await wire.ping("amessage.de")


async def test_a_listener_without_it() -> None:
    config = {"listen": {"c2s": [{"address": "127.0.0.1:0", "legacy_auth": False}]}}
    async with (
        jabberd.Server("amessage.de", config=config) as server,
        await Wire.connect(server.host, server.port) as wire,
    ):
        await wire.open("amessage.de", version=None)
        assert wire.header["from"] == "amessage.de"
        assert stream_error(await wire.next()) == "unsupported-version"
        assert (await wire.ended()).clean


async def test_it_is_not_offered_there_either() -> None:
    config = {"listen": {"c2s": [{"address": "127.0.0.1:0", "legacy_auth": False}]}}
    async with (
        jabberd.Server("amessage.de", config=config) as server,
        await Wire.connect(server.host, server.port) as wire,
    ):
        await wire.open("amessage.de")
        features = await wire.features()
        assert features.find("{http://jabber.org/features/iq-auth}auth") is None
        answer = await wire.ask(query(username="kuusipuu", password="x", resource="y"))
        assert stanza_error(answer) == ("cancel", "service-unavailable")


async def test_it_is_refused_after_sasl_failed(server: jabberd.Server) -> None:
    async with await Wire.connect(server.host, server.port) as wire:
        await wire.open("amessage.de")
        features = await wire.features()
        assert features.find("{http://jabber.org/features/iq-auth}auth") is not None
        await wire.start_tls("amessage.de")
        await wire.features()
        failure = await wire.plain("kuusipuu", "wrong")
        assert failure.find("{urn:ietf:params:xml:ns:xmpp-sasl}not-authorized") is not None
        await wire.send(query(username="kuusipuu", password="mypassword", resource="Work"))
        error = await wire.next()
        assert error.tag == f"{STREAM}error"
        assert stream_error(error) == "policy-violation"
        assert (await wire.ended()).clean
