"""The way out by HTTP, against a real server, and what call-backs say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from jabberd.gateways.events import Trouble
from jabberd.gateways.sms.backend import Fragment, Incoming, Outcome, Outgoing, Receipt
from jabberd.gateways.sms.http import HttpBackend, Settings, read_incoming, read_receipt
from jabberd.gateways.sms.numbers import Numbers
from jabberd.gateways.sms.segments import Part
from jabberd.gateways.transport import Lost, NotDone
from tests.gateways.sms.far import Far, hub
from tests.gateways.sms.site import Place

SMS = Outgoing("+491700000001", "+491711234567", 'a & b="ü" 😀', receipt=True)
NUMBERS = Numbers("DE")


@dataclass
class Provider:
    """A provider.

    Attributes:
        answers: status and body, for requests to come.
        requests: method, address and body of what came.
        headers: of the last one.
    """

    answers: list[tuple[int, str]] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    port: int = 0


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(size).decode()
            made.requests.append((self.command, self.path, body))
            made.headers = dict(self.headers)
            status, said = made.answers.pop(0)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(said.encode())))
            self.end_headers()
            self.wfile.write(said.encode())

        do_POST = do_GET  # noqa: N815 -- as the base class has it

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 -- the same

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


async def send(settings: Settings) -> tuple[str, ...]:
    backend = HttpBackend(settings)
    made = await hub(Place(), Far())
    await backend.start(made)
    try:
        return await backend.send(SMS)
    finally:
        await backend.stop()
        await made.stop()


@pytest.mark.asyncio
async def test_a_request_as_kannel_wants_it(provider: Provider) -> None:
    provider.answers = [(202, "0: Accepted for delivery")]
    url = (
        "http://127.0.0.1:%d/cgi-bin/sendsms?username={username}&password={password}&from={from}"
        "&to={to}&text={text}&charset=UTF-8&coding={coding}&dlr-mask=31&dlr-url=%%2Fdlr%%2F{id}"
    )
    settings = Settings(url % provider.port, "me", "p&w", id_pattern="^(?:0|3): ")
    (name,) = await send(settings)
    method, address, _ = provider.requests[0]
    query = {key: value[0] for key, value in parse_qs(urlsplit(address).query).items()}
    assert method == "GET"
    assert query == {
        "username": "me", "password": "p&w", "from": SMS.source, "to": SMS.destination,
        "text": SMS.text, "charset": "UTF-8", "coding": "2", "dlr-mask": "31",
        "dlr-url": f"/dlr/{name}",
    }  # fmt: skip
    assert "p&w" not in repr(settings)


@pytest.mark.asyncio
@pytest.mark.parametrize("content", ["form", "json"])
async def test_a_body(provider: Provider, content: str) -> None:
    provider.answers = [(200, '{"messages": [{"id": "abc-1"}]}')]
    templates = {
        "form": "to={to}&text={text}&report={receipt}",
        "json": '{"to": ["{to}"], "body": {"text": "{text}"}, "report": {receipt}}',
    }
    settings = Settings(
        f"http://127.0.0.1:{provider.port}/send", password="token", body=templates[content],
        content="json" if content == "json" else "form", bearer=True,
        id_pattern=r'"id": "([^"]+)"',
    )  # fmt: skip
    assert await send(settings) == ("abc-1",)
    method, _, body = provider.requests[0]
    assert (method, provider.headers["Authorization"]) == ("POST", "Bearer token")
    if content == "json":
        expected = {"to": [SMS.destination], "body": {"text": SMS.text}, "report": 1}
        assert json.loads(body) == expected
    else:
        assert parse_qs(body) == {"to": [SMS.destination], "text": [SMS.text], "report": ["1"]}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "said", "trouble"),
    [
        (400, "bad number", Trouble.NOT_ACCEPTABLE),
        (302, "elsewhere", Trouble.NOT_ACCEPTABLE),
        (200, "ERROR", Trouble.NOT_ACCEPTABLE),
        (500, "oops", Trouble.UNKNOWN_FATE),
        (0, "", Trouble.UNKNOWN_FATE),
    ],
)
async def test_messages_that_are_not_taken(
    provider: Provider, status: int, said: str, trouble: Trouble
) -> None:
    provider.answers = [(status, said)]
    with pytest.raises(NotDone) as caught:
        await send(Settings(f"http://127.0.0.1:{provider.port}/?t={{text}}", id_pattern="^OK"))
    assert caught.value.trouble is trouble
    assert said in caught.value.text


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_provider_that_takes_nothing_now(provider: Provider, status: int) -> None:
    provider.answers = [(status, "later")]
    with pytest.raises(Lost, match="later"):
        await send(Settings(f"http://127.0.0.1:{provider.port}/"))


@pytest.mark.asyncio
async def test_a_provider_that_is_not_there() -> None:
    gone = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = gone.server_address[1]
    gone.server_close()
    with pytest.raises(Lost, match="cannot be reached"):
        await send(Settings(f"http://127.0.0.1:{port}/"))


def test_an_sms_that_comes_in() -> None:
    plain = {"from": b"01711234567", "to": b"+491700000001", "text": "ü\r\n".encode()}
    assert read_incoming(plain, NUMBERS) == Incoming("+491711234567", "+491700000001", "ü\n")
    ucs2 = {**plain, "text": "😀".encode("utf-16-be"), "charset": b"UTF-16BE"}
    assert read_incoming(ucs2, NUMBERS).text == "😀"
    part = read_incoming({**plain, "udh": bytes.fromhex("0500030702 02")}, NUMBERS)
    data = "ü\r\n".encode("utf-16-be")
    assert part.fragment == Fragment(Part(7, 2, 2), data, 8)
    for wrong in ({"text": b"x"}, {**plain, "charset": b"nonsense"}, {**plain, "text": b"\xff"}):
        with pytest.raises(ValueError):  # noqa: PT011 -- each has its own text
            read_incoming(wrong, NUMBERS)


def test_a_report_that_comes_in() -> None:
    given = {"id": b"x1", "status": b"1", "to": b"01711234567"}
    expected = Receipt("x1", Outcome.DELIVERED, "", "+491711234567")
    assert read_receipt(given, NUMBERS) == expected
    for status, outcome in (
        (b"2", Outcome.UNDELIVERABLE), (b"8", Outcome.PENDING), (b"16", Outcome.REJECTED),
        (b"Delivered", Outcome.DELIVERED), (b"what", Outcome.PENDING),
    ):  # fmt: skip
        assert read_receipt({**given, "status": status}, NUMBERS).outcome is outcome
    with pytest.raises(ValueError, match="required"):
        read_receipt({"id": b"x1"}, NUMBERS)
