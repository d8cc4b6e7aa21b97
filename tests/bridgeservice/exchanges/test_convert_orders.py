"""ccxt's orders, trades and positions become records, and nothing is lost or made up on the way."""

from datetime import UTC, datetime
from typing import Any

import pytest

from bridgeservice.enums import OrderSide, OrderState, OrderType, TimeInForce
from bridgeservice.exchanges import convert_orders
from bridgeservice.exchanges.orders import ExchangeOrder, ExchangeTrade, Fee, Position, PositionSide
from tests.support.orders import limit

ORDER: dict[str, Any] = {
    "id": "1",
    "symbol": "BTC/USDT",
    "status": "open",
    "clientOrderId": "mine",
    "side": "buy",
    "type": "limit",
    "timeInForce": "GTC",
    "amount": "0.30",
    "price": "50000.0",
    "filled": "0.10",
    "average": "49999.5",
    "cost": "4999.95",
    "fees": [{"currency": "BTC", "cost": "0.0001"}],
    "timestamp": 1_795_000_000_123,
}
TRADE: dict[str, Any] = {
    "id": "7",
    "order": "1",
    "symbol": "BTC/USDT",
    "side": "sell",
    "amount": "0.10",
    "price": "49999.5",
    "cost": "4999.95",
    "timestamp": 1_795_000_000_123,
    "fee": {"currency": "USDT", "cost": "-0.5"},
}
TIME = datetime.fromtimestamp(1_795_000_000.123, UTC)


def order(**changes: Any) -> ExchangeOrder:
    return convert_orders.order({**ORDER, **changes})


class TestOrders:
    def test_every_part_of_one_is_told(self) -> None:
        assert order() == ExchangeOrder(
            id="1",
            symbol="BTC/USDT",
            state=OrderState.OPEN,
            client_order_id="mine",
            side=OrderSide.BUY,
            type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            amount="0.30",
            price="50000.0",
            filled="0.10",
            average_price="49999.5",
            cost="4999.95",
            fees=[Fee("BTC", "0.0001")],
            time=TIME,
        )

    def test_what_is_not_told_is_empty(self) -> None:
        assert convert_orders.order({"id": "1", "symbol": "BTC/USDT"}) == ExchangeOrder(
            "1", "BTC/USDT", OrderState.UNKNOWN, fees=[]
        )

    @pytest.mark.parametrize(
        ("status", "filled", "state"),
        [
            ("open", "0.10", OrderState.OPEN),
            ("canceling", "0", OrderState.OPEN),
            ("closed", "0.30", OrderState.FILLED),
            ("closed", None, OrderState.FILLED),
            ("closed", "0.10", OrderState.CANCELED),
            ("closed", "0", OrderState.CANCELED),
            ("canceled", "0.10", OrderState.CANCELED),
            ("expired", "0", OrderState.EXPIRED),
            ("rejected", "0", OrderState.REJECTED),
            ("liquidated", "0", OrderState.UNKNOWN),
            (None, "0", OrderState.UNKNOWN),
        ],
    )
    def test_a_state_is_as_far_as_it_came(
        self, status: str | None, filled: str | None, state: OrderState
    ) -> None:
        assert order(status=status, filled=filled).state is state

    def test_the_amount_of_a_market_order_may_have_been_worked_out(self) -> None:
        assert order(status="closed", type="market", filled="0.299999").state is OrderState.FILLED
        assert order(status="closed", type="market", filled="0").state is OrderState.CANCELED

    def test_a_zero_that_stands_for_nothing_is_nothing(self) -> None:
        told = order(price="0", average="0.00000", filled="0", cost="0")
        assert (told.price, told.average_price, told.filled, told.cost) == ("", "", "0", "0")

    def test_a_market_order_has_no_limit(self) -> None:
        assert order(type="market", price="49999.5").price == ""

    def test_kinds_and_times_in_force_without_a_name_here_are_none(self) -> None:
        told = order(type="stop_loss", timeInForce="GTD")
        assert (told.type, told.time_in_force) == (None, None)
        assert order(timeInForce="PO").time_in_force is TimeInForce.GTC

    @pytest.mark.parametrize("missing", [{"id": None}, {"id": ""}, {"symbol": None}])
    def test_one_without_a_name_is_none(self, missing: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="missing"):
            order(**missing)

    def test_what_the_answer_to_a_new_one_leaves_out_is_as_it_was_asked_for(self) -> None:
        ticket = limit(OrderSide.SELL, "0.5", "60000", time_in_force=TimeInForce.IOC, client_order_id="mine")
        assert convert_orders.placed(ticket, {"id": "1"}) == ExchangeOrder(
            "1", "BTC/USDT", OrderState.OPEN, "mine", OrderSide.SELL, OrderType.LIMIT, TimeInForce.IOC,
            amount="0.5", price="60000", fees=[],
        )  # fmt: skip
        assert convert_orders.placed(ticket, {**ORDER, "status": "canceled"}).state is OrderState.CANCELED
        assert convert_orders.placed(ticket, {"id": "1", "status": "odd"}).state is OrderState.UNKNOWN


class TestFees:
    def test_are_one_entry_an_asset_exact_and_without_zeros(self) -> None:
        fees = [
            {"currency": "BTC", "cost": "0.1"},
            {"currency": "GT", "cost": "0"},
            {"currency": "BTC", "cost": "0.2000000000000000000000000000001"},
            {"currency": None, "cost": "5"},
            {"currency": "BNB", "cost": None},
            {"currency": "USDT", "cost": "-0.5"},
        ]
        assert order(fees=fees).fees == [Fee("BTC", "0.3000000000000000000000000000001"), Fee("USDT", "-0.5")]

    def test_may_be_told_as_one(self) -> None:
        assert order(fees=[], fee={"currency": "BTC", "cost": "0.1"}).fees == [Fee("BTC", "0.1")]
        assert order(fees=[], fee=None).fees == []


class TestTrades:
    def test_every_part_of_one_is_told(self) -> None:
        assert convert_orders.trade(TRADE) == ExchangeTrade(
            "7", "1", "BTC/USDT", OrderSide.SELL, "0.10", "49999.5", "4999.95", TIME, [Fee("USDT", "-0.5")]
        )

    def test_one_may_not_say_of_which_order_it_is(self) -> None:
        assert convert_orders.trade({**TRADE, "order": None, "cost": None}).order_id == ""

    @pytest.mark.parametrize("part", ["id", "symbol", "side", "amount", "price", "timestamp"])
    def test_one_that_lacks_what_it_has_to_have_is_none(self, part: str) -> None:
        with pytest.raises((ValueError, LookupError)):
            convert_orders.trade({**TRADE, part: None})


class TestPositions:
    def test_those_that_are_open_are_told_by_symbol(self) -> None:
        answer: list[dict[str, Any]] = [
            {
                "symbol": "ETH/USDT:USDT",
                "side": "short",
                "contracts": "5.0",
                "entryPrice": "3000",
                "markPrice": "3100",
                "unrealizedPnl": "-5.0",
                "leverage": "10",
                "liquidationPrice": "3300",
                "timestamp": 1_795_000_000_123,
            },
            {"symbol": "SOL/USDT:USDT", "side": None, "contracts": "0"},
            {"symbol": "BTC/USDT:USDT", "side": "both", "contracts": "1", "liquidationPrice": "0"},
        ]
        assert convert_orders.positions(answer) == [
            Position("BTC/USDT:USDT", PositionSide.OTHER, "1"),
            Position("ETH/USDT:USDT", PositionSide.SHORT, "5.0", "3000", "3100", "-5.0", "10", "3300", TIME),
        ]
