"""Keys for other hash functions, made by who has just logged in (XEP-0480)."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.error import LocalError, SaslCondition, SaslError, StreamCondition
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import external, keys, scram
from jabberd.xmpp.sasl.mechanism import Credentials
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import InlineResult, InlineWanted
from jabberd.xmpp.stream.policy import Inline
from jabberd.xmpp.stream.receiving import ReceivingStream
from tests.xmpp.sasl.kit import BINDINGS, ITERATIONS, PASSWORD, counter, make_keys, reply
from tests.xmpp.sasl2 import JULIET, authenticate, plain, sasl1_plain, sasl2, server
from tests.xmpp.streams import DOMAIN, TLS, Talk, elements_of, header, one_of, printed

OLD = make_keys(PASSWORD, "sha1")
UPGRADE = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-{}</upgrade>"
ENABLED = (
    "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "ANONYMOUS",
)  # fmt: skip
BOTH = UPGRADE.format("256") + UPGRADE.format("512")


def old_server(*have: keys.ScramKeys, answers: bool = True, channel: Channel = TLS) -> Talk:
    """A server where Juliet's account is from a time when SHA-1 was good enough."""
    talk = server(channel, answers=answers)
    talk.accounts = {"juliet": Credentials(have or (OLD,))}
    return talk


def next_(name: str) -> str:
    return sasl2("next", attrs=f" task='UPGR-SCRAM-SHA-{name}'")


def hashed(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return sasl2("task-data", f"<hash xmlns='urn:xmpp:scram-upgrade:0'>{text}</hash>")


def salt_of(said: str) -> tuple[bytes, int]:
    """What the server gives with a task."""
    (element,) = printed(said)
    assert (element.ns, element.name) == ("urn:xmpp:scram-upgrade:0", "salt")
    return base64.b64decode(element.text), int(element.get("iterations"))


def derived(said: str, algorithm: str) -> bytes:
    salt, iterations = salt_of(said)
    return hashlib.pbkdf2_hmac(algorithm, PASSWORD.encode(), salt, iterations)


# The example of XEP-0480 §3


def test_the_example() -> None:
    talk = old_server()
    talk.say(header())
    said = talk.say(plain(UPGRADE.format("256")))
    assert printed(said) == printed("""<continue xmlns='urn:xmpp:sasl:2'>
    <tasks>
      <task>UPGR-SCRAM-SHA-256</task>
    </tasks>
  </continue>""")
    said = talk.say("<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-256'/>")
    salt, iterations = salt_of(said)
    assert (len(salt), iterations) == (16, ITERATIONS)
    said = talk.say("""<task-data xmlns='urn:xmpp:sasl:2'>
    <hash xmlns='urn:xmpp:scram-upgrade:0'>
      BzOnw3Pc5H4bOLlPZ/8JAy6wnTpH05aH21KW2+Xfpaw=
    </hash>
  </task-data>""")
    assert one_of(said, "success") == printed("""<success xmlns='urn:xmpp:sasl:2'>
    <authorization-identifier>juliet@example.com</authorization-identifier>
  </success>""")
    salted = base64.b64decode("BzOnw3Pc5H4bOLlPZ/8JAy6wnTpH05aH21KW2+Xfpaw=")
    made = keys.from_salted("sha256", salt, iterations, salted)
    assert talk.of(events.KeysUpgraded) == [events.KeysUpgraded(JULIET, made, (OLD,))]
    assert talk.kinds()[-2:] == [events.Authenticated, InlineWanted]


def test_the_keys_are_those_of_the_password() -> None:
    talk = old_server()
    talk.say(header(), plain(UPGRADE.format("512")))
    talk.say(hashed(derived(talk.say(next_("512")), "sha512")))
    (upgraded,) = talk.of(events.KeysUpgraded)
    assert upgraded.keys == make_keys(PASSWORD, "sha512", upgraded.keys.salt, ITERATIONS)


def test_two_tasks_one_after_the_other() -> None:
    talk = old_server()
    talk.say(header())
    assert "<task>UPGR-SCRAM-SHA-512</task>" in talk.say(plain(BOTH))
    first = talk.say(next_("512"))
    said = talk.say(hashed(derived(first, "sha512")))
    # XEP-0480 §2.2: "a single task"
    assert re.findall("<task>(.*?)</task>", said) == ["UPGR-SCRAM-SHA-256"]
    second = talk.say(next_("256"))
    assert salt_of(first)[0] != salt_of(second)[0]
    said = talk.say(hashed(derived(second, "sha256")))
    assert "<success" in said
    one, two = talk.of(events.KeysUpgraded)
    assert (one.keys.hash, two.keys.hash) == ("sha512", "sha256")
    assert (one.known, two.known) == ((OLD,), (OLD, one.keys))


def test_the_last_word_of_the_mechanism_comes_once() -> None:
    talk = old_server()
    talk.say(header())
    advertised = scram.Advertised(ENABLED, tuple(BINDINGS))
    client = scram.ScramClient("SCRAM-SHA-1", JULIET, PASSWORD, counter(), advertised)
    (challenge,) = elements_of(
        talk.say(authenticate("SCRAM-SHA-1", client.initial(), UPGRADE.format("256")))
    )
    final = base64.b64encode(reply(client, base64.b64decode(challenge.text))).decode()
    (element,) = elements_of(talk.say(sasl2("response", final)))
    assert [child.name for child in element] == ["additional-data", "tasks"]
    client.success(base64.b64decode(element.child_text(ns.SASL2, "additional-data") or ""))
    said = talk.say(hashed(derived(talk.say(next_("256")), "sha256")))
    assert "<success" in said
    assert "additional-data" not in said


def test_inline_requests_wait_for_the_tasks() -> None:
    talk = old_server()
    bind = "<bind xmlns='urn:xmpp:bind:0'/>"
    talk.say(header(), plain(bind + UPGRADE.format("256")))
    assert not talk.of(InlineWanted)
    assert not talk.of(events.Authenticated)
    said = talk.say(hashed(derived(talk.say(next_("256")), "sha256")) + "<message/>")
    assert "<bound " in said
    assert talk.kinds()[-1] is Message


# Where there is nothing to do


@pytest.mark.parametrize(
    ("inside", "have"),
    [
        ("", (OLD,)),
        (UPGRADE.format("1"), (OLD,)),  # not offered
        (UPGRADE.format("256-PLUS"), (OLD,)),
        (UPGRADE.format("256").replace("UPGR-", ""), (OLD,)),
        (BOTH, (make_keys(PASSWORD, "sha512"), make_keys(PASSWORD, "sha256"))),
    ],
)
def test_no_task(inside: str, have: tuple[keys.ScramKeys, ...]) -> None:
    talk = old_server(*have)
    assert "<success" in talk.say(header(), plain(inside))


def test_only_the_missing_keys_are_made() -> None:
    talk = old_server(OLD, make_keys(PASSWORD, "sha512"))
    assert "<task>UPGR-SCRAM-SHA-256</task>" in talk.say(header(), plain(BOTH))
    said = talk.say(hashed(derived(talk.say(next_("256")), "sha256")))
    assert "<success" in said


def test_who_has_shown_no_password_gives_no_keys() -> None:
    talk = old_server(channel=Channel(secure=True, identities=(JID("juliet", DOMAIN),)))
    assert external.NAME in talk.say(header())
    assert "<success" in talk.say(authenticate("EXTERNAL", b"", BOTH))
    talk = old_server()
    assert "<success" in talk.say(header(), authenticate("ANONYMOUS", b"", BOTH))


def test_nothing_is_offered_unless_it_is_allowed() -> None:
    talk = server(inline=Inline())
    talk.accounts = {"juliet": Credentials((OLD,))}
    said = talk.say(header(), plain(BOTH))
    assert "urn:xmpp:sasl:upgrade:0" not in said
    assert "<success" in said


# What goes wrong


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        ([sasl2("next")], SaslCondition.MALFORMED_REQUEST),
        ([next_("512")], SaslCondition.MALFORMED_REQUEST),
        ([sasl2("abort")], SaslCondition.ABORTED),
        ([next_("256"), sasl2("abort")], SaslCondition.ABORTED),
        ([next_("256"), sasl2("task-data")], SaslCondition.MALFORMED_REQUEST),
        ([next_("256"), hashed(b"")], SaslCondition.MALFORMED_REQUEST),
        ([next_("256"), hashed(b"x" * 31)], SaslCondition.MALFORMED_REQUEST),
        ([next_("256"), hashed(b"x" * 33)], SaslCondition.MALFORMED_REQUEST),
        ([next_("256"), hashed(b"x" * 32).replace("eH", "!H")], SaslCondition.INCORRECT_ENCODING),
        ([next_("256"), hashed(b"x" * 32).replace("urn:xmpp:scram", "urn:x")],
         SaslCondition.MALFORMED_REQUEST),
    ],
)  # fmt: skip
def test_tasks_that_are_not_done(said: list[str], condition: SaslCondition) -> None:
    talk = old_server()
    talk.say(header(), plain(UPGRADE.format("256")), *said)
    (failed,) = talk.of(events.AuthenticationFailed)
    assert (failed.account, failed.mechanism) == (JULIET, "PLAIN")
    assert failed.error.condition is condition
    assert not talk.of(events.KeysUpgraded)
    assert not talk.of(events.Authenticated)
    # XEP-0388 §4.8: not again on this stream.
    talk.say(plain())
    assert talk.condition is StreamCondition.POLICY_VIOLATION


@pytest.mark.parametrize("begun", [[], [next_("256")]])
@pytest.mark.parametrize(
    "text", [plain(), sasl1_plain(), sasl2("response"), "<message/>", "<x xmlns='urn:x'/>"]
)
def test_nothing_else_during_a_task(begun: list[str], text: str) -> None:
    talk = old_server()
    talk.say(header(), plain(UPGRADE.format("256")), *begun)
    talk.say(text)
    assert talk.condition in {StreamCondition.POLICY_VIOLATION, StreamCondition.NOT_AUTHORIZED}
    assert not talk.of(events.Authenticated)


def test_keys_that_cannot_be_stored() -> None:
    talk = old_server(answers=False)
    talk.say(header(), plain(UPGRADE.format("256")))
    talk.hear(talk.answer(talk.events[-1]))
    talk.hear(talk.answer(talk.events[-1]))
    talk.take()
    talk.say(hashed(derived(talk.say(next_("256")), "sha256")))
    assert isinstance(talk.stream, ReceivingStream)
    assert talk.kinds()[-1] is events.KeysUpgraded
    error = SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE)
    talk.hear(talk.stream.refuse_login(error))
    assert talk.events[-1] == events.AuthenticationFailed(JULIET, "PLAIN", error)
    assert b"<temporary-auth-failure" in talk.take()


def test_no_answer_leads_past_a_task() -> None:
    talk = old_server(answers=False)
    talk.say(header(), plain(UPGRADE.format("256")))
    talk.hear(talk.answer(talk.events[-1]))
    talk.hear(talk.answer(talk.events[-1]))
    talk.take()
    talk.say(hashed(derived(talk.say(next_("256")), "sha256")))
    assert isinstance(talk.stream, ReceivingStream)
    with pytest.raises(LocalError):
        talk.stream.inlined(InlineResult())
