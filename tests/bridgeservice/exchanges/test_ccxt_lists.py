"""Open orders and trades of five exchanges to the last one, however many of them an answer holds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from bridgeservice.enums import OrderSide
from bridgeservice.exchanges import ccxt_lists
from bridgeservice.exchanges.orders import ExchangeTrade, Fee
from servicekit.errors import FailedPrecondition
from tests.simulator.simulator import EXCHANGES
from tests.support.desk import SYMBOL, Desk, trading
from tests.support.orders import accepted, limit, market, named

every_exchange = pytest.mark.parametrize("exchange_id", EXCHANGES)

PAGE = {"binance": 1000, "kraken": 50, "okx": 100, "kucoin": 100, "gate": 1000}
BY_MARKET = ("binance", "kucoin")
OTHER = "ETH/USDT"


@contextmanager
def at(desk: Desk, moment: datetime) -> Iterator[None]:
    """As if it were then at the exchange."""
    venue = desk.simulator.venues[desk.exchange.id]
    venue.clock_skew = (moment - datetime.now(UTC)).total_seconds()
    yield
    venue.clock_skew = 0


def sell(desk: Desk, count: int, symbol: str = SYMBOL) -> list[str]:
    """So many fills at once. The ids of their orders."""
    amount = "0.0001" if symbol == SYMBOL else "0.01"
    return [desk.simulator.place(desk.keys, symbol, "sell", amount).id for _ in range(count)]


async def all_trades(
    desk: Desk, symbol: str | None, since: datetime, limit: int = 500
) -> list[ExchangeTrade]:
    """As whoever reads them: on from the last one, until fewer come than were asked for."""
    found: dict[str, ExchangeTrade] = {}
    while True:
        page = await desk.session.trades(symbol, since, limit)
        assert page == sorted(page, key=lambda trade: trade.time)
        assert len({trade.id for trade in page}) == len(page) <= limit
        found |= {trade.id: trade for trade in page}
        if len(page) < limit:
            return list(found.values())
        since = page[-1].time


def orders_of(trades: Sequence[ExchangeTrade]) -> list[str]:
    return sorted(trade.order_id for trade in trades)


class TestOpenOrders:
    @every_exchange
    async def test_are_all_there_however_many(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            placed = {
                symbol: {
                    desk.simulator.place(desk.keys, symbol, "buy", "0.01", str(price)).id
                    for price in range(1000, 1000 + count)
                }
                for symbol, count in ((SYMBOL, 230), (OTHER, 20))
            }

            for symbol, ids in placed.items():
                assert {order.id for order in await desk.session.open_orders(symbol)} == ids
            assert {order.id for order in await desk.session.open_orders()} == placed[SYMBOL] | placed[OTHER]

    @every_exchange
    async def test_are_none_where_none_is_open(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            assert list(await desk.session.open_orders()) == []

    @every_exchange
    async def test_are_everybodys(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            elsewhere = desk.simulator.place(desk.keys, SYMBOL, "buy", "0.02", "50000", client_id="web-1")
            [order] = await desk.session.open_orders(SYMBOL)
            assert (order.id, order.client_order_id, order.side) == (elsewhere.id, "web-1", OrderSide.BUY)
            await desk.session.cancel(named(order))
            assert await desk.session.open_orders(SYMBOL) == []

    async def test_of_all_markets_are_refused_where_one_has_to_be_named(self) -> None:
        async with trading("kucoin") as desk:
            await desk.session.balances()
            desk.session._connector.id = "another"
            with pytest.raises(FailedPrecondition) as caught:
                await desk.session.open_orders()
            assert caught.value.reason == "NOT_SUPPORTED"


class TestTrades:
    @every_exchange
    async def test_tell_what_was_paid_for_what_and_what_was_taken(self, exchange_id: str) -> None:
        begun = datetime.now(UTC) - timedelta(seconds=5)
        async with trading(exchange_id) as desk:
            order = accepted(await desk.session.place(limit(OrderSide.BUY, "0.01", "61000")))
            accepted(await desk.session.place(market(OrderSide.SELL, "0.1")))
            bought, sold = await desk.session.trades(SYMBOL, begun, 10)

        assert (bought.order_id, bought.symbol, bought.side) == (order.id, SYMBOL, OrderSide.BUY)
        numbers = [Decimal(each) for each in (bought.amount, bought.price, bought.cost)]
        assert numbers == [Decimal("0.01"), Decimal("60012"), Decimal("600.12")]
        assert begun < bought.time <= sold.time
        assert [(fee.asset, Decimal(fee.amount)) for fee in sold.fees] == [("USDT", Decimal("5.9988"))]
        [fee] = bought.fees
        expected = Fee("USDT", "0.60012") if exchange_id == "kraken" else Fee("BTC", "0.00001")
        assert (fee.asset, Decimal(fee.amount)) == (expected.asset, Decimal(expected.amount))

    @every_exchange
    async def test_of_many_days_are_all_read_and_none_twice(self, exchange_id: str) -> None:
        now = datetime.now(UTC)
        async with trading(exchange_id) as desk:
            placed = []
            for days in (40, 33, 20, 19, 3, 0):
                with at(desk, now - timedelta(days=days, minutes=1)):
                    placed += sell(desk, 30)
                    sell(desk, 3, OTHER)

            found = await all_trades(desk, SYMBOL, now - timedelta(days=60))

            assert orders_of(found) == sorted(placed)
            since = now - timedelta(days=19, minutes=2)
            assert orders_of(await all_trades(desk, SYMBOL, since)) == sorted(placed[90:])

    @every_exchange
    async def test_of_one_moment_are_all_read_though_they_fill_pages(self, exchange_id: str) -> None:
        moment = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        count = (3 if PAGE[exchange_id] < 1000 else 1) * PAGE[exchange_id] + 20
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            with at(desk, moment):
                placed = sell(desk, count)
            found = await desk.session.trades(SYMBOL, moment - timedelta(hours=1), 2000)
            assert orders_of(found) == sorted(placed)

    @every_exchange
    async def test_are_not_lost_between_two_spans_of_time(self, exchange_id: str) -> None:
        begun = (datetime.now(UTC) - timedelta(days=50)).replace(microsecond=500_000)
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            placed = []
            for days in (6, 29):  # where the first question ends
                for seconds in (-0.3, 0, 0.3):
                    with at(desk, begun + timedelta(days=days, seconds=seconds)):
                        placed += sell(desk, 1)
            assert orders_of(await all_trades(desk, SYMBOL, begun)) == sorted(placed)

    @every_exchange
    async def test_at_the_very_moment_are_among_those_from_it_on(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            sell(desk, 1)
            [trade] = await desk.session.trades(SYMBOL, datetime.now(UTC) - timedelta(minutes=1), 10)
            assert await desk.session.trades(SYMBOL, trade.time, 10) == [trade]
            assert await desk.session.trades(SYMBOL, trade.time + timedelta(milliseconds=1), 10) == []

    @every_exchange
    async def test_of_a_whole_second_are_told_where_the_exchange_leaves_out_its_beginning(
        self, exchange_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moment = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5)
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            with monkeypatch.context() as stopped:
                venue = desk.simulator.venues[exchange_id]
                stopped.setattr(venue, "now_ms", lambda: round(moment.timestamp() * 1000))
                placed = sell(desk, 2)
            assert orders_of(await desk.session.trades(SYMBOL, moment, 10)) == sorted(placed)

    @every_exchange
    async def test_are_no_more_than_is_asked_for_and_the_first_ones(self, exchange_id: str) -> None:
        begun = datetime.now(UTC) - timedelta(minutes=1)
        async with trading(exchange_id) as desk:
            first, second, _ = sell(desk, 3)
            assert orders_of(await desk.session.trades(SYMBOL, begun, 2)) == sorted([first, second])

    @every_exchange
    async def test_of_all_markets_are_told_or_refused(self, exchange_id: str) -> None:
        begun = datetime.now(UTC) - timedelta(minutes=1)
        async with trading(exchange_id) as desk:
            placed = sell(desk, 2) + sell(desk, 1, OTHER)
            if exchange_id in BY_MARKET:
                with pytest.raises(FailedPrecondition) as caught:
                    await desk.session.trades(None, begun, 10)
                assert caught.value.reason == "NOT_SUPPORTED"
            else:
                assert orders_of(await desk.session.trades(None, begun, 10)) == sorted(placed)

    @every_exchange
    async def test_cost_one_question_where_they_fit_into_an_answer(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            sell(desk, 40)
            await desk.session.balances()
            desk.simulator.seen.clear()
            await desk.session.trades(SYMBOL, datetime.now(UTC) - timedelta(minutes=1), 100)
            assert desk.simulator.seen.count(exchange_id) == 1

    @pytest.mark.parametrize("exchange_id", ["binance", "okx", "kucoin", "gate"])
    async def test_of_an_exchange_that_is_in_no_table_are_found_by_what_ccxt_knows_of_it(
        self, exchange_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ccxt_lists, "_TRADES", {})
        now = datetime.now(UTC)
        async with trading(exchange_id) as desk:
            placed = []
            for hours in (200, 100, 99, 98, 97, 1):
                with at(desk, now - timedelta(hours=hours)):
                    placed += sell(desk, 40)
            assert orders_of(await all_trades(desk, SYMBOL, now - timedelta(days=12))) == sorted(placed)

    async def test_of_an_exchange_that_can_be_told_no_end_are_those_that_it_tells(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ccxt_lists, "_TRADES", {})
        async with trading("kraken") as desk:
            placed = sell(desk, 40)
            begun = datetime.now(UTC) - timedelta(minutes=1)
            assert orders_of(await desk.session.trades(SYMBOL, begun, 100)) == sorted(placed)

    async def test_of_a_contract_are_asked_for_in_the_plainest_way(self) -> None:
        async with trading("gate") as desk:
            connector = await desk.session._prepared()
            connector.markets = {**connector.markets, "X": {**connector.markets[SYMBOL], "contract": True}}
            rules = ccxt_lists._rules(connector, "X")
            assert (rules.page, rules.span, rules.following) == (100, timedelta(days=6), None)
