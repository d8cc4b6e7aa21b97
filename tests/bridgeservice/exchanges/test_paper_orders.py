"""No arithmetic of the paper exchange loses a digit."""

from datetime import UTC, datetime
from decimal import Decimal, localcontext

from hypothesis import given
from hypothesis import strategies as some

from bridgeservice.amounts import EXACT
from bridgeservice.enums import OrderSide, OrderType, PaperOrderState
from bridgeservice.exchanges import paper_orders
from bridgeservice.exchanges.paper_orders import Change, PaperOrder
from tests.support.paper import NOON

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


@given(orders, amounts)
def test_what_a_fill_takes_from_one_asset_it_gives_for_the_other_and_the_fee(
    order: PaperOrder, price: Decimal
) -> None:
    fill = paper_orders.fill(order, price, datetime.now(UTC))
    changes = paper_orders.exchange(order, fill)
    sign = 1 if order.side is OrderSide.BUY else -1
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
