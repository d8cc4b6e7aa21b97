"""What the paper exchange takes as an order, and that no arithmetic of its own loses a digit."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bridgeservice.enums import OrderSide, OrderType, PaperOrderState
from bridgeservice.exchanges import paper_orders
from bridgeservice.exchanges.orders import Ticket
from bridgeservice.exchanges.paper_markets import PAPER_MARKETS
from bridgeservice.exchanges.paper_orders import EXACT, Change, PaperOrder
from servicekit.errors import InvalidArgument
from tests.support.orders import limit, market
from tests.support.paper import NOON

BUY, SELL = OrderSide.BUY, OrderSide.SELL
BTC = replace(PAPER_MARKETS["BTC/USDT"].as_market(), min_cost="5")

amounts = some.decimals(min_value="1e-30", max_value="1e30", allow_nan=False, allow_infinity=False)
orders = some.builds(
    PaperOrder,
    id=some.uuids(),
    client_order_id=some.none(),
    symbol=some.just("BTC/USDT"),
    side=some.sampled_from(OrderSide),
    type=some.just(OrderType.LIMIT),
    state=some.just(PaperOrderState.OPEN),
    amount=amounts,
    price=amounts,
    fee_rate=some.sampled_from([Decimal(0), Decimal("0.001"), Decimal("0.12345678901234567890")]),
    created_at=some.just(NOON),
)


def test_numbers_are_taken_as_they_are() -> None:
    assert paper_orders.check(limit(BUY, "0.10000", "60000.10"), BTC) == (Decimal("0.1"), Decimal("60000.1"))
    assert paper_orders.check(market(SELL, "0.00001"), BTC) == (Decimal("0.00001"), None)


@pytest.mark.parametrize(
    ("order", "fields"),
    [
        (market(SELL, "0.000001"), {"amount"}),
        (market(SELL, "0"), {"amount"}),
        (market(SELL, "-1"), {"amount"}),
        (market(SELL, "1e-3"), {"amount"}),
        (market(SELL, "NaN"), {"amount"}),
        (market(SELL, "٣"), {"amount"}),
        (market(SELL, "9" * 31), {"amount"}),
        (market(SELL, "10000000000"), {"amount"}),
        (Ticket("BTC/USDT", BUY, OrderType.MARKET, "1", "2"), {"price"}),
        (limit(BUY, "1", ""), {"price"}),
        (limit(BUY, "", "0.001"), {"amount", "price"}),
        (limit(BUY, "0.001", "4999.99"), {"amount"}),
    ],
)
def test_numbers_that_the_market_does_not_take_are_refused_by_their_fields(
    order: Ticket, fields: set[str]
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        paper_orders.check(order, BTC)
    assert {each.field for each in caught.value.violations} == fields
    assert caught.value.reason == "INVALID_ORDER"


@given(orders, amounts)
def test_what_a_fill_takes_from_one_asset_it_gives_for_the_other_and_the_fee(
    order: PaperOrder, price: Decimal
) -> None:
    fill = paper_orders.fill(order, price, datetime.now(UTC))
    changes = paper_orders.exchange(order, fill)
    sign = 1 if order.side is BUY else -1
    with localcontext(EXACT):
        assert changes["BTC"] == Change(free=sign * order.amount)
        assert changes["USDT"].free + sign * order.amount * price + fill.fee == 0


@given(orders)
def test_what_is_reserved_is_enough_for_a_fill_at_the_limit_and_comes_back_whole(order: PaperOrder) -> None:
    reserved, released = paper_orders.reserve(order), paper_orders.release(order)
    nothing = paper_orders.together([reserved, released])
    assert set(nothing.values()) == {Change(Decimal(0), Decimal(0))}
    fill = paper_orders.fill(order, order.limit, NOON)
    filled = paper_orders.together([reserved, released, paper_orders.exchange(order, fill)])
    (asset,) = reserved
    with localcontext(EXACT):
        assert filled[asset].free == reserved[asset].free == -reserved[asset].used
