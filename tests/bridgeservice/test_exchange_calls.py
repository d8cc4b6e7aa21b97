"""Every call to an exchange ends, and those of one exchange leave room for the others."""

import asyncio
from datetime import timedelta

import pytest

from bridgeservice.exchange_calls import ExchangeCalls, late, time_to_answer
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.precedence import go_first
from servicekit.errors import DeadlineExceeded, ResourceExhausted
from tests.support.fake_exchanges import FakeExchanges

LIVE, SANDBOX = Environment.LIVE, Environment.SANDBOX


async def test_a_call_that_never_ends_is_ended() -> None:
    calls = ExchangeCalls(FakeExchanges(), timeout=timedelta(milliseconds=10), most_at_once=1)
    for _ in range(2):
        with pytest.raises(DeadlineExceeded) as caught:
            async with calls.to("kraken", LIVE):
                await asyncio.Event().wait()
        assert caught.value.reason == "EXCHANGE_TIMEOUT"
        assert caught.value.metadata == {"exchange": "kraken"}


async def test_waiting_for_the_exchange_to_be_made_is_part_of_the_call() -> None:
    exchanges = FakeExchanges()
    exchanges.loading = asyncio.Event()
    calls = ExchangeCalls(exchanges, timeout=timedelta(milliseconds=10), most_at_once=1)
    with pytest.raises(DeadlineExceeded):
        async with calls.to("kraken", LIVE):
            pass


async def test_an_exchange_fills_its_own_places_only() -> None:
    calls = ExchangeCalls(FakeExchanges(), timeout=timedelta(seconds=20), most_at_once=2)
    async with calls.to("kraken", LIVE), calls.to("kraken", LIVE):
        with pytest.raises(ResourceExhausted) as caught:
            async with calls.to("kraken", LIVE):
                pass
        assert caught.value.reason == "EXCHANGE_BUSY"
        assert caught.value.retry_after == timedelta(seconds=1)
        async with calls.to("gate", LIVE), calls.to("kraken", SANDBOX):
            pass
    async with calls.to("kraken", LIVE):
        pass


async def test_questions_take_no_places_from_orders() -> None:
    calls = ExchangeCalls(FakeExchanges(), timeout=timedelta(seconds=20), most_at_once=1)

    async def order() -> None:
        go_first()
        async with calls.to("kraken", LIVE):
            with pytest.raises(ResourceExhausted):
                async with calls.to("kraken", LIVE):
                    pass

    async with calls.to("kraken", LIVE):
        await asyncio.create_task(order())


@pytest.mark.parametrize(
    ("left", "waited"), [(None, None), (10.0, 9.0), (1.0, 0.9), (0.2, 0.15), (0.06, 0.03), (0.0, 0.0)]
)
def test_some_of_the_callers_time_is_kept_for_the_answer(left: float | None, waited: float | None) -> None:
    assert time_to_answer(left) == (None if waited is None else pytest.approx(waited))


def test_who_was_late_is_told_by_how_much() -> None:
    assert late("kraken", 2.7).message == "kraken did not answer within 2.7 seconds."
    assert late("kraken", None).message == "kraken did not answer in time."
