"""One call for all who ask the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Calls that are in the air, by what they ask.

    A flight belongs to nobody: a waiter who gives up, or whose time is up, leaves it to the others. So it has
    to end by itself, which ``ExchangeCalls`` sees to.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def do(
        self, key: Hashable, fly: Callable[[], Coroutine[Any, Any, T]], *, within: float | None = None
    ) -> T:
        """The result of the flight under this key, which begins here if there is none.

        ``TimeoutError`` when it has not come ``within`` so many seconds.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(fly())
            flight.add_done_callback(lambda landed: self._land(key, landed))
        async with asyncio.timeout(within):
            return await asyncio.shield(flight)

    async def close(self) -> None:
        """Cancel what is still in the air."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _land(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # asked for, so that a failure that nobody waited for is not reported as lost
