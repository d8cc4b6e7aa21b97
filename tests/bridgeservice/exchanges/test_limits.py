"""The shared rate limit, the cool-down, and what exchanges say about coming again."""

import asyncio
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic, time

import pytest

from bridgeservice.exchanges.errors import DEFAULT_RETRY_AFTER
from bridgeservice.exchanges.limits import (
    LONGEST_COOL_DOWN,
    Throttle,
    named_pause,
)
from bridgeservice.precedence import Standing
from bridgeservice.single_flight import SingleFlight
from servicekit.errors import ResourceExhausted
from tests.support.calls import enter_call

INTERVAL = timedelta(milliseconds=20)
ORDER = Standing("alice", is_order=True)
GREEDY, MODEST = Standing("greedy"), Standing("modest")


def throttle(longest_queue: float = 5.0, interval: timedelta = INTERVAL) -> Throttle:
    return Throttle("okx", interval, timedelta(seconds=longest_queue))


class TestThrottle:
    async def test_requests_are_let_through_at_the_rate_and_in_their_order(self) -> None:
        shared = throttle()
        passed: list[int] = []

        async def ask(number: int) -> None:
            await shared.turn()
            passed.append(number)

        began = monotonic()
        await asyncio.gather(*(ask(number) for number in range(12)))

        assert passed == list(range(12))
        # Two at once, for an interval of idleness, and then one each interval.
        assert monotonic() - began >= 10 * INTERVAL.total_seconds() * 0.95

    async def test_a_costly_request_takes_several_turns(self) -> None:
        shared = throttle()
        began = monotonic()
        await shared.turn(5)
        await shared.turn()

        assert monotonic() - began >= 4 * INTERVAL.total_seconds() * 0.95

    async def test_a_request_whose_turn_comes_too_late_is_refused_at_once(self) -> None:
        shared = throttle(longest_queue=1, interval=timedelta(hours=1))
        await shared.turn()
        await shared.turn()

        async with asyncio.timeout(20):
            with pytest.raises(ResourceExhausted) as refused:
                await shared.turn()

        assert refused.value.reason == "RATE_LIMITED"
        assert refused.value.retry_after is not None
        assert timedelta(minutes=59) < refused.value.retry_after <= timedelta(hours=1)

    async def test_the_deadline_of_the_call_bounds_the_wait(self) -> None:
        async def serve() -> None:
            enter_call(expires_in=0.5)
            await shared.turn()

        shared = throttle(longest_queue=60, interval=timedelta(seconds=10))
        await shared.turn()
        await shared.turn()

        with pytest.raises(ResourceExhausted):
            await asyncio.create_task(serve())

    async def test_orders_do_not_wait_for_what_is_no_order_however_much_of_it_waits(self) -> None:
        shared = throttle(longest_queue=1e9, interval=timedelta(hours=1))
        await shared.turn(10)
        questions = [asyncio.create_task(shared.turn()) for _ in range(20)]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await shared.turn(standing=lambda: ORDER)
        assert not any(question.done() for question in questions)
        await ended(questions)

    async def test_what_costs_nothing_waits_for_nothing_but_a_cool_down(self) -> None:
        shared = throttle(longest_queue=60, interval=timedelta(seconds=10))
        questions = [asyncio.create_task(shared.turn(1.5, lambda: ORDER)) for _ in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await shared.turn(0, lambda: ORDER)
        assert not questions[-1].done()
        shared.cool_down(timedelta(seconds=30))
        with pytest.raises(ResourceExhausted):
            await shared.turn(0, lambda: ORDER)
        await ended(questions)

    async def test_orders_keep_the_limit_too_and_what_they_use_is_not_used_again(self) -> None:
        shared = throttle()
        began = monotonic()
        await asyncio.gather(*(shared.turn(standing=lambda: ORDER) for _ in range(12)))
        assert monotonic() - began >= 10 * INTERVAL.total_seconds() * 0.95
        orders = [asyncio.create_task(shared.turn(standing=lambda: ORDER)) for _ in range(6)]
        await asyncio.gather(*(shared.turn() for _ in range(6)), *orders)
        assert monotonic() - began >= 22 * INTERVAL.total_seconds() * 0.95

    async def test_orders_without_end_leave_a_part_to_the_others(self) -> None:
        shared = throttle()
        orders = [asyncio.create_task(shared.turn(standing=lambda: ORDER)) for _ in range(100)]
        await asyncio.gather(*(shared.turn() for _ in range(5)))
        served = sum(order.done() for order in orders)
        assert served <= 3 * 5 + 5
        await ended(orders)

    async def test_one_who_asks_for_much_keeps_nobody_waiting_but_himself(self) -> None:
        shared = throttle(interval=timedelta(milliseconds=50))
        many = [asyncio.create_task(shared.turn(standing=lambda: GREEDY)) for _ in range(150)]
        await asyncio.sleep(0)
        refused = [task.exception() for task in many if task.done() and task.exception()]
        assert 40 < len(refused) < 60  # what is not let through within five seconds
        assert all(isinstance(error, ResourceExhausted) and error.retry_after for error in refused)
        before = sum(task.done() for task in many)
        await shared.turn(standing=lambda: MODEST)
        assert sum(task.done() for task in many) - before < 10
        await ended(many)

    async def test_who_waits_for_the_same_as_somebody_else_waits_in_his_own_place(self) -> None:
        """And not in that of the one who asked first, and who asked for much before."""
        shared, flights = throttle(interval=timedelta(milliseconds=50)), SingleFlight()
        who: ContextVar[Standing] = ContextVar("who", default=GREEDY)
        many = [asyncio.create_task(shared.turn(standing=who.get)) for _ in range(90)]

        async def ask() -> None:
            await flights.do("a price", lambda: shared.turn(standing=who.get))

        first = asyncio.create_task(ask())
        await asyncio.sleep(0.1)
        for standing in (MODEST, ORDER):
            who.set(standing)
            before = sum(task.done() for task in many)
            await ask()
            assert sum(task.done() for task in many) - before < 10
        await first
        await ended(many)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class TestCoolDown:
    async def test_nobody_passes_while_it_lasts(self) -> None:
        shared = throttle()
        shared.cool_down(timedelta(seconds=30))

        with pytest.raises(ResourceExhausted) as refused:
            await shared.turn()

        assert refused.value.retry_after is not None
        assert timedelta(seconds=1) < refused.value.retry_after <= timedelta(seconds=30)

    async def test_it_turns_those_away_who_wait_already(self) -> None:
        shared = throttle(interval=timedelta(milliseconds=50))
        await shared.turn(3)
        waiting = asyncio.create_task(shared.turn())
        await asyncio.sleep(0)
        shared.cool_down(timedelta(seconds=30))

        with pytest.raises(ResourceExhausted):
            await waiting

    async def test_a_later_and_shorter_one_does_not_end_it(self) -> None:
        shared = throttle()
        shared.cool_down(timedelta(seconds=30))
        shared.cool_down(timedelta(seconds=1))

        left = shared.cooling()
        assert left is not None
        assert left > timedelta(seconds=2)

    async def test_has_a_length_where_the_exchange_names_none_and_an_end_where_it_names_nonsense(
        self,
    ) -> None:
        silent, absurd = throttle(), throttle()
        silent.cool_down(None)
        absurd.cool_down(timedelta(days=9999))

        for shared, longest in ((silent, DEFAULT_RETRY_AFTER), (absurd, LONGEST_COOL_DOWN)):
            left = shared.cooling()
            assert left is not None
            assert longest / 2 < left <= longest

    async def test_is_over_when_it_is_over(self) -> None:
        shared = throttle()
        shared.cool_down(timedelta(milliseconds=1))
        await asyncio.sleep(0.002)

        assert shared.cooling() is None
        await shared.turn()


def ways_to_say_thirty_seconds() -> dict[str, tuple[dict[str, str], str]]:
    now = time()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    return {
        "seconds": ({"Retry-After": "30"}, ""),
        "a date": ({"retry-after": date}, ""),
        "a sentence": ({}, f"Way too much request weight used; IP banned until {round((now + 30) * 1000)}."),
        "milliseconds": ({"gw-ratelimit-reset": "30000"}, ""),
        "a time in milliseconds": ({"X-Bapi-Limit-Reset-Timestamp": str(round((now + 30) * 1000))}, ""),
        "a time in seconds": ({"X-Gate-RateLimit-Reset-Timestamp": str(round(now + 30))}, ""),
    }


class TestNamedPause:
    @pytest.mark.parametrize("way", ways_to_say_thirty_seconds())
    def test_is_understood_however_the_exchange_says_it(self, way: str) -> None:
        headers, body = ways_to_say_thirty_seconds()[way]

        pause = named_pause(headers, body)

        assert pause is not None
        assert timedelta(seconds=25) < pause <= timedelta(seconds=31)

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ({}, ""),
            ({"Retry-After": "soon"}, ""),
            ({"Retry-After": "-5"}, ""),
            ({"Retry-After": "0"}, ""),
            ({"Retry-After": "Fri, 01 Jan 2021 00:00:00 GMT"}, ""),
            ({"gw-ratelimit-reset": "later"}, ""),
            ({}, "banned until 1600000000000"),
            ({}, "banned until tomorrow"),
        ],
    )
    def test_is_none_where_nothing_useful_is_said(self, headers: dict[str, str], body: str) -> None:
        assert named_pause(headers, body) is None
