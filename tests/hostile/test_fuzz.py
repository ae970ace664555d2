"""Valid conversations, mutated: whatever comes of it, it is never a fault of the server's.

The seed is fixed: a failure can be seen again by its number.
"""

from __future__ import annotations

import base64
import random
import re
import time
from collections.abc import Callable

import pytest

from tests.hostile.conftest import Connect
from tests.hostile.kit import CLIENT, HEADER, PASSWORD, PING, SASL, STREAM, TLS, Client
from tests.hostile.server import Server

# A locked account would keep later conversations from getting far.
SETTINGS = "[limits]\nlogin_attempts = 100000\n"
SEED = 6120
CASES = 300
AT_ONCE = 20  # cases between two looks at the bystander

OLD = HEADER.replace(" version='1.0'>", ">")
LOGIN = (
    "<iq type='set' id='l'><query xmlns='jabber:iq:auth'><username>{}</username>"
    f"<password>{PASSWORD}</password><resource>fuzz-</resource></query></iq>"
)
END = "</stream:stream>"
TALK = [
    "<presence><show>away</show><status xml:lang='de'>Ü</status><priority>5</priority></presence>",
    (
        "<message to='watcher@localhost/nobody' type='chat' id='1'><body>&amp;&#x1F600;</body>"
        "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    ),
    "<message to='user21@localhost'><subject>x</subject><body><![CDATA[<b>]]></body></message>",
    (
        "<iq type='set' id='2'><query xmlns='jabber:iq:roster'>"
        "<item jid='user22@localhost' name='B'><group>Friends</group></item></query></iq>"
    ),
    "<iq type='get' id='3'><query xmlns='jabber:iq:roster' ver='0'/></iq>",
    "<presence to='user22@localhost' type='subscribe'><status>please</status></presence>",
    "<presence to='user21@localhost/fuzz'/>",
    "<iq type='set' id='4'><vCard xmlns='vcard-temp'><FN>F U</FN><N><GIVEN/></N></vCard></iq>",
    "<iq type='get' id='5' to='user22@localhost'><vCard xmlns='vcard-temp'/></iq>",
    "<iq type='set' id='6'><query xmlns='jabber:iq:private'><e xmlns='u' a='1'>x</e></query></iq>",
    "<iq type='get' id='7' to='localhost'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    (
        "<iq type='get' id='8' to='localhost'><query xmlns='http://jabber.org/protocol/disco#items'"
        " node='http://jabber.org/protocol/commands'/></iq>"
    ),
    (
        "<iq type='set' id='9' to='localhost'><command xmlns='http://jabber.org/protocol/commands'"
        " node='x' action='execute' sessionid='1'><x xmlns='jabber:x:data' type='submit'>"
        "<field var='a'><value>b</value></field></x></command></iq>"
    ),
    "<iq type='get' id='10' to='user21@localhost'><query xmlns='jabber:iq:last'/></iq>",
    "<iq type='get' id='11' to='localhost'><time xmlns='urn:xmpp:time'/></iq>",
    "<iq type='get' id='12'><query xmlns='jabber:iq:register'/></iq>",
    "<iq type='result' id='13' to='localhost'/>",
    (
        "<message type='error' to='user22@localhost'><error type='cancel'><gone"
        " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:x@y</gone></error></message>"
    ),
    "<presence to='user22@localhost' type='probe'/>",
    "<presence type='unavailable'/>",
]
CONVERSATIONS = [
    # Of 1999: logged in by the second element.
    OLD + LOGIN.format("user20") + "".join(TALK) + END,
    OLD + LOGIN.format("user21") + "".join(reversed(TALK)) + END,
    # Of today, with the same login: no answer need be waited for.
    f"<?xml version='1.0' encoding='UTF-8'?>{HEADER[21:]}"
    + LOGIN.format("user22")
    + "".join(TALK)
    + PING.format("end")
    + END,
    # Before login.
    f"{HEADER}<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>"
    f"{base64.b64encode(b'n,,n=user20,r=abc').decode()}</auth>"
    f"<response xmlns='{SASL}'>{base64.b64encode(b'c=biws,r=abc,p=AAAA').decode()}</response>"
    f"<abort xmlns='{SASL}'/>" + END,
    (
        f"{HEADER}<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>"
        "<iq type='set' id='s'><query xmlns='jabber:iq:register'><username>user20</username>"
        f"<password>x</password></query></iq><starttls xmlns='{TLS}'/>"
    ),
]
TOKENS = [
    *(token.encode() for token in ("<", ">", "/", "'", '"', "&", ";", "=", ":", " ", "\n", "]]>")),
    *(token.encode() for token in ("<!--", "-->", "<![CDATA[", "<?x?>", "<!DOCTYPE a>", "&lt;")),
    *(token.encode() for token in ("xmlns='urn:z'", "xmlns=''", "z:", "xml:lang='x'", "<a/>")),
    *(token.encode() for token in (" to='@'", " from='x@y/z'", " type='error'", " id=''")),
    "\u202e".encode(),
    *(token.encode() for token in (END, HEADER, OLD, f"<x xmlns='{STREAM}'/>", CLIENT, "\ufeff")),
    b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"A" * 3000, b"<a>" * 200, b"9" * 400,
]  # fmt: skip


def flip(data: bytearray, chance: random.Random) -> None:
    """Another byte somewhere."""
    data[chance.randrange(len(data))] = chance.randrange(256)


def insert(data: bytearray, chance: random.Random) -> None:
    """Something that means something, somewhere."""
    place = chance.randrange(len(data) + 1)
    data[place:place] = chance.choice(TOKENS)


def remove(data: bytearray, chance: random.Random) -> None:
    """A few bytes less."""
    place = chance.randrange(len(data))
    del data[place : place + chance.choice((1, 1, 2, 5, 40))]


def repeat(data: bytearray, chance: random.Random) -> None:
    """The same again."""
    place = chance.randrange(len(data))
    data[place:place] = data[place : place + chance.choice((1, 10, 100, 1000))]


def swap(data: bytearray, chance: random.Random) -> None:
    """Two elements in each other's place."""
    tags = [found.span() for found in re.finditer(rb"<[^<>]*>", bytes(data))]
    if len(tags) > 1:
        (start, stop), (begin, end) = sorted(chance.sample(tags, 2))
        data[start:end] = data[begin:end] + data[stop:begin] + data[start:stop]


def change_value(data: bytearray, chance: random.Random) -> None:
    """An attribute with the value of another, or with one that is none."""
    values = [found.span(1) for found in re.finditer(rb"='([^']*)'", bytes(data))]
    if values:
        start, stop = chance.choice(values)
        begin, end = chance.choice(values)
        data[start:stop] = chance.choice((bytes(data[begin:end]), b"", b"x" * 2000, b"@", b"-1"))


def cut(data: bytearray, chance: random.Random) -> None:
    """The end is missing."""
    del data[chance.randrange(1, len(data)) :]


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flip, insert, insert, remove, repeat, swap, change_value, change_value, cut,
]  # fmt: skip


def mutated(number: int) -> bytes:
    """Conversation of this number; the same in every run."""
    chance = random.Random(SEED * 100_000 + number)
    data = bytearray(CONVERSATIONS[number % len(CONVERSATIONS)].encode())
    # What precedes the login mostly stays, or few would get beyond it.
    kept = data.find(b"</iq>") + 5 if chance.random() < 0.8 else 0
    head, tail = data[:kept], data[kept:]
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        if tail:
            chance.choice(MUTATIONS)(tail, chance)
    return bytes(head + tail)


@pytest.mark.parametrize("first", range(0, CASES, AT_ONCE))
def test_mutated_conversations(
    connect: Connect, server: Server, bystander: Client, first: int
) -> None:
    said = converse(connect, {number: mutated(number) for number in range(first, first + AT_ONCE)})
    for number, answer in said.items():
        assert b"internal-server-error" not in answer, (number, answer)
        assert b"undefined-condition" not in answer, (number, answer)
    bystander.ping(1.0)
    server.check()


def converse(connect: Connect, conversations: dict[int, bytes]) -> dict[int, bytes]:
    """Have all of them at once; those that do not end by themselves are ended by us."""
    clients = {number: connect() for number in conversations}
    for number, client in clients.items():
        client.send(conversations[number].replace(b"fuzz-", b"fuzz%d" % number))
    deadline = time.monotonic() + 0.4
    said = {}
    for number, client in clients.items():
        said[number] = client.drain(max(0.0, deadline - time.monotonic()), strict=False)
        client.close()
    return said


def test_the_conversations_themselves_get_somewhere(connect: Connect) -> None:
    """Otherwise the mutations would only ever test the first line."""
    said = converse(connect, {n: text.encode() for n, text in enumerate(CONVERSATIONS)})
    wanted = (b"id='12'", b"id='2'", b"id='end'", b"malformed-request", b"<conflict ")
    for answer, word in zip(said.values(), wanted, strict=True):
        assert word in answer, answer


def test_most_mutations_get_beyond_the_login(connect: Connect) -> None:
    numbers = [number for number in range(50) if number % len(CONVERSATIONS) < 3]
    said = converse(connect, {number: mutated(number) for number in numbers})
    assert sum(b"id='l'" in answer for answer in said.values()) > len(numbers) // 2
