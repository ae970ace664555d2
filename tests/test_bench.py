"""The parts of the benchmark that could make a figure wrong without anybody noticing."""

from __future__ import annotations

import array
import contextlib
import socket
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from bench.data import Sizes
from bench.figures import FIGURES, Data, Figure, Load
from bench.load.chat import ArchiveCheck
from bench.load.domains import dead_servers
from bench.load.fake import Seen
from bench.load.ledger import Ledger
from bench.load.places import DEAD, FULL_HOST, MOST, PORT, SILENT_HOST, is_live, routes
from bench.load.proc import connections
from bench.load.relay import as_it_must_be
from bench.load.target import LoadError, Result
from bench.load.words import COMMON, RARE, bodies
from bench.run import figures_here
from bench.servers import SERVERS, ServerError, Setting, federated
from bench.session import Plan, Session
from bench.table import Cell, Row

from tests.federation.names import network

_ENABLED = b"<enabled xmlns='urn:xmpp:sm:3' id='abc' resume='true'/>"
_FIGURE = Figure(
    key="cost",
    what="chat",
    title="cost",
    unit="",
    load=Load("cost", ("chat",), ()),
    value="cpu",
    target="at most half",
    servers=("jabberd", "ejabberd", "prosody"),
    factor=0.5,
    against=("ejabberd", "prosody"),
)


def _ledger() -> tuple[Ledger, array.array[float]]:
    latencies = array.array("d")
    return Ledger(latencies), latencies


@pytest.mark.parametrize("cut", range(1, 120))
def test_stanzas_are_counted_however_the_bytes_are_cut(cut: int) -> None:
    data = _ENABLED + b"<iq type='result' id='a'/><presence from='a@b/c'><r>1</r></presence>"
    data += b"<message><body>hi</body></message>"
    ledger, _ = _ledger()
    ledger.read(data[:cut], 0.0)
    ledger.read(data[cut:], 0.0)
    assert (ledger.received, ledger.token) == (3, "abc")
    assert ledger.answer == "<a xmlns='urn:xmpp:sm:3' h='3'/>"


def test_what_came_before_it_was_enabled_is_not_counted() -> None:
    ledger, _ = _ledger()
    ledger.read(b"<iq type='result' id='bind1'/>" + _ENABLED + b"<presence/>", 0.0)
    assert ledger.received == 1


def test_a_request_is_noticed() -> None:
    ledger, _ = _ledger()
    assert not ledger.read(b"<presence/>", 0.0)
    assert ledger.read(b"<r xmlns='urn:xmpp:sm:3'/>", 0.0)


@pytest.mark.parametrize("cut", range(1, 60))
def test_an_acknowledgement_ends_the_requests_that_it_covers(cut: int) -> None:
    ledger, latencies = _ledger()
    for sent, at in ((2, 10.0), (3, 11.0), (9, 12.0)):
        ledger.sent = sent
        ledger.asked(at)
    data = b"<a xmlns='urn:xmpp:sm:3' h='2'/><a h='4' xmlns='urn:xmpp:sm:3'/>"
    ledger.acknowledge(data[:cut], 14.0)
    ledger.acknowledge(data[cut:], 14.0)
    assert ledger.acked == 4
    assert list(latencies) == [4.0, 3.0]
    assert not ledger.overdone


def test_an_acknowledgement_of_too_much_is_noticed() -> None:
    ledger, _ = _ledger()
    ledger.sent = 1
    ledger.acknowledge(b"<a xmlns='urn:xmpp:sm:3' h='2'/>", 0.0)
    assert ledger.overdone


def test_words_are_as_frequent_as_is_said() -> None:
    texts = list(bodies(10_000))
    assert len(set(texts)) == 10_000
    assert sum(f" {RARE}" in text for text in texts) == 10
    assert sum(f" {COMMON}" in text for text in texts) == 1_000
    assert list(bodies(10)) == texts[:10]


@pytest.mark.parametrize(
    ("figure", "limit"),
    [
        (_FIGURE, 15.0),
        (replace(_FIGURE, bound=12.0), 12.0),
        (replace(_FIGURE, bound=20.0), 15.0),
        (replace(_FIGURE, against=(), bound=20.0), 20.0),
        (replace(_FIGURE, more=True, factor=6.0, bound=100.0), 240.0),
        (replace(_FIGURE, more=True, factor=6.0, bound=300.0), 300.0),
        (replace(_FIGURE, against=("ejabberd", "somebody")), None),
    ],
)
def test_the_best_peer_and_the_bound_both_limit(figure: Figure, limit: float | None) -> None:
    assert figure.limit({"jabberd": 1.0, "ejabberd": 40.0, "prosody": 30.0}) == limit


@pytest.mark.parametrize(
    ("figure", "value", "limit", "holds"),
    [
        (_FIGURE, 15.0, 15.0, True),
        (_FIGURE, 15.1, 15.0, False),
        (replace(_FIGURE, below=True), 15.0, 15.0, False),
        (replace(_FIGURE, more=True), 240.0, 240.0, True),
        (replace(_FIGURE, more=True), 239.0, 240.0, False),
        (_FIGURE, 0.0, 0.0, True),
        (_FIGURE, 1.0, 0.0, False),
    ],
)
def test_up_to_a_ratio_of_one_a_target_holds(
    figure: Figure, value: float, limit: float, holds: bool
) -> None:
    assert figure.holds(figure.ratio(value, limit)) is holds


def test_a_difference_is_one_of_medians() -> None:
    figure = replace(_FIGURE, minus=Load("bare", ("chat",), ()))
    with_it = [{"correct": True, "cpu": value} for value in (9.0, 5.0, 7.0)]
    without = [{"correct": True, "cpu": value} for value in (1.0, 3.0, 2.0)]
    assert Cell.of(figure, [with_it, without]).value == 5.0


def test_one_wrong_run_fails_the_line() -> None:
    runs = [{"correct": True, "cpu": 1.0}, {"correct": False, "cpu": 1.0}]
    row = Row.of(_FIGURE, {"jabberd": Cell.of(_FIGURE, [runs])})
    assert (row.verdict, row.ratio) == ("FAILED", None)


def test_nothing_is_a_value_too() -> None:
    figure = replace(_FIGURE, against=(), bound=0.0)
    row = Row.of(figure, {"jabberd": Cell.of(figure, [[{"correct": True, "cpu": 0}]])})
    assert (row.verdict, row.ratio) == ("holds", 0.0)


def test_figures_name_servers_that_there_are() -> None:
    assert len({figure.key for figure in FIGURES}) == len(FIGURES)
    loads = {load for figure in FIGURES for name in figure.servers for load in figure.runs(name)}
    assert len({load.key for load in loads}) == len(loads)
    for figure in FIGURES:
        assert {*figure.servers, *figure.against} <= set(SERVERS)
        assert not figure.target or figure.against or figure.bound is not None


def test_a_connection_is_counted_once_and_only_where_it_ends() -> None:
    prefix = network()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((f"{prefix}.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert connections(port, [f"{prefix}.1"]) == 0
        for _ in range(2):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            stack.enter_context(listener.accept()[0])
        assert connections(port, [f"{prefix}.1", f"{prefix}.2"]) == 2
        assert connections(port, [f"{prefix}.2"]) == 0
        assert connections(port + 1, [f"{prefix}.1"]) == 0


def test_the_ways_to_a_thousand_domains_and_to_the_dead() -> None:
    ways = routes("127.0.9")
    live = [domain for domain in ways if is_live(domain)]
    assert (len(live), len(ways)) == (MOST, MOST + DEAD)
    dead = Counter(way for domain, way in ways.items() if not is_live(domain))
    assert dead == {
        f"127.0.9.{SILENT_HOST}:{PORT}": DEAD / 2,
        f"127.0.9.{FULL_HOST}:{PORT}": DEAD / 2,
    }


def test_dead_servers_are_dead() -> None:
    prefix = network()
    with dead_servers(prefix):
        with socket.create_connection((f"{prefix}.{SILENT_HOST}", PORT), timeout=5) as silent:
            silent.sendall(b"hello")
            silent.settimeout(0.3)
            with pytest.raises(TimeoutError):
                silent.recv(1)
        with pytest.raises(TimeoutError):
            socket.create_connection((f"{prefix}.{FULL_HOST}", PORT), timeout=0.3)


@pytest.mark.asyncio
async def test_the_fake_notices_what_is_missing_and_what_comes_twice() -> None:
    seen = Seen()
    for number in (0, 1, 1):
        seen.came(number)
    await seen.all_of(range(2), 1.0)
    assert seen.repeated == 1
    with pytest.raises(LoadError, match="1 of 3 messages"):
        await seen.all_of(range(3), 0.0)


@pytest.mark.parametrize(
    ("change", "archive", "correct"),
    [
        ({}, "refused", True),
        ({}, "complete", False),
        ({"archives": "not complete"}, "ignored", True),
        ({"archives": "complete and not complete"}, "complete", False),
        ({"streams_between": 0}, "refused", False),
        ({"streams_between": 2}, "refused", False),
        ({"correct": False}, "refused", False),
    ],
)
def test_messages_cross_on_one_stream(change: Result, archive: ArchiveCheck, correct: bool) -> None:
    result = {"correct": True, "archives": "refused", "streams_between": 1}
    assert as_it_must_be(result | change, archive) is correct


def test_where_servers_cannot_find_each_other_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(federated, "missing", lambda: "there is no DNS server")
    found = figures_here(("chat", "federation", "domains"), {"jabberd": "1"})
    assert {figure.what for figure in found} == {"chat", "domains"}
    assert "federation is left out: there is no DNS server" in capsys.readouterr().err


def _once(load: Load, name: str) -> Result:
    """One run, as the comparison does it."""
    try:
        SERVERS[name].version()
    except ServerError as error:
        pytest.skip(str(error))
    figure = replace(_FIGURE, load=load, servers=(name,))
    # Not in pytest's folder: ejabberd runs as another user, and each run of pytest that begins
    # meanwhile closes that folder to others.
    with tempfile.TemporaryDirectory(prefix="jabberd-bench-") as folder:
        Path(folder).chmod(0o755)
        server = SERVERS[name](Setting(Path(folder), 0, Path(), Path()))
        runs = Session(Plan([figure], 1, False, Sizes()), [server]).run()
    (result,) = runs[load.key, name]
    return result


@pytest.mark.parametrize("name", ["jabberd", "ejabberd", "prosody"])
@pytest.mark.parametrize("rate", ["0", "50"])
def test_messages_cross_between_two_servers(name: str, rate: str) -> None:
    if why := federated.missing():
        pytest.skip(why)
    scenario = (
        *("relay", "--tls", "starttls", "--pairs", "3", "--window", "2", "--rate", rate),
        *("--warmup", "0.3", "--duration", "0.7", "--settle", "0.2", "--archive", "refused"),
    )
    result = _once(Load("try", scenario, (), data=Data.PAIR), name)
    assert result["correct"], result
    assert result["received"] == result["sent"] > 20
    assert result["streams_between"] == 1
    sides = result["cpu_us_sending"], result["cpu_us_receiving"]
    assert all(sides)
    assert result["cpu_us_per_msg"] == pytest.approx(sum(sides), abs=0.02)
    assert 0 < result["p50_ms"] <= result["p99_ms"]


def test_many_domains_are_written_to_and_some_are_dead() -> None:
    scenario = (
        *("domains", "--tls", "starttls", "--others", "20", "--rest", "0.2", "--settle", "0.2"),
        *("--rate", "100", "--warmup", "0.2", "--duration", "1"),
    )
    result = _once(Load("try", scenario, (), data=Data.OTHERS), "jabberd")
    assert result["correct"], result
    assert result["streams"] == 20
    assert result["kib_per_stream"] > 0
    assert all(result[value] > 0 for value in ("p50_ms", "p99_ms", "dead_p50_ms", "dead_p99_ms"))
