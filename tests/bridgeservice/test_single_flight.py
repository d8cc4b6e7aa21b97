"""One call for all who ask the same: it outlives whoever began it, and each waiter keeps his own deadline."""

import asyncio

import pytest

from bridgeservice.deadlines import time_left
from bridgeservice.single_flight import SingleFlight
from servicekit.errors import NotFound


class Flight:
    """A call that is held back until the test lets it end."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = asyncio.Event()
        self.outcomes: list[object] = []

    async def fly(self) -> object:
        self.begun += 1
        await self.gate.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else "landed"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def begun(flight: Flight, count: int = 1) -> None:
    while flight.begun < count:  # noqa: ASYNC110 - a turn of the loop at a time
        await asyncio.sleep(0)


async def test_equal_questions_are_one_call_and_others_are_not() -> None:
    flights, flight = SingleFlight(), Flight()
    asked = [asyncio.create_task(flights.do(key, flight.fly)) for key in ("a", "a", "a", "b")]
    await begun(flight, 2)
    flight.gate.set()
    assert await asyncio.gather(*asked) == ["landed"] * 4
    assert flight.begun == 2


async def test_a_flight_that_has_landed_is_not_joined() -> None:
    flights, flight = SingleFlight(), Flight()
    flight.gate.set()
    await flights.do("a", flight.fly)
    await flights.do("a", flight.fly)
    assert flight.begun == 2


async def test_a_caller_who_is_cancelled_leaves_the_flight_to_the_others() -> None:
    flights, flight = SingleFlight(), Flight()
    first = asyncio.create_task(flights.do("a", flight.fly))
    await begun(flight)
    second = asyncio.create_task(flights.do("a", flight.fly))
    await asyncio.sleep(0)
    first.cancel()
    flight.gate.set()
    assert await second == "landed"
    assert first.cancelled()
    assert flight.begun == 1


async def test_each_waiter_has_his_own_deadline() -> None:
    flights, flight = SingleFlight(), Flight()
    patient = asyncio.create_task(flights.do("a", flight.fly, within=30))
    await begun(flight)
    with pytest.raises(TimeoutError):
        await flights.do("a", flight.fly, within=0.01)
    flight.gate.set()
    assert await patient == "landed"
    assert flight.begun == 1


async def test_a_flight_has_as_much_time_as_the_most_patient_of_its_waiters() -> None:
    flights, flight = SingleFlight(), Flight()

    async def fly() -> float | None:
        await flight.fly()
        return time_left()

    patient_and_others = [
        asyncio.create_task(flights.do("a", fly, within=seconds)) for seconds in (0.01, 30, 0.02)
    ]
    results = asyncio.gather(*patient_and_others, return_exceptions=True)
    await asyncio.wait(patient_and_others, return_when=asyncio.FIRST_COMPLETED)
    flight.gate.set()
    hurried, left, _ = await results
    assert isinstance(hurried, TimeoutError)
    assert isinstance(left, float)
    assert 29 < left <= 30
    assert flight.begun == 1


async def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    flights, flight = SingleFlight(), Flight()
    flight.outcomes = [NotFound("gone"), "landed"]
    asked = [asyncio.create_task(flights.do("a", flight.fly)) for _ in range(2)]
    await begun(flight)
    flight.gate.set()
    failures = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in failures] == [NotFound, NotFound]
    assert await flights.do("a", flight.fly) == "landed"


async def test_a_failure_that_nobody_waited_for_is_not_reported_as_lost() -> None:
    flights, flight = SingleFlight(), Flight()
    flight.outcomes = [NotFound("gone")]
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: lost.append(context))
    waiter = asyncio.create_task(flights.do("a", flight.fly))
    await begun(flight)
    waiter.cancel()
    flight.gate.set()
    await asyncio.gather(waiter, return_exceptions=True)
    await flights.close()
    assert not lost


async def test_closing_ends_what_is_in_the_air() -> None:
    flights, flight = SingleFlight(), Flight()
    waiter = asyncio.create_task(flights.do("a", flight.fly))
    await begun(flight)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await waiter
