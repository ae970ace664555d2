"""What is asked for together with a login: a resource, an old session; and early (XEP-0509)."""

from __future__ import annotations

import base64
import re

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, parse
from jabberd.xmpp.error import SaslCondition, StreamCondition
from jabberd.xmpp.frames import Nonza
from jabberd.xmpp.sasl.offer import Channel
from jabberd.xmpp.stanza import Message
from jabberd.xmpp.stream import events
from jabberd.xmpp.stream.authenticate import BindRequest, UserAgent
from jabberd.xmpp.stream.events import InlineResult, InlineWanted
from jabberd.xmpp.stream.policy import Inline
from tests.xmpp.sasl.kit import PASSWORD
from tests.xmpp.sasl2 import AGENT, BIND, JULIET, authenticate, plain, sasl1_plain, sasl2, server
from tests.xmpp.streams import (
    ALL_INLINE,
    CLIENT,
    Talk,
    elements_of,
    header,
    one_of,
    printed,
    result_of,
)

BIND2 = "<bind xmlns='urn:xmpp:bind:0'>{}</bind>"
RESUME = "<resume xmlns='urn:xmpp:sm:3' h='5' previd='{}'/>"
VERSION = "<config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='{}'/>"
MESSAGE = base64.b64encode(f"\0juliet\0{PASSWORD}".encode()).decode()


def asked(talk: Talk) -> InlineWanted:
    (wanted,) = talk.of(InlineWanted)
    assert isinstance(wanted, InlineWanted)
    return wanted


# XEP-0386; its examples have a placeholder for SCRAM, and PLAIN is one message.


def test_the_offer_of_xep_0386() -> None:
    offered = printed("""
  <authentication xmlns='urn:xmpp:sasl:2'>
    <mechanism>SCRAM-SHA-1</mechanism>
    <mechanism>SCRAM-SHA-1-PLUS</mechanism>
    <inline>
      <bind xmlns='urn:xmpp:bind:0'>
        <inline>
          <feature var="urn:xmpp:carbons:2" />
          <feature var="urn:xmpp:csi:0" />
          <feature var="urn:xmpp:sm:3" />
        </inline>
      </bind>
      <sm xmlns='urn:xmpp:sm:3'/>
    </inline>
  </authentication>""")
    inline = Inline(bind=ALL_INLINE.bind, resume=True)
    talk = server(enabled=("SCRAM-SHA-1",), inline=inline)
    found = one_of(talk.say(header()), "features").find(ns.SASL2, "authentication")
    assert found is not None
    found.children[:2] = reversed(found.children[:2])  # ours has the stronger one first
    assert found == offered


def test_the_first_request_of_xep_0386() -> None:
    talk = server()
    metadata = """<metadata xmlns='urn:xmpp:mam:2'>
      <start id='YWxwaGEg' timestamp='2008-08-22T21:09:04Z' />
      <end id='b21lZ2Eg' timestamp='2020-04-20T14:34:21Z' />
    </metadata>"""
    jid = JULIET.with_resource("AwesomeXMPP.4232f4d4")
    talk.inline = lambda _: InlineResult(jid, bound=metadata.encode())
    talk.say(header())
    said = talk.say(f"""<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>
  <initial-response>{MESSAGE}</initial-response>
  <bind xmlns='urn:xmpp:bind:0'>
    <tag>AwesomeXMPP</tag>
  </bind>
</authenticate>""")
    assert asked(talk) == InlineWanted(JULIET, "PLAIN", bind=BindRequest("AwesomeXMPP"))
    success, features = elements_of(said)
    assert printed(success.to_bytes().decode()) == printed("""
<success xmlns='urn:xmpp:sasl:2'>
  <authorization-identifier>juliet@example.com/AwesomeXMPP.4232f4d4</authorization-identifier>
  <bound xmlns='urn:xmpp:bind:0'>
    <metadata xmlns='urn:xmpp:mam:2'>
      <start id='YWxwaGEg' timestamp='2008-08-22T21:09:04Z' />
      <end id='b21lZ2Eg' timestamp='2020-04-20T14:34:21Z' />
    </metadata>
  </bound>
</success>""")
    assert features.children == []  # no binding: there is a resource
    assert talk.stream.is_ready


def test_the_second_request_of_xep_0386() -> None:
    talk = server()
    talk.say(header())
    said = talk.say(f"""<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>
  <initial-response>{MESSAGE}</initial-response>
  <bind xmlns='urn:xmpp:bind:0'>
    <tag>AwesomeXMPP</tag>
    <enable xmlns='urn:xmpp:carbons:2'/>
    <enable xmlns='urn:xmpp:sm:3'/>
    <inactive xmlns='urn:xmpp:csi:0'/>
  </bind>
</authenticate>""")
    features = (
        Element("urn:xmpp:carbons:2", "enable"),
        Element("urn:xmpp:sm:3", "enable"),
        Element("urn:xmpp:csi:0", "inactive"),
    )
    assert asked(talk).bind == BindRequest("AwesomeXMPP", features)
    success = one_of(said, "success")
    assert success == printed("""<success xmlns='urn:xmpp:sasl:2'>
      <authorization-identifier>juliet@example.com/AwesomeXMPP/made</authorization-identifier>
      <bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3' id='some'/></bound>
    </success>""")


def test_stanzas_flow_behind_the_request() -> None:
    talk = server()
    said = talk.say(header() + plain(BIND2.format("")) + "<message/><r xmlns='urn:xmpp:sm:3'/>")
    assert said.endswith("</success><stream:features></stream:features>")
    assert talk.kinds()[-3:] == [InlineWanted, Message, Nonza]
    assert talk.say("<iq type='get' id='%s'/>" % ("x" * 20_000)) == ""  # the limits are larger


def test_what_is_not_offered_is_not_asked_for() -> None:
    inside = BIND2.format("<enable xmlns='urn:xmpp:sm:3'/><x xmlns='urn:x'/><y/>")
    everything = inside + RESUME.format("known") + "<future xmlns='urn:x'><y/></future>"
    talk = server(inline=Inline())
    said = talk.say(header(), plain(AGENT + everything))
    assert asked(talk) == InlineWanted(JULIET, "PLAIN", UserAgent(CLIENT, "AwesomeXMPP"))
    assert [child.name for child in one_of(said, "success")] == ["authorization-identifier"]
    assert "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>" in said
    talk = server(inline=Inline(bind=("urn:xmpp:carbons:2",)))
    talk.say(header(), plain(everything))
    assert (asked(talk).bind, asked(talk).resume) == (BindRequest(), None)


def test_no_resource_after_all() -> None:
    talk = server()
    talk.inline = lambda _: InlineResult()
    said = talk.say(header(), plain(BIND2.format("")))
    assert one_of(said, "success").child_text(ns.SASL2, "authorization-identifier") == JULIET.text
    assert "<bound" not in said
    assert result_of(talk.say(BIND)).type == "result"


@pytest.mark.parametrize(
    ("tag", "resource"),
    [
        ("AwesomeXMPP", "AwesomeXMPP/rQ7Lwut0CcxW6"),  # the example of XEP-0386 §3.3
        ("", "rQ7Lwut0CcxW6"),
        ("\u2168", "IX/rQ7Lwut0CcxW6"),  # prepared
        ("a\x00b", "rQ7Lwut0CcxW6"),
        ("\ue000", "rQ7Lwut0CcxW6"),
        ("x" * 1_000, "x" * 1_000 + "/rQ7Lwut0CcxW6"),
        ("x" * 1_023, "rQ7Lwut0CcxW6"),
    ],
)
def test_the_resource_that_comes_of_a_tag(tag: str, resource: str) -> None:
    found = BindRequest(tag).resource("rQ7Lwut0CcxW6")
    assert found == resource
    assert JULIET.with_resource(found).resource == resource


@pytest.mark.parametrize(
    ("inside", "agent"),
    [
        ("", None),
        ("<user-agent/>", UserAgent("")),
        ("<user-agent id='D4565FA7-4D72-4749-B3D3-740EDBF87770'/>", UserAgent(CLIENT)),
        ("<user-agent><device> Kiva's\n Phone </device></user-agent>",
         UserAgent("", "", "Kiva's Phone")),
        ("<user-agent><software>%s</software></user-agent>" % ("ä" * 300),
         UserAgent("", "ä" * 255)),
        ("<user-agent xmlns='urn:x' id='x'/>", None),
    ],
)  # fmt: skip
def test_user_agents(inside: str, agent: UserAgent | None) -> None:
    talk = server()
    talk.say(header(), plain(inside))
    assert asked(talk).client == agent


# XEP-0198


def test_a_resumed_session() -> None:
    talk = server()
    inside = RESUME.format("known") + BIND2.format("<enable xmlns='urn:xmpp:sm:3'/>")
    said = talk.say(header(), plain(inside) + "<message/>")
    wanted = asked(talk)
    assert wanted.resume == parse(RESUME.format("known").encode())
    # XEP-0198 §9.2: no features, and no <bound/>.
    assert elements_of(said)[-1] == printed("""<success xmlns='urn:xmpp:sasl:2'>
      <authorization-identifier>juliet@example.com/old</authorization-identifier>
      <resumed xmlns='urn:xmpp:sm:3' h='345' previd='known'/>
    </success>""")
    assert said.endswith("</success>")
    assert talk.kinds()[-2:] == [InlineWanted, Message]
    assert talk.stream.is_ready


def test_a_session_that_is_gone() -> None:
    talk = server()
    said = talk.say(header(), plain(RESUME.format("x") + BIND2.format("<tag>a</tag>")))
    assert one_of(said, "success") == printed("""<success xmlns='urn:xmpp:sasl:2'>
      <authorization-identifier>juliet@example.com/a/made</authorization-identifier>
      <failed xmlns='urn:xmpp:sm:3' h='7'>
        <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
      </failed>
      <bound xmlns='urn:xmpp:bind:0'/>
    </success>""")
    assert talk.stream.is_ready
    talk = server()
    said = talk.say(header(), plain(RESUME.format("x")))
    assert one_of(said, "success").find(ns.SM, "failed") is not None
    assert elements_of(said)[-1].find(ns.BIND, "bind") is not None
    assert result_of(talk.say(BIND)).type == "result"


def login(*, modern: bool) -> Talk:
    talk = server()
    talk.say(header(), *([plain()] if modern else [sasl1_plain(), header()]))
    return talk


@pytest.mark.parametrize("modern", [True, False])
def test_resumption_in_place_of_binding(*, modern: bool) -> None:
    talk = login(modern=modern)
    assert talk.say(RESUME.format("gone")) == "<failed xmlns='urn:xmpp:sm:3'/>"
    (wanted,) = talk.of(events.ResumeWanted)
    assert (wanted.account, wanted.mechanism) == (JULIET, "PLAIN")
    assert dict(wanted.nonza.attrs) == {"h": "5", "previd": "gone"}
    said = talk.say(RESUME.format("known") + "<message/>")
    assert said == "<resumed xmlns='urn:xmpp:sm:3' h='345' previd='known'/>"
    assert talk.kinds()[-2:] == [events.ResumeWanted, Message]
    assert talk.stream.is_ready


@pytest.mark.parametrize("modern", [True, False])
def test_a_resource_after_a_failed_resumption(*, modern: bool) -> None:
    talk = login(modern=modern)
    talk.say(RESUME.format("gone"))
    assert result_of(talk.say(BIND)).type == "result"
    assert talk.stream.is_ready


def test_what_comes_too_early() -> None:
    talk = login(modern=True)
    # XEP-0198 §3
    assert printed(talk.say("<enable xmlns='urn:xmpp:sm:3'/>")) == printed("""
<failed xmlns='urn:xmpp:sm:3'>
  <unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
</failed>""")
    assert result_of(talk.say(BIND)).type == "result"
    for text in (RESUME.format("known"), "<enable xmlns='urn:xmpp:sm:3'/>"):
        talk = server()
        talk.say(header(), text)
        assert talk.condition is StreamCondition.NOT_AUTHORIZED
    talk = login(modern=True)
    talk.say("<r xmlns='urn:xmpp:sm:3'/>")
    assert talk.condition is StreamCondition.UNSUPPORTED_STANZA_TYPE


# XEP-0509


def version_of(talk: Talk) -> str:
    element = one_of(talk.say(header()), "features").find("urn:xmpp:iap:0", "config-version")
    assert element is not None
    assert element.get("scheme") == "opaque"
    return element.get("value")


def test_the_version_is_that_of_the_offer() -> None:
    version = version_of(server())
    assert re.fullmatch("[A-Za-z0-9+/]{24}", version)
    assert version_of(server()) == version
    for changes in (
        {"inline": Inline()},
        {"enabled": ("PLAIN",)},
        {"channel": Channel(secure=True)},
        {"before_login": lambda: b"<x xmlns='urn:x'/>"},
    ):
        assert version_of(server(**changes)) != version


def test_a_login_that_is_sent_ahead() -> None:
    version = version_of(server())
    talk = server()
    inside = BIND2.format("") + VERSION.format(version)
    said = talk.say(header() + plain(inside) + "<message/>")
    assert said.index("</stream:features>") < said.index("<success")
    assert talk.kinds()[-1] is Message
    assert not talk.of(events.AuthenticationFailed)


@pytest.mark.parametrize(
    "element",
    [
        VERSION.format("VGhpcyBpcyBvcGFxdWUh"),
        VERSION.format(""),
        "<config-version xmlns='urn:xmpp:iap:0'/>",
    ],
)
def test_the_failure_of_xep_0509(element: str) -> None:
    talk = server()
    said = talk.say(header() + plain(AGENT + BIND2.format("") + element))
    failure = elements_of(said)[-1]
    assert [(child.ns, child.name) for child in failure] == [
        ("urn:ietf:params:xml:ns:xmpp-sasl", "aborted"),
        ("urn:xmpp:iap:0", "config-version-mismatch"),
        ("urn:xmpp:sasl:2", "text"),
    ]
    (failed,) = talk.of(events.AuthenticationFailed)
    assert (failed.account, failed.mechanism) == (None, "PLAIN")
    assert failed.error.condition is SaslCondition.ABORTED
    # "Client will then proceed with a normal authenticate"
    version = re.findall("<config-version [^>]* value='(.*?)'", said)[0]
    assert "<success" in talk.say(plain(VERSION.format(version)))


def test_a_mismatch_does_not_count() -> None:
    talk = server()
    talk.say(header())
    for _ in range(10):
        talk.say(plain(VERSION.format("old"), password="wrong"))
        # Nor does it matter what else is wrong with the request.
        talk.say(authenticate("BLURDYBLOOP", b"", VERSION.format("old")))
    assert not talk.of(events.CredentialsWanted)
    for _ in range(4):
        talk.say(plain(password="wrong"))
        assert not talk.stream.closed
    talk.say(sasl2("abort"))
    assert talk.condition is StreamCondition.POLICY_VIOLATION
