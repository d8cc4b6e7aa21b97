"""A simulated exchange behind its API: books, accounts and the matching of orders, in decimals and without HTTP."""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum, auto

from tests.simulator.accounts import Account, AccountKeys, Holding, Order, Permission, Status, Trade, new_keys
from tests.simulator.markets import Limits, Market
from tests.simulator.refusals import (
    Broken,
    DuplicateClientIdError,
    InsufficientFundsError,
    LimitError,
    NothingToReduceError,
    UnknownOrderError,
    WouldMatchError,
)

FEE = Decimal("0.001")
SPREAD = Decimal("0.0002")
LEVERAGE = Decimal(10)
"""Of every position: so much less than it is worth has to be there for it."""
DIGITS = 80
"""Of every calculation: more than any balance has, so that nothing is ever rounded. Callers set the context."""


class ClientIds(Enum):
    """When an exchange takes a client order id a second time."""

    ALWAYS = auto()
    ONCE_ENDED = auto()
    NEVER = auto()


Ladder = list[tuple[Decimal, Decimal]]


class Venue:
    """One exchange. ``clock_skew`` (seconds) is how far its clock is ahead of ours."""

    def __init__(
        self,
        name: str,
        markets: Iterable[Market],
        order_id: Callable[[int], str],
        *,
        fees_in_quote: bool = False,
        limits: Limits,
        client_ids: ClientIds = ClientIds.ALWAYS,
    ) -> None:
        self.name = name
        self.markets = {market.symbol: market for market in markets}
        self.prices = {symbol: market.price for symbol, market in self.markets.items()}
        self.assets = sorted({asset for m in self.markets.values() for asset in (m.base, m.quote)})
        self.accounts: dict[str, Account] = {}
        self.clock_skew = 0.0
        self.liquidity: dict[str, Decimal] = {}
        """How much of an order that crosses a book is filled at once; all of it where nothing is said."""
        self._order_id = order_id
        self._fees_in_quote = fees_in_quote
        self._limits = limits
        self._client_ids = client_ids
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
        is_reduce_only: bool = False,
        client_id: str = "",
    ) -> Order:
        """Take an order. What crosses the book is filled at once, as far as there is something, the rest rests unless
        it may not.
        """
        self._refuse_duplicate(account, client_id)
        bids, asks = self.book(market, 1)
        best = asks[0][0] if side == "buy" else bids[0][0]
        if amount is None:
            amount = ((quote_amount or Decimal(0)) / best).quantize(market.amount_step)
        self._check(market, amount, price, best)
        crosses = price is None or (price >= best if side == "buy" else price <= best)
        if is_post_only and crosses:
            raise WouldMatchError
        number, now = next(self._numbers), self.now_ms()
        order = Order(
            self._order_id(number), number, client_id, market, side, amount, price, time_in_force,
            is_post_only, quote_amount, now, now, is_reduce_only,
        )  # fmt: skip
        self._reserve(account, order, best)
        account.orders[order.id] = order
        there = self.liquidity.get(market.symbol, amount)
        taken = min(amount, there) if crosses else Decimal(0)
        if time_in_force == "FOK" and taken < amount:
            taken = Decimal(0)
        if taken:
            self._settle(account, order, best, taken, is_maker=False)
        if order.remaining and (price is None or time_in_force in ("IOC", "FOK")):
            self._end(account, order, Status.EXPIRED)
        return order

    def _refuse_duplicate(self, account: Account, client_id: str) -> None:
        known = account.find(client_id=client_id)
        if known is None or self._client_ids is ClientIds.ALWAYS:
            return
        if self._client_ids is ClientIds.NEVER or known.status is Status.OPEN:
            raise DuplicateClientIdError

    def _check(self, market: Market, amount: Decimal, price: Decimal | None, best: Decimal) -> None:
        """Refuse what the market does not take as it is."""
        limits, cost = self._limits, market.cost(amount, best if price is None else price)
        broken = {
            Broken.LEAST_AMOUNT: amount < market.amount_step,
            Broken.AMOUNT_STEP: amount % market.amount_step != 0,
            Broken.MOST_AMOUNT: amount > limits.most_amount,
            Broken.LEAST_PRICE: price is not None and price < market.price_step,
            Broken.PRICE_STEP: price is not None and price % market.price_step != 0,
            Broken.MOST_PRICE: price is not None and price > limits.most_price,
            Broken.LEAST_COST: cost < limits.least_cost,
            Broken.MOST_COST: cost > limits.most_cost,
        }
        if found := next((each for each, is_broken in broken.items() if is_broken), None):
            raise LimitError(found)

    def cancel_all_after(self, account: Account, seconds: int) -> int | None:
        """End all orders then, unless this is said again before; zero takes it back. The moment, in milliseconds."""
        account.cancels_at_ms = self.now_ms() + seconds * 1000 if seconds else None
        return account.cancels_at_ms

    def keep_time(self, account: Account) -> None:
        """Do what was due before this call."""
        if account.cancels_at_ms is not None and self.now_ms() >= account.cancels_at_ms:
            account.cancels_at_ms = None
            for order in account.select(is_open=True):
                self._end(account, order, Status.CANCELED)

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
        if order.market.contract_size is not None:
            return self._refuse_unbacked(account, order, best)
        paid = order.market.quote if order.is_buy else order.market.base
        needed = self._reserved(order, order.amount, best)
        holding = account.holding(paid)
        if needed > holding.free:
            raise InsufficientFundsError
        holding.free -= needed
        holding.used += needed
        return None

    def _refuse_unbacked(self, account: Account, order: Order, best: Decimal) -> None:
        """Contracts set nothing aside: there has to be a tenth of what they are worth, unless they close others."""
        held = account.position(order.market).contracts
        closes = min(abs(held), order.amount) if held and (held < 0) is order.is_buy else Decimal(0)
        if order.is_reduce_only and closes < order.amount:
            raise NothingToReduceError
        worth = order.market.cost(order.amount - closes, order.price or best)
        if worth / LEVERAGE > account.holding(order.market.quote).free:
            raise InsufficientFundsError

    def _reserved(self, order: Order, amount: Decimal, best: Decimal) -> Decimal:
        price = best if order.price is None else order.price
        return amount * price if order.is_buy else amount

    def _settle(
        self, account: Account, order: Order, price: Decimal, amount: Decimal, *, is_maker: bool
    ) -> None:
        market = order.market
        in_quote = self._fees_in_quote or not order.is_buy or market.contract_size is not None
        fee = (market.cost(amount, price) if in_quote else amount) * FEE
        if market.contract_size is None:
            self._deliver(account, order, price, amount, fee, in_quote=in_quote)
        else:
            gained = account.position(market).take(amount if order.is_buy else -amount, price)
            account.holding(market.quote).free += gained * market.contract_size - fee
        asset = market.quote if in_quote else market.base
        now = self.now_ms()
        order.trades.append(Trade(next(self._numbers), order, price, amount, fee, asset, is_maker, now))
        order.updated_ms = now
        if order.remaining <= 0:
            order.status = Status.FILLED

    def _deliver(
        self, account: Account, order: Order, price: Decimal, amount: Decimal, fee: Decimal, *, in_quote: bool
    ) -> None:
        base, quote = account.holding(order.market.base), account.holding(order.market.quote)
        reserved, cost = self._reserved(order, amount, price), price * amount
        if order.is_buy:
            quote.used -= reserved
            quote.free += reserved - cost - (fee if in_quote else 0)
            base.free += amount - (0 if in_quote else fee)
        else:
            base.used -= reserved
            quote.free += cost - fee

    def _end(self, account: Account, order: Order, status: Status) -> None:
        if order.market.contract_size is None:
            holding = account.holding(order.market.quote if order.is_buy else order.market.base)
            released = self._reserved(order, order.remaining, self._best(order))
            holding.used -= released
            holding.free += released
        order.status, order.updated_ms = status, self.now_ms()

    def _best(self, order: Order) -> Decimal:
        bids, asks = self.book(order.market, 1)
        return (asks if order.is_buy else bids)[0][0]
