"""The receiving role between servers."""

from __future__ import annotations

import base64

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, LocalError, StanzaError, StreamCondition, StreamError
from jabberd.xmpp.frames import BadAddress, Nonza
from jabberd.xmpp.stanza import Iq, Message, Stanza
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Closed, Pair
from tests.xmpp.documents import every_byte
from tests.xmpp.servers import (
    BIDI,
    CAPULET,
    END,
    ID,
    MONTAGUE,
    OURS,
    ROOMS,
    STARTTLS,
    THEIRS,
    ServerTalk,
    db,
    header,
    inside,
    key,
    offered,
    receiving,
)

STANZA = f"<message from='romeo@{CAPULET}' to='juliet@{MONTAGUE}'><body>hi</body></message>"
CLAIM = db("result", "k3y", from_=CAPULET, to=MONTAGUE)


def auth(authzid: str = CAPULET, mechanism: str = "EXTERNAL") -> str:
    """`<auth/>`, with an initial response that may be empty."""
    data = base64.b64encode(authzid.encode()).decode() or "="
    return f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{data}</auth>"


def proved(**changes: object) -> ServerTalk:
    """A stream that capulet.example has proved itself on, by its certificate."""
    talk = receiving(**changes)  # type: ignore[arg-type]  # passed through
    talk.say(header(), auth(), header())
    assert talk.proved() == [(OURS, "EXTERNAL")]
    talk.events.clear()
    return talk


def refused(said: str) -> str:
    """The condition of the one dialback error that was answered."""
    (element,) = inside(said)
    assert element.get("type") == "error"
    (error,) = element
    return next(iter(error)).name


# Headers


def test_the_header_is_answered() -> None:
    talk = receiving()
    said = talk.say(header())
    assert said.startswith("<?xml version='1.0'?><stream:stream xmlns='jabber:server'")
    start = said[: said.index(">", 25)]
    assert " xmlns:db='jabber:server:dialback'" in start
    assert f" from='{MONTAGUE}' to='{CAPULET}' id='id1' version='1.0'" in start
    assert talk.stream.stream_id == "id1"
    assert talk.receiving.local == MONTAGUE
    assert talk.events == [events.PeerWanted(CAPULET)]
    assert offered(said) == {
        (ns.SASL, "mechanisms"),
        (ns.DIALBACK_FEATURE, "dialback"),
        (ns.SM, "sm"),
        (ns.BIDI_FEATURE, "bidi"),
        (ns.LIMITS, "limits"),
    }
    assert "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>" in said


def test_domains_are_taken_in_their_canonical_form() -> None:
    talk = receiving()
    said = talk.say(header("MONTAGUE.Example.", "Capulet.EXAMPLE"))
    assert f" from='{MONTAGUE}' to='{CAPULET}'" in said
    assert talk.events == [events.PeerWanted(CAPULET)]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (header(content="jabber:client"), StreamCondition.INVALID_NAMESPACE),
        (header(to=""), StreamCondition.IMPROPER_ADDRESSING),
        (header(to="@"), StreamCondition.IMPROPER_ADDRESSING),
        (header(to="verona.example"), StreamCondition.HOST_UNKNOWN),
        (header(from_="@"), StreamCondition.IMPROPER_ADDRESSING),
        (header(from_=f"romeo@{CAPULET}"), StreamCondition.IMPROPER_ADDRESSING),
        (header(from_=MONTAGUE), StreamCondition.INVALID_FROM),
        (header(from_=ROOMS), StreamCondition.INVALID_FROM),
        (header(rest=" version='x'"), StreamCondition.UNSUPPORTED_VERSION),
        ("<!DOCTYPE x>" + header(), StreamCondition.RESTRICTED_XML),
        ("GET / HTTP/1.1\r\n\r\n", StreamCondition.NOT_WELL_FORMED),
        (header() + STANZA, StreamCondition.NOT_AUTHORIZED),
        (header() + "<r xmlns='urn:xmpp:sm:3'/>", StreamCondition.NOT_AUTHORIZED),
        (header() + "<x xmlns='urn:x'/>", StreamCondition.NOT_AUTHORIZED),
        (header() + "text<x/>", StreamCondition.BAD_FORMAT),
    ],
)
def test_what_ends_a_stream_before_anything_is_proved(
    text: str, condition: StreamCondition
) -> None:
    talk = receiving()
    said = talk.say(text + CLAIM)
    assert talk.condition is condition
    # RFC 6120 §4.9.1.2: the error comes inside a stream.
    assert said.count("<stream:stream ") == 1
    assert f"<{condition.value} " in said
    assert said.endswith(f"</stream:error>{END}")
    assert not talk.ready()
    assert not talk.of(events.PairClaimed)


def test_who_is_not_allowed_is_told_why() -> None:
    why = StreamError(StreamCondition.POLICY_VIOLATION, "no streams with that")
    asked: list[Pair] = []

    def allowed(pair: Pair) -> StreamError | None:
        asked.append(pair)
        return why

    talk = receiving(allowed=allowed)
    said = talk.say(header())
    assert asked == [OURS]
    assert talk.closed.error is why
    assert "no streams with that" in said


def test_a_header_without_from_has_no_certificate_looked_at() -> None:
    talk = receiving()
    said = talk.say(header(from_=""))
    assert talk.events == []
    assert (ns.SASL, "mechanisms") not in offered(said)
    talk.say(CLAIM)
    assert talk.of(events.PairClaimed) == [events.PairClaimed(OURS, "k3y", "id1")]


def test_the_driver_may_close_instead_of_an_answer() -> None:
    talk = receiving()
    talk.answers = False
    talk.say(header() + CLAIM)
    assert talk.stream.waits
    why = StreamError(StreamCondition.POLICY_VIOLATION, "a certificate for something else")
    talk.hear(talk.stream.close(why))
    assert talk.closed == Closed(why, by_peer=False)
    assert b"for something else" in talk.take()
    with pytest.raises(LocalError):
        receiving().receiving.peer(external=True)


def test_what_was_sent_ahead_of_an_answer_waits() -> None:
    talk = receiving()
    talk.answers = False
    talk.say(header() + CLAIM)
    assert talk.events == [events.PeerWanted(CAPULET)]
    talk.hear(talk.receiving.peer(external=False))
    assert talk.events[1:] == [events.PairClaimed(OURS, "k3y", "id1")]


# STARTTLS


def test_starttls() -> None:
    talk = receiving(secure=False)
    said = talk.say(header())
    assert "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" in said
    assert offered(said) == {(ns.TLS, "starttls"), (ns.LIMITS, "limits")}
    assert talk.say(STARTTLS) == f"<proceed xmlns='{ns.TLS}'/>"
    assert talk.events == [events.UpgradeToTls()]
    said = talk.say(header())
    assert " id='id2'" in said
    assert (ns.TLS, "starttls") not in offered(said)
    assert talk.events[1:] == [events.PeerWanted(CAPULET)]
    talk.say(STARTTLS)
    assert talk.condition is StreamCondition.UNSUPPORTED_FEATURE


@pytest.mark.parametrize(
    "early",
    [auth(), BIDI],
)
def test_nothing_goes_without_tls_where_it_is_required(early: str) -> None:
    talk = receiving(secure=False)
    talk.say(header(), early)
    assert talk.condition is StreamCondition.POLICY_VIOLATION
    assert not talk.stream.bidi


def test_dialback_without_tls_is_an_error_of_dialback_where_it_is_required() -> None:
    talk = receiving(secure=False)
    talk.say(header())
    assert refused(talk.say(CLAIM)) == "policy-violation"
    asked = db("verify", key(ID, THEIRS), from_=CAPULET, to=MONTAGUE, id=ID)
    assert refused(talk.say(asked)) == "policy-violation"
    assert talk.events == []
    # The peer may do better on the same stream.
    assert "proceed" in talk.say(STARTTLS)


def test_data_ahead_of_tls() -> None:
    talk = receiving(secure=False)
    talk.say(header(), STARTTLS + CLAIM)
    assert talk.condition is StreamCondition.POLICY_VIOLATION
    assert not talk.of(events.UpgradeToTls)


def test_a_claim_made_without_tls_does_not_outlive_it() -> None:
    talk = receiving(secure=False, tls_required=False)
    said = talk.say(header(), CLAIM)
    assert (ns.DIALBACK_FEATURE, "dialback") in offered(said)
    assert talk.of(events.PairClaimed)
    said = talk.say(STARTTLS)
    assert talk.condition is StreamCondition.UNSUPPORTED_FEATURE
    assert "proceed" not in said
    assert talk.receiving.verified(OURS, True) == []
    assert not talk.take()
    assert not talk.ready()


def test_without_tls_where_it_is_not_required() -> None:
    talk = receiving(secure=False, tls_required=False)
    said = talk.say(header())
    assert "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" in said
    assert (ns.SASL, "mechanisms") not in offered(said)
    assert talk.events == []  # there is no certificate to ask about
    talk.say(CLAIM)
    talk.hear(talk.receiving.verified(OURS, True))
    assert talk.proved() == [(OURS, "dialback")]


# SASL EXTERNAL


def test_external() -> None:
    talk = receiving()
    assert (ns.SASL, "mechanisms") in offered(talk.say(header()))
    assert talk.say(auth()) == f"<success xmlns='{ns.SASL}'/>"
    assert talk.proved() == []  # stanzas may not be sent before the new header
    assert not talk.ready()
    said = talk.say(header())
    assert " id='id2'" in said
    assert offered(said) == {
        (ns.DIALBACK_FEATURE, "dialback"),
        (ns.SM, "sm"),
        (ns.LIMITS, "limits"),
    }
    assert talk.proved() == [(OURS, "EXTERNAL")]
    assert talk.ready()
    assert talk.stream.pairs == {OURS: "EXTERNAL"}
    talk.say(STANZA)
    assert isinstance(talk.last(), Message)


@pytest.mark.parametrize(
    "said", [auth(""), auth("CAPULET.example"), f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'/>"]
)
def test_the_identity_may_be_left_out(said: str) -> None:
    talk = receiving()
    talk.say(header())
    answer = talk.say(said)
    if "challenge" in answer:  # RFC 6120 §6.4.2: there was no initial response
        answer = talk.say(f"<response xmlns='{ns.SASL}'/>")
    assert "<success" in answer
    talk.say(header(from_=""))
    assert talk.proved() == [(OURS, "EXTERNAL")]


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (auth("verona.example"), "invalid-authzid"),
        (auth(f"x@{CAPULET}"), "invalid-authzid"),
        (auth("@"), "invalid-authzid"),
        (auth(mechanism="PLAIN"), "invalid-mechanism"),
        (f"<auth xmlns='{ns.SASL}'/>", "invalid-mechanism"),
        (f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>%</auth>", "incorrect-encoding"),
    ],
)
def test_external_fails(said: str, condition: str) -> None:
    talk = receiving()
    talk.say(header())
    assert f"<failure xmlns='{ns.SASL}'><{condition}/>" in talk.say(said)
    assert isinstance(talk.last(), events.AuthenticationFailed)
    assert not talk.stream.closed
    # XEP-0178: dialback may follow.
    talk.say(CLAIM)
    talk.hear(talk.receiving.verified(OURS, True))
    assert talk.proved() == [(OURS, "dialback")]


def test_who_has_no_good_certificate_cannot_use_external() -> None:
    talk = receiving(external=False)
    assert (ns.SASL, "mechanisms") not in offered(talk.say(header()))
    assert "<not-authorized/>" in talk.say(auth())
    old = receiving()
    old.say(header(rest=""))
    assert "<not-authorized/>" in old.say(auth())
    talk = receiving()
    talk.say(header(from_=""))
    assert "<not-authorized/>" in talk.say(auth(""))


def test_a_challenge_may_be_aborted() -> None:
    talk = receiving()
    talk.say(header(), f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'/>")
    assert "<aborted/>" in talk.say(f"<abort xmlns='{ns.SASL}'/>")
    assert "<success" in talk.say(auth())


def test_attempts_are_counted() -> None:
    talk = receiving(external=False)
    talk.say(header(), *[auth()] * 4)
    assert not talk.stream.closed
    talk.say(auth())
    assert len(talk.of(events.AuthenticationFailed)) == 5
    assert talk.condition is StreamCondition.POLICY_VIOLATION


@pytest.mark.parametrize(
    "again", [header(from_="verona.example"), header(to=ROOMS), header(rest=" version='x'")]
)
def test_external_is_good_for_the_pair_of_the_header_only(again: str) -> None:
    talk = receiving()
    talk.say(header(), auth(), again)
    assert isinstance(talk.closed, Closed)
    assert talk.proved() == []
    assert not talk.ready()


def test_external_does_not_cross_a_claim() -> None:
    talk = receiving()
    talk.say(header(), CLAIM, auth())
    assert talk.condition is StreamCondition.NOT_AUTHORIZED
    assert "<success" not in talk.written.decode()
    assert talk.receiving.verified(OURS, True) == []


# Claims by dialback


def test_a_claim_is_verified() -> None:
    talk = receiving(external=False)
    talk.say(header())
    assert talk.say(CLAIM) == ""
    assert talk.last() == events.PairClaimed(OURS, "k3y", "id1")
    assert talk.say(CLAIM) == ""  # it is being verified already
    assert len(talk.of(events.PairClaimed)) == 1
    talk.hear(talk.receiving.verified(OURS, True))
    said = talk.take().decode()
    assert said == f"<db:result from='{MONTAGUE}' to='{CAPULET}' type='valid'/>"
    assert talk.proved() == [(OURS, "dialback")]
    assert talk.receiving.verified(OURS, True) == []
    assert talk.say(CLAIM) == said
    assert len(talk.of(events.PairClaimed)) == 1
    talk.say(STANZA)
    assert isinstance(talk.last(), Message)


def test_keys_may_stand_between_white_space() -> None:
    talk = receiving()
    talk.say(header(), db("result", "\n  k3y\n", from_=CAPULET, to=MONTAGUE))
    assert talk.last() == events.PairClaimed(OURS, "k3y", "id1")


def test_an_invalid_key_ends_the_stream() -> None:
    talk = receiving()
    talk.say(header(), CLAIM)
    talk.hear(talk.receiving.verified(OURS, False))
    assert talk.closed == Closed(None, by_peer=True)
    assert talk.take().decode().endswith(f" type='invalid'/>{END}")
    assert not talk.ready()


def test_an_error_ends_nothing() -> None:
    talk = receiving()
    talk.say(header(), CLAIM)
    error = StanzaError(Condition.REMOTE_SERVER_NOT_FOUND, "no such name")
    assert talk.receiving.verified(OURS, False, error) == []
    assert refused(talk.take().decode()) == "remote-server-not-found"
    talk.say(CLAIM)  # it may try again
    assert len(talk.of(events.PairClaimed)) == 2
    talk.say(STANZA)
    assert talk.condition is StreamCondition.NOT_AUTHORIZED


def test_late_answers_and_answers_to_nothing() -> None:
    talk = receiving()
    talk.say(header())
    assert talk.receiving.verified(OURS, True) == []
    assert not talk.take()
    assert not talk.ready()
    talk.say(CLAIM, END)
    assert talk.receiving.verified(OURS, True) == []


def test_what_came_behind_a_claim_is_not_lost() -> None:
    talk = receiving()
    talk.say(header(), CLAIM + STANZA[:20])
    talk.hear(talk.receiving.verified(OURS, True))
    talk.take()
    talk.say(STANZA[20:])
    assert isinstance(talk.last(), Message)


@pytest.mark.parametrize(
    ("attrs", "condition"),
    [
        ({"from_": CAPULET, "to": "verona.example"}, "item-not-found"),
        ({"from_": MONTAGUE, "to": MONTAGUE}, "policy-violation"),
        ({"from_": ROOMS, "to": MONTAGUE}, "policy-violation"),
        ({"from_": "bad.example", "to": MONTAGUE}, "policy-violation"),
    ],
)
def test_claims_that_are_refused(attrs: dict[str, str], condition: str) -> None:
    def allowed(pair: Pair) -> StreamError | None:
        bad = pair.remote == "bad.example"
        return StreamError(StreamCondition.POLICY_VIOLATION, "no") if bad else None

    talk = proved(allowed=allowed)
    said = talk.say(db("result", "k3y", **attrs))
    assert refused(said) == condition
    # XEP-0220 §2.4.2: by the names that the request was for.
    assert f" from='{attrs['to']}' to='{attrs['from_']}'" in said
    assert talk.events == []
    talk.say(STANZA)
    assert isinstance(talk.last(), Message)


def test_claims_where_dialback_is_not_enough() -> None:
    talk = receiving(external=False, dialback=False)
    said = talk.say(header())
    assert (ns.DIALBACK_FEATURE, "dialback") not in offered(said)
    assert refused(talk.say(CLAIM)) == "not-authorized"
    assert not talk.of(events.PairClaimed)
    again = receiving(dialback=False)
    again.say(header(), auth())
    assert offered(again.say(header())) == {
        (ns.SM, "sm"),
        (ns.LIMITS, "limits"),
    }


def test_pairs_are_counted() -> None:
    talk = proved(most_pairs=3)
    for number in range(2):
        talk.say(db("result", "k3y", from_=f"{number}.example", to=MONTAGUE))
    assert len(talk.of(events.PairClaimed)) == 2
    said = talk.say(db("result", "k3y", from_="2.example", to=MONTAGUE))
    assert refused(said) == "resource-constraint"
    assert len(talk.of(events.PairClaimed)) == 2
    error = StanzaError(Condition.REMOTE_SERVER_NOT_FOUND)
    talk.hear(talk.receiving.verified(Pair(MONTAGUE, "0.example"), False, error))
    talk.take()
    talk.say(db("result", "k3y", from_="2.example", to=MONTAGUE))
    assert len(talk.of(events.PairClaimed)) == 3


def test_more_pairs_on_one_stream() -> None:
    talk = proved()
    other = Pair(ROOMS, CAPULET)
    talk.say(db("result", "k3y", from_=CAPULET, to=ROOMS))
    assert talk.events == [events.PairClaimed(other, "k3y", "id2")]
    to_rooms = f"<message from='romeo@{CAPULET}' to='balcony@{ROOMS}'/>"
    talk.say(STANZA)  # meanwhile
    talk.hear(talk.receiving.verified(other, True))
    talk.take()
    talk.say(to_rooms, STANZA)
    assert [str(e.to) for e in talk.of(Message)] == [
        f"juliet@{MONTAGUE}",
        f"balcony@{ROOMS}",
        f"juliet@{MONTAGUE}",
    ]
    assert talk.stream.pairs == {OURS: "EXTERNAL", other: "dialback"}


@pytest.mark.parametrize("type_", ["valid", "invalid", "error"])
@pytest.mark.parametrize("name", ["result", "verify"])
def test_answers_that_nobody_asked_for_prove_nothing(name: str, type_: str) -> None:
    # XEP-0220 §3.1, XEP-0288 §4
    talk = receiving()
    talk.say(header(), CLAIM)
    seen = len(talk.events)
    answer = db(name, from_=CAPULET, to=MONTAGUE, type=type_, id="id1")
    assert talk.say(answer) == ""
    assert len(talk.events) == seen
    assert not talk.ready()
    talk.say(STANZA)
    assert talk.condition is StreamCondition.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("element", "condition"),
    [
        (db("result", "k", to=MONTAGUE), StreamCondition.IMPROPER_ADDRESSING),
        (db("result", "k", from_=CAPULET), StreamCondition.IMPROPER_ADDRESSING),
        (db("result", "k", from_="@", to=MONTAGUE), StreamCondition.IMPROPER_ADDRESSING),
        (
            db("result", "k", from_=f"r@{CAPULET}", to=MONTAGUE),
            StreamCondition.IMPROPER_ADDRESSING,
        ),
        (db("verify", "k", from_=CAPULET, to=MONTAGUE), StreamCondition.BAD_FORMAT),
        (db("result", "k", from_=CAPULET, to=MONTAGUE, type="?"), StreamCondition.BAD_FORMAT),
        (
            db("result", "k" * 1025, from_=CAPULET, to=MONTAGUE),
            StreamCondition.POLICY_VIOLATION,
        ),
        (
            db("other", "k", from_=CAPULET, to=MONTAGUE),
            StreamCondition.UNSUPPORTED_STANZA_TYPE,
        ),
    ],
)
def test_dialback_that_is_none(element: str, condition: StreamCondition) -> None:
    talk = proved()
    talk.say(element)
    assert talk.condition is condition
    talk = receiving()
    talk.say(header(), element)
    assert talk.condition is condition


# Questions about keys


def test_keys_are_asked_about() -> None:
    for talk in (receiving(external=False), proved()):
        if not talk.ready():
            talk.say(header())
        good = key(ID, Pair(MONTAGUE, "verona.example"))
        attrs = {"from_": "verona.example", "to": MONTAGUE, "id": ID}
        said = talk.say(db("verify", good, **attrs))
        assert said == (
            f"<db:verify from='{MONTAGUE}' to='verona.example' id='{ID}' type='valid'/>"
        )
        said = talk.say(db("verify", good, **(attrs | {"id": "other"})))
        assert " id='other' type='invalid'/>" in said
        (first, _) = talk.of(events.VerifyAsked)
        assert first == events.VerifyAsked(MONTAGUE, "verona.example", ID, good)
        said = talk.say(db("verify", good, **(attrs | {"to": "verona.example"})))
        assert refused(said) == "item-not-found"
        assert talk.ready() == bool(talk.stream.pairs)


# Streams from before XMPP 1.0


def test_a_stream_without_a_version() -> None:
    talk = receiving()
    said = talk.say(header(rest="", from_=""))
    assert "version=" not in said.removeprefix("<?xml version='1.0'?>")
    assert " id='id1'" in said
    assert "features" not in said
    talk.say(CLAIM)
    talk.hear(talk.receiving.verified(OURS, True))
    talk.take()
    talk.say(STANZA)
    assert isinstance(talk.last(), Message)


def test_a_stream_without_a_version_and_without_tls() -> None:
    talk = receiving(secure=False)
    talk.say(header(rest=""))
    assert talk.condition is StreamCondition.POLICY_VIOLATION
    talk = receiving(secure=False, tls_required=False)
    talk.say(header(rest=""), CLAIM)
    assert talk.of(events.PairClaimed)


# XEP-0288


def test_bidi() -> None:
    talk = receiving()
    talk.say(header())
    assert talk.say(BIDI) == ""
    assert talk.stream.bidi
    talk.say(auth(), header())
    assert talk.stream.bidi
    assert talk.proved() == [(OURS, "EXTERNAL")]
    iq = Iq.build(id="1", type="get")
    assert talk.stream.send(iq) == b"<iq type='get' id='1'/>"


def test_bidi_is_agreed_on_under_tls() -> None:
    talk = receiving(secure=False, tls_required=False)
    talk.say(header(), BIDI)
    assert talk.stream.bidi
    talk.say(STARTTLS, header())
    assert not talk.stream.bidi


def test_bidi_comes_too_late() -> None:
    talk = proved()
    talk.say(BIDI)
    assert talk.condition is StreamCondition.UNSUPPORTED_FEATURE
    assert not talk.stream.bidi


# Stanzas


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (STANZA.replace("romeo@", "romeo@sub."), StreamCondition.INVALID_FROM),
        (STANZA.replace(CAPULET, "verona.example"), StreamCondition.INVALID_FROM),
        (STANZA.replace(MONTAGUE, ROOMS), StreamCondition.INVALID_FROM),
        (STANZA.replace(MONTAGUE, CAPULET), StreamCondition.INVALID_FROM),
        (STANZA.replace(CAPULET, MONTAGUE), StreamCondition.INVALID_FROM),
        (f"<presence from='{CAPULET}'/>", StreamCondition.IMPROPER_ADDRESSING),
        (f"<presence to='{MONTAGUE}'/>", StreamCondition.IMPROPER_ADDRESSING),
        (f"<presence from='a@@b' to='{MONTAGUE}'/>", StreamCondition.INVALID_FROM),
        ("<presence to='@'/>", StreamCondition.IMPROPER_ADDRESSING),
        ("<presence from='verona.example' to='@'/>", StreamCondition.INVALID_FROM),
        ("<handshake/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (auth(), StreamCondition.NOT_AUTHORIZED),
        (STARTTLS, StreamCondition.UNSUPPORTED_FEATURE),
        ("<a></b>", StreamCondition.NOT_WELL_FORMED),
        (f"<presence>{'x' * 8000}</presence>", StreamCondition.POLICY_VIOLATION),
        ("text", StreamCondition.BAD_FORMAT),
    ],
)
def test_what_ends_a_stream_that_is_ready(stanza: str, condition: StreamCondition) -> None:
    talk = proved()
    before = STANZA.replace("<message", "<message id='1'")
    said = talk.say(before + stanza + STANZA)
    assert [event.id for event in talk.events if isinstance(event, Stanza)] == ["1"]
    assert talk.condition is condition
    assert f"<{condition.value} " in said


def test_a_bad_recipient_ends_nothing() -> None:
    talk = proved()
    talk.say(f"<message from='romeo@{CAPULET}' to='@'/>{STANZA}")
    bad, message = talk.events
    assert isinstance(bad, BadAddress)
    assert bad.attr == "to"
    assert isinstance(message, Message)


def test_payloads_become_a_clients() -> None:
    talk = proved()
    start = f"<message from='romeo@{CAPULET}' to='juliet@{MONTAGUE}'"
    inner = "<body>a &lt; b</body> <x xmlns='urn:x'/>"
    talk.say(
        f"{start}>{inner}</message>",
        f"{start}>{inner}</message>".replace("<body>", "<body xmlns='jabber:server'>"),
        f"{start} xmlns:s='jabber:server'>"
        f"{inner.replace('<body>', '<s:body>').replace('</body>', '</s:body>')}</message>",
    )
    for message in talk.events:
        assert isinstance(message, Message)
        assert message.children == ("jabber:client body", "urn:x x")
        assert message.body() == "a < b"
        assert inner.encode() in message.to_bytes()
        assert inner.encode() in talk.stream.send(message)


def test_limits_change_with_the_first_proof() -> None:
    big = STANZA.replace("hi", "x" * 5000)
    talk = proved()
    talk.say(big)
    assert isinstance(talk.last(), Message)
    talk = receiving()
    talk.say(header(), db("result", "x" * 5000, from_=CAPULET, to=MONTAGUE))
    assert talk.condition is StreamCondition.POLICY_VIOLATION


def test_stream_management_passes_through() -> None:
    talk = proved()
    talk.say("<enable xmlns='urn:xmpp:sm:3'/>", "<r xmlns='urn:xmpp:sm:3'/>")
    assert [nonza.name for nonza in talk.of(Nonza)] == ["enable", "r"]


def test_stream_errors_and_ends_of_the_peer() -> None:
    error = f"<stream:error><reset xmlns='{ns.STREAM_ERRORS}'/></stream:error>"
    for make in (receiving, proved):
        talk = make()
        if not talk.ready():
            talk.say(header())
        talk.say(error)
        assert talk.condition is StreamCondition.RESET
        assert talk.closed.by_peer
        talk = make()
        if not talk.ready():
            talk.say(header())
        assert talk.say(END).endswith(END)
        assert talk.closed == Closed(None, by_peer=True)


def test_everything_in_single_bytes() -> None:
    talk = receiving()
    text = f"{header()}{BIDI}{auth()}{header()} {STANZA} {STANZA}{END}"
    for piece in every_byte(text.encode()):
        talk.hear(talk.stream.receive(piece))
    assert len(talk.of(Message)) == 2
    assert talk.proved() == [(OURS, "EXTERNAL")]
    assert talk.closed == Closed(None, by_peer=True)
