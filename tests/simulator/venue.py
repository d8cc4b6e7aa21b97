"""A simulated exchange behind its API: books, accounts and the matching of orders, in decimals and without HTTP."""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from tests.simulator.accounts import Account, AccountKeys, Holding, Order, Permission, Status, Trade, new_keys
from tests.simulator.markets import Market

FEE = Decimal("0.001")
SPREAD = Decimal("0.0002")
DIGITS = 80
"""Of every calculation: more than any balance has, so that nothing is ever rounded. Callers set the context."""


class UnknownMarketError(Exception):
    """There is no such market."""


class UnknownOrderError(Exception):
    """There is no such order, or it can no longer be cancelled."""


class InsufficientFundsError(Exception):
    """The account has not enough for this."""


class InvalidOrderError(Exception):
    """The order makes no sense."""


class WouldMatchError(Exception):
    """An order that may only rest would match at once."""


Ladder = list[tuple[Decimal, Decimal]]


class Venue:
    """One exchange. ``clock_skew`` (seconds) is how far its clock is ahead of ours."""

    def __init__(
        self, name: str, markets: Iterable[Market], order_id: Callable[[int], str], *, fees_in_quote: bool
    ) -> None:
        self.name = name
        self.markets = {market.symbol: market for market in markets}
        self.prices = {symbol: market.price for symbol, market in self.markets.items()}
        self.assets = sorted({asset for m in self.markets.values() for asset in (m.base, m.quote)})
        self.accounts: dict[str, Account] = {}
        self.clock_skew = 0.0
        self._order_id = order_id
        self._fees_in_quote = fees_in_quote
        self._numbers = itertools.count(1_000_001)

    def now_ms(self) -> int:
        return int((time.time() + self.clock_skew) * 1000)

    def add_account(self, balances: Mapping[str, str], permissions: Iterable[Permission]) -> AccountKeys:
        keys = new_keys(self.name)
        holdings = {asset: Holding(Decimal(amount)) for asset, amount in balances.items()}
        self.accounts[keys.api_key] = Account(keys, frozenset(permissions), holdings)
        return keys

    def account(self, api_key: str) -> Account | None:
        """Whose key this is; None when it is nobody's, or no longer anybody's."""
        account = self.accounts.get(api_key)
        if account is None:
            return None
        account.times_shown += 1
        return None if account.is_revoked else account

    def book(self, market: Market, depth: int) -> tuple[Ladder, Ladder]:
        """Bids and asks, the best first."""
        middle = self.prices[market.symbol]

        def ladder(direction: int) -> Ladder:
            prices = (middle * (1 + direction * SPREAD * step) for step in range(1, depth + 1))
            return [(p.quantize(market.price_step), Decimal(n)) for n, p in enumerate(prices, 1)]

        return ladder(-1), ladder(1)

    def candles(self, market: Market, seconds: int, start_ms: int | None, count: int) -> list[list[Decimal]]:
        """Time (ms), open, high, low, close, volume; the earliest first, the last one still under way."""
        step, now = seconds * 1000, self.now_ms()
        first = now // step - count + 1 if start_ms is None else -(-start_ms // step)
        price, found = self.prices[market.symbol], []
        for number in range(first, min(first + count, now // step + 1)):
            opened, closed = (price + market.price_step * (n % 7) for n in (number, number + 1))
            high, low = max(opened, closed) + market.price_step, min(opened, closed) - market.price_step
            found.append([Decimal(number * step), opened, high, low, closed, Decimal(number % 100 + 1)])
        return found

    def place(
        self,
        account: Account,
        market: Market,
        side: str,
        *,
        amount: Decimal | None = None,
        quote_amount: Decimal | None = None,
        price: Decimal | None = None,
        time_in_force: str = "GTC",
        is_post_only: bool = False,
        client_id: str = "",
    ) -> Order:
        """Take an order. What crosses the book is filled at once, the rest rests unless it may not."""
        bids, asks = self.book(market, 1)
        best = asks[0][0] if side == "buy" else bids[0][0]
        if amount is None:
            if quote_amount is None:
                raise InvalidOrderError
            amount = (quote_amount / best).quantize(market.amount_step)
        if amount <= 0 or (price is not None and price <= 0):
            raise InvalidOrderError
        crosses = price is None or (price >= best if side == "buy" else price <= best)
        if is_post_only and crosses:
            raise WouldMatchError
        number, now = next(self._numbers), self.now_ms()
        order = Order(
            self._order_id(number), client_id, market, side, amount, price, time_in_force,
            is_post_only, quote_amount, now, now,
        )  # fmt: skip
        self._reserve(account, order, best)
        account.orders[order.id] = order
        if crosses:
            self._settle(account, order, best, amount, is_maker=False)
        elif time_in_force in ("IOC", "FOK"):
            self._end(account, order, Status.EXPIRED)
        return order

    def cancel(self, account: Account, order: Order | None) -> Order:
        """Give up what is left of an order."""
        if order is None or order.status is not Status.OPEN:
            raise UnknownOrderError
        self._end(account, order, Status.CANCELED)
        return order

    def fill(self, order_id: str, amount: Decimal | None = None) -> None:
        """Somebody takes a resting order, or so much of it."""
        for account in self.accounts.values():
            order = account.orders.get(order_id)
            if order and order.status is Status.OPEN and order.price is not None:
                taken = order.remaining if amount is None else amount
                self._settle(account, order, order.price, taken, is_maker=True)
                return
        raise UnknownOrderError

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Move a book. Orders that now cross it are filled at their own price."""
        market = self.markets[symbol]
        self.prices[symbol] = price
        bids, asks = self.book(market, 1)
        for account in self.accounts.values():
            for order in account.select(market, is_open=True):
                if order.price and (order.price >= asks[0][0] if order.is_buy else order.price <= bids[0][0]):
                    self.fill(order.id)

    def _reserve(self, account: Account, order: Order, best: Decimal) -> None:
        paid = order.market.quote if order.is_buy else order.market.base
        needed = self._reserved(order, order.amount, best)
        holding = account.holding(paid)
        if needed > holding.free:
            raise InsufficientFundsError
        holding.free -= needed
        holding.used += needed

    def _reserved(self, order: Order, amount: Decimal, best: Decimal) -> Decimal:
        price = best if order.price is None else order.price
        return amount * price if order.is_buy else amount

    def _settle(
        self, account: Account, order: Order, price: Decimal, amount: Decimal, *, is_maker: bool
    ) -> None:
        base, quote = account.holding(order.market.base), account.holding(order.market.quote)
        reserved, cost = self._reserved(order, amount, price), price * amount
        in_quote = self._fees_in_quote or not order.is_buy
        fee = (cost if in_quote else amount) * FEE
        if order.is_buy:
            quote.used -= reserved
            quote.free += reserved - cost - (fee if in_quote else 0)
            base.free += amount - (0 if in_quote else fee)
        else:
            base.used -= reserved
            quote.free += cost - fee
        asset = order.market.quote if in_quote else order.market.base
        now = self.now_ms()
        order.trades.append(Trade(next(self._numbers), order, price, amount, fee, asset, is_maker, now))
        order.updated_ms = now
        if order.remaining <= 0:
            order.status = Status.FILLED

    def _end(self, account: Account, order: Order, status: Status) -> None:
        holding = account.holding(order.market.quote if order.is_buy else order.market.base)
        released = self._reserved(order, order.remaining, Decimal(0))
        holding.used -= released
        holding.free += released
        order.status, order.updated_ms = status, self.now_ms()
