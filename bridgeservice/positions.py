"""Open positions of a connector, as its exchange tells them. What a spot account holds is a balance and no position."""

import asyncio
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime

from bridgeservice.accounts import Accounts
from bridgeservice.exchange_calls import late
from bridgeservice.exchanges.orders import Position
from bridgeservice.records import Page
from bridgeservice.sessions import Sessions


@dataclass(frozen=True, slots=True)
class PositionWish:
    """Which positions."""

    account_name: str
    connector_name: str
    symbol: str = ""
    """Empty for all."""
    since: datetime | None = None
    """Only those that changed at this time or later."""


class Positions:
    """Reads positions, page by page of what the exchange tells at once. ``within`` is in seconds."""

    def __init__(self, accounts: Accounts, sessions: Sessions) -> None:
        self._accounts = accounts
        self._sessions = sessions

    async def page(
        self, wish: PositionWish, *, after: str | None, size: int, within: float | None
    ) -> Page[Position]:
        """By symbol, and on one symbol by side."""
        connector = self._accounts.connector(wish.account_name, wish.connector_name)
        try:
            async with asyncio.timeout(within):
                told = await self._sessions.ask(connector, lambda session: session.positions())
        except TimeoutError:
            raise late(connector.exchange, within) from None
        found = sorted((each for each in told if _wanted(each, wish)), key=_place)
        start = 0 if after is None else bisect_right([_place(each) for each in found], after)
        rows = found[start : start + size]
        return Page(rows, _place(rows[-1]) if start + size < len(found) else None)


def _wanted(position: Position, wish: PositionWish) -> bool:
    if wish.symbol and position.symbol != wish.symbol:
        return False
    # One whose time the exchange does not tell may have changed at any.
    return wish.since is None or position.time is None or position.time >= wish.since


def _place(position: Position) -> str:
    """Where it stands in the list."""
    return f"{position.symbol} {position.side.value}"
