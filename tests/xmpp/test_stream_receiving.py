"""The receiving role: conversations, and what ends them."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element
from jabberd.xmpp.error import (
    Condition,
    LocalError,
    SaslCondition,
    SaslError,
    StanzaError,
    StreamCondition,
    StreamError,
)
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Iq, Message, Presence, read_error
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.receiving import ReceivingStream
from tests.xmpp.documents import CUTS, cut
from tests.xmpp.sasl.kit import PASSWORD
from tests.xmpp.streams import (
    BEFORE,
    DOMAIN,
    PLAIN_TEXT,
    TLS,
    Talk,
    derive,
    header,
    receiving,
    result_of,
)

JULIET = JID("juliet", DOMAIN)
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
BIND = "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{}</bind></iq>"
END = "</stream:stream>"


def sasl(name: str, text: str = "", attrs: str = "") -> str:
    return f"<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'{attrs}>{text}</{name}>"


def plain(user: str = "juliet", password: str = PASSWORD) -> str:
    data = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    return sasl("auth", data, " mechanism='PLAIN'")


def legacy(user: str = "juliet", password: str = PASSWORD, resource: str = "Work") -> str:
    fields = {"username": user, "password": password, "resource": resource}
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items() if value)
    return f"<iq type='set' id='l1'><query xmlns='jabber:iq:auth'>{inside}</query></iq>"


def logged_in(**changes: Any) -> Talk:
    """A stream that waits for a resource to be asked for."""
    talk = receiving(TLS, **changes)
    talk.say(header(), plain(), header())
    return talk


def ready(**changes: Any) -> Talk:
    talk = logged_in(**changes)
    talk.say(BIND.format("<resource>balcony</resource>"))
    assert talk.stream.is_ready
    return talk


# The usual way


def test_from_the_first_byte_to_the_last() -> None:
    talk = receiving(tls_required=True)
    said = talk.say(header())
    assert "from='example.com'" in said
    assert "id='server-1'" in said
    assert "version='1.0'" in said
    assert "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" in said
    assert "mechanisms" not in said

    talk.answers = False
    assert talk.say(STARTTLS) == "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    assert talk.events == [events.UpgradeToTls()]
    assert isinstance(talk.stream, ReceivingStream)
    assert talk.stream.secured(TLS) == []
    assert talk.stream.is_secure
    assert talk.stream.host is None
    talk.answers = True

    said = talk.say(header())
    assert "starttls" not in said
    assert re.findall("<mechanism>(.*?)</mechanism>", said) == [
        "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "ANONYMOUS",
    ]  # fmt: skip
    assert re.findall("type='(.*?)'", said) == ["tls-exporter", "tls-server-end-point"]
    assert talk.say(plain()) == sasl("success").replace("></success>", "/>")
    assert talk.of(events.Authenticated) == [events.Authenticated(JULIET, "PLAIN")]

    said = talk.say(header())
    assert "mechanisms" not in said
    assert "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>" in said
    assert "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>" in said

    answer = result_of(talk.say(BIND.format("<resource>balcony</resource>")))
    assert (answer.type, answer.id) == ("result", "b1")
    bound = answer.child(ns.BIND, "bind")
    assert bound is not None
    assert bound.child_text(ns.BIND, "jid") == "juliet@example.com/balcony"
    assert talk.events[-1] == events.BindWanted(JULIET, "balcony", "PLAIN")

    assert talk.say("<presence/>", "<message to='a@b'><body>x</body></message>") == ""
    assert talk.kinds()[-2:] == [Presence, Message]
    assert talk.say(END) == END
    assert talk.closed == events.Closed(None, by_peer=True)
    assert talk.say("<presence/>") == ""
    assert talk.stream.eof() == []


def test_the_conversation_of_1999() -> None:
    talk = receiving()
    said = talk.say(
        '<?xml version="1.0"?> <stream:stream xmlns:stream="http://etherx.jabber.org/streams"'
        ' xmlns="jabber:client" to="example.org">'
    )
    assert re.search("<stream:stream [^>]*from='example.org'", said)
    assert re.search("<stream:stream [^>]* id='[^']+'", said)
    assert "version='1.0'" not in said.partition("?>")[2]
    assert "features" not in said
    said = talk.say(
        '<iq type="set" id="auth_2" to="example.org" > <query xmlns="jabber:iq:auth">'
        " <username>juliet</username> <password>r0m30myr0m30</password>"
        " <resource>Work</resource> </query> </iq>"
    )
    answer = result_of(said)
    assert (answer.type, answer.id, answer.from_, answer.inner) == (
        "result", "auth_2", JID("", "example.org"), b"",
    )  # fmt: skip
    account = JID("juliet", "example.org")
    assert events.BindWanted(account, "Work", "jabber:iq:auth") in talk.events
    said = talk.say(
        '<message to="tero@example.com" > <subject>test 1449</subject> <body>test 1449</body>'
        ' </message> <presence type="unavailable" > <status>Logged out</status> </presence>'
        " </stream:stream>"
    )
    assert said == END
    message, presence, closed = talk.events[-3:]
    assert isinstance(message, Message)
    assert message.body() == "test 1449"
    assert isinstance(presence, Presence)
    assert presence.type == "unavailable"
    assert closed == events.Closed(None, by_peer=True)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_everything_at_once(size: int) -> None:
    talk = receiving(TLS)
    text = header() + plain() + header() + BIND.format("") + "<presence/><message/>" + END
    talk.say(*(text[at : at + size] for at in range(0, len(text), size)))
    assert talk.kinds() == [
        events.CredentialsWanted, events.DeriveKey, events.Authenticated, events.BindWanted,
        Presence, Message, events.Closed,
    ]  # fmt: skip
    assert talk.condition is None


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_legacy_login_and_message_at_once(size: int) -> None:
    talk = receiving()
    text = header(rest="") + legacy() + "<message to='a@b'><body>hi</body></message>" + END
    talk.say(*(text[at : at + size] for at in range(0, len(text), size)))
    assert talk.kinds()[-3:] == [events.BindWanted, Message, events.Closed]


def test_questions_are_answered_late_while_more_arrives() -> None:
    talk = receiving(TLS, answers=False)
    talk.say(header(), plain())
    assert talk.kinds() == [events.CredentialsWanted]
    assert talk.stream.waits
    rest = header() + BIND.format("") + "<presence/>"
    for at in range(0, len(rest), 5):
        assert talk.say(rest[at : at + 5]) == ""
    assert talk.kinds() == [events.CredentialsWanted]
    talk.hear(talk.answer(talk.events[-1]))
    assert talk.kinds()[1:] == [events.DeriveKey]
    assert talk.say("<message/>") == ""
    talk.hear(talk.answer(talk.events[-1]))
    assert talk.kinds()[2:] == [events.Authenticated, events.BindWanted]
    talk.hear(talk.answer(talk.events[-1]))
    assert talk.kinds()[4:] == [Presence, Message]
    assert not talk.stream.waits


def test_who_sends_too_much_ahead_is_cut_off() -> None:
    talk = receiving(TLS, answers=False)
    talk.say(header(), plain())
    for _ in range(100):
        if talk.stream.closed:
            break
        talk.say("<message/>" * 200)
    assert talk.condition is StreamCondition.POLICY_VIOLATION


# Headers


@pytest.mark.parametrize(
    ("rest", "modern"), [(" version='1.0'", True), (" version='1.1'", True),
                         (" version='2.0'", True), (" version='0.9'", False), ("", False)],
)  # fmt: skip
def test_versions(rest: str, *, modern: bool) -> None:
    talk = receiving()
    said = talk.say(header(rest=rest)).partition("?>")[2]
    assert ("version='1.0'" in said) is modern
    assert ("<stream:features>" in said) is modern
    assert not talk.events


@pytest.mark.parametrize(
    ("first", "condition"),
    [
        (header(rest=" version='abc'"), StreamCondition.UNSUPPORTED_VERSION),
        (header(rest=" version=''"), StreamCondition.UNSUPPORTED_VERSION),
        (header(rest=" version='1'"), StreamCondition.UNSUPPORTED_VERSION),
        (header(rest=" version='-1.0'"), StreamCondition.UNSUPPORTED_VERSION),
        (header(rest=" version='1.0.0'"), StreamCondition.UNSUPPORTED_VERSION),
        (header(to=""), StreamCondition.IMPROPER_ADDRESSING),
        (header(to="@"), StreamCondition.IMPROPER_ADDRESSING),
        (header(to="a b"), StreamCondition.IMPROPER_ADDRESSING),
        (header(to="example.net"), StreamCondition.HOST_UNKNOWN),
        (header(to="juliet@example.com"), StreamCondition.HOST_UNKNOWN),
        (header(to="example.com/x"), StreamCondition.HOST_UNKNOWN),
        (header(content="jabber:server"), StreamCondition.INVALID_NAMESPACE),
        (header(content=""), StreamCondition.INVALID_NAMESPACE),
        (header().replace("etherx", "e"), StreamCondition.INVALID_NAMESPACE),
        (header().replace("stream:stream", "stream:x"), StreamCondition.BAD_FORMAT),
        (header() + "text" + plain(), StreamCondition.BAD_FORMAT),
        (header() + "<!-- x -->", StreamCondition.RESTRICTED_XML),
        (header() + "<x>&e;</x>", StreamCondition.RESTRICTED_XML),
        (header() + "<x><y></x>", StreamCondition.NOT_WELL_FORMED),
        (header() + "<z:x/>", StreamCondition.NOT_WELL_FORMED),
        ("<?xml version='1.0' encoding='UTF-16'?>", StreamCondition.UNSUPPORTED_ENCODING),
        ("<!DOCTYPE x>" + header(), StreamCondition.RESTRICTED_XML),
        ("GET / HTTP/1.0\r\n\r\n", StreamCondition.NOT_WELL_FORMED),
        (header(rest=" a='%s'" % ("x" * 9_000)), StreamCondition.POLICY_VIOLATION),
        (header() + "<message>%s" % ("x" * 9_000), StreamCondition.POLICY_VIOLATION),
        # Not logged in
        (header() + "<message/>", StreamCondition.NOT_AUTHORIZED),
        (header() + "<message to='@'/>", StreamCondition.NOT_AUTHORIZED),
        (header() + "<presence/>", StreamCondition.NOT_AUTHORIZED),
        (header() + "<iq type='get'><x xmlns='a:b'/></iq>", StreamCondition.NOT_AUTHORIZED),
        (header() + BIND.format(""), StreamCondition.NOT_AUTHORIZED),
        (header() + "<r xmlns='urn:xmpp:sm:3'/>", StreamCondition.NOT_AUTHORIZED),
        (header(rest="") + plain(), StreamCondition.NOT_AUTHORIZED),
        (header(rest="") + "<message/>", StreamCondition.NOT_AUTHORIZED),
    ],
)  # fmt: skip
def test_what_ends_a_stream_at_once(first: str, condition: StreamCondition) -> None:
    for pieces in ([first], list(first)):
        talk = receiving()
        said = talk.say(*pieces)
        assert talk.condition is condition
        assert talk.closed.by_peer
        # RFC 6120 §4.9.1.2: an error stands inside a stream.
        assert said.startswith("<?xml version='1.0'?><stream:stream ")
        assert f"<stream:error><{condition.value} " in said
        assert said.endswith(f"</stream:error>{END}")


@pytest.mark.parametrize("rest", ["", " version='0.9'"])
def test_no_version_where_legacy_logins_are_off(rest: str) -> None:
    talk = receiving(legacy_auth=False)
    talk.say(header(rest=rest))
    assert talk.condition is StreamCondition.UNSUPPORTED_VERSION


def test_what_ends_a_stream_after_login() -> None:
    for text, condition in (
        ("<message/>", StreamCondition.NOT_AUTHORIZED),
        ("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>", StreamCondition.NOT_AUTHORIZED),
        (plain(), StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (STARTTLS, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (legacy(), StreamCondition.NOT_AUTHORIZED),
    ):
        talk = logged_in()
        talk.say(text)
        assert talk.condition is condition


def test_a_login_is_good_for_one_host_and_for_xmpp_1() -> None:
    for second, condition in (
        (header("example.org"), StreamCondition.NOT_AUTHORIZED),
        (header(rest=""), StreamCondition.UNSUPPORTED_VERSION),
        (header("example.net"), StreamCondition.HOST_UNKNOWN),
    ):
        talk = receiving(TLS)
        talk.say(header(), plain(), second)
        assert talk.of(events.Authenticated)
        assert talk.condition is condition


def test_addresses_in_headers_come_back_in_order() -> None:
    talk = receiving()
    said = talk.say(header("EXAMPLE.com", " version='1.0' from='Juliet@Example.com'"))
    assert "from='example.com' to='juliet@example.com'" in said
    talk = receiving()
    assert " to=" not in talk.say(header("example.com", " version='1.0' from='@'"))


@pytest.mark.parametrize("stage", range(6))
def test_the_end_at_every_stage(stage: int) -> None:
    stages = [[], [header()], [header(), sasl("auth", attrs=" mechanism='SCRAM-SHA-1'")],
              [header(), plain()], [header(), plain(), header()],
              [header(), plain(), header(), BIND.format("")]]  # fmt: skip
    for end, condition in (
        (END, None),
        (f"<stream:error><reset xmlns='{ns.STREAM_ERRORS}'/></stream:error>", "reset"),
    ):
        talk = receiving(TLS)
        talk.say(*stages[stage])
        missing = header() if stage in {0, 3} else ""  # what is not open is not closed
        said = talk.say(missing + end)
        assert said.endswith(END)
        assert "<stream:error>" not in said
        assert talk.closed.by_peer
        assert (talk.condition.value if talk.condition else None) == condition


def test_closing_from_our_side() -> None:
    talk = ready()
    error = StreamError(StreamCondition.SYSTEM_SHUTDOWN, "bye")
    assert talk.stream.close(error) == [events.Closed(error, by_peer=False)]
    said = talk.stream.take().decode()
    assert said.startswith("<stream:error><system-shutdown ")
    assert ">bye</text></stream:error>" in said
    assert said.endswith(END)
    assert talk.stream.close() == []
    app = Element("urn:xmpp:sm:3", "handled-count-too-high", {"h": "10", "send-count": "8"})
    talk = ready()
    talk.stream.close(StreamError(StreamCondition.UNDEFINED_CONDITION, "too high", app))
    # RFC 6120 §4.9.2: the condition, the text, then what the application says.
    assert talk.stream.take().decode() == (
        f"<stream:error><undefined-condition xmlns='{ns.STREAM_ERRORS}'/>"
        f"<text xmlns='{ns.STREAM_ERRORS}' xml:lang='en'>too high</text>"
        "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/>"
        f"</stream:error>{END}"
    )
    early = receiving()
    (closed,) = early.stream.close()
    assert closed == events.Closed(None, by_peer=False)
    assert early.stream.take().endswith(END.encode())
    gone = ready()
    assert gone.stream.eof() == [events.Closed(None, by_peer=True)]
    assert gone.stream.take() == b""


# STARTTLS


def test_bytes_behind_starttls_are_refused() -> None:
    talk = receiving()
    talk.say(header(), STARTTLS + plain())
    assert talk.condition is StreamCondition.POLICY_VIOLATION
    assert not talk.of(events.UpgradeToTls)
    talk = receiving()
    talk.say(header(), STARTTLS + "\n")
    assert talk.of(events.UpgradeToTls)


def test_bytes_during_the_handshake_are_not_taken_for_protected() -> None:
    talk = receiving(answers=False)
    talk.say(header(), STARTTLS, header() + plain())
    assert isinstance(talk.stream, ReceivingStream)
    assert talk.stream.secured(TLS) == []
    talk.answers = True
    assert "SCRAM-SHA-1-PLUS" in talk.say(header())
    assert not talk.of(events.CredentialsWanted)


def test_starttls_where_there_is_none() -> None:
    for talk in (receiving(TLS), receiving(starttls=False)):
        assert "starttls" not in talk.say(header())
        assert "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" in talk.say(STARTTLS)
        assert talk.condition is StreamCondition.UNSUPPORTED_FEATURE


def test_nothing_but_starttls_where_tls_is_required() -> None:
    talk = receiving(tls_required=True)
    assert "<encryption-required/>" in talk.say(header(), plain())
    assert not talk.stream.closed
    for text in (legacy(), "<iq type='get'><query xmlns='jabber:iq:register'/></iq>"):
        talk = receiving(tls_required=True)
        talk.say(header(), text)
        assert talk.condition is StreamCondition.POLICY_VIOLATION


def test_another_host_after_tls_is_allowed_before_login() -> None:
    talk = receiving()
    talk.say(header(), STARTTLS)
    assert "from='example.org'" in talk.say(header("example.org"))


# SASL


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (plain(password="wrong"), SaslCondition.NOT_AUTHORIZED),
        (plain("nobody"), SaslCondition.NOT_AUTHORIZED),
        (plain("tybalt"), SaslCondition.ACCOUNT_DISABLED),
        (plain("nurse"), SaslCondition.NOT_AUTHORIZED),
        (sasl("auth", "!", " mechanism='PLAIN'"), SaslCondition.INCORRECT_ENCODING),
        (sasl("auth", "YQ==", " mechanism='PLAIN'"), SaslCondition.MALFORMED_REQUEST),
        (sasl("auth", "=", " mechanism='PLAIN'"), SaslCondition.MALFORMED_REQUEST),
        (sasl("auth", "YQ==", " mechanism='X'"), SaslCondition.INVALID_MECHANISM),
        (sasl("auth", "YQ=="), SaslCondition.INVALID_MECHANISM),
        (sasl("auth", "YQ==", " mechanism='EXTERNAL'"), SaslCondition.INVALID_MECHANISM),
        # Out of turn
        (sasl("response", "YQ=="), SaslCondition.MALFORMED_REQUEST),
        (sasl("abort"), SaslCondition.MALFORMED_REQUEST),
        (sasl("success"), SaslCondition.MALFORMED_REQUEST),
        (sasl("auth", attrs=" mechanism='PLAIN'") + plain(), SaslCondition.MALFORMED_REQUEST),
        (sasl("auth", attrs=" mechanism='PLAIN'") + sasl("abort"), SaslCondition.ABORTED),
        (sasl("auth", attrs=" mechanism='PLAIN'") + sasl("response"),
         SaslCondition.MALFORMED_REQUEST),
        (sasl("auth", attrs=" mechanism='PLAIN'") + sasl("response", "YQ="),
         SaslCondition.INCORRECT_ENCODING),
    ],
)  # fmt: skip
def test_failed_logins_may_be_repeated(text: str, condition: SaslCondition) -> None:
    talk = receiving(TLS)
    said = talk.say(header(), text)
    assert f"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition.value}/>" in said
    (failed,) = talk.of(events.AuthenticationFailed)
    assert failed.error.condition is condition
    assert "<success" in talk.say(plain())
    assert talk.of(events.Authenticated)


def test_a_failure_names_the_account_where_it_was_known() -> None:
    talk = receiving(TLS)
    talk.say(header(), plain("nobody"), sasl("auth", "YQ==", " mechanism='X'"))
    first, second = talk.of(events.AuthenticationFailed)
    assert (first.account, first.mechanism) == (JID("nobody", DOMAIN), "PLAIN")
    assert (second.account, second.mechanism) == (None, "")


def test_no_plain_without_tls() -> None:
    talk = receiving(PLAIN_TEXT)
    assert ">PLAIN<" not in talk.say(header())
    assert "<encryption-required/>" in talk.say(plain())


def test_the_fifth_failure_is_the_last() -> None:
    talk = receiving(TLS)
    talk.say(header())
    for _ in range(4):
        talk.say(plain(password="wrong"))
        assert not talk.stream.closed
    said = talk.say(plain(password="wrong"))
    assert said.index("<failure") < said.index("<stream:error>")
    assert talk.condition is StreamCondition.POLICY_VIOLATION
    assert len(talk.of(events.AuthenticationFailed)) == 5


def test_failures_count_across_legacy_and_hosts() -> None:
    talk = receiving()
    talk.say(header(rest=""))
    for _ in range(5):
        talk.say(legacy(password="wrong"))
    assert talk.condition is StreamCondition.POLICY_VIOLATION


def test_the_server_refuses_for_reasons_of_its_own() -> None:
    talk = receiving(TLS, answers=False)
    talk.say(header(), plain())
    assert isinstance(talk.stream, ReceivingStream)
    error = SaslError(SaslCondition.TEMPORARY_AUTH_FAILURE, "later")
    talk.hear(talk.stream.refuse_login(error))
    assert talk.events[-1] == events.AuthenticationFailed(JULIET, "PLAIN", error)
    said = talk.take().decode()
    assert "<temporary-auth-failure/><text" in said
    assert ">later</text>" in said


def test_answers_to_questions_that_nobody_asked() -> None:
    stream = receiving().stream
    assert isinstance(stream, ReceivingStream)
    for answer in (
        lambda: stream.secured(TLS),
        lambda: stream.credentials(None),
        lambda: stream.derived(b""),
        lambda: stream.bound(JULIET),
        lambda: stream.refuse_bind(StanzaError(Condition.CONFLICT)),
        lambda: stream.refuse_login(SaslError(SaslCondition.ABORTED)),
        lambda: stream.reply(Iq()),
        lambda: stream.policy,
    ):
        with pytest.raises(LocalError):
            answer()


def test_external_with_a_certificate() -> None:
    talk = receiving(Channel(secure=True, identities=(JULIET,)))
    assert re.findall("<mechanism>(.*?)</mechanism>", talk.say(header()))[0] == "EXTERNAL"
    assert "<success" in talk.say(sasl("auth", "=", " mechanism='EXTERNAL'"))
    assert talk.events[-1] == events.Authenticated(JULIET, "EXTERNAL")


# XEP-0078


def test_legacy_fields() -> None:
    talk = receiving()
    talk.say(header(rest=""))
    said = talk.say("<iq type='get' id='1'><query xmlns='jabber:iq:auth'/></iq>")
    query = result_of(said).child(ns.AUTH, "query")
    assert query is not None
    assert [child.name for child in query] == ["username", "password", "resource"]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (legacy(password="wrong"), Condition.NOT_AUTHORIZED),
        (legacy("nobody"), Condition.NOT_AUTHORIZED),
        (legacy("tybalt"), Condition.NOT_AUTHORIZED),
        (legacy("a@b"), Condition.NOT_AUTHORIZED),
        (legacy(resource=""), Condition.NOT_ACCEPTABLE),
        (legacy(password=""), Condition.NOT_ACCEPTABLE),
        (legacy("").replace("password", "digest"), Condition.NOT_ACCEPTABLE),
    ],
)
def test_legacy_refusals(text: str, condition: Condition) -> None:
    talk = receiving()
    error = read_error(
        result_of(talk.say(header(rest=""), text).partition(">")[2].partition(">")[2])
    )
    assert error.condition is condition
    assert result_of(talk.say(legacy())).type == "result"
    assert talk.stream.is_ready


def test_legacy_on_a_modern_stream() -> None:
    talk = receiving()
    assert "<auth xmlns='http://jabber.org/features/iq-auth'/>" in talk.say(header())
    assert result_of(talk.say(legacy())).type == "result"
    off = receiving(legacy_auth=False)
    assert "iq-auth" not in off.say(header())
    assert read_error(result_of(off.say(legacy()))).condition is Condition.SERVICE_UNAVAILABLE


def test_legacy_after_failed_sasl_is_a_violation() -> None:
    # XEP-0078 §3.3: who knows SASL does not fall back.
    talk = receiving(TLS)
    talk.say(header(), plain(password="wrong"), legacy())
    assert talk.condition is StreamCondition.POLICY_VIOLATION


def test_a_refused_legacy_resource_is_no_login() -> None:
    talk = receiving()
    talk.refusal = StanzaError(Condition.CONFLICT)
    talk.say(header(rest=""))
    assert read_error(result_of(talk.say(legacy()))).condition is Condition.CONFLICT
    # Neither the larger limits nor the login are kept.
    talk.refusal = None
    assert result_of(talk.say(legacy(resource="Other"))).type == "result"
    other = receiving()
    other.refusal = StanzaError(Condition.CONFLICT)
    other.say(header(rest=""), legacy())
    other.say("<message>%s" % ("x" * BEFORE.stanza_bytes))
    assert other.condition is StreamCondition.POLICY_VIOLATION


# Binding and registration


@pytest.mark.parametrize(
    ("inside", "resource"),
    [("", ""), ("<resource/>", ""), ("<resource>a b</resource>", "a b"),
     ("<resource>😀</resource>", "😀")],
)  # fmt: skip
def test_what_is_asked_for(inside: str, resource: str) -> None:
    talk = logged_in(answers=True)
    talk.answers = False
    talk.say(BIND.format(inside))
    assert talk.events[-1] == events.BindWanted(JULIET, resource, "PLAIN")


def test_a_refused_resource_may_be_asked_for_again() -> None:
    talk = logged_in()
    talk.refusal = StanzaError(Condition.CONFLICT, "taken")
    refused = result_of(talk.say(BIND.format("<resource>x</resource>")))
    assert (refused.type, refused.id) == ("error", "b1")
    assert read_error(refused).condition is Condition.CONFLICT
    assert not talk.stream.is_ready
    talk.refusal = None
    assert result_of(talk.say(BIND.format("<resource>y</resource>"))).type == "result"
    assert talk.stream.is_ready


def test_binding_is_a_set() -> None:
    talk = logged_in()
    answer = result_of(talk.say(BIND.format("").replace("'set'", "'get'")))
    assert read_error(answer).condition is Condition.BAD_REQUEST
    assert not talk.of(events.BindWanted)


def test_registration_before_login() -> None:
    talk = receiving(before_login=Element(ns.REGISTER_FEATURE, "register").to_bytes)
    assert "<register xmlns='http://jabber.org/features/iq-register'/>" in talk.say(header())
    iq = "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>"
    assert result_of(talk.say(iq)).type == "result"
    old = receiving()
    old.say(header(rest=""))
    assert result_of(old.say(iq)).id == "r"


def test_features_after_login() -> None:
    talk = receiving(TLS, after_login=Element("urn:xmpp:sm:3", "sm").to_bytes)
    assert "<sm xmlns='urn:xmpp:sm:3'/>" in talk.say(header(), plain(), header())


# Once stanzas flow


def test_what_flows() -> None:
    talk = ready()
    talk.say("<message to='@'/><iq type='get' id='1'/><r xmlns='urn:xmpp:sm:3'/> \n<presence/>")
    assert talk.kinds()[-4:] == [BadAddress, Iq, Nonza, Presence]
    assert talk.stream.send(Message(to=JULIET)) == b"<message to='juliet@example.com'/>"
    talk.say("<presence/></x>")
    assert talk.kinds()[-2:] == [Presence, events.Closed]
    assert talk.condition is StreamCondition.NOT_WELL_FORMED


def test_limits_are_larger_after_login() -> None:
    talk = ready()
    talk.say("<message>%s</message>" % ("x" * 100_000))
    assert talk.kinds()[-1] is Message


# Whatever comes

PIECES = st.sampled_from(
    [header(), header(rest=""), header("example.org"), STARTTLS, plain(), plain(password="no"),
     sasl("auth", attrs=" mechanism='SCRAM-SHA-1'"), sasl("auth", "=", " mechanism='ANONYMOUS'"),
     sasl("response", "YQ=="), sasl("response"), sasl("abort"), sasl("success"), legacy(),
     legacy(resource=""), legacy("x"), BIND.format(""), BIND.format("<resource>\u0007</resource>"),
     BIND.format("<a/><b/>"), BIND.format("").replace("</iq>", "<x/></iq>"),
     "<iq type='get'><query xmlns='jabber:iq:auth'/></iq>", "<message to='@'/>", "<presence/>",
     "<iq type='get'><query xmlns='jabber:iq:register'/></iq>", "<stream:error/>", END, " ",
     "<stream:features/>", "text", "<x xmlns='urn:x'><y/></x>", "<iq foo=' xmlns:a='/>",
     "<mess", "age/>"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    start=st.sampled_from(["", header(), header() + plain() + header()]),
    pieces=st.lists(PIECES.map(str.encode) | st.binary(max_size=20), max_size=10),
    places=CUTS,
    secure=st.booleans(),
    answers=st.booleans(),
)
def test_nothing_raises(
    start: str, pieces: list[bytes], places: list[float], *, secure: bool, answers: bool
) -> None:
    talk = receiving(TLS if secure else PLAIN_TEXT, answers=answers)
    talk.say(start)
    for piece in cut(b"".join(pieces), places):
        talk.say(piece)
    if talk.stream.closed:
        assert isinstance(talk.closed, events.Closed)
        assert talk.say(header()) == ""


def test_derived_is_what_hashlib_derives() -> None:
    question = events.DeriveKey(b"password", "sha1", b"salt", 1)
    # RFC 6070, first test vector.
    assert derive(question).hex() == "0c60c80f961f0e71f3a9b524af6012062fe037a6"
