"""One call for all who ask the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bridgeservice.deadlines import Deadline, go_by

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    deadline: Deadline


class SingleFlight:
    """Calls that are in the air, by what they ask.

    A flight belongs to nobody: a waiter who gives up, or whose time is up, leaves it to the others. Its deadline
    is the latest that any of them has named, so that none fails it for a more patient one; and it has to end by
    itself, which ``ExchangeCalls`` sees to.
    """

    def __init__(self) -> None:
        # Of Any: each kind of question has an answer of its own type, and its key says which kind it is.
        self._flights: dict[Hashable, _Flight[Any]] = {}

    async def do(
        self, key: Hashable, fly: Callable[[], Coroutine[Any, Any, T]], *, within: float | None = None
    ) -> T:
        """The result of the flight under this key, which begins here if there is none.

        ``TimeoutError`` when it has not come ``within`` so many seconds.
        """
        async with asyncio.timeout(within):
            flight: _Flight[T] | None = self._flights.get(key)
            if flight is None or flight.task.done():
                flight = self._begin(key, fly, Deadline(within))
            else:
                flight.deadline.extend(within)
            return await asyncio.shield(flight.task)

    async def close(self) -> None:
        """Cancel what is still in the air."""
        flights = [flight.task for flight in self._flights.values()]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _begin(
        self, key: Hashable, fly: Callable[[], Coroutine[Any, Any, T]], deadline: Deadline
    ) -> _Flight[T]:
        async def flying() -> T:
            go_by(deadline)
            return await fly()

        flight = self._flights[key] = _Flight(asyncio.create_task(flying()), deadline)
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    def _land(self, key: Hashable, flight: _Flight[Any]) -> None:
        if self._flights.get(key) is flight:  # and not the one that was begun since it was done
            del self._flights[key]
        if not flight.task.cancelled():
            flight.task.exception()  # asked for, so that a failure that nobody waited for is not reported as lost
