"""How much of the pool the changes of one principal may hold at once.

Changes of the same thing wait for each other, each with a connection in its hand. Whoever makes many of them would so
take the whole pool from everybody else; with a share, they wait for their own before they take a connection.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Shares:
    """Counts by name; nobody is remembered who has nothing. A share of 0 is no limit, and neither has no name one."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._places: dict[str, asyncio.Semaphore] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def of(self, whose: str | None) -> AsyncIterator[None]:
        """In the block, one connection of his share is taken."""
        if whose is None or not self._connections:
            yield
            return
        places = self._places.setdefault(whose, asyncio.Semaphore(self._connections))
        self._users[whose] = self._users.get(whose, 0) + 1
        try:
            async with places:
                yield
        finally:
            self._users[whose] -= 1
            if not self._users[whose]:
                del self._users[whose], self._places[whose]
