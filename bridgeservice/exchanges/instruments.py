"""What is kept of an exchange's markets, so that a restart or another replica need not load them again.

The store that keeps it is handed in: ``exchanges`` holds no SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

# As ccxt describes a market or a currency. All of it is JSON: text, numbers, booleans, None, lists and mappings.
Description = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Stored:
    """The markets of one exchange in one environment by symbol, its currencies by code, and how old they are."""

    markets: Mapping[str, Description]
    currencies: Mapping[str, Description]
    loaded_at: datetime


class Instruments(Protocol):
    """Keeps what exchanges trade. Each call is a unit of work of its own.

    What it cannot do it raises as an error of ``servicekit.errors``; the exchange then goes on without it.
    """

    async def load(self, exchange: str, environment: str) -> Stored | None:
        """What was saved last, with the moment of saving; None when nothing was."""
        ...

    async def save(
        self,
        exchange: str,
        environment: str,
        markets: Mapping[str, Description],
        currencies: Mapping[str, Description],
    ) -> None:
        """Replace what is kept of this exchange: what is no longer traded is not returned by ``load`` again."""
        ...
