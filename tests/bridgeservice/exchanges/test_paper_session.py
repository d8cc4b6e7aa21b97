"""Balances and orders of the paper exchange: exact, safe from races, and nobody else's."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from uuid import uuid4

import pytest

from bridgeservice.enums import OrderSide, PaperOrderState
from bridgeservice.exchanges.exchange import Balance, Owner, Permission, Permissions, Ticker
from bridgeservice.exchanges.paper import PaperExchange
from bridgeservice.exchanges.paper_options import STARTING_BALANCES, PaperOptions
from bridgeservice.exchanges.paper_prices import SyntheticPrices
from servicekit.credentials import Credentials
from servicekit.database.engine import Database
from servicekit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from tests.support.paper import FixedClock, Paper, limit, make, market, new_owner

BUY, SELL = OrderSide.BUY, OrderSide.SELL
NOTHING = Decimal(0)


@pytest.fixture
def paper(make_database: Callable[[], Database]) -> Paper:
    return Paper(make_database())


async def test_a_new_account_has_what_it_starts_with(paper: Paper) -> None:
    assert await paper.holdings() == {asset: (amount, NOTHING) for asset, amount in STARTING_BALANCES.items()}


async def test_it_is_made_once_whoever_races(make_database: Callable[[], Database]) -> None:
    owner = new_owner()
    replicas = [Paper(make_database(), owner=owner) for _ in range(3)]
    orders = [replica.session.place(market(SELL, "0.1")) for replica in replicas]
    reads = [replica.session.balances() for replica in replicas for _ in range(3)]
    await asyncio.gather(*orders, *reads)
    holdings = await replicas[0].holdings()
    assert holdings["BTC"] == (Decimal("0.7"), NOTHING)
    assert holdings["ETH"] == (STARTING_BALANCES["ETH"], NOTHING)


async def test_an_account_is_its_connectors_alone(paper: Paper) -> None:
    others = [paper.of(Owner(paper.owner.account_name, "paper:2")), paper.of(new_owner())]
    bid, _ = await paper.offers("BTC/USDT")
    order = await paper.session.place(limit(SELL, "1", bid * 2))
    for other in others:
        assert (await paper.holdings(other))["BTC"] == (Decimal(1), NOTHING)
        assert await other.open_orders() == []
        for ask in (other.order, other.cancel):
            with pytest.raises(NotFound):
                await ask(order.id)
    assert (await paper.session.order(order.id)).state is PaperOrderState.OPEN


async def test_every_digit_of_a_balance_survives(make_database: Callable[[], Database]) -> None:
    exact, huge = "0.12345678901234567890", "123456789012345678901234567890.123456789012345678901"
    balances = {"DUST": Decimal(exact), "HUGE": Decimal(huge)}
    paper = Paper(make_database(), PaperOptions(balances=balances))
    assert await paper.session.balances() == [
        Balance("DUST", exact, "0", exact),
        Balance("HUGE", huge, "0", huge),
    ]


async def test_a_fill_moves_both_assets_exactly(paper: Paper) -> None:
    before = await paper.holdings()
    _, ask = await paper.offers("BTC/USDT")
    order = await paper.session.place(market(BUY, "0.10003"))
    cost = Decimal("0.10003") * ask
    assert order.state is PaperOrderState.FILLED
    assert order.fill is not None
    assert (order.fill.price, order.fill.cost, order.fill.fee) == (ask, cost, cost / 1000)
    after = await paper.holdings()
    assert after["BTC"] == (before["BTC"][0] + Decimal("0.10003"), NOTHING)
    assert after["USDT"] == (before["USDT"][0] - cost - cost / 1000, NOTHING)
    assert await paper.session.order(order.id) == order


async def test_a_sale_is_paid_at_the_bid_less_the_fee(paper: Paper) -> None:
    bid, _ = await paper.offers("BTC/USDT")
    await paper.session.place(market(SELL, "0.5"))
    after = await paper.holdings()
    assert after["BTC"] == (Decimal("0.5"), NOTHING)
    assert after["USDT"] == (10_000 + bid / 2 * Decimal("0.999"), NOTHING)


async def test_a_limit_that_the_market_meets_is_filled_at_the_markets_price(paper: Paper) -> None:
    _, ask = await paper.offers("BTC/USDT")
    order = await paper.session.place(limit(BUY, "0.1", ask + 100))
    assert order.fill is not None
    assert order.fill.price == ask


async def test_a_limit_that_waits_sets_aside_what_it_will_cost_and_gives_it_back(paper: Paper) -> None:
    before = await paper.holdings()
    bid, _ = await paper.offers("BTC/USDT")
    price = bid / 2 // 1
    buy = await paper.session.place(limit(BUY, "0.1", price))
    paper.clock.go_on(seconds=1)
    sell = await paper.session.place(limit(SELL, "0.25", bid * 3))
    assert (buy.state, buy.fill) == (PaperOrderState.OPEN, None)
    assert await paper.session.open_orders() == [buy, sell]
    set_aside = price / 10 * Decimal("1.001")
    waiting = await paper.holdings()
    assert waiting["USDT"] == (10_000 - set_aside, set_aside)
    assert waiting["BTC"] == (Decimal("0.75"), Decimal("0.25"))
    canceled = [await paper.session.cancel(order.id) for order in (buy, sell)]
    assert {order.state for order in canceled} == {PaperOrderState.CANCELED}
    assert await paper.holdings() == before
    assert await paper.session.open_orders() == []


@pytest.mark.parametrize("side", [BUY, SELL])
async def test_a_limit_is_filled_when_its_price_came_by_though_nobody_looked(
    paper: Paper, side: OrderSide
) -> None:
    begun, (bid, ask) = paper.clock.now, await paper.offers("BTC/USDT")
    paper.clock.go_on(days=3)
    candles = await paper.exchange.candles("BTC/USDT", "1h", begun, 100)
    # Half-way to where it will have been and come back from.
    reached = (
        min(Decimal(each.low) for each in candles)
        if side is BUY
        else max(Decimal(each.high) for each in candles)
    )
    price = ((reached + (ask if side is BUY else bid)) / 2).quantize(Decimal(1))
    paper.clock.now = begun
    order = await paper.session.place(limit(side, "0.1", price))
    assert order.state is PaperOrderState.OPEN
    paper.clock.go_on(days=3)
    filled = await paper.session.order(order.id)
    assert filled.state is PaperOrderState.FILLED
    assert filled.fill is not None
    assert filled.fill.price == price
    assert begun < filled.fill.time < paper.clock.now
    cost, fee = price / 10, price / 10 * Decimal("0.001")
    after = await paper.holdings()
    if side is BUY:
        assert after["BTC"] == (Decimal("1.1"), NOTHING)
        assert after["USDT"] == (10_000 - cost - fee, NOTHING)
    else:
        assert after["BTC"] == (Decimal("0.9"), NOTHING)
        assert after["USDT"] == (10_000 + cost - fee, NOTHING)
    assert await paper.session.trades() == [filled]


async def test_replicas_that_match_one_order_fill_it_once(make_database: Callable[[], Database]) -> None:
    paper = Paper(make_database())
    _, ask = await paper.offers("BTC/USDT")
    order = await paper.session.place(limit(BUY, "0.1", ask - 1))
    paper.clock.go_on(days=30)
    replicas = [Paper(make_database(), clock=paper.clock, owner=paper.owner) for _ in range(3)]
    seen = await asyncio.gather(*(replica.session.order(order.id) for replica in replicas for _ in range(3)))
    assert len(set(seen)) == 1
    assert seen[0].fill is not None
    assert (await paper.holdings())["BTC"] == (Decimal("1.1"), NOTHING)
    assert await paper.session.trades() == [seen[0]]


async def test_of_orders_that_race_for_the_same_money_only_those_it_pays_for_are_filled(
    make_database: Callable[[], Database],
) -> None:
    owner = new_owner()
    replicas = [Paper(make_database(), owner=owner) for _ in range(3)]
    orders = [replica.session.place(market(SELL, "0.3")) for replica in replicas for _ in range(2)]
    ended = await asyncio.gather(*orders, return_exceptions=True)
    refused = [each for each in ended if isinstance(each, BaseException)]
    assert len(refused) == 3
    assert all(isinstance(each, FailedPrecondition) for each in refused)
    assert (await replicas[0].holdings())["BTC"] == (Decimal("0.1"), NOTHING)


async def test_what_the_account_can_not_pay_is_refused_and_changes_nothing(paper: Paper) -> None:
    before = await paper.holdings()
    for order in (
        market(SELL, "1.00001"),
        market(BUY, "5"),
        market(SELL, "1", "SOL/USDT"),
        limit(SELL, "1.1", "900000"),
        limit(BUY, "2", "10000"),
    ):
        with pytest.raises(FailedPrecondition, match="too little") as caught:
            await paper.session.place(order)
        assert caught.value.reason == "INSUFFICIENT_FUNDS"
    assert await paper.holdings() == before
    assert await paper.session.open_orders() == []


async def test_a_client_order_id_is_used_once_in_a_connector(paper: Paper) -> None:
    given = secrets.token_hex(8)
    order = await paper.session.place(market(SELL, "0.1", client_order_id=given))
    assert (await paper.session.order(order.id)).client_order_id == given
    with pytest.raises(AlreadyExists) as caught:
        await paper.session.place(market(SELL, "0.2", client_order_id=given))
    assert caught.value.reason == "DUPLICATE_ORDER_ID"
    assert (await paper.holdings())["BTC"] == (Decimal("0.9"), NOTHING)
    await paper.of(Owner(paper.owner.account_name, "paper:2")).place(
        market(SELL, "0.2", client_order_id=given)
    )


async def test_an_order_that_is_over_is_not_canceled(paper: Paper) -> None:
    order = await paper.session.place(market(SELL, "0.1"))
    with pytest.raises(FailedPrecondition, match="is filled") as caught:
        await paper.session.cancel(order.id)
    assert caught.value.reason == "ORDER_NOT_OPEN"
    for ask in (paper.session.order, paper.session.cancel):
        with pytest.raises(NotFound):
            await ask(uuid4())


async def test_an_unknown_symbol_is_refused(paper: Paper) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await paper.session.place(market(BUY, "1", "NO/USDT"))
    assert caught.value.reason == "UNKNOWN_SYMBOL"


async def test_whoever_has_the_connector_may_read_and_trade_and_never_withdraw(paper: Paper) -> None:
    assert await paper.session.permissions() == Permissions(Permission.YES, Permission.YES, Permission.NO)
    await paper.session.close()


async def test_without_a_database_only_what_is_kept_is_refused_and_the_setting_is_named(
    paper: Paper,
) -> None:
    bare = Paper(None)
    assert await bare.offers("BTC/USDT") == await paper.offers("BTC/USDT")
    for ask in (bare.session.balances, bare.session.permissions, bare.session.open_orders):
        with pytest.raises(FailedPrecondition, match="set BRIDGESERVICE_DATABASE_URL") as caught:
            await ask()
        assert caught.value.reason == "DATABASE_REQUIRED"


class Vague(PaperExchange):
    """A real exchange that tells no more of a market than a test says."""

    said = Ticker("BTC/USDT")

    async def ticker(self, symbol: str) -> Ticker:
        assert symbol == self.said.symbol
        return self.said

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        return {symbol: await self.ticker(symbol) for symbol in symbols}


async def test_with_a_real_exchanges_prices_an_order_is_filled_by_what_that_exchange_tells(
    make_database: Callable[[], Database],
) -> None:
    clock = FixedClock()
    real = Vague(PaperOptions(), SyntheticPrices(1, clock), None)
    options = PaperOptions(prices_from="real")
    session = make(options, make_database(), clock, ("real", real)).session(Credentials(), new_owner())
    with pytest.raises(Unavailable, match="no price for BTC/USDT") as caught:
        await session.place(market(SELL, "0.1"))
    assert caught.value.reason == "EXCHANGE_UNAVAILABLE"
    waits = await session.place(limit(SELL, "0.2", "10"))
    assert waits.state is PaperOrderState.OPEN
    real.said = Ticker("BTC/USDT", last="9")
    sold = await session.place(market(SELL, "0.1"))
    assert sold.fill is not None
    assert sold.fill.price == 9
    assert await session.open_orders() == [waits]
    real.said = Ticker("BTC/USDT", bid="11", ask="12")
    filled = await session.order(waits.id)
    assert filled.fill is not None
    assert (filled.fill.price, filled.fill.time) == (Decimal(10), clock.now)
