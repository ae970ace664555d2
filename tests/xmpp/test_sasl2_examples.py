"""The examples of XEP-0388 and its kin, as they are printed: what a server says to them."""

from __future__ import annotations

import base64

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.error import SaslCondition
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.mechanism import Credentials
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.authenticate import UserAgent
from tests.xmpp.sasl.kit import make_keys
from tests.xmpp.sasl2 import authenticate
from tests.xmpp.streams import ALL_INLINE, CLIENT, Talk, one_of, receiving

# The examples of XEP-0388, XEP-0474 and XEP-0515: user@example.org, whose password is "pencil"

OPENING = """<?xml version='1.0'?>
<stream:stream
  from='user@example.org'
  to='example.org'
  version='1.0'
  xml:lang='en'
  xmlns='jabber:client'
  xmlns:stream='http://etherx.jabber.org/streams'>
"""
FIRST = """<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1-PLUS'>
  <initial-response>cD10bHMtZXhwb3J0ZXIsLG49dXNlcixyPTEyQzRDRDVDLUUzOEUtNEE5OC04RjZELTE1QzM4RjUxQ0NDNg==</initial-response>
  <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'>
    <software>AwesomeXMPP</software>
    <device>Kiva's Phone</device>
  </user-agent>
</authenticate>
"""
NONCE = "a09117a6-ac50-4f2f-93f1-93799c2bddf6"


def example_server(enabled: tuple[str, ...] = ("SCRAM-SHA-1",), version: str = "") -> Talk:
    bindings = {"tls-exporter": b"THIS IS FAKE CB DATA", "tls-server-end-point": b"x"}
    talk = receiving(
        Channel(secure=True, bindings=bindings, version=version),
        sasl2=True,
        inline=ALL_INLINE,
        enabled=enabled,
        token=lambda: NONCE,
    )
    salt = base64.b64decode("QSXCR+Q6sek8bf92")
    talk.accounts = {"user": Credentials((make_keys("pencil", "sha1", salt),))}
    return talk


def test_the_example_of_xep_0515() -> None:
    talk = example_server(version="TLSv1.3")
    talk.say(OPENING)
    assert talk.say(FIRST) == (
        "<challenge xmlns='urn:xmpp:sasl:2'>"
        "cj0xMkM0Q0Q1Qy1FMzhFLTRBOTgtOEY2RC0xNUMzOEY1MUNDQzZhMDkxMTdhNi1hYzUwLTRmMmYtOTNmMS05"
        "Mzc5OWMyYmRkZjYscz1RU1hDUitRNnNlazhiZjkyLGk9NDA5NixoPUc2ay9yQkxEcWdPaFJSYUN1dWF0U0RG"
        "a0owOD0sdD0wMzA0"
        "</challenge>"
    )
    said = talk.say("""<response xmlns='urn:xmpp:sasl:2'>
  Yz1jRDEwYkhNdFpYaHdiM0owWlhJc0xGUklTVk1nU1ZNZ1JrRkxSU0JEUWlCRVFWUkIscj0xMkM0Q0Q1Qy1FMzhFLTRBOTgtOEY2RC0xNUMzOEY1MUNDQzZhMDkxMTdhNi1hYzUwLTRmMmYtOTNmMS05Mzc5OWMyYmRkZjYscD1LSFVmTjhkU3kxSzk1Y3JUNEQ1eTFJdExKZnM9
</response>""")
    assert said.partition("<stream:features>")[0] == (
        "<success xmlns='urn:xmpp:sasl:2'>"
        "<additional-data>dj0zdzM0WklNVlJreDJmMk96YjMvZWNSUFZkdjQ9</additional-data>"
        "<authorization-identifier>user@example.org</authorization-identifier>"
        "</success>"
    )
    agent = UserAgent(CLIENT, "AwesomeXMPP", "Kiva's Phone")
    user = JID("user", "example.org")
    assert talk.of(events.Authenticated) == [events.Authenticated(user, "SCRAM-SHA-1-PLUS")]
    assert [wanted.client for wanted in talk.of(events.InlineWanted)] == [agent]


def test_the_example_of_xep_0474() -> None:
    talk = example_server()
    talk.say(OPENING)
    assert talk.say(FIRST) == (
        "<challenge xmlns='urn:xmpp:sasl:2'>"
        "cj0xMkM0Q0Q1Qy1FMzhFLTRBOTgtOEY2RC0xNUMzOEY1MUNDQzZhMDkxMTdhNi1hYzUwLTRmMmYtOTNmMS05"
        "Mzc5OWMyYmRkZjYscz1RU1hDUitRNnNlazhiZjkyLGk9NDA5NixoPUc2ay9yQkxEcWdPaFJSYUN1dWF0U0RG"
        "a0owOD0="
        "</challenge>"
    )
    said = talk.say("""<response xmlns='urn:xmpp:sasl:2'>
  Yz1jRDEwYkhNdFpYaHdiM0owWlhJc0xGUklTVk1nU1ZNZ1JrRkxSU0JEUWlCRVFWUkIscj0xMkM0Q0Q1Qy1FMzhFLTRBOTgtOEY2RC0xNUMzOEY1MUNDQzZhMDkxMTdhNi1hYzUwLTRmMmYtOTNmMS05Mzc5OWMyYmRkZjYseD0xOUM2NTMyRi0xQ0Y0LTRBMjctQTE4RC1EQzlDRUE0MUJCQjMscD1NL1NJRGpUK2RmY3hVaDg5alpFeXBSdkZ4QjQ9
</response>""")
    success = one_of(said, "success")
    assert success.child_text(ns.SASL2, "additional-data") == (
        "dj1NUXJNUHZ2N3l2NHg0Q3E0VzRJaDI1RXFTMmM9"
    )
    assert success.child_text(ns.SASL2, "authorization-identifier") == "user@example.org"


# What XEP-0388 prints, and what this server has to say to it. Mechanisms and tasks that do not
# exist are refused; and its PLAIN message lacks a NUL.


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        ("""<authenticate xmlns='urn:xmpp:sasl:2' mechanism='BLURDYBLOOP'>
  <initial-response>
    SSBzaG91bGQgbWFrZSB0aGlzIGEgY29tcGV0aXRpb24=
  </initial-response>
  <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'>
    <software>AwesomeXMPP</software>
    <device>Kiva's Phone</device>
  </user-agent>
  <bind xmlns='urn:xmpp:bind:example'/>
</authenticate>""", SaslCondition.INVALID_MECHANISM),
        ("""<response xmlns='urn:xmpp:sasl:2'>
  Li4uSSdsbCBidXkgYSBiZWVyIGZvciB0aGUgZmlyc3QgcGVyc29uIHdoby4uLg==
</response>""", SaslCondition.MALFORMED_REQUEST),
        ("""<next xmlns='urn:xmpp:sasl:2' task='TOTP-EXAMPLE'>
  <totp xmlns="urn:totp:example">
    SSd2ZSBydW4gb3V0IG9mIGlkZWFzIGhlcmUu
  </totp>
</next>""", SaslCondition.MALFORMED_REQUEST),
        ("""<task-data xmlns='urn:xmpp:sasl:2'>
  <totp xmlns="urn:totp:example">
    OTRkMjdhY2ZmYTJlOTlhNDJiYTc3ODYxNjJhOWU3M2U3YWIxN2I5ZAo=
  </totp>
</task-data>""", SaslCondition.MALFORMED_REQUEST),
        ("""<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>
  <initial-response>AGFsaWNlQGV4YW1wbGUub3JnCjM0NQ==</initial-response>
  <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'>
    <software>AwesomeXMPP</software>
    <device>Kiva's Phone</device>
  </user-agent>
</authenticate>""", SaslCondition.MALFORMED_REQUEST),
        ("""<authenticate xmlns='urn:xmpp:sasl:2' mechanism='CRAM-MD5'>
  <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'>
    <software>AwesomeXMPP</software>
    <device>Kiva's Phone</device>
  </user-agent>
</authenticate>""", SaslCondition.INVALID_MECHANISM),
    ],
)  # fmt: skip
def test_the_examples_of_xep_0388(said: str, condition: SaslCondition) -> None:
    talk = example_server(("SCRAM-SHA-1", "PLAIN"))
    talk.say(OPENING)
    failure = one_of(talk.say(said), "failure")
    assert failure.ns == "urn:xmpp:sasl:2"
    assert failure.find(ns.SASL, condition.value) is not None
    (failed,) = talk.of(events.AuthenticationFailed)
    assert failed.error.condition is condition
    # The client may try again, also by the other kind of SASL.
    user = base64.b64encode(b"\0user\0pencil").decode()
    assert "<success" in talk.say(authenticate("PLAIN", user))


def test_the_first_examples_of_xep_0480() -> None:
    # Tasks that do not exist are not begun, and asking for them does no harm.
    talk = example_server()
    talk.say(OPENING)
    said = talk.say("""<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1-PLUS'>
  <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-BLOOP2</upgrade>
  <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-BLOOP-42</upgrade>
  <initial-response>cD10bHMtZXhwb3J0ZXIsLG49dXNlcixyPTEyQzRDRDVDLUUzOEUtNEE5OC04RjZELTE1QzM4RjUxQ0NDNg==</initial-response>
  <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'>
    <software>AwesomeXMPP</software>
    <device>Kiva's Phone</device>
  </user-agent>
</authenticate>""")
    assert one_of(said, "challenge").ns == "urn:xmpp:sasl:2"
    talk = example_server()
    talk.say(OPENING)
    said = talk.say("""<next xmlns='urn:xmpp:sasl:2' task='UPGR-BLOOP2'>
  <request xmlns='urn:xmpp:bloop2:example'>
    UGxlYXNlIHVwZ3JhZGUgbWUh
  </request>
</next>""")
    assert one_of(said, "failure").find(ns.SASL, "malformed-request") is not None
