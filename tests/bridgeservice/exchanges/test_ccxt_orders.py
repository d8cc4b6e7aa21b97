"""Orders on five real exchanges' REST APIs, by the real ccxt against the simulator: placed as meant or not at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import uuid4

import ccxt
import pytest

from bridgeservice.deadlines import Deadline, go_by
from bridgeservice.enums import OrderSide, OrderState, OrderType, TimeInForce
from bridgeservice.exchanges.orders import (
    Fee,
    PositionSide,
    Reference,
    Ticket,
)
from bridgeservice.single_flight import SingleFlight
from servicekit.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from tests.simulator.accounts import Permission, Status
from tests.simulator.faults import FaultKind
from tests.simulator.simulator import EXCHANGES, Simulator
from tests.support.desk import SYMBOL, Desk, trading
from tests.support.exchanges import connected
from tests.support.orders import accepted, limit, market, named, refused
from tests.support.probe import eventually

T = TypeVar("T")

BUY, SELL = OrderSide.BUY, OrderSide.SELL
CONTRACT = "BTC/USDT:USDT"

every_exchange = pytest.mark.parametrize("exchange_id", EXCHANGES)


@asynccontextmanager
async def held_up(exchange_id: str) -> AsyncIterator[Desk]:
    """A desk whose connector asks what is not answered before the end of the block, and nothing else was seen."""
    async with trading(exchange_id) as desk:
        await desk.session.balances()
        desk.simulator.seen.clear()
        desk.simulator.faults[exchange_id].add(FaultKind.HOLD, times=1)
        first = asyncio.create_task(desk.session.balances())
        await desk.simulator.seen.until(1, exchange_id)
        yield desk
        desk.simulator.faults[exchange_id].clear()
        await first


class TestPlacing:
    @every_exchange
    async def test_every_digit_of_an_order_arrives_and_nothing_else_is_sent_for_it(
        self, exchange_id: str
    ) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            desk.simulator.seen.clear()
            client_id = desk.client_id()

            placed = accepted(
                await desk.session.place(limit(SELL, "0.01234567", "61234.56", client_order_id=client_id))
            )

            [order] = desk.book
            assert (order.amount, order.price) == (Decimal("0.01234567"), Decimal("61234.56"))
            assert (order.id, order.client_id) == (placed.id, client_id)
            assert (placed.symbol, placed.state, placed.side) == (SYMBOL, OrderState.OPEN, SELL)
            assert (placed.client_order_id, placed.type) == (client_id, OrderType.LIMIT)
            assert (Decimal(placed.amount), Decimal(placed.price)) == (order.amount, order.price)
            assert desk.simulator.seen.count(exchange_id) == 1

    @every_exchange
    async def test_the_first_call_of_a_connector_may_be_an_order(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            order = await desk.rests()
            assert [each.id for each in desk.book] == [order.id]

    @every_exchange
    async def test_a_market_order_to_sell_tells_what_it_brought_and_what_was_taken(
        self, exchange_id: str
    ) -> None:
        async with trading(exchange_id) as desk:
            order = await desk.now(accepted(await desk.session.place(market(SELL, "0.1"))))

        assert (order.state, order.type, order.price) == (OrderState.FILLED, OrderType.MARKET, "")
        numbers = [Decimal(each) for each in (order.filled, order.average_price, order.cost)]
        assert numbers == [Decimal("0.1"), Decimal("59988"), Decimal("5998.8")]
        if exchange_id == "binance":
            assert order.fees == []  # its order does not tell; its trades do
        else:
            [fee] = order.fees
            assert (fee.asset, Decimal(fee.amount)) == ("USDT", Decimal("5.9988"))

    @every_exchange
    async def test_a_market_order_to_buy_is_by_its_amount_or_refused_before_it_is_sent(
        self, exchange_id: str
    ) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            desk.simulator.seen.clear()

            answer = await desk.session.place(market(BUY, "0.1"))

            if exchange_id == "gate":  # which takes it by what it may cost only
                error = refused(answer)
                assert error.reason == "NOT_SUPPORTED"
                assert "limit order with IOC" in error.message
                assert desk.simulator.seen.count(exchange_id) == 0
            else:
                order = await desk.now(accepted(answer))
                assert (order.state, Decimal(order.filled)) == (OrderState.FILLED, Decimal("0.1"))
                assert [each.amount for each in desk.book] == [Decimal("0.1")]

    @pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK])
    @every_exchange
    async def test_what_may_not_wait_does_not(self, exchange_id: str, time_in_force: TimeInForce) -> None:
        async with trading(exchange_id) as desk:
            missed = await desk.rests(time_in_force=time_in_force)
            assert (await desk.now(missed)).state in (OrderState.CANCELED, OrderState.EXPIRED)

            desk.simulator.set_liquidity(exchange_id, SYMBOL, "0.03")
            ticket = limit(BUY, "0.05", "61000", time_in_force=time_in_force)
            part = await desk.now(accepted(await desk.session.place(ticket)))

            assert part.state in (OrderState.CANCELED, OrderState.EXPIRED)
            filled = "0.03" if time_in_force is TimeInForce.IOC else "0"
            assert Decimal(part.filled) == Decimal(filled)
            assert await desk.session.open_orders(SYMBOL) == []

    @every_exchange
    async def test_what_shall_only_rest_is_refused_where_it_would_be_filled(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            error = refused(await desk.session.place(limit(BUY, "0.01", "61000", post_only=True)))
            assert error.reason in ("ORDER_IMMEDIATELY_FILLABLE", "INVALID_ORDER")
            assert desk.book == []
            assert (await desk.now(await desk.rests(post_only=True))).state is OrderState.OPEN

    @pytest.mark.parametrize(
        ("ticket", "field"),
        [
            (limit(BUY, "0.010000001", "50000"), "amount"),
            (limit(BUY, "0.01", "50000.001"), "price"),
            (limit(BUY, "0.01", "50000", reduce_only=True), "reduce_only"),
            (limit(BUY, "0.01", "50000", "BTC-USDT"), "symbol"),
        ],
    )
    @every_exchange
    async def test_what_ccxt_would_change_is_refused_and_not_sent(
        self, exchange_id: str, ticket: Ticket, field: str
    ) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            desk.simulator.seen.clear()

            error = refused(await desk.session.place(ticket))

            assert isinstance(error, InvalidArgument)
            assert [each.field for each in error.violations] == [field]
            assert desk.simulator.seen.count(exchange_id) == 0

    async def test_a_time_in_force_that_an_exchange_has_not_is_refused(self) -> None:
        async with trading("gate") as desk:
            features = (await desk.exchange.loaded()).template.features
            features["spot"]["createOrder"]["timeInForce"].update(FOK=False, PO=False)

            for ticket in (
                limit(BUY, "0.01", "50000", time_in_force=TimeInForce.FOK),
                limit(BUY, "0.01", "50000", post_only=True),
            ):
                assert refused(await desk.session.place(ticket)).reason == "NOT_SUPPORTED"
            assert desk.book == []

    @every_exchange
    async def test_what_an_exchange_knows_beyond_is_passed_on_by_ccxts_names(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            await desk.rests(params={"clientOrderId": "mine1"})
            assert [order.client_id.removeprefix("t-") for order in desk.book] == ["mine1"]

    async def test_an_order_that_is_rejected_in_a_good_answer_is_refused(self) -> None:
        async def reject(*_: Any, **__: Any) -> Any:
            return {"id": "1", "status": "rejected"}

        async with trading("binance") as desk:
            await desk.session.balances()
            desk.session._connector.create_order = reject
            assert refused(await desk.session.place(market(SELL, "0.1"))).reason == "ORDER_REJECTED"


class TestClientOrderIds:
    @every_exchange
    async def test_one_is_taken_as_it_is_and_finds_its_order(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            client_id = desk.client_id()
            await desk.rests()
            order = await desk.rests(client_order_id=client_id)
            by_it = Reference(SYMBOL, client_order_id=client_id, sent_at=datetime.now(UTC))

            found = await desk.session.order(by_it)
            assert found is not None
            assert (found.id, found.client_order_id) == (order.id, client_id)
            desk.simulator.fill(exchange_id, order.id)
            found = await desk.session.order(by_it)
            assert found is not None
            assert (found.id, found.state) == (order.id, OrderState.FILLED)

    @every_exchange
    async def test_none_is_an_answer_only_where_it_proves_that_there_is_no_order(
        self, exchange_id: str
    ) -> None:
        async with trading(exchange_id) as desk:
            never = Reference(SYMBOL, client_order_id=desk.client_id(), sent_at=datetime.now(UTC))
            if exchange_id == "kraken":  # lists, which may lag behind
                with pytest.raises(FailedPrecondition) as caught:
                    await desk.session.order(never)
                assert caught.value.reason == "NOT_SUPPORTED"
            else:
                assert await desk.session.order(never) is None
            for long_ago in (None, datetime.now(UTC) - timedelta(days=4)):
                with pytest.raises(FailedPrecondition) as caught:
                    await desk.session.order(replace(never, sent_at=long_ago))
                assert caught.value.reason == "NOT_SUPPORTED"

    @every_exchange
    async def test_one_cancels_its_order(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            client_id = desk.client_id()
            order = await desk.rests(client_order_id=client_id)
            await desk.session.cancel(Reference(SYMBOL, client_order_id=client_id))
            assert (await desk.now(order)).state is OrderState.CANCELED

    @pytest.mark.parametrize("exchange_id", ["binance", "kraken", "okx"])
    async def test_one_that_is_taken_twice_leaves_open_which_order_has_it(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            client_id = desk.client_id()
            await desk.rests(client_order_id=client_id)
            with pytest.raises(AlreadyExists):
                await desk.rests(client_order_id=client_id)
            assert len(desk.book) == 1

    async def test_an_answer_with_another_order_is_not_believed(self) -> None:
        async with trading("okx") as desk:
            other = await desk.rests(client_order_id=desk.client_id())
            connector = desk.session._connector
            asked = connector.fetch_order

            async def confuse(_: object, symbol: str, __: object) -> Any:
                return await asked(other.id, symbol)

            connector.fetch_order = confuse
            with pytest.raises(Exception, match="cannot be understood"):
                await desk.session.order(
                    Reference(SYMBOL, client_order_id=desk.client_id(), sent_at=datetime.now(UTC))
                )

    async def test_where_none_is_known_of_an_order_is_asked_for_by_the_exchanges_id_alone(self) -> None:
        async with Simulator() as simulator, connected(simulator, "coinbase") as exchange:
            assert exchange.client_order_id(uuid4()) == ""


class TestCancelling:
    @every_exchange
    async def test_ends_what_is_open_and_says_so_where_nothing_is(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            order = await desk.rests()
            desk.simulator.fill(exchange_id, order.id, "0.005")

            await desk.session.cancel(named(order))

            ended = await desk.now(order)
            assert (ended.state, Decimal(ended.filled)) == (OrderState.CANCELED, Decimal("0.005"))
            with pytest.raises((NotFound, FailedPrecondition)) as caught:
                await desk.session.cancel(named(order))
            assert caught.value.reason in ("ORDER_NOT_FOUND", "ORDER_NOT_OPEN")

    async def test_one_that_the_exchange_calls_over_is_not_open(self) -> None:
        async with trading("gate") as desk:
            order = await desk.rests()
            desk.simulator.faults["gate"].add(FaultKind.REFUSE, path="/orders", times=1)
            with pytest.raises(FailedPrecondition) as refusal:
                await desk.session.cancel(named(order))
            assert refusal.value.reason == "INSUFFICIENT_FUNDS"

            connector = desk.session._connector
            for raised, reason in ((ccxt.InvalidOrder, "ORDER_NOT_OPEN"), (ccxt.CancelPending, None)):

                async def end(*_: object, raised: type[Exception] = raised) -> None:
                    raise raised

                connector.cancel_order = end
                if reason is None:
                    await desk.session.cancel(named(order))
                else:
                    with pytest.raises(FailedPrecondition) as caught:
                        await desk.session.cancel(named(order))
                    assert caught.value.reason == reason

    @every_exchange
    async def test_requests_at_once_are_each_taken_at_the_first_time_however_late_one_is(
        self, exchange_id: str
    ) -> None:
        """Also where the exchange refuses those that arrive in another order than they were signed in."""
        async with trading(exchange_id) as desk:
            orders = [await desk.rests() for _ in range(3)]
            desk.simulator.faults[exchange_id].add(FaultKind.SLOW, times=1, seconds=0.3)
            desk.simulator.seen.clear()
            await asyncio.gather(*(desk.session.cancel(named(order)) for order in orders))
            assert desk.simulator.seen.count(exchange_id) == len(orders)
            assert {each.status for each in desk.book} == {Status.CANCELED}

    async def test_who_waits_behind_a_slow_one_is_not_sent_into_a_cool_down(self) -> None:
        async with trading("kraken") as desk:
            orders = [await desk.rests() for _ in range(3)]
            desk.simulator.faults["kraken"].add(FaultKind.SLOW, times=1, seconds=1)
            desk.simulator.seen.clear()
            ends = [asyncio.ensure_future(desk.session.cancel(named(order))) for order in orders]
            await eventually(lambda: desk.simulator.seen.count("kraken") == 1, "the first has arrived")
            (await desk.exchange.loaded()).template.line.throttle.cool_down(timedelta(seconds=30))
            told = await asyncio.gather(*ends, return_exceptions=True)
            assert [type(each) for each in told[1:]] == [ResourceExhausted] * 2
            assert desk.simulator.seen.count("kraken") == 1

    async def test_who_waits_behind_one_that_hangs_is_told_when_his_time_is_up_and_is_never_sent(
        self,
    ) -> None:
        async with held_up("kraken") as desk:

            async def hasty(ask: Callable[[], Awaitable[T]]) -> T:
                go_by(Deadline(0.3))
                return await ask()

            with pytest.raises(DeadlineExceeded) as late:
                await asyncio.create_task(hasty(desk.session.positions))
            order = limit(BUY, "0.02", "50000")
            placed = await asyncio.create_task(hasty(lambda: desk.session.place(order)))
            for error in (late.value, refused(placed)):
                assert isinstance(error, DeadlineExceeded)
                assert (error.reason, error.metadata) == ("EXCHANGE_TIMEOUT", {"exchange": "kraken"})
                assert "not sent" in error.message
        assert desk.simulator.seen.count("kraken") == 1

    async def test_who_goes_away_while_he_waits_behind_one_that_hangs_is_never_sent(self) -> None:
        async with held_up("kraken") as desk:
            gone, stays = (asyncio.create_task(desk.session.positions()) for _ in range(2))
            lock = desk.session._connector.in_order
            await eventually(lambda: "waiters:2" in repr(lock), "both wait")
            gone.cancel()
            await eventually(lambda: "waiters:1" in repr(lock), "he is gone")
            desk.simulator.faults["kraken"].clear()
            await stays
        assert desk.simulator.seen.count("kraken", "/OpenPositions") == 1

    async def test_who_waits_behind_one_that_hangs_keeps_his_place_for_those_who_come_to_wait_for_the_same(
        self,
    ) -> None:
        flights = SingleFlight()
        async with held_up("kraken") as desk:
            hasty = asyncio.create_task(flights.do("positions", desk.session.positions, within=0.5))
            await eventually(lambda: "waiters:1" in repr(desk.session._connector.in_order), "it waits")
            patient = asyncio.create_task(flights.do("positions", desk.session.positions, within=20))
            with pytest.raises(TimeoutError):
                await hasty
            desk.simulator.faults["kraken"].clear()
            assert await patient == []
        assert desk.simulator.seen.count("kraken", "/OpenPositions") == 1

    @every_exchange
    async def test_an_order_that_never_was_is_not_known(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            never = Reference(SYMBOL, id="ONEVER-WASANY-ORDERS" if exchange_id == "kraken" else "123")
            assert await desk.session.order(never) is None
            with pytest.raises(NotFound):
                await desk.session.cancel(never)

    @pytest.mark.parametrize("exchange_id", ["kraken", "okx"])
    async def test_all_orders_end_when_the_switch_is_not_held(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            order = await desk.rests()
            await desk.session.cancel_all_after(timedelta(seconds=30))
            await desk.session.cancel_all_after(timedelta(seconds=100))
            desk.simulator.venues[exchange_id].clock_skew = 60
            assert [each.id for each in desk.simulator.orders(exchange_id) if each.status is Status.OPEN] == [
                order.id
            ]
            desk.simulator.venues[exchange_id].clock_skew = 120
            assert [each.status for each in desk.book] == [Status.CANCELED]

            desk.simulator.venues[exchange_id].clock_skew = 0
            another = await desk.rests()
            await desk.session.cancel_all_after(timedelta(seconds=30))
            await desk.session.cancel_all_after(timedelta(0))
            desk.simulator.venues[exchange_id].clock_skew = 60
            assert desk.book[-1].id == another.id
            assert desk.book[-1].status is Status.OPEN

    @pytest.mark.parametrize("exchange_id", ["binance", "kucoin", "gate"])
    async def test_an_exchange_without_such_a_switch_says_so(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            with pytest.raises(FailedPrecondition) as caught:
                await desk.session.cancel_all_after(timedelta(seconds=30))
            assert caught.value.reason == "NOT_SUPPORTED"


class TestPositions:
    async def test_a_contract_is_held_as_a_position_with_what_it_gains(self) -> None:
        async with trading("okx") as desk:
            bought = await desk.now(accepted(await desk.session.place(market(BUY, "3", CONTRACT))))
            assert (bought.symbol, bought.state, bought.filled) == (CONTRACT, OrderState.FILLED, "3")
            assert Decimal(bought.cost) == 3 * Decimal("0.01") * Decimal("60012")
            desk.simulator.set_price("okx", CONTRACT, "61000")

            [position] = await desk.session.positions()

            assert (position.symbol, position.side, position.amount) == (CONTRACT, PositionSide.LONG, "3")
            told = (position.entry_price, position.mark_price, position.unrealized_pnl, position.leverage)
            assert [Decimal(each) for each in told] == [60012, 61000, Decimal("29.64"), 10]
            assert (position.liquidation_price, position.time is None) == ("", False)
            [trade] = await desk.session.trades(CONTRACT, datetime.now(UTC) - timedelta(minutes=1), 10)
            assert (trade.symbol, trade.amount, trade.fees) == (CONTRACT, "3", [Fee("USDT", "1.80036")])

    async def test_an_order_that_may_only_reduce_does_no_more(self) -> None:
        async with trading("okx") as desk:
            accepted(await desk.session.place(market(SELL, "2", CONTRACT)))
            [short] = await desk.session.positions()
            assert (short.side, short.amount) == (PositionSide.SHORT, "2")

            more = refused(await desk.session.place(market(SELL, "1", CONTRACT, reduce_only=True)))
            assert more.reason == "INVALID_ORDER"
            accepted(await desk.session.place(market(BUY, "2", CONTRACT, reduce_only=True)))
            assert await desk.session.positions() == []

    @every_exchange
    async def test_what_is_held_on_spot_is_no_position(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            accepted(await desk.session.place(market(SELL, "0.1")))
            assert list(await desk.session.positions()) == []

    async def test_an_exchange_without_derivatives_is_not_asked(self) -> None:
        async with trading("gate") as desk:
            desk.exchange.has = {}
            await desk.session.balances()
            desk.simulator.seen.clear()
            assert list(await desk.session.positions()) == []
            assert desk.simulator.seen.count("gate") == 0


@every_exchange
async def test_a_key_that_may_only_read_is_refused_for_certain(exchange_id: str) -> None:
    async with trading(exchange_id, permissions=[Permission.READ]) as desk:
        error = refused(await desk.session.place(limit(BUY, "0.01", "50000")))
        assert error.reason == "CREDENTIALS_REJECTED"
