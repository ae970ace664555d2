"""Stanzas as values, on the wire of either kind of stream, and their errors."""

from __future__ import annotations

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, ParseError, parse
from jabberd.xmpp.error import LEGACY_CODE, Condition, ErrorType, StanzaError
from jabberd.xmpp.framer import Framer
from jabberd.xmpp.frames import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import (
    AnyStanza,
    Iq,
    Message,
    Presence,
    Stanza,
    error_element,
    error_reply,
    qname,
    read_error,
    read_stanza,
)

ROMEO, JULIET = JID.parse("romeo@example.net/orchard"), JID.parse("juliet@example.com")
BODY = Element(ns.CLIENT, "body", {}, ["Wherefore <art> thou?"])
FORWARD = Element("urn:xmpp:forward:0", "forwarded", {}, [Element(ns.CLIENT, "message")])


def framed(text: str, content: str = ns.CLIENT, declared: str = "") -> AnyStanza:
    """A stanza as a stream brings it."""
    head = f"<stream:stream xmlns='{content}' xmlns:stream='{ns.STREAM}'{declared}>"
    (_, stanza) = Framer(Limits()).feed((head + text).encode())
    assert isinstance(stanza, Stanza)
    return stanza


# Values


def test_replacing_the_head_shares_the_rest() -> None:
    head = "to='a@b' from='c@d' id='1' type='chat' xml:lang='de' x='y'"
    stanza = framed(f"<message {head}><body>t</body></message>")
    wire = stanza.to_bytes()
    copy = stanza.replace(to=None, from_=ROMEO)
    assert (copy.to, copy.from_, copy.id, copy.type, copy.lang) == (None, ROMEO, "1", "chat", "de")
    assert (copy.inner, copy.children, copy.extra) == (stanza.inner, stanza.children, b" x='y'")
    assert type(copy) is Message
    assert stanza.to_bytes() == wire
    assert b"romeo@example.net/orchard" in copy.to_bytes()
    assert stanza.replace().to_bytes() == wire
    assert stanza.replace(lang="").lang == ""
    assert stanza.replace(lang="en").lang == "en"


def test_another_payload() -> None:
    stanza = Message.build([BODY], to=JULIET, id="1")
    more = stanza.with_child(Element("urn:x", "x"))
    assert stanza.children == ("jabber:client body",)
    assert more.children == ("jabber:client body", "urn:x x")
    assert more.payload() == [BODY, Element("urn:x", "x")]
    assert more.to_bytes().endswith(b"</body><x xmlns='urn:x'/></message>")
    assert stanza.with_payload(b"", ()).to_bytes() == b"<message to='juliet@example.com' id='1'/>"


TAILED = [
    "<message to='a@b' id='1'><body>b</body></message>",
    "<message to='a@b'/>",
    "<message></message>",
    "<message xmlns:p='urn:p' p:k='1'><p:x/>\n</message>",
    "<presence type='it&apos;s'><show>dnd</show></presence>",
    "<iq type='get' xml:lang='de'><q xmlns='urn:q'/></iq>",
]


@pytest.mark.parametrize("text", TAILED)
@pytest.mark.parametrize("written", [False, True])
def test_a_tail_makes_no_difference_to_a_child(text: str, written: bool) -> None:
    stanza, tail = framed(text), Element("urn:x", "x", {"a": "<"})
    if written:
        stanza.to_bytes()
    before = framed(text).to_bytes()
    slow = stanza.with_payload(stanza.inner + tail.to_bytes(), (*stanza.children, "urn:x x"))
    for copy in (stanza.with_tail(tail.to_bytes(), "urn:x x"), stanza.with_child(tail)):
        assert copy.to_bytes() == slow.to_bytes()
        assert copy.in_namespace() == slow.in_namespace()
        assert (copy.inner, copy.children, copy.extra) == (slow.inner, slow.children, slow.extra)
        assert (copy.to, copy.from_, copy.id, copy.type, copy.lang) == (
            stanza.to, stanza.from_, stanza.id, stanza.type, stanza.lang,
        )  # fmt: skip
        assert type(copy) is type(stanza)
        twice = copy.with_tail(b"<y/>", "jabber:client y")
        assert twice.to_bytes().endswith(
            b"<x xmlns='urn:x' a='&lt;'/><y/></%s>" % copy.tag.encode()
        )
    assert stanza.to_bytes() == before


@pytest.mark.parametrize("text", TAILED)
def test_in_its_namespace_whether_it_was_written_or_not(text: str) -> None:
    fresh, written = framed(text), framed(text)
    wire = written.to_bytes()
    assert fresh.in_namespace() == written.in_namespace()
    tag = f"<{fresh.tag}"
    assert fresh.in_namespace() == wire.replace(
        tag.encode(), f"{tag} xmlns='jabber:client'".encode(), 1
    )
    assert fresh.to_bytes() == written.to_bytes() == wire


def test_the_head_is_escaped() -> None:
    stanza = Message(id="a'b", type="<", lang="&", to=JID.parse("a@b/it's"))
    assert stanza.to_bytes() == (
        b"<message to='a@b/it&apos;s' type='&lt;' id='a&apos;b' xml:lang='&amp;'/>"
    )


def test_payload_on_demand() -> None:
    stanza = framed("<message> <body>a</body>\n<x xmlns='urn:x'/> </message>")
    assert [child.name for child in stanza.payload()] == ["body", "x"]
    assert stanza.has("urn:x", "x")
    assert not stanza.has("urn:x", "y")
    found = stanza.child("urn:x", "x")
    assert found == Element("urn:x", "x")
    assert stanza.child("urn:y", "x") is None
    assert isinstance(stanza, Message)
    assert stanza.body() == "a"
    assert Message().body() is None
    assert Message().payload() == []
    # Nothing is parsed for a name that is not there.
    assert Message(inner=b"<broken").child("urn:x", "x") is None
    with pytest.raises(ParseError):
        Message(inner=b"<z:x/>").payload()


def test_prefixes_from_around_the_payload() -> None:
    stanza = framed("<message xmlns:p='urn:p'><p:x/></message>")
    assert stanza.payload() == [Element("urn:p", "x")]
    stanza = framed("<message><q:x/></message>", declared=" xmlns:q='urn:q'")
    assert stanza.payload() == [Element("urn:q", "x")]
    assert read_stanza(stanza.to_bytes()).payload() == [Element("urn:q", "x")]


def test_children_without_a_namespace() -> None:
    stanza = framed("<message><x xmlns=''/></message>")
    assert stanza.has("", "x")
    assert Message.build([Element("", "x")]).children == stanza.children == (qname("", "x"),)


# On other streams


def test_content_follows_the_stream() -> None:
    stanza = Message.build([BODY, Element("urn:x", "x")], to=JULIET)
    on_server = framed(stanza.to_bytes(ns.SERVER).decode(), ns.SERVER)
    assert on_server.children == stanza.children
    assert on_server.payload() == stanza.payload()


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        ("<message><body xmlns='jabber:client'>x</body></message>", ""),
        ("<message xmlns='jabber:client'><body>x</body></message>", ""),
        ("<message xmlns:c='jabber:client'><c:body>x</c:body></message>", ""),
        ("<message><c:body>x</c:body></message>", " xmlns:c='jabber:client'"),
        ("<c:message><c:body>x</c:body></c:message>", " xmlns:c='jabber:client'"),
    ],
)
def test_nothing_of_jabber_client_is_left_on_a_server_stream(text: str, declared: str) -> None:
    stanza = framed(text, declared=declared)
    received = framed(stanza.to_bytes(ns.SERVER).decode(), ns.SERVER)
    assert isinstance(received, Message)
    assert received.body() == "x"
    assert received.children == ("jabber:client body",)


def test_a_forwarded_stanza_keeps_its_namespace() -> None:
    # XEP-0297 §3.1: the forwarded stanza says what it is.
    stanza = Message.build([FORWARD])
    received = framed(stanza.to_bytes(ns.SERVER).decode(), ns.SERVER)
    assert received.payload() == [FORWARD]


def test_inside_another_element() -> None:
    stanza = framed("<message to='a@b' xmlns:p='urn:p' p:k='1'><body>x</body><p:y/></message>")
    (inner,) = parse(b"<f xmlns='urn:xmpp:forward:0'>%s</f>" % stanza.in_namespace())
    assert (inner.ns, inner.name, inner.get("to"), inner.get("urn:p k")) == (
        ns.CLIENT, "message", "a@b", "1",
    )  # fmt: skip
    assert [(child.ns, child.name) for child in inner] == [(ns.CLIENT, "body"), ("urn:p", "y")]
    assert stanza.to_bytes().startswith(b"<message to='a@b' xmlns:p=")


def test_what_was_stored() -> None:
    stanza = framed(
        "<presence from='c@d/e' to='a@b' id='1' xml:lang='fi'>t<show>dnd</show></presence>"
    )
    again = read_stanza(stanza.to_bytes())
    assert isinstance(again, Presence)
    assert again.to_bytes() == stanza.to_bytes()
    assert (again.from_, again.to, again.lang) == (stanza.from_, stanza.to, "fi")
    for data in (b"", b"<x/>", b"<message", b"<message xmlns='urn:x'/>", b"<iq to='@'/>"):
        with pytest.raises(ParseError):
            read_stanza(data)


# Kinds


def test_kinds_of_messages() -> None:
    for kind in ("chat", "error", "groupchat", "headline", "normal"):
        assert Message(type=kind).kind == kind
    for kind in ("", "novel", "CHAT"):
        assert Message(type=kind).kind == "normal"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("127", 127), ("-128", -128), ("+5", 5), (" 5\n", 5),
     ("128", None), ("-129", None), ("", None), ("x", None), ("1.5", None), ("1_0", None),
     ("\u0663", None), ("1" * 5_000, None)],
)  # fmt: skip
def test_priorities(text: str, value: int | None) -> None:
    presence = Presence.build([Element(ns.CLIENT, "priority", {}, [text])])
    if value is not None:
        assert presence.priority() == value
        return
    with pytest.raises(StanzaError) as caught:
        presence.priority()
    assert caught.value.condition is Condition.BAD_REQUEST


def test_no_priority_is_zero() -> None:
    assert Presence().priority() == 0
    assert Presence.build([Element("urn:x", "priority", {}, ["5"])]).priority() == 0


def test_requests() -> None:
    request = Iq.build([Element("urn:x", "q")], from_=ROMEO, to=JULIET, id="7", type="get")
    assert request.is_request
    assert request.request() == Element("urn:x", "q")
    result = request.result(Element("urn:x", "q", {"a": "1"}))
    assert (result.to, result.from_, result.id, result.type) == (ROMEO, JULIET, "7", "result")
    assert not result.is_request
    for payload in ([], [Element("urn:x", "q"), Element("urn:x", "q")]):
        with pytest.raises(StanzaError) as caught:
            Iq.build(payload, type="set").request()
        assert caught.value.condition is Condition.BAD_REQUEST


# Errors

# RFC 6120 §8.3.3, and XEP-0086 table 1 (and for what is newer, the nearest code there).
ERRORS = [
    ("bad-request", "modify", 400), ("conflict", "cancel", 409),
    ("feature-not-implemented", "cancel", 501), ("forbidden", "auth", 403),
    ("gone", "cancel", 302), ("internal-server-error", "cancel", 500),
    ("item-not-found", "cancel", 404), ("jid-malformed", "modify", 400),
    ("not-acceptable", "modify", 406), ("not-allowed", "cancel", 405),
    ("not-authorized", "auth", 401), ("policy-violation", "modify", 406),
    ("recipient-unavailable", "wait", 404), ("redirect", "modify", 302),
    ("registration-required", "auth", 407), ("remote-server-not-found", "cancel", 404),
    ("remote-server-timeout", "wait", 504), ("resource-constraint", "wait", 500),
    ("service-unavailable", "cancel", 503), ("subscription-required", "auth", 407),
    ("undefined-condition", "cancel", 500), ("unexpected-request", "wait", 400),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "code"), ERRORS)
def test_conditions(name: str, kind: str, code: int) -> None:
    element = error_element(StanzaError(Condition(name)))
    assert element.attrs == {"type": kind, "code": str(code)}
    assert list(element) == [Element(ns.STANZA_ERRORS, name)]
    assert read_error(Message.build([element], type="error")).condition is Condition(name)


def test_all_conditions_are_tested() -> None:
    assert {name for name, _, _ in ERRORS} == {each.value for each in Condition}
    assert set(LEGACY_CODE) == set(Condition)


def test_an_error_goes_back() -> None:
    request = Iq.build([Element("urn:x", "q")], from_=ROMEO, to=JULIET, id="7", type="get")
    app = Element("urn:x", "why")
    error = StanzaError(Condition.CONFLICT, "no & never", ErrorType.WAIT, app)
    reply = error_reply(request, error, by=JULIET)
    assert type(reply) is Iq
    assert (reply.to, reply.from_, reply.id, reply.type) == (ROMEO, JULIET, "7", "error")
    (element,) = framed(reply.to_bytes().decode()).payload()
    assert element.get("by") == "juliet@example.com"
    assert element.get("type") == "wait"
    assert app in list(element)
    read = read_error(reply)
    assert (read.condition, read.text, read.type) == (
        Condition.CONFLICT,
        "no & never",
        ErrorType.WAIT,
    )


@pytest.mark.parametrize(
    ("inside", "condition", "kind"),
    [
        ("", Condition.UNDEFINED_CONDITION, ErrorType.CANCEL),
        ("<error/>", Condition.UNDEFINED_CONDITION, ErrorType.CANCEL),
        ("<error type='novel'/>", Condition.UNDEFINED_CONDITION, ErrorType.CANCEL),
        (f"<error type='wait'><novel xmlns='{ns.STANZA_ERRORS}'/></error>",
         Condition.UNDEFINED_CONDITION, ErrorType.WAIT),
        (f"<error type='x'><forbidden xmlns='{ns.STANZA_ERRORS}'/></error>",
         Condition.FORBIDDEN, ErrorType.AUTH),
        ("<error type='auth'><forbidden xmlns='urn:x'/></error>",
         Condition.UNDEFINED_CONDITION, ErrorType.AUTH),
    ],
)  # fmt: skip
def test_errors_as_they_come(inside: str, condition: Condition, kind: ErrorType) -> None:
    error = read_error(framed(f"<message type='error'>{inside}</message>"))
    assert (error.condition, error.type) == (condition, kind)
