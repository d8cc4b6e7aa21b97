"""The breaker, on a clock that the test moves."""

from datetime import timedelta

import pytest

from keyservice.breaker import NO_ACCOUNT, PAUSE, SILENCES, Breaker, Sign
from keyservice.bridge_records import Outcome
from keyservice.enums import BridgeReason
from tests.support.clock import Clock

ADA, BOB = "client_ada", "client_bob"
LONG = timedelta(seconds=3)
AWAY = Outcome(BridgeReason.BRIDGE_UNAVAILABLE)
LATE = Outcome(BridgeReason.BRIDGE_TIMEOUT)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock=clock)


def test_one_refused_connection_is_enough_and_others_hear_of_it(breaker: Breaker) -> None:
    assert breaker.refusal(ADA) is None
    breaker.failed(ADA, Sign.AWAY, AWAY, LONG)
    assert breaker.is_away(ADA)
    assert breaker.refusal(ADA) is AWAY


def test_a_refused_connection_says_nothing_of_accounts_that_may_be_elsewhere(breaker: Breaker) -> None:
    breaker.failed(ADA, Sign.AWAY, AWAY, LONG)
    assert not breaker.is_away(BOB)
    assert breaker.refusal(BOB) is None
    breaker.answered(BOB)
    assert breaker.refusal(ADA) is AWAY


def test_an_answer_of_the_bridge_as_such_lets_everybody_ask_again(breaker: Breaker) -> None:
    breaker.failed(ADA, Sign.AWAY, AWAY, LONG)
    breaker.failed(NO_ACCOUNT, Sign.AWAY, AWAY, LONG)
    breaker.answered(NO_ACCOUNT)
    assert breaker.refusal(ADA) is None


def test_who_was_missed_and_answers_is_back_once_for_all_who_were_missed(breaker: Breaker) -> None:
    for account in (ADA, BOB):
        breaker.failed(account, Sign.AWAY, AWAY, LONG)
    breaker.answered(NO_ACCOUNT)  # that somebody is there for all says nothing of them
    assert breaker.returns == 0
    for _ in range(2):
        breaker.answered(ADA)
        breaker.answered(BOB)
    assert breaker.returns == 1
    breaker.failed(BOB, Sign.AWAY, AWAY, LONG)
    breaker.answered(ADA)
    assert breaker.returns == 1
    breaker.failed(BOB, Sign.ALIVE, LATE, LONG)
    assert breaker.returns == 2


def test_who_gave_no_answer_for_long_enough_is_back_with_the_next_one(breaker: Breaker) -> None:
    breaker.failed(ADA, Sign.SILENT, LATE, timedelta(milliseconds=50))
    breaker.answered(ADA)
    assert breaker.returns == 0
    breaker.failed(ADA, Sign.SILENT, LATE, LONG)
    breaker.failed(NO_ACCOUNT, Sign.SILENT, LATE, LONG)
    breaker.answered(NO_ACCOUNT)
    assert breaker.returns == 0
    breaker.answered(ADA)
    assert breaker.returns == 1


def test_a_bridge_that_does_not_serve_yet_may_be_asked_and_is_not_back(breaker: Breaker) -> None:
    breaker.failed(ADA, Sign.AWAY, AWAY, LONG)
    for account in (ADA, BOB):
        breaker.failed(account, Sign.NOT_SERVING, AWAY, LONG)
        assert breaker.refusal(account) is None
    assert breaker.returns == 0
    breaker.answered(BOB)
    assert breaker.returns == 1


def test_a_bridge_that_can_t_take_a_call_now_may_be_asked_and_is_neither_missed_nor_back(
    breaker: Breaker,
) -> None:
    breaker.failed(ADA, Sign.AWAY, AWAY, LONG)
    for account in (ADA, BOB):
        breaker.failed(account, Sign.BUSY, AWAY, LONG)
        assert breaker.refusal(account) is None
    breaker.answered(BOB)
    assert breaker.returns == 0
    breaker.answered(ADA)
    assert breaker.returns == 1


def test_after_a_moment_one_call_goes_through_and_the_others_wait_for_what_it_finds(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.failed(ADA, Sign.AWAY, AWAY, LONG)
    clock.now += PAUSE.total_seconds()
    assert [breaker.refusal(ADA) for _ in range(3)] == [None, AWAY, AWAY]
    breaker.answered(ADA)
    assert not breaker.is_away(ADA)
    assert breaker.refusal(ADA) is None


def test_a_probe_that_never_ends_is_followed_by_another_one(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(ADA, Sign.AWAY, AWAY, LONG)
    for _ in range(3):
        clock.now += PAUSE.total_seconds()
        assert [breaker.refusal(ADA), breaker.refusal(ADA)] == [None, AWAY]


def test_silence_trips_it_for_all_and_only_when_nobody_is_answered_in_a_time_that_is_long_enough(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(SILENCES * 2):
        breaker.failed(ADA, Sign.SILENT, LATE, timedelta(milliseconds=50))
    for _ in range(SILENCES - 1):
        breaker.failed(ADA, Sign.SILENT, LATE, LONG)
    breaker.failed(BOB, Sign.ALIVE, LATE, LONG)
    for _ in range(SILENCES - 1):
        breaker.failed(ADA, Sign.SILENT, LATE, LONG)
        assert breaker.refusal(ADA) is None
    breaker.failed(ADA, Sign.SILENT, LATE, LONG)
    assert [breaker.refusal(ADA), breaker.refusal(BOB)] == [LATE, LATE]
    clock.now += PAUSE.total_seconds()
    assert [breaker.refusal(ADA), breaker.refusal(BOB)] == [None, LATE]


def test_what_stands_in_between_says_nothing_of_the_bridge(breaker: Breaker) -> None:
    breaker.failed(ADA, Sign.NEITHER, AWAY, LONG)
    assert not breaker.is_away(ADA)
    breaker.failed(ADA, Sign.AWAY, AWAY, LONG)
    breaker.failed(ADA, Sign.NEITHER, LATE, LONG)
    assert breaker.is_away(ADA)
