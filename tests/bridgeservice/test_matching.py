"""Which of an exchange's orders is ours: found where it is certain, and left open where it is not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bridgeservice.enums import OrderSide, OrderState, OrderType
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.orders import ExchangeOrder
from bridgeservice.matching import FromFills, Match, looks_like, match
from bridgeservice.order_records import Order, Twin

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
LONGEST = timedelta(seconds=35)
# How far apart two orders have to be sent so that neither can be taken for the other.
APART = timedelta(minutes=5)


def ours(at: datetime = NOON, *, client_order_id: str | None = None, price: str | None = "100") -> Order:
    return Order(
        id=uuid4(), account_id=uuid4(), account_name="an account", connector_name="kraken", exchange="kraken",
        environment=Environment.LIVE, body_hash=None, exchange_order_id=None, client_order_id=client_order_id,
        symbol="BTC/USDT", side=OrderSide.BUY, type=OrderType.LIMIT if price else OrderType.MARKET,
        time_in_force=None, amount=Decimal("0.50"), price=Decimal(price) if price else None,
        state=OrderState.UNKNOWN, reason="INTERRUPTED", filled=Decimal(0), average_price=None, cost=None, fees={},
        external=False, cancel_requested_at=None, check_count=0, created_at=at, updated_at=at,
    )  # fmt: skip


def theirs(order_id: str, at: datetime | None = NOON, **changes: str) -> ExchangeOrder:
    like = ExchangeOrder(
        order_id, "BTC/USDT", OrderState.OPEN, side=OrderSide.BUY, type=OrderType.LIMIT, amount="0.5",
        price="100.0", filled="0", time=at,
    )  # fmt: skip
    return replace(like, **changes)  # type: ignore[arg-type]  # a test's changes


def fills(order_id: str, at: datetime = NOON, filled: str = "0.5") -> FromFills:
    return FromFills(order_id, "BTC/USDT", OrderState.UNKNOWN, side=OrderSide.BUY, filled=filled, time=at)


def twin(order: Order, *, overdue: bool = True) -> Twin:
    return Twin(order.id, order.created_at, overdue)


def found(order: Order, twins: list[Twin], candidates: list[ExchangeOrder]) -> Match:
    return match(order, twins, candidates, longest_sending=LONGEST)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"amount": "0.500", "price": "100"}, True),
        ({"amount": "", "filled": "0.3", "price": ""}, True),
        ({"symbol": "ETH/USDT"}, False),
        ({"side": OrderSide.SELL}, False),
        ({"type": OrderType.MARKET}, False),
        ({"type": None}, True),
        ({"amount": "0.51"}, False),
        ({"amount": "", "filled": "0.51"}, False),
        ({"price": "100.01"}, False),
    ],
)
def test_what_an_exchange_tells_speaks_for_an_order_or_against_it(
    changes: dict[str, str], *, expected: bool
) -> None:
    assert looks_like(ours(), theirs("1", NOON, **changes)) is expected


def test_of_a_market_order_the_price_says_nothing() -> None:
    assert looks_like(ours(price=None), theirs("1", type=OrderType.MARKET, price="97.3"))


def test_an_order_that_went_with_a_client_order_id_is_the_one_that_has_it() -> None:
    order = ours(client_order_id="mine")
    listed = [theirs("1"), theirs("2", client_order_id="mine"), theirs("3", client_order_id="yours")]
    assert found(order, [], listed) == Match(listed[1])
    assert found(order, [], listed[::2]) == Match()


def test_what_was_filled_tells_no_client_order_id_and_may_be_it_all_the_same() -> None:
    order = ours(client_order_id="mine")
    assert found(order, [twin(order)], [fills("1")]) == Match(fills("1"))
    assert found(order, [twin(order)], [fills("1"), theirs("2", client_order_id="mine")]).found == theirs(
        "2", client_order_id="mine"
    )


@pytest.mark.parametrize(
    ("told", "certain"),
    [
        (fills("1", NOON + timedelta(days=1)), False),
        (fills("", NOON + timedelta(days=1)), False),
        (fills(""), False),
        (fills("1", NOON - timedelta(hours=1)), True),
        (fills("1", NOON + timedelta(days=1), "0.6"), True),
        (theirs("1", NOON + timedelta(days=1)), True),
    ],
    ids=["later", "later, of whom", "of whom", "before", "more", "another order"],
)
def test_what_was_filled_long_after_it_was_sent_leaves_it_open(told: ExchangeOrder, *, certain: bool) -> None:
    order = ours()
    assert found(order, [twin(order)], [told]) == Match(certain=certain)


def test_nothing_that_looks_like_it_is_nothing() -> None:
    order = ours()
    assert found(order, [twin(order)], [theirs("1", amount="7")]) == Match()


@pytest.mark.parametrize("off", [timedelta(minutes=-2), LONGEST + timedelta(minutes=2)])
def test_what_was_made_when_it_was_not_sent_is_not_it(off: timedelta) -> None:
    order = ours()
    assert found(order, [twin(order)], [theirs("1", NOON + off)]) == Match()


def test_an_exchange_that_tells_no_times_is_taken_at_its_word() -> None:
    order, other = ours(), theirs("1", None)
    assert found(order, [twin(order)], [other]) == Match(other)


def test_one_more_than_was_sent_leaves_all_of_them_open() -> None:
    order = ours()
    assert found(order, [twin(order)], [theirs("1"), theirs("2")]) == Match(certain=False)


@pytest.mark.parametrize("overdue", [True, False])
def test_one_less_than_was_sent_is_told_apart_once_no_more_can_come(*, overdue: bool) -> None:
    first, second = ours(), ours(NOON + timedelta(seconds=1))
    twins = [twin(first), twin(second, overdue=overdue)]
    answers = [found(each, twins, [theirs("1")]) for each in (first, second)]
    assert answers == ([Match(theirs("1")), Match()] if overdue else [Match(certain=False)] * 2)


def test_orders_that_were_sent_at_other_times_have_nothing_to_do_with_it() -> None:
    before, order = ours(NOON - APART), ours()
    twins = [twin(before, overdue=False), twin(order, overdue=False)]
    assert found(order, twins, [theirs("1")]) == Match(theirs("1"))
    assert found(before, twins, [theirs("1")]) == Match()


def test_whoever_may_be_what_another_may_be_is_decided_on_together() -> None:
    """The later one could be taken for what was made between the two, which then would be nobody's."""
    first, second = ours(), ours(NOON + timedelta(minutes=2))
    twins = [twin(first), twin(second)]
    early, between = (
        theirs("1", NOON - timedelta(seconds=30)),
        theirs("2", NOON + timedelta(minutes=1, seconds=10)),
    )
    assert found(second, twins, [early, between]) == Match(between)
    assert found(first, twins, [early, between]) == Match(early)


seconds = some.lists(some.integers(0, 300), min_size=1, max_size=5)


@given(seconds, some.data())
def test_no_order_of_the_exchange_is_ever_given_to_two_of_ours_nor_one_of_ours_to_nobody(
    sent: list[int], data: some.DataObject
) -> None:
    """Whichever of ours were placed, and in whatever order they are asked about."""
    orders = [ours(NOON + timedelta(seconds=each)) for each in sent]
    placed = [each for each in orders if data.draw(some.booleans())]
    book = {
        str(number): theirs(
            str(number), each.created_at + timedelta(seconds=data.draw(some.integers(-20, 40)))
        )
        for number, each in enumerate(placed)
    }
    known: dict[UUID, str] = {}
    refused: set[UUID] = set()
    waiting = data.draw(some.permutations(orders))
    while waiting:
        order = waiting.pop(0)
        left = [each for each in orders if each.id not in known.keys() | refused]
        free = [each for each in book.values() if each.id not in known.values()]
        answer = found(order, [twin(each) for each in left], free)
        assert answer.certain
        if answer.found is None:
            refused.add(order.id)
        else:
            known[order.id] = answer.found.id
    assert sorted(known.values()) == sorted(book)
