"""Market data over a real socket: page by page, once for all who ask, and with help for who misspells a market."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bridgeservice.exchanges.exchange import Candle, Market, MarketType, OrderBook, Ticker
from bridgeservice.v1 import market_pb2
from bridgeservice.v1 import trading_bridge_pb2 as pb
from servicekit.errors import InvalidArgument, Unavailable
from tests.support.bridge_service import Bridge
from tests.support.fake_exchanges import FakeExchange, spot
from tests.support.key_service import refusal, violations

SYMBOLS = [f"{base}/USDT" for base in ("ADA", "BTC", "ETH", "SOL", "XRP")]
TIME = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

THE_SIX = pytest.mark.parametrize(
    ("method", "named"),
    [
        ("GetTicker", {"symbol": "BTC-USDT"}),
        ("GetOrderBook", {"symbol": "BTC-USDT"}),
        ("ListCandles", {"symbol": "BTC-USDT"}),
        ("ListTickers", {"symbols": ["BTC-USDT"]}),
        ("ListMarkets", {"symbols": ["BTC-USDT"]}),
    ],
)


@pytest.fixture
def kraken(bridge: Bridge) -> FakeExchange:
    """An exchange with five markets."""
    exchange = bridge.exchanges["kraken"]
    exchange.known_markets = {symbol: spot(symbol) for symbol in reversed(SYMBOLS)}
    exchange.known_tickers = {symbol: Ticker(symbol, last="1") for symbol in SYMBOLS}
    return exchange


def asked(bridge: Bridge, method: str, **fields: Any) -> Any:
    request = getattr(pb, f"{method}Request")(**{"exchange": "kraken"} | fields)
    return getattr(bridge.stub, method)(request, timeout=20)


async def pages(bridge: Bridge, method: str, rows: str, **fields: Any) -> list[list[Any]]:
    """Every page of a list."""
    found, token = [], ""
    while True:
        answer = await asked(bridge, method, page_token=token, **fields)
        found.append(list(getattr(answer, rows)))
        token = answer.next_page_token
        if not token:
            return found


async def test_a_ticker_says_when_it_was_so(bridge: Bridge, kraken: FakeExchange) -> None:
    told = Ticker("BTC/USDT", bid="99.10", ask="101", last="100.000", volume="7", time=TIME)
    kraken.known_tickers["BTC/USDT"] = told
    ticker = (await asked(bridge, "GetTicker", symbol="BTC/USDT")).ticker
    assert (ticker.exchange, ticker.symbol) == ("kraken", "BTC/USDT")
    assert (ticker.bid, ticker.ask, ticker.last, ticker.volume) == ("99.10", "101", "100.000", "7")
    assert ticker.time.ToDatetime(UTC) == TIME
    before = datetime.now(UTC)
    ticker = (await asked(bridge, "GetTicker", symbol="ETH/USDT")).ticker
    assert (ticker.bid, ticker.last) == ("", "1")
    assert before <= ticker.time.ToDatetime(UTC) <= datetime.now(UTC)


@THE_SIX
async def test_a_dash_is_refused_with_the_name_that_is_right(
    bridge: Bridge, method: str, named: dict[str, Any]
) -> None:
    told = await refusal(asked(bridge, method, **named))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_SYMBOL")
    assert "use BTC/USDT" in told.message
    assert not bridge.exchanges.made


async def test_a_dash_among_other_mistakes_is_told_with_them(bridge: Bridge) -> None:
    told = await refusal(asked(bridge, "GetOrderBook", symbol="sharp-usdt", depth=-1))
    assert told.reason == "INVALID_ARGUMENT"
    assert violations(told).keys() == {"symbol", "depth"}
    assert "SHARP/USDT" in violations(told)["symbol"]


@THE_SIX
async def test_an_unknown_market_is_refused_with_the_nearest(
    bridge: Bridge, kraken: FakeExchange, method: str, named: dict[str, Any]
) -> None:
    [field] = named
    told = await refusal(asked(bridge, method, **{field: "BTC/USD" if field == "symbol" else ["BTC/USD"]}))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_SYMBOL")
    assert told.message == "BTC/USD is no market of kraken; did you mean BTC/USDT?"
    assert list(violations(told)) == [field]
    assert kraken.asked.total() == 0


@THE_SIX
async def test_an_exchange_is_asked_for_by_a_name_that_is_served(
    bridge: Bridge, method: str, named: dict[str, Any]
) -> None:
    [field] = named
    right = {field: "BTC/USDT" if field == "symbol" else ["BTC/USDT"]}
    told = await refusal(asked(bridge, method, exchange="krakn", **right))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EXCHANGE_UNSUPPORTED")
    assert "kraken" in told.message
    told = await refusal(asked(bridge, method, exchange="", **named))
    assert {field.partition("[")[0] for field in violations(told)} == {"exchange", field}


@THE_SIX
async def test_an_exchange_that_is_away_is_named(
    bridge: Bridge, kraken: FakeExchange, method: str, named: dict[str, Any]
) -> None:
    [field] = named
    right = {field: "BTC/USDT" if field == "symbol" else ["BTC/USDT"]}
    bridge.exchanges.error = Unavailable("kraken cannot be reached now.", reason="EXCHANGE_UNAVAILABLE")
    told = await refusal(asked(bridge, method, **right))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "EXCHANGE_UNAVAILABLE")


async def test_one_that_hangs_is_named_in_time(bridge: Bridge, kraken: FakeExchange) -> None:
    kraken.gate = asyncio.Event()
    request = pb.GetTickerRequest(exchange="kraken", symbol="BTC/USDT")
    told = await refusal(bridge.stub.GetTicker(request, timeout=5))
    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "EXCHANGE_TIMEOUT")


async def test_equal_questions_at_once_are_one_call(bridge: Bridge, kraken: FakeExchange) -> None:
    kraken.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(asked(bridge, "GetTicker", symbol="BTC/USDT")) for _ in range(20)]
    async with asyncio.timeout(20):
        while bridge.under_way < 20:  # noqa: ASYNC110 - calls on the wire have no event
            await asyncio.sleep(0.005)
    kraken.gate.set()
    await asyncio.gather(*waiting)
    assert kraken.asked["ticker"] == 1


async def test_tickers_come_by_symbol_and_page_by_page(bridge: Bridge, kraken: FakeExchange) -> None:
    del kraken.known_tickers["ETH/USDT"]
    found = await pages(bridge, "ListTickers", "tickers", page_size=2)
    assert [[each.symbol for each in page] for page in found] == [
        ["ADA/USDT", "BTC/USDT"],
        ["SOL/USDT", "XRP/USDT"],
    ]
    assert all(each.HasField("time") for page in found for each in page)
    named = ["XRP/USDT", "ETH/USDT", "BTC/USDT", "XRP/USDT"]
    found = await pages(bridge, "ListTickers", "tickers", page_size=2, symbols=named)
    assert [[each.symbol for each in page] for page in found] == [["BTC/USDT"], ["XRP/USDT"]]
    assert kraken.wanted[-2:] == [["BTC/USDT", "ETH/USDT"], ["XRP/USDT"]]


async def test_markets_come_by_symbol_and_page_by_page(bridge: Bridge, kraken: FakeExchange) -> None:
    found = await pages(bridge, "ListMarkets", "markets", page_size=2)
    assert [each.symbol for page in found for each in page] == SYMBOLS
    found = await pages(bridge, "ListMarkets", "markets", symbols=["XRP/USDT", "ADA/USDT"])
    assert [each.symbol for page in found for each in page] == ["ADA/USDT", "XRP/USDT"]


async def test_a_market_is_told_with_what_it_accepts(bridge: Bridge, kraken: FakeExchange) -> None:
    numbers: dict[str, Any] = {
        name: f"{place}.10"
        for place, name in enumerate(
            [
                "amount_step",
                "price_step",
                "min_amount",
                "max_amount",
                "min_price",
                "max_price",
                "min_cost",
                "max_cost",
            ]
        )
    }
    swap = Market("BTC/USDT:USDT", MarketType.SWAP, "BTC", "USDT", "USDT", contract_size="0.01", **numbers)
    other = Market("WHAT", MarketType.OTHER, "W", "T", active=False)
    kraken.known_markets = {each.symbol: each for each in (swap, other)}
    [one, two] = (await asked(bridge, "ListMarkets")).markets
    assert one == market_pb2.Market(
        exchange="kraken",
        symbol="BTC/USDT:USDT",
        type="MARKET_TYPE_SWAP",
        base_asset="BTC",
        quote_asset="USDT",
        settle_asset="USDT",
        active=True,
        contract_size="0.01",
        **numbers,
    )
    assert (two.type, two.active, two.min_cost) == (market_pb2.MARKET_TYPE_UNSPECIFIED, False, "")


@pytest.mark.parametrize(("depth", "levels"), [(0, 50), (2, 2), (5000, 1000)])
async def test_a_book_has_as_many_levels_as_were_asked_for(
    bridge: Bridge, kraken: FakeExchange, depth: int, levels: int
) -> None:
    offers = [(f"{price}.0", "1.50") for price in range(1200)]
    kraken.book = OrderBook("BTC/USDT", offers, offers[::-1], TIME)
    book = (await asked(bridge, "GetOrderBook", symbol="BTC/USDT", depth=depth)).order_book
    assert [len(book.bids), len(book.asks)] == [levels, levels]
    assert (book.bids[0].price, book.asks[0].price, book.bids[0].amount) == ("0.0", "1199.0", "1.50")
    assert book.time.ToDatetime(UTC) == TIME
    assert kraken.wanted == [("BTC/USDT", levels)]


def candles(start: datetime, count: int) -> list[Candle]:
    return [Candle(start + n * MINUTE, f"{n}", "2", "3", "4", "5.0") for n in range(count)]


async def test_the_newest_candles_are_one_page(bridge: Bridge, kraken: FakeExchange) -> None:
    kraken.known_candles = candles(TIME, 10)
    [page] = await pages(bridge, "ListCandles", "candles", symbol="BTC/USDT", page_size=3)
    assert [each.open for each in page] == ["7", "8", "9"]
    assert (page[0].high, page[0].low, page[0].close, page[0].volume) == ("2", "3", "4", "5.0")
    assert kraken.wanted == [("BTC/USDT", "1m", None, 3)]
    # Some exchanges give the newest first.
    kraken.known_candles = kraken.known_candles[::-1]
    [page] = await pages(bridge, "ListCandles", "candles", symbol="BTC/USDT", page_size=10)
    assert [each.open for each in page] == [str(n) for n in range(10)]


async def test_candles_from_a_start_on_come_page_by_page_up_to_now(
    bridge: Bridge, kraken: FakeExchange
) -> None:
    newest = datetime.now(UTC).replace(second=0, microsecond=0)
    kraken.known_candles = candles(newest - 6 * MINUTE, 7)
    start = newest - 5 * MINUTE
    found = await pages(
        bridge, "ListCandles", "candles", symbol="BTC/USDT", page_size=4, start_time=start, timeframe="1m"
    )
    assert [[each.open for each in page] for page in found] == [["1", "2", "3", "4"], ["5", "6"]]


async def test_what_comes_short_of_a_page_is_not_the_end(bridge: Bridge, kraken: FakeExchange) -> None:
    kraken.known_candles = candles(TIME - 10 * MINUTE, 3)
    found = await pages(bridge, "ListCandles", "candles", symbol="BTC/USDT", start_time=TIME - 60 * MINUTE)
    assert [len(page) for page in found] == [3, 0]


async def test_what_the_exchange_does_not_offer_is_the_exchanges_to_say(
    bridge: Bridge, kraken: FakeExchange
) -> None:
    kraken.error = InvalidArgument("kraken has no candles of this span.", reason="UNKNOWN_TIMEFRAME")
    told = await refusal(asked(bridge, "ListCandles", symbol="BTC/USDT", timeframe="7m"))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_TIMEFRAME")


async def test_everything_that_is_wrong_is_told_at_once(bridge: Bridge) -> None:
    told = await refusal(
        asked(
            bridge,
            "ListCandles",
            timeframe="60",
            page_size=-1,
            page_token="x",  # noqa: S106 - a token that is none
            start_time=Timestamp(seconds=2**62),
        )
    )
    assert violations(told).keys() == {"symbol", "timeframe", "page_size", "page_token", "start_time"}
    told = await refusal(asked(bridge, "ListMarkets", symbols=["", "a\n", "x" * 65]))
    assert violations(told).keys() == {"symbols[0]", "symbols[1]", "symbols[2]"}
    told = await refusal(asked(bridge, "ListTickers", symbols=["BTC/USDT"] * 1001))
    assert list(violations(told)) == ["symbols"]
