"""Markets, tickers, books and candles of the simulated exchanges, as ccxt reads them."""

from decimal import Decimal

import ccxt.async_support as ccxt
import pytest

from tests.simulator.pointing import Connect, connected
from tests.simulator.simulator import EXCHANGES, Simulator

pytestmark = pytest.mark.parametrize("name", EXCHANGES)


async def test_markets_say_what_they_accept(name: str, connect: Connect) -> None:
    market = (await connect(name)).market("SHARP/USDT")
    assert (market["base"], market["quote"], market["active"]) == ("SHARP", "USDT", True)
    assert Decimal(market["precision"]["price"]) == Decimal("0.0001")
    assert Decimal(market["precision"]["amount"]) == Decimal("0.01")


async def test_there_are_as_many_markets_as_were_asked_for(name: str) -> None:
    async with Simulator(market_count=50) as simulator, connected(name, simulator.url(name)) as exchange:
        await exchange.load_markets()
        assert len([symbol for symbol in exchange.symbols if ":" not in symbol]) == 50
        assert "COIN0044/USDT" in exchange.symbols


async def test_a_ticker_follows_the_price(name: str, simulator: Simulator, connect: Connect) -> None:
    exchange = await connect(name)
    simulator.set_price(name, "SHARP/USDT", "2.5")
    ticker = await exchange.fetch_ticker("SHARP/USDT")
    assert [ticker[side] for side in ("bid", "last", "ask")] == ["2.4995", "2.5", "2.5005"]


async def test_tickers_are_of_all_markets_or_of_those_named(name: str, connect: Connect) -> None:
    exchange = await connect(name)
    assert len(await exchange.fetch_tickers()) == 6
    assert set(await exchange.fetch_tickers(["BTC/USDT", "SHARP/USDT"])) == {"BTC/USDT", "SHARP/USDT"}


async def test_a_book_has_its_best_offers_first(name: str, connect: Connect) -> None:
    book = await (await connect(name)).fetch_order_book("BTC/USDT", 20)
    bids = [Decimal(str(price)) for price, *_ in book["bids"]]
    asks = [Decimal(str(price)) for price, *_ in book["asks"]]
    assert len(bids) == len(asks) == 20
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < 60000 < asks[0]


async def test_candles_begin_where_they_are_asked_to(name: str, connect: Connect) -> None:
    exchange, hour = await connect(name), 3_600_000
    since = (exchange.milliseconds() // hour - 10) * hour
    candles = await exchange.fetch_ohlcv("BTC/USDT", "1h", since, 3)
    assert [candle[0] for candle in candles] == [since, since + hour, since + 2 * hour]
    for _, opened, high, low, closed, _ in candles:
        assert Decimal(low) < min(Decimal(opened), Decimal(closed))
        assert Decimal(high) > max(Decimal(opened), Decimal(closed))


async def test_candles_end_now(name: str, connect: Connect) -> None:
    exchange = await connect(name)
    candles = await exchange.fetch_ohlcv("BTC/USDT", "1d", limit=5)
    assert exchange.milliseconds() - candles[-1][0] < 86_400_000


async def test_an_unknown_market_is_refused(name: str, connect: Connect) -> None:
    exchange = await connect(name)
    unknown = {**exchange.markets["BTC/USDT"], "id": "NONE-SUCH"}
    exchange.markets = {**exchange.markets, "BTC/USDT": unknown}
    with pytest.raises(ccxt.ExchangeError):
        await exchange.fetch_order_book("BTC/USDT", 20)
