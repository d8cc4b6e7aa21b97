"""Balances and orders of the paper exchange: exact, safe from races, and nobody else's."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from bridgeservice.enums import OrderSide, OrderState, TimeInForce
from bridgeservice.exchanges.exchange import Balance, Owner, Permission, Permissions, Ticker
from bridgeservice.exchanges.orders import ExchangeTrade, Reference, Refusal
from bridgeservice.exchanges.paper import PaperExchange
from bridgeservice.exchanges.paper_options import STARTING_BALANCES, PaperOptions
from bridgeservice.exchanges.paper_prices import SyntheticPrices
from servicekit.credentials import Credentials
from servicekit.database.engine import Database
from servicekit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from tests.support.orders import accepted, limit, market, named, refused
from tests.support.paper import FixedClock, Paper, make, new_owner

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
    order = accepted(await paper.session.place(limit(SELL, "1", bid * 2)))
    for other in others:
        assert (await paper.holdings(other))["BTC"] == (Decimal(1), NOTHING)
        assert await other.open_orders() == []
        assert await other.order(named(order)) is None
        with pytest.raises(NotFound):
            await other.cancel(named(order))
    assert await paper.session.order(named(order)) == order
    assert order.state is OrderState.OPEN


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
    order = accepted(await paper.session.place(market(BUY, "0.10003")))
    cost = Decimal("0.10003") * ask
    assert (order.state, order.amount, order.filled) == (OrderState.FILLED, "0.10003", "0.10003")
    assert (Decimal(order.average_price), Decimal(order.cost)) == (ask, cost)
    [fee] = order.fees
    assert (fee.asset, Decimal(fee.amount)) == ("USDT", cost / 1000)
    after = await paper.holdings()
    assert after["BTC"] == (before["BTC"][0] + Decimal("0.10003"), NOTHING)
    assert after["USDT"] == (before["USDT"][0] - cost - cost / 1000, NOTHING)
    assert await paper.session.order(named(order)) == order


async def test_a_sale_is_paid_at_the_bid_less_the_fee(paper: Paper) -> None:
    bid, _ = await paper.offers("BTC/USDT")
    await paper.session.place(market(SELL, "0.5"))
    after = await paper.holdings()
    assert after["BTC"] == (Decimal("0.5"), NOTHING)
    assert after["USDT"] == (10_000 + bid / 2 * Decimal("0.999"), NOTHING)


async def test_a_limit_that_the_market_meets_is_filled_at_the_markets_price(paper: Paper) -> None:
    _, ask = await paper.offers("BTC/USDT")
    order = accepted(await paper.session.place(limit(BUY, "0.1", ask + 100)))
    assert Decimal(order.average_price) == ask


async def test_a_limit_that_waits_sets_aside_what_it_will_cost_and_gives_it_back(paper: Paper) -> None:
    before = await paper.holdings()
    bid, _ = await paper.offers("BTC/USDT")
    price = bid / 2 // 1
    buy = accepted(await paper.session.place(limit(BUY, "0.1", price)))
    paper.clock.go_on(seconds=1)
    sell = accepted(await paper.session.place(limit(SELL, "0.25", bid * 3)))
    assert (buy.state, buy.filled, buy.average_price, buy.fees) == (OrderState.OPEN, "0", "", ())
    assert await paper.session.open_orders() == [buy, sell]
    assert await paper.session.open_orders("ETH/USDT") == []
    set_aside = price / 10 * Decimal("1.001")
    waiting = await paper.holdings()
    assert waiting["USDT"] == (10_000 - set_aside, set_aside)
    assert waiting["BTC"] == (Decimal("0.75"), Decimal("0.25"))
    for order in (buy, sell):
        await paper.session.cancel(named(order))
        canceled = await paper.session.order(named(order))
        assert canceled is not None
        assert canceled.state is OrderState.CANCELED
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
    order = accepted(await paper.session.place(limit(side, "0.1", price)))
    assert order.state is OrderState.OPEN
    paper.clock.go_on(days=3)
    filled = await paper.session.order(named(order))
    assert filled is not None
    assert (filled.state, Decimal(filled.average_price)) == (OrderState.FILLED, price)
    [trade] = await paper.session.trades(None, begun, 10)
    assert (trade.order_id, trade.side, Decimal(trade.price)) == (order.id, side, price)
    assert begun < trade.time < paper.clock.now
    cost, fee = price / 10, price / 10 * Decimal("0.001")
    assert [Decimal(each.amount) for each in trade.fees] == [fee]
    after = await paper.holdings()
    if side is BUY:
        assert after["BTC"] == (Decimal("1.1"), NOTHING)
        assert after["USDT"] == (10_000 - cost - fee, NOTHING)
    else:
        assert after["BTC"] == (Decimal("0.9"), NOTHING)
        assert after["USDT"] == (10_000 + cost - fee, NOTHING)


async def test_replicas_that_match_one_order_fill_it_once(make_database: Callable[[], Database]) -> None:
    paper = Paper(make_database())
    _, ask = await paper.offers("BTC/USDT")
    placed_at, order = paper.clock.now, accepted(await paper.session.place(limit(BUY, "0.1", ask - 1)))
    paper.clock.go_on(days=30)
    replicas = [Paper(make_database(), clock=paper.clock, owner=paper.owner) for _ in range(3)]
    asked = [replica.session.order(named(order)) for replica in replicas for _ in range(3)]
    first, *others = await asyncio.gather(*asked)
    assert first is not None
    assert first.state is OrderState.FILLED
    assert all(other == first for other in others)
    assert (await paper.holdings())["BTC"] == (Decimal("1.1"), NOTHING)
    assert [trade.order_id for trade in await paper.session.trades(None, placed_at, 10)] == [order.id]


async def test_of_orders_that_race_for_the_same_money_only_those_it_pays_for_are_filled(
    make_database: Callable[[], Database],
) -> None:
    owner = new_owner()
    replicas = [Paper(make_database(), owner=owner) for _ in range(3)]
    orders = [replica.session.place(market(SELL, "0.3")) for replica in replicas for _ in range(2)]
    ended = await asyncio.gather(*orders)
    reasons = [each.error.reason for each in ended if isinstance(each, Refusal)]
    assert reasons == ["INSUFFICIENT_FUNDS"] * 3
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
        error = refused(await paper.session.place(order))
        assert error.reason == "INSUFFICIENT_FUNDS"
        assert "too little" in error.message
    assert await paper.holdings() == before
    assert await paper.session.open_orders() == []


async def test_a_client_order_id_is_used_once_in_a_connector_and_finds_its_order(paper: Paper) -> None:
    given = paper.exchange.client_order_id(uuid4())
    by_it = Reference("BTC/USDT", client_order_id=given)
    order = accepted(await paper.session.place(market(SELL, "0.1", client_order_id=given)))
    assert order.client_order_id == given
    assert await paper.session.order(by_it) == order
    with pytest.raises(AlreadyExists) as caught:  # not a refusal: the order that is there may be this one
        await paper.session.place(market(SELL, "0.2", client_order_id=given))
    assert caught.value.reason == "DUPLICATE_ORDER_ID"
    assert (await paper.holdings())["BTC"] == (Decimal("0.9"), NOTHING)
    other = paper.of(Owner(paper.owner.account_name, "paper:2"))
    assert await other.order(by_it) is None
    accepted(await other.place(market(SELL, "0.2", client_order_id=given)))


async def test_a_client_order_id_is_our_ids_text(paper: Paper) -> None:
    given = uuid4()
    assert UUID(paper.exchange.client_order_id(given)) == given


async def test_an_order_that_is_over_is_not_canceled(paper: Paper) -> None:
    order = accepted(await paper.session.place(market(SELL, "0.1")))
    with pytest.raises(FailedPrecondition, match="is filled") as caught:
        await paper.session.cancel(named(order))
    assert caught.value.reason == "ORDER_NOT_OPEN"


@pytest.mark.parametrize("given", [str(UUID(int=1)), "O12345-SIMUL"])
async def test_an_order_that_never_was_is_not_known(paper: Paper, given: str) -> None:
    await paper.session.balances()
    never = Reference("BTC/USDT", id=given)
    assert await paper.session.order(never) is None
    with pytest.raises(NotFound):
        await paper.session.cancel(never)


async def test_an_unknown_symbol_is_refused(paper: Paper) -> None:
    error = refused(await paper.session.place(market(BUY, "1", "NO/USDT")))
    assert isinstance(error, InvalidArgument)
    assert error.reason == "UNKNOWN_SYMBOL"


@pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK])
async def test_what_may_not_wait_is_filled_at_once_or_canceled(
    paper: Paper, time_in_force: TimeInForce
) -> None:
    before = await paper.holdings()
    bid, ask = await paper.offers("BTC/USDT")
    missed = accepted(await paper.session.place(limit(BUY, "0.01", bid - 100, time_in_force=time_in_force)))
    assert (missed.state, missed.filled) == (OrderState.CANCELED, "0")
    assert await paper.session.order(named(missed)) == missed
    assert await paper.holdings() == before
    met = accepted(await paper.session.place(limit(BUY, "0.01", ask, time_in_force=time_in_force)))
    assert met.state is OrderState.FILLED


async def test_what_shall_only_wait_is_refused_where_it_would_be_filled(paper: Paper) -> None:
    bid, ask = await paper.offers("BTC/USDT")
    error = refused(await paper.session.place(limit(BUY, "0.01", ask, post_only=True)))
    assert error.reason == "ORDER_IMMEDIATELY_FILLABLE"
    waits = accepted(await paper.session.place(limit(BUY, "0.01", bid, post_only=True)))
    assert waits.state is OrderState.OPEN


@pytest.mark.parametrize("more", [{"reduce_only": True}, {"params": {"leverage": "3"}}])
async def test_what_a_spot_exchange_does_not_know_is_refused(paper: Paper, more: dict[str, Any]) -> None:
    error = refused(await paper.session.place(market(SELL, "0.1", **more)))
    assert isinstance(error, InvalidArgument)
    assert [each.field for each in error.violations] == list(more)
    assert await paper.session.open_orders() == []


async def test_a_failure_before_anything_is_written_is_a_refusal(
    make_database: Callable[[], Database],
) -> None:
    paper = Paper(make_database(), PaperOptions(failure_rate=1))
    assert refused(await paper.session.place(market(SELL, "0.1"))).reason == "EXCHANGE_UNAVAILABLE"


async def test_trades_are_read_from_a_time_on_and_so_many_at_once(paper: Paper) -> None:
    placed = []
    for symbol, amount in (("BTC/USDT", "0.1"), ("ETH/USDT", "2"), ("BTC/USDT", "0.2")):
        ticket = market(SELL, amount, symbol)
        placed.append((paper.clock.now, accepted(await paper.session.place(ticket))))
        paper.clock.go_on(seconds=1)
    trades = [
        ExchangeTrade(
            order.id, order.id, order.symbol, SELL, order.amount, order.average_price, order.cost, at,
            fees=order.fees,
        )
        for at, order in placed
    ]  # fmt: skip
    (begun, _), (second, _), _ = placed
    assert await paper.session.trades(None, begun, 10) == trades
    assert await paper.session.trades(None, begun, 2) == trades[:2]
    assert await paper.session.trades(None, second, 10) == trades[1:]
    assert await paper.session.trades("BTC/USDT", second, 10) == trades[2:]


async def test_it_has_no_positions_and_no_switch(paper: Paper) -> None:
    assert list(await paper.session.positions()) == []
    with pytest.raises(FailedPrecondition) as caught:
        await paper.session.cancel_all_after(timedelta(minutes=1))
    assert caught.value.reason == "NOT_SUPPORTED"


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
    unpriced = refused(await session.place(market(SELL, "0.1")))
    assert isinstance(unpriced, Unavailable)
    assert "no price for BTC/USDT" in unpriced.message
    waits = accepted(await session.place(limit(SELL, "0.2", "10")))
    assert waits.state is OrderState.OPEN
    real.said = Ticker("BTC/USDT", last="9")
    sold = accepted(await session.place(market(SELL, "0.1")))
    assert Decimal(sold.average_price) == 9
    assert await session.open_orders() == [waits]
    clock.go_on(seconds=1)
    real.said = Ticker("BTC/USDT", bid="11", ask="12")
    filled = await session.order(named(waits))
    assert filled is not None
    assert Decimal(filled.average_price) == 10
    assert [trade.time for trade in await session.trades(None, clock.now, 10)] == [clock.now]
