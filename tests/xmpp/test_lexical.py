"""XML Schema part 2 and XEP-0082."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import lexical
from jabberd.xmpp.payload.delay import stamp

SOME = settings(max_examples=200, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("7", 7), ("255", 255), ("007", 7), ("+7", 7), (" 7\n", 7), ("256", None),
     ("-1", None), ("-0", None), ("", None), (" ", None), ("+", None), ("++7", None), ("7.0", None),
     ("1_0", None), ("\u0663", None), ("\u00b2", None), ("7 7", None), ("0x7", None),
     ("9" * 5_000, None)],
)  # fmt: skip
def test_numbers(text: str, value: int | None) -> None:
    assert lexical.unsigned(text, 255) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("false", False), ("0", False), (" true\n", True),
     ("True", None), ("yes", None), ("", None), ("01", None)],
)  # fmt: skip
def test_truths(text: str, value: bool | None) -> None:
    assert lexical.boolean(text) is value


MOON = -14159025.0  # 1969-07-21T02:56:15Z


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1969-07-21T02:56:15Z", MOON),  # XEP-0082 §3.2
        ("1969-07-20T21:56:15-05:00", MOON),
        ("1969-07-21T08:26:15+05:30", MOON),
        (" 1969-07-21T02:56:15Z\n", MOON),
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01T00:00:00.5Z", 0.5),
        ("1970-01-01T00:00:00.000001Z", 0.000001),
        ("1970-01-01T00:00:00.1234567891011Z", 0.123456),
        ("2000-02-29T00:00:00Z", 951782400.0),
        ("1969-07-21T02:56:15", None),  # the zone is not optional
        ("1969-07-21", None),
        ("19690721T02:56:15", None),
        ("1969-07-21 02:56:15Z", None),
        ("1969-07-21T02:56Z", None),
        ("1969-07-21T02:56:15.Z", None),
        ("1969-07-21T02:56:15+0500", None),
        ("1969-07-21T02:56:15+25:00", None),
        ("1969-02-29T00:00:00Z", None),
        ("1969-13-01T00:00:00Z", None),
        ("1969-07-21T25:00:00Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("-0001-01-01T00:00:00Z", None),
        ("\u0661969-07-21T02:56:15Z", None),
        ("", None),
    ],
)
def test_times(text: str, value: float | None) -> None:
    assert lexical.date_time(text) == value


@SOME
@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_stamped_is_read_as_the_same_millisecond(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert lexical.date_time(stamp(moment.timestamp())) == pytest.approx(
        moment.timestamp(), abs=0.0011
    )


@SOME
@given(
    st.datetimes(),
    st.sampled_from(["Z", "+14:00", "-14:00", "+00:00", "-23:59"]),
    st.text(max_size=4),
)
def test_every_text_is_a_time_or_none(moment: datetime, zone: str, more: str) -> None:
    assert isinstance(lexical.date_time(moment.isoformat(timespec="seconds") + zone), float)
    lexical.date_time(more)
    lexical.date_time(moment.isoformat() + more)
