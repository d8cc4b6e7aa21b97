"""One call for all who ask the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from servicekit.errors import DeadlineExceeded, ResourceExhausted

T = TypeVar("T")


class SingleFlight:
    """Calls that are in the air, by what they ask.

    A flight belongs to nobody: a waiter who gives up, or whose time is up, leaves it to the others. So it has
    to end by itself, which ``ExchangeCalls`` sees to.
    """

    def __init__(self) -> None:
        # Of Any: each kind of question has an answer of its own type, and its key says which kind it is.
        self._flights: dict[Hashable, asyncio.Task[Any]] = {}

    async def do(
        self, key: Hashable, fly: Callable[[], Coroutine[Any, Any, T]], *, within: float | None = None
    ) -> T:
        """The result of the flight under this key, which begins here if there is none.

        ``TimeoutError`` when it has not come ``within`` so many seconds.
        """
        async with asyncio.timeout(within):
            if (flight := self._flights.get(key)) is not None:
                try:
                    joined: T = await asyncio.shield(flight)
                except (DeadlineExceeded, ResourceExhausted):
                    # It went by the deadline of the call that began it; this one may have more time.
                    pass
                else:
                    return joined
            begun: T = await asyncio.shield(self._flights.get(key) or self._begin(key, fly))
            return begun

    async def close(self) -> None:
        """Cancel what is still in the air."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _begin(self, key: Hashable, fly: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        flight = self._flights[key] = asyncio.create_task(fly())
        flight.add_done_callback(lambda landed: self._land(key, landed))
        return flight

    def _land(self, key: Hashable, flight: asyncio.Task[Any]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # asked for, so that a failure that nobody waited for is not reported as lost
