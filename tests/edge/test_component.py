"""External components over real sockets: raw ones, and slixmpp's."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import slixmpp
from structlog.testing import capture_logs

from jabberd.core.eager import settle
from jabberd.core.returned import Returns
from jabberd.core.session import Session
from jabberd.core.verdict import Bounced, Handled, Relayed, Verdict
from jabberd.edge.component import ComponentConnection
from jabberd.edge.component_door import ComponentDoor
from jabberd.edge.senders import SenderQueues
from jabberd.net.clock import SystemClock
from jabberd.net.limits import Attempts
from jabberd.net.listen import Listener, ListenOptions
from jabberd.net.owner import PumpOptions
from jabberd.xmpp.error import StreamCondition, StreamError
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Iq, Message, Stanza, read_stanza
from tests.modules.host import RecordingSession, World

SMS = "sms.example.com"
SECRET = "swordfish-43"
WAIT = 10.0


class Peer:
    """A component's end of a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, text: str) -> None:
        """Send something."""
        self.writer.write(text.encode())

    async def hear(self, end: str) -> str:
        """Read up to a text; it must come."""
        async with asyncio.timeout(WAIT):
            return (await self.reader.readuntil(end.encode())).decode()

    async def rest(self) -> str:
        """Read to the end of the connection; it must come."""
        async with asyncio.timeout(WAIT):
            return (await self.reader.read()).decode()

    async def login(self, domain: str = SMS, secret: str = SECRET) -> None:
        """Header and handshake."""
        self.say(header(domain))
        opened = await self.hear(">")
        opened += await self.hear(">")
        stream_id = opened.partition(" id='")[2].partition("'")[0]
        assert len(stream_id) >= 5
        self.say(handshake(stream_id, secret))

    async def enter(self, domain: str = SMS, secret: str = SECRET) -> Peer:
        """Log in; it must work."""
        await self.login(domain, secret)
        assert await self.hear(">") == "<handshake/>"
        return self

    async def close(self) -> None:
        """End the connection."""
        self.writer.close()
        await self.writer.wait_closed()


def header(domain: str) -> str:
    """A component's stream header."""
    return (
        "<stream:stream xmlns='jabber:component:accept'"
        f" xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
    )


def handshake(stream_id: str, secret: str) -> str:
    """What proves the secret."""
    return f"<handshake>{hashlib.sha1((stream_id + secret).encode()).hexdigest()}</handshake>"


class Inn:
    """A host, and a door for components on a real port."""

    def __init__(self) -> None:
        tokens = itertools.count(10_000)
        self.world = World("example.com")
        self.events: asyncio.Queue[str] = asyncio.Queue()
        self.door = ComponentDoor(
            router=self.world.router,
            ledger=self.world.ledger,
            returns=Returns(self.world.router, {"example.com": self.world.host}),
            memory=self.world.stores.keyvalue,
            attempts=Attempts(),
            clock=SystemClock(),
            token=lambda: str(next(tokens)),
            limits_before=Limits(stanza_bytes=2_000),
            limits_after=Limits(stanza_bytes=20_000),
            login_seconds=WAIT * 3,
            output_bytes=65_536,
            on_up=lambda domain: self.events.put_nowait(f"up {domain}"),
            on_down=lambda domain: self.events.put_nowait(f"down {domain}"),
        )
        self.door.serve({SMS: SECRET})
        options = ListenOptions(PumpOptions(close_seconds=1.0))
        self.bugs: list[Exception] = []
        self.listener = Listener(
            "127.0.0.1:0",
            lambda: ComponentConnection(self.door),
            options,
            on_bug=self.bugs.append,
        )
        self.peers: list[Peer] = []

    async def peer(self) -> Peer:
        """A new connection."""
        address = self.listener.address
        peer = Peer(*await asyncio.open_connection(address.host, address.port))
        self.peers.append(peer)
        return peer

    async def happens(self, event: str) -> None:
        """The door tells this next."""
        async with asyncio.timeout(WAIT):
            assert await self.events.get() == event

    async def alice(self) -> RecordingSession:
        """A client of the host."""
        await self.world.account("alice")
        return await self.world.login("alice/desk")

    async def says(self, session: Session, text: str) -> Verdict:
        """A client of the host sends a stanza."""
        stanza = read_stanza(text.encode())
        stanza.from_ = session.jid
        return await settle(self.world.router.submit(stanza, session))


@asynccontextmanager
async def opened() -> AsyncIterator[Inn]:
    """A running inn."""
    inn = Inn()
    inn.listener.start()
    try:
        yield inn
    finally:
        for peer in inn.peers:
            await peer.close()
        await inn.listener.stop(2.0)
    assert inn.bugs == []
    assert inn.door.connections == set()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true; it must."""
    async with asyncio.timeout(WAIT):
        while not true():  # noqa: ASYNC110 -- what is waited for knows nothing of tests
            await asyncio.sleep(0.001)


async def received(session: RecordingSession, count: int = 1) -> list[str]:
    """What a client is sent, as soon as there is as much."""
    await until(lambda: len(session.inbox) >= count)
    return session.take()


def message(text: str, to: str = f"+4912@{SMS}") -> str:
    """A message of a client."""
    return (
        f"<message xmlns='jabber:client' type='chat' id='m' to='{to}'><body>{text}</body></message>"
    )


def sms(text: str, *, to: str = "alice@example.com/desk", by: str = f"+4912@{SMS}") -> str:
    """A message of a component."""
    return f"<message from='{by}' to='{to}' type='chat'><body>{text}</body></message>"


@pytest.mark.asyncio
async def test_messages_both_ways_with_untouched_payload() -> None:
    inner = "<body>a &lt; b</body><x xmlns='urn:x' xmlns:y='urn:y' y:z='1'>  <w/></x>"
    async with opened() as inn:
        alice = await inn.alice()
        peer = await (await inn.peer()).enter()
        await inn.happens(f"up {SMS}")
        head = f"from='+4912@{SMS}' to='alice@example.com/desk' type='chat' id='1'"
        peer.say(f"<message {head}>{inner}</message>")
        assert await received(alice) == [f"<message {head}>{inner}</message>"]
        stanza = Message(
            to=JID.parse(f"+4912@{SMS}"),
            from_=alice.jid,
            children=("jabber:client body", "urn:x x"),
            inner=inner.encode(),
        )
        verdict = await settle(inn.world.router.submit(stanza, alice))
        assert verdict == Relayed(f"component {SMS}")
        assert await peer.hear("</message>") == (
            f"<message from='alice@example.com/desk' to='+4912@{SMS}'>{inner}</message>"
        )


@pytest.mark.asyncio
async def test_a_request_that_nobody_answers_is_an_error_for_the_component() -> None:
    async with opened() as inn:
        peer = await (await inn.peer()).enter()
        peer.say(
            f"<iq type='get' id='q' from='bot@{SMS}' to='example.com'><query xmlns='urn:no'/></iq>"
        )
        answer = await peer.hear("</iq>")
        assert answer.startswith(f"<iq from='example.com' to='bot@{SMS}' type='error' id='q'>")
        assert "<service-unavailable " in answer
        # A domain that nobody serves; an error about it is not answered.
        peer.say(f"<message type='error' from='{SMS}' to='nowhere.example'/>")
        peer.say(f"<message id='n' from='{SMS}' to='nowhere.example'><body>x</body></message>")
        answer = await peer.hear("</message>")
        assert f"to='{SMS}' type='error' id='n'" in answer
        assert "<remote-server-not-found " in answer


@pytest.mark.asyncio
async def test_an_address_that_is_none() -> None:
    async with opened() as inn:
        alice = await inn.alice()
        peer = await (await inn.peer()).enter()
        for kind in ("result", "error"):
            peer.say(f"<iq type='{kind}' id='{kind}' from='bot@{SMS}' to='@'/>")
        peer.say(f"<iq type='get' id='get' from='bot@{SMS}' to='@'><q xmlns='urn:q'/></iq>")
        answer = await peer.hear("</iq>")
        assert answer.startswith(f"<iq from='{SMS}' to='bot@{SMS}' type='error' id='get'>")
        assert "<jid-malformed " in answer
        peer.say(sms("still here"))
        assert "still here" in (await received(alice))[0]


@pytest.mark.asyncio
async def test_a_component_that_is_away() -> None:
    async with opened() as inn:
        alice = await inn.alice()
        for away in ("never came", "went"):
            if away == "went":
                peer = await (await inn.peer()).enter()
                await inn.happens(f"up {SMS}")
                peer.say("</stream:stream>")
                assert await peer.rest() == "</stream:stream>"
                await inn.happens(f"down {SMS}")
            verdict = await inn.says(alice, message("hello"))
            assert isinstance(verdict, Bounced)
            (error,) = alice.take()
            assert error.startswith(f"<message from='+4912@{SMS}' to='alice@example.com/desk'")
            assert "type='wait'" in error
            assert "<remote-server-timeout " in error
        await (await inn.peer()).enter()
        await inn.happens(f"up {SMS}")
        assert isinstance(await inn.says(alice, message("hello")), Relayed)


@pytest.mark.asyncio
async def test_a_component_that_breaks_off_may_come_back() -> None:
    async with opened() as inn:
        alice = await inn.alice()
        peer = await (await inn.peer()).enter()
        await inn.happens(f"up {SMS}")
        peer.writer.transport.abort()
        await inn.happens(f"down {SMS}")
        peer = await (await inn.peer()).enter()
        await inn.happens(f"up {SMS}")
        await inn.says(alice, message("welcome back"))
        assert "welcome back" in await peer.hear("</message>")


@pytest.mark.asyncio
async def test_the_secret_is_checked_and_not_logged() -> None:
    with capture_logs() as logs:
        async with opened() as inn:
            peer = await inn.peer()
            await peer.login(secret="wrong-guess")
            peer.say(sms("spam"))
            answer = await peer.rest()
            assert "<not-authorized " in answer
            assert answer.endswith("</stream:stream>")
            await (await inn.peer()).enter()
        said = repr([*logs, inn.door])
    assert SECRET not in said
    assert "wrong-guess" not in said
    assert [log["component"] for log in logs if "refused" in log["event"]] == [SMS]
    assert inn.events.qsize() == 2


@pytest.mark.asyncio
async def test_guessing_is_slowed_down() -> None:
    async with opened() as inn:
        for _ in range(5):
            peer = await inn.peer()
            await peer.login(secret="guess")
            assert "<not-authorized " in await peer.rest()
        peer = await inn.peer()
        peer.say(header(SMS))
        assert "<policy-violation " in await peer.rest()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (header("other.example.com"), "host-unknown"),
        (header("example.com"), "host-unknown"),
        (header(f"sub.{SMS}"), "host-unknown"),
        (header(SMS).replace("jabber:component:accept", "jabber:client"), "invalid-namespace"),
        (header(SMS) + sms("too early"), "not-authorized"),
        (header(SMS) + f"<handshake>{'0' * 3000}</handshake>", "policy-violation"),
    ],
)
async def test_what_does_not_get_in(text: str, condition: str) -> None:
    async with opened() as inn:
        alice = await inn.alice()
        peer = await inn.peer()
        peer.say(text)
        answer = await peer.rest()
        assert answer.count("<stream:stream ") == 1
        assert f"<{condition} " in answer
        assert answer.endswith("</stream:stream>")
        assert alice.take() == []
        assert inn.events.empty()


@pytest.mark.asyncio
async def test_the_second_connection_gets_a_conflict_and_the_first_stays() -> None:
    async with opened() as inn:
        alice = await inn.alice()
        first = await (await inn.peer()).enter()
        second = await inn.peer()
        await second.login()
        assert "<conflict " in await second.rest()
        first.say(sms("first"))
        assert "first" in (await received(alice))[0]
        await inn.says(alice, message("to the first"))
        # The space is the probe that finds dead connections out.
        assert (await first.hear("</message>")).startswith(" <message ")
        assert inn.events.qsize() == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (sms("spoof", by="alice@example.com"), "invalid-from"),
        (sms("spoof", by=f"x@sub.{SMS}"), "invalid-from"),
        ("<message to='alice@example.com'/>", "improper-addressing"),
        (f"<message from='{SMS}'/>", "improper-addressing"),
        (sms("x" * 20_000), "policy-violation"),
        ("<handshake/>", "unsupported-stanza-type"),
    ],
)
async def test_what_gets_thrown_out(text: str, condition: str) -> None:
    async with opened() as inn:
        alice = await inn.alice()
        peer = await (await inn.peer()).enter()
        await inn.happens(f"up {SMS}")
        peer.say(sms("before") + text + sms("after"))
        answer = await peer.rest()
        assert f"<{condition} " in answer
        assert answer.endswith("</stream:stream>")
        await inn.happens(f"down {SMS}")
        assert ["<body>before</body>" in stanza for stanza in alice.take()] == [True]


@pytest.mark.asyncio
async def test_a_handshake_has_a_deadline() -> None:
    async with opened() as inn:
        inn.door.login_seconds = 0.01
        peer = await inn.peer()
        peer.say(header(SMS))
        assert "<connection-timeout " in await peer.rest()
        inn.door.login_seconds = WAIT
        await (await inn.peer()).enter()
        (connection,) = inn.door.connections
        assert isinstance(connection, ComponentConnection)
        assert connection._timer is None


@pytest.mark.asyncio
async def test_the_handshake_is_answered_before_the_first_stanza() -> None:
    async with opened() as inn:

        def greet(domain: str) -> None:
            inn.world.router.route(Message(from_=JID.parse("example.com"), to=JID.parse(domain)))

        inn.door.on_up = greet
        peer = await (await inn.peer()).enter()
        assert await peer.hear(">") == f"<message from='example.com' to='{SMS}'/>"


@pytest.mark.asyncio
async def test_a_component_that_does_not_read_is_disconnected() -> None:
    with capture_logs() as logs:
        async with opened() as inn:
            alice = await inn.alice()
            await (await inn.peer()).enter()
            await inn.happens(f"up {SMS}")
            text = message("x" * 10_000)
            for _ in range(5_000):  # 50 MB: more than the buffers of the sockets take
                if not isinstance(await inn.says(alice, text), Relayed):
                    break
                await asyncio.sleep(0)
            await inn.happens(f"down {SMS}")
            assert "<remote-server-timeout " in alice.take()[0]
    assert [log["component"] for log in logs if "does not read" in log["event"]] == [SMS]


@pytest.mark.asyncio
async def test_configuration_changes() -> None:
    async with opened() as inn:
        alice = await inn.alice()
        peer = await (await inn.peer()).enter()
        await inn.happens(f"up {SMS}")
        with pytest.raises(ValueError, match=r"example\.com is served already"):
            inn.door.serve({"example.com": "x"})
        inn.door.serve({SMS: SECRET, "new.example.com": "other"})
        await (await inn.peer()).enter("new.example.com", "other")
        await inn.happens("up new.example.com")
        inn.door.serve({SMS: "changed", "new.example.com": "other"})
        assert "<reset " in await peer.rest()
        await inn.happens(f"down {SMS}")
        peer = await (await inn.peer()).enter(SMS, "changed")
        await inn.happens(f"up {SMS}")
        inn.door.serve({"new.example.com": "other"})
        assert "<host-gone " in await peer.rest()
        await inn.happens(f"down {SMS}")
        assert "remote-server-not-found" in str(await inn.says(alice, message("x")))
        inn.door.close_all(StreamError(StreamCondition.SYSTEM_SHUTDOWN))
        await inn.happens("down new.example.com")


class Slow:
    """A domain where stanzas for some wait until they are let go."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.inbox: list[str] = []

    async def receive(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Keep the stanza's id, in time."""
        if stanza.to is not None and stanza.to.local == "slow":
            await self.gate.wait()
        self.inbox.append(stanza.id)
        return Handled("test")

    def knows(self, account: str) -> bool:
        """None of its accounts are ours."""
        return False


def numbered(ident: str, by: str, to: str, size: int = 0) -> str:
    """A message with an id."""
    body = f"<body>{'x' * size}</body>"
    return f"<message from='{by}@{SMS}/r' to='{to}@slow.example' id='{ident}'>{body}</message>"


@pytest.mark.asyncio
async def test_order_is_kept_per_sender_and_nobody_waits_for_another() -> None:
    async with opened() as inn:
        alice = await inn.alice()
        slow = Slow()
        inn.world.router.add("slow.example", slow)
        peer = await (await inn.peer()).enter()
        peer.say(numbered("a1", "a", "slow") + numbered("a2", "a", "quick"))
        peer.say(numbered("b1", "b", "quick") + numbered("a3", "a", "slow"))
        peer.say(numbered("a4", "a", "quick") + numbered("b2", "b", "quick") + sms("done"))
        await received(alice)
        assert slow.inbox == ["b1", "b2"]
        # What was received is not lost with its connection.
        await peer.close()
        await inn.happens(f"up {SMS}")
        await inn.happens(f"down {SMS}")
        slow.gate.set()
        await until(lambda: len(slow.inbox) == 6)
        assert slow.inbox == ["b1", "b2", "a1", "a2", "a3", "a4"]


@pytest.mark.asyncio
async def test_full_queues_stop_the_reading() -> None:
    async with opened() as inn:
        slow = Slow()
        inn.world.router.add("slow.example", slow)
        peer = await (await inn.peer()).enter()
        count = 1000
        for number in range(count):  # 10 MB
            peer.say(numbered(str(number), "a", "slow", 10_000))
        (connection,) = inn.door.connections
        assert isinstance(connection, ComponentConnection)
        queues = connection._queues
        await until(lambda: queues.full)
        (pump,) = inn.listener.pumps
        assert pump._transport is not None
        assert not pump._transport.is_reading()
        assert queues._bytes < 2_000_000
        slow.gate.set()
        await until(lambda: len(slow.inbox) == count)
        assert slow.inbox == [str(number) for number in range(count)]
        assert queues._bytes == 0
        assert queues._senders == {}


@pytest.mark.asyncio
async def test_a_fault_of_ours_does_not_stop_a_queue() -> None:
    gate = asyncio.Event()
    done: list[str] = []

    async def work(stanza: Stanza) -> Verdict:
        await gate.wait()
        done.append(stanza.id)
        raise ZeroDivisionError

    tasks = asyncio.get_running_loop()
    queues = SenderQueues(lambda stanza: tasks.create_task(work(stanza)), lambda: None)
    for ident in ("1", "2", "3"):
        queues.put(Message(from_=JID.parse(SMS), id=ident))
    with capture_logs() as logs:
        gate.set()
        await until(lambda: queues._senders == {})
    assert done == ["1", "2", "3"]
    assert [log["event"] for log in logs] == ["a stanza failed"] * 3


@pytest.mark.asyncio
async def test_queues_when_the_process_ends() -> None:
    started: list[str] = []

    async def hang(stanza: Stanza) -> Verdict:
        await asyncio.Event().wait()
        return Handled("never")

    def route(stanza: Stanza) -> asyncio.Task[Verdict]:
        started.append(stanza.id)
        task = asyncio.get_running_loop().create_task(hang(stanza))
        tasks.append(task)
        return task

    tasks: list[asyncio.Task[Verdict]] = []
    queues = SenderQueues(route, lambda: None)
    for ident in ("1", "2", "3"):
        queues.put(Message(from_=JID.parse(SMS), id=ident))
    tasks[0].cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(0)
    assert started == ["1"]
    assert queues._bytes == 0


@pytest.mark.asyncio
async def test_slixmpp(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with opened() as inn:
        alice = await inn.alice()
        make: Any = slixmpp.ComponentXMPP  # not annotated
        component = make(SMS, SECRET)
        component.register_plugin("xep_0030")
        component.register_plugin("xep_0199")
        component.add_event_handler(
            "message", lambda m: m.reply(f"you said {m['body']}").send() if m["body"] else None
        )
        component.connect(inn.listener.address.host, inn.listener.address.port)
        await inn.happens(f"up {SMS}")
        await inn.says(alice, message("hello"))
        (answer,) = await received(alice)
        assert answer.startswith(f"<message from='+4912@{SMS}' to='alice@example.com/desk'")
        assert "<body>you said hello</body>" in answer
        await inn.says(
            alice,
            f"<iq xmlns='jabber:client' type='get' id='d' to='{SMS}'>"
            "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
        )
        (answer,) = await received(alice)
        assert answer.startswith(f"<iq from='{SMS}' to='alice@example.com/desk' type='result'")
        assert "urn:xmpp:ping" in answer
        await inn.says(
            alice,
            f"<iq xmlns='jabber:client' type='get' id='e' to='{SMS}'><q xmlns='urn:no'/></iq>",
        )
        (answer,) = await received(alice)
        error = read_stanza(answer.replace("<iq ", "<iq xmlns='jabber:client' ", 1).encode())
        assert isinstance(error, Iq)
        assert error.type == "error"
        assert error.has("jabber:client", "error")
        await component.disconnect()
        await inn.happens(f"down {SMS}")
