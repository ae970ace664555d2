"""The initiating role between servers."""

from __future__ import annotations

import base64

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.error import Condition, LocalError, SaslCondition, StreamCondition, StreamError
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.events import Closed, Pair
from jabberd.xmpp.stream.login import Tls
from jabberd.xmpp.stream.server_initiating import Purpose
from tests.xmpp.documents import every_byte
from tests.xmpp.servers import (
    AFTER,
    BIDI,
    BIDI_OFFER,
    CAPULET,
    DIALBACK_OFFER,
    END,
    EXTERNAL_OFFER,
    FAILURE,
    ID,
    MONTAGUE,
    PROCEED,
    ROOMS,
    STARTTLS,
    SUCCESS,
    THEIRS,
    ServerTalk,
    db,
    features,
    header,
    initiating,
    inside,
    key,
    response,
)

VALID = db("result", from_=MONTAGUE, to=CAPULET, type="valid")
INVALID = db("result", from_=MONTAGUE, to=CAPULET, type="invalid")
STANZA = f"<message from='juliet@{MONTAGUE}' to='romeo@{CAPULET}'><body>hi</body></message>"
AUTH = (
    f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>"
    f"{base64.b64encode(CAPULET.encode()).decode()}</auth>"
)
CLAIM = f"<db:result from='{CAPULET}' to='{MONTAGUE}'>{key(ID, THEIRS)}</db:result>"
LIMITS = f"<limits xmlns='{ns.LIMITS}'><max-bytes>9000</max-bytes></limits>"
SM = f"<sm xmlns='{ns.SM}'/>"


def begun(**changes: object) -> ServerTalk:
    """A stream whose header has been written."""
    talk = initiating(**changes)
    talk.take()
    return talk


def by_dialback(*offers: str, **changes: object) -> ServerTalk:
    """A stream on which the pair was proved by dialback."""
    talk = begun(**changes)
    said = talk.say(response(), features(DIALBACK_OFFER, *offers))
    assert CLAIM in said
    talk.say(VALID)
    assert talk.proved() == [(THEIRS, "dialback")]
    talk.events.clear()
    return talk


def refusal(condition: str) -> str:
    """A dialback error."""
    reason = f"<{condition} xmlns='{ns.STANZA_ERRORS}'/>"
    error = f"<error type='cancel'>{reason}</error>"
    return db("result", error, from_=MONTAGUE, to=CAPULET, type="error")


# Headers and TLS


def test_the_header() -> None:
    talk = initiating()
    assert talk.take().decode() == (
        f"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{ns.STREAM}'"
        f" xmlns:db='{ns.DIALBACK}' from='{CAPULET}' to='{MONTAGUE}' version='1.0'"
        " xml:lang='en'>"
    )
    with pytest.raises(LocalError):
        talk.initiating.start()


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (header(CAPULET, MONTAGUE, f" id='{ID}' version='1.0'", ns.CLIENT),
         StreamCondition.INVALID_NAMESPACE),
        (header(CAPULET, MONTAGUE), StreamCondition.BAD_FORMAT),
        (response(" version='x'"), StreamCondition.UNSUPPORTED_VERSION),
        (response() + STANZA, StreamCondition.NOT_AUTHORIZED),
        (response() + SUCCESS, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (response() + PROCEED, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (response() + features(EXTERNAL_OFFER) * 2, StreamCondition.UNSUPPORTED_STANZA_TYPE),
        (response() + features(EXTERNAL_OFFER) + "<r xmlns='urn:xmpp:sm:3'/>",
         StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ("HTTP/1.1 400 Bad Request\r\n", StreamCondition.NOT_WELL_FORMED),
    ],
)  # fmt: skip
def test_servers_that_misbehave(text: str, condition: StreamCondition) -> None:
    talk = begun()
    said = talk.say(text)
    assert talk.condition is condition
    assert said.endswith(f"</stream:error>{END}")
    assert not talk.ready()


def test_starttls() -> None:
    talk = begun(secure=False)
    assert talk.say(response(), features(STARTTLS, DIALBACK_OFFER, BIDI_OFFER)) == STARTTLS
    said = talk.say(PROCEED)
    assert said.startswith("<?xml")
    assert f" from='{CAPULET}'" in said
    assert talk.events == [events.UpgradeToTls()]
    assert talk.stream.is_secure
    said = talk.say(response(), features(DIALBACK_OFFER))
    assert talk.events[1:] == [events.PeerWanted(MONTAGUE)]
    assert said == CLAIM


def test_tls_is_asked_for_where_it_is_wanted() -> None:
    talk = begun(secure=False, tls=Tls.WANTED)
    assert talk.say(response(), features(STARTTLS, DIALBACK_OFFER)) == STARTTLS
    talk = begun(secure=False, tls=Tls.OFF)
    assert talk.say(response(), features(STARTTLS, DIALBACK_OFFER)) == CLAIM


@pytest.mark.parametrize("said", [response() + features(DIALBACK_OFFER), response("")])
def test_no_tls_where_it_is_required(said: str) -> None:
    talk = begun(secure=False)
    answer = talk.say(said)
    (no_way, closed) = talk.events
    assert isinstance(no_way, events.NoWay)
    assert "TLS" in no_way.why
    assert closed == Closed(None, by_peer=False)
    assert answer == END
    talk = begun(secure=False, tls=Tls.WANTED)
    assert talk.say(said) == CLAIM


def test_the_driver_is_asked_also_where_there_is_no_certificate() -> None:
    talk = begun(secure=False, tls=Tls.WANTED)
    talk.say(response(), features(DIALBACK_OFFER))
    assert talk.events == [events.PeerWanted(MONTAGUE)]


def test_tls_that_does_not_come() -> None:
    talk = begun(secure=False)
    talk.say(response(), features(STARTTLS), f"<failure xmlns='{ns.TLS}'/>")
    assert isinstance(talk.events[0], events.NoWay)
    talk = begun(secure=False)
    talk.say(response(), features(STARTTLS), PROCEED + response())
    assert talk.condition is StreamCondition.POLICY_VIOLATION
    assert not talk.of(events.UpgradeToTls)


def test_nothing_is_said_before_the_certificate_was_looked_at() -> None:
    talk = begun()
    talk.answers = False
    assert talk.say(response(), features(EXTERNAL_OFFER, BIDI_OFFER) + VALID) == ""
    assert talk.events == [events.PeerWanted(MONTAGUE)]
    assert talk.stream.waits
    talk.hear(talk.stream.close(StreamError(StreamCondition.POLICY_VIOLATION, "expired")))
    assert not talk.closed.by_peer
    assert not talk.proved()


# SASL EXTERNAL


def test_external() -> None:
    talk = begun()
    said = talk.say(response(), features(EXTERNAL_OFFER, DIALBACK_OFFER, BIDI_OFFER))
    assert said == BIDI + AUTH
    assert talk.stream.bidi
    said = talk.say(SUCCESS)
    assert said.startswith("<?xml")
    assert talk.proved() == []  # stanzas may not be sent before the features
    assert not talk.ready()
    talk.say(header(CAPULET, MONTAGUE, " id='again' version='1.0'"))
    talk.say(features(SM, LIMITS, DIALBACK_OFFER))
    assert talk.proved() == [(THEIRS, "EXTERNAL")]
    assert talk.ready()
    assert talk.stream.stream_id == "again"
    assert talk.initiating.offers_sm
    assert talk.initiating.offers_dialback
    assert talk.initiating.max_bytes == 9000
    assert talk.stream.pairs == {THEIRS: "EXTERNAL"}


def test_a_server_that_wants_to_challenge() -> None:
    talk = begun()
    talk.say(response(), features(EXTERNAL_OFFER))
    said = talk.say(f"<challenge xmlns='{ns.SASL}'/>")
    assert said == AUTH.replace("auth", "response").replace(" mechanism='EXTERNAL'", "")


@pytest.mark.parametrize("db_", [DIALBACK_OFFER, ""])
def test_dialback_follows_where_external_fails(db_: str) -> None:
    talk = begun()
    talk.say(response(), features(EXTERNAL_OFFER, db_))
    assert talk.say(FAILURE) == CLAIM
    (failed,) = talk.of(events.AuthenticationFailed)
    assert failed.error.condition is SaslCondition.NOT_AUTHORIZED
    assert not talk.stream.closed
    talk.say(VALID)
    assert talk.proved() == [(THEIRS, "dialback")]


def test_external_fails_and_nothing_is_left() -> None:
    for changes, declared in (({"dialback_key": None}, DIALBACK_OFFER), ({}, "")):
        talk = begun(**changes)
        talk.say(response(db=""), features(EXTERNAL_OFFER, declared))
        assert talk.say(FAILURE) == END
        kinds = [type(event) for event in talk.events[1:]]
        assert kinds == [events.AuthenticationFailed, events.NoWay, Closed]


def test_external_is_not_used() -> None:
    for changes, offer in (
        ({"external": False}, EXTERNAL_OFFER),  # there is no certificate of ours
        ({"secure": False, "tls": Tls.WANTED}, EXTERNAL_OFFER),
        ({}, EXTERNAL_OFFER.replace("EXTERNAL", "PLAIN")),
    ):
        talk = begun(**changes)
        assert talk.say(response(), features(offer, DIALBACK_OFFER)) == CLAIM


# Dialback


def test_dialback() -> None:
    talk = begun(external=False)
    said = talk.say(response(), features(DIALBACK_OFFER, BIDI_OFFER, SM, LIMITS))
    assert said == BIDI + CLAIM
    (_, element) = inside(said)
    assert element.text == key(ID, THEIRS)
    assert not talk.ready()
    talk.say(VALID)
    assert talk.proved() == [(THEIRS, "dialback")]
    assert talk.ready()
    assert talk.initiating.offers_sm


@pytest.mark.parametrize(
    ("said", "works"),
    [
        (response(db="") + features(DIALBACK_OFFER), True),
        (response() + features(), True),  # it declares the prefix
        (response("", db=""), True),  # from before XMPP 1.0
        (response(db="") + features(), False),
        (response(db="") + features(EXTERNAL_OFFER.replace("EXTERNAL", "PLAIN")), False),
    ],
)
def test_how_a_server_says_that_it_has_dialback(said: str, works: bool) -> None:
    talk = begun()
    answer = talk.say(said)
    assert (answer == CLAIM) is works
    if not works:
        assert isinstance(talk.events[1], events.NoWay)
        assert talk.closed == Closed(None, by_peer=False)


def test_no_way() -> None:
    talk = begun(external=False, dialback_key=None)
    talk.say(response(), features(EXTERNAL_OFFER, DIALBACK_OFFER))
    (no_way,) = talk.of(events.NoWay)
    assert MONTAGUE in no_way.why
    assert "dialback" in no_way.why


def test_an_invalid_key_ends_the_stream() -> None:
    talk = begun()
    talk.say(response(), features(DIALBACK_OFFER))
    assert talk.say(INVALID) == END
    assert talk.events[1:] == [events.PairRefused(THEIRS, None), Closed(None, by_peer=False)]


def test_an_error_for_the_only_pair_ends_the_stream() -> None:
    talk = begun()
    talk.say(response(), features(DIALBACK_OFFER))
    talk.say(refusal("item-not-found"))
    (refused,) = talk.of(events.PairRefused)
    assert refused.pair == THEIRS
    assert refused.error.condition is Condition.ITEM_NOT_FOUND
    assert talk.closed == Closed(None, by_peer=False)


@pytest.mark.parametrize(
    "answer",
    [
        db("result", from_=MONTAGUE, to="verona.example", type="valid"),
        db("result", from_=ROOMS, to=CAPULET, type="valid"),
        db("result", from_=CAPULET, to=MONTAGUE, type="valid"),
        db("verify", from_=MONTAGUE, to=CAPULET, type="valid", id=ID),
        db("result", from_=ROOMS, to=CAPULET, type="invalid"),
    ],
)
def test_answers_that_nobody_asked_for_prove_nothing(answer: str) -> None:
    talk = begun()
    talk.say(response())
    talk.say(VALID)  # before anything was asked
    assert talk.say(features(DIALBACK_OFFER)) == CLAIM
    seen = len(talk.events)
    assert talk.say(answer) == ""
    assert len(talk.events) == seen
    assert not talk.ready()
    assert not talk.stream.pairs
    talk.say(VALID)
    assert talk.proved() == [(THEIRS, "dialback")]
    assert talk.say(VALID, answer) == ""
    assert talk.stream.pairs == {THEIRS: "dialback"}


@pytest.mark.parametrize(
    ("element", "condition"),
    [
        (db("result", from_=MONTAGUE, type="valid"), StreamCondition.IMPROPER_ADDRESSING),
        (db("result", from_="@", to=CAPULET, type="valid"), StreamCondition.IMPROPER_ADDRESSING),
        (db("result", from_=MONTAGUE, to=CAPULET, type="?"), StreamCondition.BAD_FORMAT),
        (
            db("other", from_=MONTAGUE, to=CAPULET, type="valid"),
            StreamCondition.UNSUPPORTED_STANZA_TYPE,
        ),
    ],
)
def test_dialback_that_is_none(element: str, condition: StreamCondition) -> None:
    talk = by_dialback()
    talk.say(element)
    assert talk.condition is condition


def test_more_pairs() -> None:
    talk = by_dialback()
    one, other = Pair("verona.example", MONTAGUE), Pair(CAPULET, ROOMS)
    talk.initiating.claim(one)
    talk.initiating.claim(other)
    said = talk.take().decode()
    assert [element.text for element in inside(said)] == [key(ID, one), key(ID, other)]
    talk.say(db("result", from_=ROOMS, to=CAPULET, type="valid"))
    assert talk.events == [events.PairProved(other, "dialback")]
    talk.say(refusal("item-not-found").replace(CAPULET, "verona.example"))
    (refused,) = talk.of(events.PairRefused)
    assert refused.pair == one
    assert not talk.stream.closed  # XEP-0220 §2.4: not fatal
    assert talk.stream.pairs == {THEIRS: "dialback", other: "dialback"}


def test_claims_that_cannot_be_made() -> None:
    talk = begun()
    with pytest.raises(LocalError):
        talk.initiating.claim(THEIRS)
    talk.say(response(), features(EXTERNAL_OFFER))
    with pytest.raises(LocalError):
        talk.initiating.claim(THEIRS)
    talk = by_dialback()
    talk.say(END)
    with pytest.raises(LocalError):
        talk.initiating.claim(THEIRS)


def test_claims_of_the_peer_are_refused() -> None:
    # XEP-0288 §2.2 lets it try; its stanzas of other pairs come on streams of its own.
    talk = by_dialback(BIDI_OFFER)
    for name, attrs in (("result", ""), ("verify", " id='1'")):
        said = talk.say(f"<db:{name} from='{ROOMS}' to='{CAPULET}'{attrs}>k3y</db:{name}>")
        assert said.startswith(f"<db:{name} from='{CAPULET}' to='{ROOMS}'{attrs} type='error'>")
        assert "<not-acceptable " in said
    assert talk.events == []
    talk.say(STANZA.replace(MONTAGUE, ROOMS))
    assert talk.condition is StreamCondition.INVALID_FROM


# Questions about keys


def verifying() -> ServerTalk:
    """A stream to ask about keys only."""
    talk = begun(purpose=Purpose.VERIFY)
    assert not talk.can_verify()
    assert talk.say(response(), features(EXTERNAL_OFFER, DIALBACK_OFFER, BIDI_OFFER)) == ""
    assert talk.events == [events.PeerWanted(MONTAGUE), events.CanVerify()]
    assert talk.can_verify()
    talk.events.clear()
    return talk


@pytest.mark.parametrize("make", [verifying, by_dialback])
def test_keys_are_asked_about(make: object) -> None:
    assert callable(make)
    talk = make()
    stream = talk.initiating
    stream.verify(THEIRS, "a", "k1")
    stream.verify(THEIRS, "b", "k2")
    said = talk.take().decode()
    assert said.startswith(f"<db:verify from='{CAPULET}' to='{MONTAGUE}' id='a'>k1</db:verify>")
    attrs = {"from_": MONTAGUE, "to": CAPULET}
    talk.say(db("verify", type="valid", id="c", **attrs))
    assert talk.events == []
    talk.say(
        db("verify", type="invalid", id="b", **attrs),
        db("verify", type="valid", id="b", **attrs),
        db("verify", type="valid", id="a", **attrs),
    )
    assert talk.events == [
        events.Verified(THEIRS, "b", valid=False, error=None),
        events.Verified(THEIRS, "a", valid=True, error=None),
    ]
    stream.verify(THEIRS, "d", "k4")
    talk.take()
    talk.say(refusal("item-not-found").replace("result", "verify").replace(" to=", " id='d' to="))
    last = talk.last()
    assert isinstance(last, events.Verified)
    assert not last.valid
    assert last.error is not None
    assert last.error.condition is Condition.ITEM_NOT_FOUND
    assert not talk.stream.closed


def test_questions_are_counted() -> None:
    talk = verifying()
    stream = talk.initiating
    for number in range(200):
        stream.verify(THEIRS, str(number), "k")
    assert not stream.can_verify
    with pytest.raises(LocalError):
        stream.verify(THEIRS, "more", "k")
    talk.take()
    talk.say(db("verify", type="valid", id="7", from_=MONTAGUE, to=CAPULET))
    stream.verify(THEIRS, "more", "k")
    talk.take()
    talk.say(END)
    assert not stream.can_verify


def test_who_does_not_know_dialback_is_not_asked() -> None:
    talk = begun()
    talk.say(response(db=""), features(EXTERNAL_OFFER))
    assert not talk.can_verify()
    talk.say(SUCCESS)
    talk.say(response(db=""), features())
    assert talk.ready()
    assert not talk.can_verify()


def test_keys_can_be_asked_about_without_a_version() -> None:
    talk = begun(purpose=Purpose.VERIFY, secure=False, tls=Tls.WANTED)
    assert talk.say(response("", db="")) == ""
    assert talk.can_verify()


# Stanzas


def test_stanzas_of_the_peer_with_bidi() -> None:
    talk = by_dialback(BIDI_OFFER)
    assert talk.stream.bidi
    talk.say(STANZA, STANZA.replace("hi", "x" * (AFTER.stanza_bytes // 2)))
    assert len(talk.of(Message)) == 2
    talk.say(STANZA.replace(MONTAGUE, CAPULET))
    assert talk.condition is StreamCondition.INVALID_FROM


@pytest.mark.parametrize("changes", [{"bidi": False}, {}])
def test_stanzas_of_the_peer_without_bidi(changes: dict[str, bool]) -> None:
    talk = by_dialback(*([BIDI_OFFER] if changes else []), **changes)
    assert not talk.stream.bidi
    talk.say(STANZA)
    assert talk.condition is StreamCondition.NOT_AUTHORIZED
    assert not talk.of(Message)


def test_a_stanza_to_nobody_without_bidi() -> None:
    talk = by_dialback()
    talk.say(f"<message from='{MONTAGUE}' to='@'/>")
    assert talk.condition is StreamCondition.NOT_AUTHORIZED


def test_stream_management_passes_through() -> None:
    talk = by_dialback(SM)
    talk.say("<enabled xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h='0'/>")
    assert [nonza.name for nonza in talk.of(Nonza)] == ["enabled", "a"]
    talk.say(features(SM))
    assert talk.condition is StreamCondition.UNSUPPORTED_STANZA_TYPE


@pytest.mark.parametrize("number", ["", "x", "-1", "99999999999999999999"])
def test_limits_that_are_none(number: str) -> None:
    talk = by_dialback(LIMITS.replace("9000", number))
    assert talk.initiating.max_bytes is None


def test_the_end() -> None:
    for talk in (begun(), verifying(), by_dialback()):
        text = "" if talk.events == [] and talk.stream.stream_id else response()
        talk.say(f"{text}<stream:error><host-gone xmlns='{ns.STREAM_ERRORS}'/></stream:error>")
        assert talk.condition is StreamCondition.HOST_GONE
        assert talk.closed.by_peer
    talk = by_dialback()
    assert talk.say(END) == END
    assert talk.closed == Closed(None, by_peer=True)


def test_everything_in_single_bytes() -> None:
    talk = begun(secure=False)
    for text in (
        response() + features(STARTTLS) + PROCEED,
        response() + features(EXTERNAL_OFFER, BIDI_OFFER) + SUCCESS,
        response() + features(SM) + STANZA + " " + STANZA + END,
    ):
        for piece in every_byte(text.encode()):
            talk.hear(talk.stream.receive(piece))
    assert talk.proved() == [(THEIRS, "EXTERNAL")]
    assert len(talk.of(Message)) == 2
    assert talk.closed == Closed(None, by_peer=True)
