"""What an order is worth when it is placed, in the assets in which risk rules count."""

from collections.abc import Collection
from datetime import timedelta
from decimal import Decimal, localcontext
from typing import Final

from bridgeservice.amounts import EXACT, plain
from bridgeservice.exchanges.exchange import Market
from bridgeservice.exchanges.orders import Ticket
from bridgeservice.prices import Place, Prices
from servicekit import logs
from servicekit.errors import KeybridgeError

# A price for a bound, not for a trade.
_MAX_AGE: Final = timedelta(seconds=5)
_PATIENCE: Final = timedelta(seconds=5)

_log = logs.get(__name__)


class Worth:
    """Values orders by their limit, or by what their exchange's tickers say."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    async def of(
        self, place: Place, ticket: Ticket, market: Market, assets: Collection[str]
    ) -> dict[str, str]:
        """By asset, as far as there is a price. Without assets to count in, no exchange is asked."""
        found: dict[str, str] = {}
        own = _at(ticket, market, ticket.price)
        if own is None and assets:
            own = _at(ticket, market, await self._price(place, market.base, market.quote, "1"))
        if own is None:
            return found
        found[market.quote] = plain(own)
        for asset in assets:
            if asset != market.quote and (worth := await self._price(place, market.quote, asset, plain(own))):
                found[asset] = worth
        return found

    async def _price(self, place: Place, asset: str, quote: str, amount: str) -> str:
        """What so much of an asset is worth; empty where nobody knows."""
        try:
            prices = await self._prices.of(
                place,
                [asset],
                quote,
                max_age=_MAX_AGE.total_seconds(),
                within=_PATIENCE.total_seconds(),
            )
        except KeybridgeError as error:
            _log.warning("an order could not be valued", exchange=place[0], reason=error.reason)
            return ""
        price = prices.get(asset)
        return "" if price is None else price.value(amount) or ""


def _at(ticket: Ticket, market: Market, price: str) -> Decimal | None:
    """The order's value in its market's quote asset at that price; None without one."""
    with localcontext(EXACT):
        amount = Decimal(ticket.amount) * Decimal(market.contract_size or 1)
        if market.settle and market.settle == market.base:
            return amount  # a contract is worth what it says, whatever the price
        return amount * Decimal(price) if price else None
