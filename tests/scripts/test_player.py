"""The player itself: a play that should fail does fail."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

import jabberd
from tests.scripts.player import ACTORS, Play, PlayError, Stage, match, perform


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


@pytest.mark.parametrize("line", ["alice > <a/>", "alice/x", "alice/x >", "alice/x ! <a/>", "x"])
def test_what_is_not_understood(tmp_path: Path, line: str) -> None:
    with pytest.raises(PlayError, match=r"test.xmpp:1: not understood"):
        written(tmp_path, line)


PING = "alice/desk > <iq type='get' id='1' to='{host}'><ping xmlns='urn:xmpp:ping'/></iq>\n"
NOTE = "bob/home > <message to='{alice/desk}'><body>hi</body></message>\n"


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
    ],
)
async def test_a_play_that_fails(tmp_path: Path, text: str, complaint: str) -> None:
    play = written(tmp_path, text)
    async with jabberd.Server() as server:
        for actor in ACTORS:
            await server.add_user(actor, actor)
        stage = Stage("jabberd", server.domain, server.host, server.port)
        with pytest.raises(PlayError, match=complaint):
            await perform(play, stage)
