"""Counting; the time is given, so nothing waits."""

from __future__ import annotations

import pytest

from jabberd.net.clock import SystemClock
from jabberd.net.limits import Admission, Attempts, TokenBucket


def test_bucket_lets_a_burst_pass_then_makes_wait() -> None:
    bucket = TokenBucket(rate=100, burst=1000, now=5.0)
    assert bucket.take(1000, 5.0) == 0
    assert bucket.take(50, 5.0) == pytest.approx(0.5)
    assert bucket.take(0, 5.25) == pytest.approx(0.25)
    assert bucket.take(0, 5.5) == 0
    assert bucket.take(100, 6.5) == 0


def test_bucket_never_holds_more_than_the_burst() -> None:
    bucket = TokenBucket(rate=100, burst=1000, now=0.0)
    assert bucket.take(1001, 1e6) == pytest.approx(0.01)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_bucket_refuses_nonsense(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        TokenBucket(rate, burst, 0.0)


def test_lockout_after_so_many_failures() -> None:
    attempts = Attempts(allowed=3, forget_seconds=60, longest=600)
    key = ("alice@example.org", "192.0.2.1")
    for _ in range(2):
        attempts.failed(key, 100.0)
        assert attempts.blocked(key, 100.0) == 0
    attempts.failed(key, 100.0)
    assert attempts.blocked(key, 100.0) == 60
    assert attempts.blocked(key, 130.0) == 30
    assert attempts.blocked(key, 160.0) == 0
    assert attempts.blocked(("bob@example.org", "192.0.2.1"), 100.0) == 0
    assert attempts.blocked("192.0.2.1", 100.0) == 0


def test_success_forgives() -> None:
    attempts = Attempts(allowed=1)
    attempts.failed("k", 0.0)
    assert attempts.blocked("k", 0.0) > 0
    attempts.succeeded("k")
    attempts.succeeded("never seen")
    assert attempts.blocked("k", 0.0) == 0


def test_lockout_has_a_longest() -> None:
    attempts = Attempts(allowed=2, forget_seconds=10, longest=100)
    for _ in range(1000):
        attempts.failed("k", 0.0)
    assert attempts.blocked("k", 0.0) == pytest.approx(100)
    assert attempts.blocked("k", 101.0) == 0


def test_time_that_steps_back_forgives_nothing_and_breaks_nothing() -> None:
    attempts = Attempts(allowed=1, forget_seconds=10)
    attempts.failed("k", 100.0)
    assert attempts.blocked("k", 50.0) == 10


def test_attempts_are_bounded_by_number_and_time() -> None:
    attempts = Attempts(allowed=5, forget_seconds=60, size=100)
    for number in range(1000):
        attempts.failed(number, 0.0)
    assert len(attempts) == 100
    attempts.failed("late", 1000.0)
    assert len(attempts) == 1


def test_admission() -> None:
    admission = Admission(total=3, per_source=2)
    assert admission.enter("a")
    assert admission.enter("a")
    assert not admission.enter("a")
    assert admission.open == 2
    assert admission.enter(None)
    assert not admission.enter("b")
    admission.leave("a")
    assert admission.name("b")
    admission.leave("b")
    admission.leave("a")
    assert admission.open == 0
    assert admission._sources == {}


def test_admission_limits_change() -> None:
    admission = Admission(total=1, per_source=1)
    assert admission.enter("a")
    admission.limit(2, 2)
    assert admission.enter("a")
    with pytest.raises(ValueError, match="more than 0"):
        admission.limit(0, 1)


@pytest.mark.parametrize("values", [(0, 1), (1, 0)])
def test_admission_refuses_nonsense(values: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Admission(*values)


def test_clock() -> None:
    clock = SystemClock()
    assert clock.now() > 1_700_000_000
    assert clock.monotonic() <= clock.monotonic()


def test_what_is_allowed_can_change() -> None:
    attempts = Attempts(allowed=2, forget_seconds=60)
    for _ in range(2):
        attempts.failed("key", 0)
    assert attempts.blocked("key", 0) > 0
    attempts.allow(5)
    assert attempts.blocked("key", 0) == 0
    attempts.allow(1)
    assert attempts.blocked("key", 0) == 120
