"""How the exchange ``paper`` behaves, for the settings: what works with it needs much more than this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Final

PAPER: Final = "paper"
STARTING_BALANCES: Final[Mapping[str, Decimal]] = {
    "BTC": Decimal(1),
    "ETH": Decimal(10),
    "SHARP": Decimal(1000),
    "USDT": Decimal(10_000),
}


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """How the paper exchange behaves."""

    seed: int = 1
    """Another seed is another course of prices."""
    latency: timedelta = timedelta(0)
    """How long each call takes longer than it must."""
    failure_rate: float = 0.0
    """The share of calls that fail, from 0 to 1, before anything is done."""
    fee_rate: Decimal = Decimal("0.001")
    """The share of its cost that an order pays."""
    balances: Mapping[str, Decimal] = field(default_factory=lambda: STARTING_BALANCES)
    """What a new account begins with."""
    prices_from: str = ""
    """The exchange whose prices it has; empty for prices of its own."""
