"""The markets of the paper exchange where prices are synthetic, and how each of them moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from bridgeservice.exchanges.exchange import Market, MarketType

_MOST = "1000000000"


@dataclass(frozen=True, slots=True)
class PaperMarket:
    """A market and its character. Prices wander about ``reference``, by less than half of it."""

    symbol: str
    reference: Decimal
    price_step: Decimal
    amount_step: Decimal
    daily_volume: int
    """How much of the base asset changes hands on a usual day."""

    def as_market(self) -> Market:
        base, quote = self.symbol.split("/")
        return Market(
            symbol=self.symbol,
            type=MarketType.SPOT,
            base=base,
            quote=quote,
            amount_step=format(self.amount_step, "f"),
            price_step=format(self.price_step, "f"),
            min_amount=format(self.amount_step, "f"),
            max_amount=_MOST,
            min_price=format(self.price_step, "f"),
            max_price=_MOST,
        )


def _market(symbol: str, reference: str, price_step: str, amount_step: str, daily_volume: int) -> PaperMarket:
    return PaperMarket(symbol, Decimal(reference), Decimal(price_step), Decimal(amount_step), daily_volume)


# A reference is ten thousand steps or more, so that a step is small beside what a price does in a day.
PAPER_MARKETS: Final[Mapping[str, PaperMarket]] = {
    market.symbol: market
    for market in (
        _market("ADA/USDT", "0.5", "0.00001", "0.1", 200_000_000),
        _market("BNB/USDT", "600", "0.01", "0.0001", 300_000),
        _market("BTC/USDT", "60000", "0.01", "0.00001", 30_000),
        _market("DOGE/USDT", "0.15", "0.000001", "1", 1_500_000_000),
        _market("ETH/BTC", "0.05", "0.000001", "0.0001", 20_000),
        _market("ETH/USDT", "3000", "0.01", "0.0001", 400_000),
        _market("SHARP/USDT", "0.25", "0.00001", "0.01", 5_000_000),
        _market("SOL/USDT", "150", "0.001", "0.001", 3_000_000),
        _market("XRP/USDT", "0.6", "0.00001", "0.1", 250_000_000),
    )
}
