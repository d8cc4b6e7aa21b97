"""Trades of the simulated exchanges page by page, contracts at OKX, and the switch that ends all orders."""

import time
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tests.simulator.accounts import AccountKeys
from tests.simulator.pointing import Connect
from tests.simulator.simulator import Simulator

DAY_MS = 86_400_000
SYMBOL = "BTC/USDT"


class Account:
    """One account and a ccxt exchange that reads it."""

    def __init__(self, simulator: Simulator, keys: AccountKeys, exchange: Any) -> None:
        self.simulator = simulator
        self.keys = keys
        self.exchange = exchange

    def sell(self, count: int, *, days_ago: float = 0, symbol: str = SYMBOL) -> list[int]:
        """So many fills, so long ago. Their numbers."""
        venue = self.simulator.venues[self.keys.exchange]
        venue.clock_skew = -days_ago * DAY_MS / 1000
        orders = [self.simulator.place(self.keys, symbol, "sell", "0.0002") for _ in range(count)]
        venue.clock_skew = 0
        return [trade.id for order in orders for trade in order.trades]

    async def read(self, since_ms: int | None = None, limit: int | None = None, **params: Any) -> list[int]:
        trades = await self.exchange.fetch_my_trades(SYMBOL, since_ms, limit, params)
        return [int("".join(filter(str.isdigit, trade["id"]))) for trade in trades]


@pytest.fixture
async def account(name: str, simulator: Simulator, connect: Connect) -> Account:
    keys = simulator.add_account(name, balances={"BTC": "10", "ETH": "10", "USDT": "100000"})
    return Account(simulator, keys, await connect(name, keys))


def now_ms() -> int:
    return round(time.time() * 1000)


@pytest.mark.parametrize("name", ["binance"])
class TestBinance:
    async def test_tells_the_first_trades_from_a_time_on_and_else_the_last_ones(
        self, account: Account
    ) -> None:
        fills = account.sell(3, days_ago=2) + account.sell(3)
        begun = now_ms() - 3 * DAY_MS
        assert await account.read(begun, 4) == fills[:4]
        assert await account.read(None, 4) == fills[-4:]
        assert await account.read(None, 4, fromId=fills[1]) == fills[1:5]
        assert await account.read(begun, until=begun + DAY_MS // 2) == []

    async def test_tells_of_a_day_at_the_most(self, account: Account) -> None:
        begun = now_ms() - 3 * DAY_MS
        with pytest.raises(ccxt.ExchangeError, match="-1127"):
            await account.read(begun, until=begun + DAY_MS + 1)


@pytest.mark.parametrize("name", ["kraken"])
class TestKraken:
    async def test_tells_fifty_the_newest_first_and_the_rest_by_an_offset(self, account: Account) -> None:
        fills = account.sell(120)
        assert await account.read() == fills[70:]
        assert await account.read(ofs=50) == fills[20:70]
        assert await account.read(ofs=100) == fills[:20]

    async def test_leaves_out_what_happened_at_the_start_itself(self, account: Account) -> None:
        simulator, exchange = account.simulator, account.exchange
        account.sell(1)
        [order] = simulator.orders("kraken")
        [trade] = order.trades
        for start, count in ((trade.time_ms / 1000, 0), (trade.time_ms / 1000 - 1, 1)):
            answer = await exchange.privatePostTradesHistory({"start": start})
            assert answer["result"]["count"] == count


@pytest.mark.parametrize("name", ["okx"])
class TestOkx:
    async def test_tells_a_hundred_the_newest_first_and_the_rest_by_their_bills(
        self, account: Account
    ) -> None:
        fills = account.sell(130, days_ago=1) + account.sell(30)
        assert await account.read() == fills[-100:]
        assert await account.read(after=fills[-100]) == fills[:60]
        assert await account.read(now_ms() - DAY_MS // 2) == fills[-30:]
        assert await account.read(0, until=now_ms() - DAY_MS // 2) == fills[30:130]

    async def test_tells_a_hundred_open_orders_and_the_rest_by_their_ids(self, account: Account) -> None:
        placed = [
            account.simulator.place(account.keys, SYMBOL, "buy", "0.0001", str(1000 + number)).id
            for number in range(130)
        ]
        first = await account.exchange.fetch_open_orders(SYMBOL)
        second = await account.exchange.fetch_open_orders(SYMBOL, params={"after": placed[30]})
        assert {order["id"] for order in first} == set(placed[30:])
        assert {order["id"] for order in second} == set(placed[:30])

    async def test_has_a_contract_whose_positions_gain_and_lose(self, account: Account) -> None:
        exchange, symbol = account.exchange, "BTC/USDT:USDT"
        before = account.simulator.account(account.keys).holding("USDT").free
        for side, amount in (("buy", "3"), ("buy", "1"), ("sell", "5")):
            await exchange.create_order(symbol, "market", side, amount)
        [position] = await exchange.fetch_positions()
        assert (position["symbol"], position["side"], position["contracts"]) == (symbol, "short", "1")
        assert Decimal(position["entryPrice"]) == 59988
        gained = 4 * Decimal("0.01") * (59988 - 60012)
        fees = (4 * 60012 + 5 * 59988) * Decimal("0.01") * Decimal("0.001")
        assert account.simulator.account(account.keys).holding("USDT").free == before + gained - fees
        account.simulator.set_price("okx", symbol, "50000")
        assert Decimal((await exchange.fetch_positions())[0]["unrealizedPnl"]) == Decimal("99.88")

    async def test_refuses_what_would_not_reduce_and_what_is_not_backed(self, account: Account) -> None:
        exchange, symbol = account.exchange, "BTC/USDT:USDT"
        with pytest.raises(ccxt.ExchangeError, match="51169"):
            await exchange.create_order(symbol, "market", "buy", "1", None, {"reduceOnly": True})
        with pytest.raises(ccxt.InsufficientFunds):
            await exchange.create_order(symbol, "market", "buy", "2000")
        await exchange.create_order(symbol, "market", "sell", "2")
        await exchange.create_order(symbol, "market", "buy", "2", None, {"reduceOnly": True})
        assert await exchange.fetch_positions() == []

    async def test_a_contract_that_rests_is_filled_and_canceled_like_any_order(
        self, account: Account
    ) -> None:
        exchange, symbol = account.exchange, "BTC/USDT:USDT"
        first = await exchange.create_order(symbol, "limit", "buy", "2", "50000")
        second = await exchange.create_order(symbol, "limit", "buy", "2", "50000")
        account.simulator.fill("okx", first["id"], "1")
        await exchange.cancel_order(second["id"], symbol)
        assert (await exchange.fetch_order(second["id"], symbol))["status"] == "canceled"
        [position] = await exchange.fetch_positions()
        assert (position["contracts"], Decimal(position["entryPrice"])) == ("1", Decimal(50000))


@pytest.mark.parametrize("name", ["kucoin"])
class TestKucoin:
    async def test_tells_a_week_at_the_most_the_newest_first(self, account: Account) -> None:
        fills = account.sell(2, days_ago=10) + account.sell(130)
        assert await account.read(limit=100) == fills[-100:]
        assert await account.read(limit=100, lastId=fills[-100]) == fills[2:-100]
        assert await account.read(now_ms() - 11 * DAY_MS) == fills[:2]
        with pytest.raises(ccxt.ExchangeError, match="within 7 days"):
            await account.read(now_ms() - 11 * DAY_MS, until=now_ms())

    async def test_tells_on_which_markets_orders_are_open(self, account: Account) -> None:
        for symbol in (SYMBOL, "ETH/USDT", "ETH/USDT"):
            account.simulator.place(account.keys, symbol, "buy", "0.01", "1000")
        answer = await account.exchange.privateGetHfOrdersActiveSymbols()
        assert answer["data"]["symbols"] == ["BTC-USDT", "ETH-USDT"]


@pytest.mark.parametrize("name", ["gate"])
class TestGate:
    async def test_tells_a_month_at_the_most_page_by_page(self, account: Account) -> None:
        old, fills = account.sell(2, days_ago=10), account.sell(130)
        assert await account.read(limit=100) == fills[30:]
        assert await account.read(limit=100, page=2) == fills[:30]
        assert await account.read(now_ms() - 11 * DAY_MS, 1000) == old + fills
        assert await account.read(limit=1000) == fills  # a week, unless it is told otherwise
        with pytest.raises(ccxt.ExchangeError, match="30 days"):
            await account.read(now_ms() - 31 * DAY_MS, until=now_ms())

    async def test_tells_a_hundred_open_orders_of_each_market(self, account: Account) -> None:
        for number in range(130):
            account.simulator.place(account.keys, SYMBOL, "buy", "0.001", str(1000 + number))
        pages = [await account.exchange.fetch_open_orders(params={"page": page}) for page in (1, 2, 3)]
        assert [len(page) for page in pages] == [100, 30, 0]


@pytest.mark.parametrize("name", ["kraken", "okx"])
async def test_all_orders_end_in_time_unless_that_is_put_off(account: Account, name: str) -> None:
    exchange, venue = account.exchange, account.simulator.venues[name]
    order = await exchange.create_order(SYMBOL, "limit", "buy", "0.01", "50000")
    await exchange.cancel_all_orders_after(60_000)
    assert (await exchange.fetch_order(order["id"], SYMBOL))["status"] == "open"
    venue.clock_skew = 61
    assert [found.status.value for found in account.simulator.orders(name)] == ["canceled"]


@pytest.mark.parametrize("name", ["okx"])
async def test_okx_wants_ten_seconds_to_two_minutes(account: Account, name: str) -> None:
    for seconds in (5, 121):
        with pytest.raises(ccxt.ExchangeError, match="51000"):
            await account.exchange.cancel_all_orders_after(seconds * 1000)
    await account.exchange.cancel_all_orders_after(0)
