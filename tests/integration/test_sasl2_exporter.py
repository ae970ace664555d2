"""SASL2 with SCRAM-PLUS and a token that is bound to the channel, by our own initiating role.

The exporter of TLS 1.3 (RFC 9266) is out of reach for the standard library: pyOpenSSL has it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest
from OpenSSL import SSL

import jabberd
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.mechanism import Token
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.authenticate import Authenticate, BindRequest, UserAgent
from jabberd.xmpp.stream.initiating2 import Sasl2InitiatingStream
from jabberd.xmpp.stream.login import Login, Tls
from tests.integration.phone import PHONE
from tests.net.kit import open_context, open_dial

pytestmark = pytest.mark.asyncio
EXPR: Final = "HT-SHA-256-EXPR"
EXPORTER: Final = b"EXPORTER-Channel-Binding"  # RFC 9266 §2
ALICE: Final = JID("alice", "localhost")


@dataclass(frozen=True)
class Outcome:
    """What came of a login.

    Attributes:
        answered: what the server made of the inline requests.
        ended: `SessionBound`, or why there is no session.
        flights: how often the client wrote something.
    """

    answered: events.InlineAnswered | None
    ended: events.Event
    flights: int


Bindings = Callable[[SSL.Connection], dict[str, bytes]]


def exporter(connection: SSL.Connection) -> dict[str, bytes]:
    return {"tls-exporter": connection.export_keying_material(EXPORTER, 32, b"")}


def of_another_connection(connection: SSL.Connection) -> dict[str, bytes]:
    return {"tls-exporter": bytes(32)}


async def log_in(
    server: jabberd.Server,
    request: Authenticate,
    fast: Token | None = None,
    *,
    password: str | None = "pw",
    bindings: Bindings = exporter,
) -> Outcome:
    place, context = (server.host, server.tls_port), open_context()
    async with asyncio.timeout(20):
        connection = await asyncio.to_thread(open_dial, place, context, name="localhost")
        # The timeout cannot stop a thread; this makes a blocked read fail there.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
        stream = Sasl2InitiatingStream(
            login=Login(ALICE, password, tls=Tls.OFF),
            channel=Channel(secure=True, bindings=bindings(connection), version="TLSv1.3"),
            limits=Limits(),
            token=lambda: secrets.token_hex(16),
            request=request,
            fast=fast,
        )
        try:
            return await asyncio.to_thread(drive, connection, stream)
        finally:
            connection.close()


def drive(connection: SSL.Connection, stream: Sasl2InitiatingStream) -> Outcome:
    stream.start()
    answered, flights = None, 0
    todo: list[events.Event] = []
    while True:
        if data := stream.take():
            connection.sendall(data)
            flights += 1
        if not todo:
            todo = stream.receive(connection.recv(65536))
            continue
        event = todo.pop(0)
        if isinstance(event, events.DeriveKey):
            key = hashlib.pbkdf2_hmac(event.hash, event.password, event.salt, event.iterations)
            todo += stream.derived(key)
        elif isinstance(event, events.InlineAnswered):
            answered = event
        elif not isinstance(event, events.Authenticated):
            return Outcome(answered, event, flights)


def request(*, token: bool = False, version: str | None = None) -> Authenticate:
    enable = Element(ns.SM, "enable", {"resume": "true"})
    return Authenticate(
        "",
        client=UserAgent(PHONE, "Test"),
        bind=BindRequest("Test", (enable,)),
        token_request=EXPR if token else "",
        config_version=version,
    )


async def test_a_token_bound_to_the_channel_saves_all_round_trips_but_one() -> None:
    async with jabberd.Server() as server:
        await server.add_user("alice", "pw")
        outcome = await log_in(server, request(token=True))
        assert isinstance(outcome.ended, events.SessionBound)
        jid = outcome.ended.jid
        answered = outcome.answered
        assert answered is not None
        assert answered.token is not None
        assert answered.bound is not None
        assert answered.bound.find(ns.SM, "enabled") is not None
        assert outcome.flights == 3  # the header, and two messages of SCRAM
        assert [s.facts.mechanism for s in server.running.assembly.sessions.all()] == [
            "SCRAM-SHA-512-PLUS"
        ]

        fast = Token(answered.token.get("token"), EXPR)
        again = request(version=answered.config_version)
        outcome = await log_in(server, again, fast, password=None)
        assert outcome.ended == events.SessionBound(jid)
        assert outcome.flights == 1
        assert [s.facts.mechanism for s in server.running.assembly.sessions.all()] == [EXPR]

        # What was made for another connection is worth nothing on this one.
        bindings = of_another_connection
        outcome = await log_in(server, again, fast, password=None, bindings=bindings)
        assert isinstance(outcome.ended, events.AuthenticationFailed | events.Closed)
        assert len(server.running.assembly.sessions.all()) == 1
