"""The breaker, on a clock that the test moves."""

from datetime import timedelta

import pytest

from keyservice.breaker import PAUSE, SILENCES, Breaker, Sign
from keyservice.bridge_records import Outcome
from keyservice.enums import BridgeReason

LONG = timedelta(seconds=3)
AWAY = Outcome(BridgeReason.BRIDGE_UNAVAILABLE)
LATE = Outcome(BridgeReason.BRIDGE_TIMEOUT)


class Clock:
    """A time that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock=clock)


def test_one_refused_connection_is_enough_and_others_hear_of_it(breaker: Breaker) -> None:
    assert breaker.refusal() is None
    breaker.failed(Sign.AWAY, AWAY, LONG)
    assert breaker.away
    assert breaker.refusal() is AWAY


def test_after_a_moment_one_call_goes_through_and_the_others_wait_for_what_it_finds(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.failed(Sign.AWAY, AWAY, LONG)
    clock.now += PAUSE.total_seconds()
    assert [breaker.refusal() for _ in range(3)] == [None, AWAY, AWAY]
    breaker.answered()
    assert [breaker.away, breaker.refusal()] == [False, None]


def test_a_probe_that_never_ends_is_followed_by_another_one(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(Sign.AWAY, AWAY, LONG)
    for _ in range(3):
        clock.now += PAUSE.total_seconds()
        assert [breaker.refusal(), breaker.refusal()] == [None, AWAY]


def test_silence_trips_it_only_when_nobody_is_answered_in_a_time_that_is_long_enough(
    breaker: Breaker,
) -> None:
    for _ in range(SILENCES * 2):
        breaker.failed(Sign.SILENT, LATE, timedelta(milliseconds=50))
    for _ in range(SILENCES - 1):
        breaker.failed(Sign.SILENT, LATE, LONG)
    breaker.failed(Sign.ALIVE, LATE, LONG)
    for _ in range(SILENCES - 1):
        breaker.failed(Sign.SILENT, LATE, LONG)
        assert breaker.refusal() is None
    breaker.failed(Sign.SILENT, LATE, LONG)
    assert breaker.refusal() is LATE


def test_what_stands_in_between_says_nothing_of_the_bridge(breaker: Breaker) -> None:
    breaker.failed(Sign.NEITHER, AWAY, LONG)
    assert not breaker.away
    breaker.failed(Sign.AWAY, AWAY, LONG)
    breaker.failed(Sign.NEITHER, LATE, LONG)
    assert breaker.away
