"""How every call to an exchange is made: bounded in time, and in number for each exchange.

The second bound is the bulkhead: an exchange that hangs fills its own places and nobody else's. Orders have as many
places to themselves, so that questions, however many, take none of theirs.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from bridgeservice.exchanges.exchange import Environment, Exchange, Exchanges
from bridgeservice.precedence import goes_first
from servicekit.errors import DeadlineExceeded, ResourceExhausted

_RETRY_AFTER = timedelta(seconds=1)


class ExchangeCalls:
    """The way to an exchange. What it takes to make the exchange first, such as ccxt's import, is in the time."""

    def __init__(self, exchanges: Exchanges, *, timeout: timedelta, most_at_once: int) -> None:
        self._exchanges = exchanges
        self._seconds = timeout.total_seconds()
        self._most = most_at_once
        self._under_way: Counter[tuple[str, Environment, bool]] = Counter()

    @asynccontextmanager
    async def to(self, exchange_id: str, environment: Environment) -> AsyncIterator[Exchange]:
        """The exchange, for the one call that is made in the block."""
        place = (exchange_id, environment, goes_first())
        if self._under_way[place] >= self._most:
            raise ResourceExhausted(
                f"{self._most} calls wait for {exchange_id} already. Try again in a second.",
                reason="EXCHANGE_BUSY",
                metadata={"exchange": exchange_id},
                retry_after=_RETRY_AFTER,
            )
        self._under_way[place] += 1
        try:
            async with asyncio.timeout(self._seconds):
                yield await self._exchanges.get(exchange_id, environment)
        except TimeoutError:
            raise late(exchange_id, self._seconds) from None
        finally:
            self._under_way[place] -= 1


def late(exchange_id: str, seconds: float | None) -> DeadlineExceeded:
    """The error for an exchange that has not answered when the time was up."""
    span = "in time" if seconds is None else f"within {seconds:.3g} seconds"
    return DeadlineExceeded(
        f"{exchange_id} did not answer {span}.", reason="EXCHANGE_TIMEOUT", metadata={"exchange": exchange_id}
    )


def time_to_answer(left: float | None) -> float | None:
    """How much of the time that a caller gave may be waited, so that the answer is still in time.

    A tenth is kept back, and 50 ms at the least, but never more than half.
    """
    return None if left is None else max(left / 2, left - max(0.05, left / 10))
