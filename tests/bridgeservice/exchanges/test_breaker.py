"""An exchange that can't be reached: told at once, and tried again after a pause."""

from datetime import timedelta

import pytest

from bridgeservice.exchanges import breaker as module
from bridgeservice.exchanges.breaker import Breaker
from servicekit.errors import Unavailable
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("okx", failures=3, pause=timedelta(seconds=5))


def test_single_failures_change_nothing(breaker: Breaker) -> None:
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.answered()

    breaker.admit()
    assert not breaker.is_open


def test_after_failures_in_a_row_callers_are_told_when_to_come_again(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        breaker.failed()
    clock.now += 2

    with pytest.raises(Unavailable) as told:
        breaker.admit()

    assert told.value.reason == "EXCHANGE_UNAVAILABLE"
    assert told.value.retry_after == timedelta(seconds=3)


def test_after_a_pause_one_call_tries_and_the_others_wait_for_it(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        breaker.failed()
    clock.now += 5

    breaker.admit()
    with pytest.raises(Unavailable):
        breaker.admit()
    breaker.answered()
    breaker.admit()


def test_one_reporter_alone_does_not_take_the_exchange_from_the_others(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.failed(1)
    breaker.failed(2)
    breaker.admit()

    breaker.failed(3)
    with pytest.raises(Unavailable):
        breaker.admit()


def test_asking_whether_a_call_would_be_refused_is_no_trial(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        breaker.failed()
    clock.now += 5

    breaker.refuse()
    breaker.refuse()
    breaker.admit()
    with pytest.raises(Unavailable):
        breaker.refuse()


def test_a_trial_that_fails_begins_the_pause_anew(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        breaker.failed()
    clock.now += 5
    breaker.admit()
    clock.now += 1
    breaker.failed()
    clock.now += 4.5

    with pytest.raises(Unavailable):
        breaker.admit()


def test_a_trial_that_never_reports_does_not_keep_the_exchange_away_for_ever(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(3):
        breaker.failed()
    clock.now += 5
    breaker.admit()
    clock.now += 5

    breaker.admit()
