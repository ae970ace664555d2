"""The player itself: a play that should fail does fail."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

import jabberd
from tests.scripts.matching import match
from tests.scripts.player import ACTORS, Play, PlayError, Stage, perform


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("<a/>", "<a/>"),
        ("<a/>", "<a id='1' to='x'/>"),
        ("<a x='1' y='2'/>", "<a y='2' x='1'/>"),
        ("<a id='...'/>", "<a/>"),
        ("<a id='x...z'/>", "<a id='xyyz'/>"),
        ("<a><b/><c/></a>", "<a><c/><b/></a>"),
        ("<a>...</a>", "<a>text<b/></a>"),
        ("<a>...</a>", "<a/>"),
        ("<a><b/>...</a>", "<a>x<c/><b/><d/></a>"),
        ("<a><b i='1'/><b i='...'/></a>", "<a><b i='1'/><b i='2'/></a>"),
        ("<a> <b> x </b> </a>", "<a><b>x</b></a>"),
        ("<a><b v='...'/></a>", "<a><b/></a>"),
        ("<a xmlns='u'/>", "<p:a xmlns:p='u'/>"),
    ],
)
def test_what_matches(wanted: str, found: str) -> None:
    assert match(fromstring(wanted), fromstring(found)) == {}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("<a/>", "<b/>"),
        ("<a xmlns='u'/>", "<a/>"),
        ("<a id='1'/>", "<a id='2'/>"),
        ("<a id='1'/>", "<a/>"),
        ("<a/>", "<a><b/></a>"),
        ("<a/>", "<a>text</a>"),
        ("<a>text</a>", "<a/>"),
        ("<a><b/></a>", "<a/>"),
        ("<a><b/><b/></a>", "<a><b/></a>"),
        ("<a><b/></a>", "<a><b/><b/></a>"),
        ("<a><b/></a>", "<a><b x='1'/></a>"),
        ("<a><b/>...</a>", "<a><c/></a>"),
        ("<a><b>x</b>...</a>", "<a><b>y</b></a>"),
        ("<a id='x.z'/>", "<a id='xyz'/>"),
    ],
)
def test_what_does_not(wanted: str, found: str) -> None:
    assert match(fromstring(wanted), fromstring(found)) is None


def test_what_is_kept() -> None:
    wanted = fromstring("<a id='{=name}'><b>v{=number}</b>...</a>")
    found = fromstring("<a id='x1'><c/><b>v2</b></a>")
    assert match(wanted, found) == {"name": "x1", "number": "2"}


def written(tmp_path: Path, text: str) -> Play:
    path = tmp_path / "test.xmpp"
    path.write_text(text)
    return Play.read(path)


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "more.part").write_text("bob/home +\n")
    play = written(
        tmp_path,
        "# only: jabberd -- because\ninclude more\nalice/desk > <a>\n  <b/></a>\n\n"
        "# wait: 7\nalice/desk ? <c/>\n",
    )
    assert play.only == "jabberd -- because"
    assert [(one.actor, one.sign, one.text, one.wait) for one in play.lines] == [
        ("bob/home", "+", "", 5.0),
        ("alice/desk", ">", "<a>\n<b/></a>", 5.0),
        ("alice/desk", "?", "<c/>", 7.0),
    ]


def test_reading_configuration(tmp_path: Path) -> None:
    play = written(
        tmp_path,
        "# config: sessions.resume_seconds = 0\n# config: sessions.location = 'a:1'\nbob/home +\n",
    )
    assert play.config == {"sessions": {"resume_seconds": 0, "location": "a:1"}}


NOT_UNDERSTOOD = [
    "alice > <a/>", "alice/x", "alice/x >", "alice/x ! <a/>", "x", "alice/x @", "alice/x @ door",
    "alice/x / <a/>",
]  # fmt: skip


@pytest.mark.parametrize("line", NOT_UNDERSTOOD)
def test_what_is_not_understood(tmp_path: Path, line: str) -> None:
    with pytest.raises(PlayError, match=r"test.xmpp:1: not understood"):
        written(tmp_path, line)


PING = "alice/desk > <iq type='get' id='1' to='{host}'><ping xmlns='urn:xmpp:ping'/></iq>\n"
PONG = "alice/desk < <iq type='result' id='1'/>\n"
NOTE = "bob/home > <message to='{alice/desk}'><body>hi</body></message>\n"
ENABLE = (
    "alice/desk > <enable xmlns='urn:xmpp:sm:3'/>\nalice/desk < <enabled xmlns='urn:xmpp:sm:3'/>\n"
)
ASK = "alice/desk > <r xmlns='urn:xmpp:sm:3'/>\n"
HANDLED = "alice/desk < <a xmlns='urn:xmpp:sm:3' h='{}'/>\n"
ASKED = "alice/desk < <r xmlns='urn:xmpp:sm:3'/>\n"
FEATURES = "alice/desk < <stream:features>...</stream:features>\n"
BIND = (
    "alice/desk > <iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>\n"
    "alice/desk < <iq type='result' id='b'>...</iq>\n"
)
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
PLAIN = (
    f"alice/desk > <auth {SASL} mechanism='PLAIN'>{{plain/alice}}</auth>\n"
    f"alice/desk < <success {SASL}/>\n"
)


async def play(text: str, tmp_path: Path) -> None:
    async with jabberd.Server() as server:
        for actor in ACTORS:
            await server.add_user(actor, actor)
        stage = Stage("jabberd", server.domain, server.host, server.port)
        await perform(written(tmp_path, text), stage)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text",
    [
        f"alice/desk @ tls\n{PLAIN}",
        f"alice/desk @ login\n{BIND}{NOTE.replace('/desk', '')}alice/desk !",
        f"alice/desk @ login\n{FEATURES}{BIND}alice/desk -",
        f"alice/desk @ login\nalice/desk x\nalice/desk @ login\n{BIND}alice/desk !",
        # Nobody but the play has been counted, and its own question is answered.
        f"{ENABLE}alice/desk !\n{ASK}{HANDLED.format(0)}",
        f"{ENABLE}{ASK}alice/desk ? <message/>\n{HANDLED.format(0)}",
        f"{ENABLE}{PING}{ASK}{PONG}{HANDLED.format(1)}",
        # That the server asks may be named or not.
        f"{ENABLE}{PING}{PONG}{ASKED}",
        f"{ENABLE}{PING}{PONG}alice/desk !\n{ASK}{HANDLED.format(1)}",
        "alice/desk > </stream:stream>\nalice/desk /\nalice/desk +",
        f"{ENABLE}alice/desk > </stream:stream>\nalice/desk /",
    ],
)
async def test_a_play_that_succeeds(tmp_path: Path, text: str) -> None:
    await play(text, tmp_path)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{PING}alice/desk < <iq type='error' id='1'/>", ":2: .*\n  received <"),
        (f"{PING}alice/desk !", ":2: .*\n  received <"),
        (PING, "in the end, alice/desk has received"),
        (f"{PING}alice/desk -", "in the end, alice/desk has received"),
        (f"alice/desk +\n{NOTE}alice/desk !", ":3: .*\n  received <"),
        (f"alice/desk +\n{NOTE}", "in the end, alice/desk has received"),
        ("# wait: 0.05\nalice/desk < <iq/>", ":2: .*\n  nothing came within 0.05 s"),
        ("# wait: 0.05\nalice/desk ~ <iq/>", ":2: .*\n  nothing came within 0.05 s"),
        ("alice/desk > <a b='{unknown}'/>", ":1: .*\n  {unknown} means nothing here"),
        ("alice/desk < <a>", ":1: .*\n  this is no XML"),
        ("alice/desk > </wrong>\nalice/desk < <iq/>", ":2: .*\n  received <"),
        ("alice/desk +\nalice/desk @ tls", ":2: .*\n  it is here already"),
        ("alice/desk @ login\nalice/desk !", ":2: .*\n  it has no resource, so nobody can tell"),
        ("alice/desk @ login\n# wait: 0.05\nalice/desk < <iq/>", ":3: .*\n  nothing came within"),
        (f"{ENABLE}{ASK}{HANDLED.format(1)}", ":4: .*\n  received <.*h=.0."),
        (f"{ENABLE}{ASK}", "in the end, alice/desk has received .*h=.0."),
        (f"{ENABLE}{ASK}alice/desk !", ":4: .*\n  received <.*h=.0."),
        (f"{ENABLE}# wait: 0.05\n{ASKED}", ":4: .*\n  nothing came within"),
        (f"{PING}alice/desk > </stream:stream>\nalice/desk /", "alice/desk has received what no"),
        ("alice/desk +\n# wait: 0.05\nalice/desk /", ":3: .*\n  nothing came within"),
    ],
)
async def test_a_play_that_fails(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(PlayError, match=complaint):
        await play(text, tmp_path)
