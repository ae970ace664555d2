"""The parts of the benchmark that could make a figure wrong without anybody noticing."""

from __future__ import annotations

import array
from dataclasses import replace

import pytest
from bench.figures import FIGURES, Figure, Load
from bench.load.ledger import Ledger
from bench.load.words import COMMON, RARE, bodies
from bench.servers import SERVERS
from bench.table import Cell, Row

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
