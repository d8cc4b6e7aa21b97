"""Which numbers a market takes, and what is told of those that it does not."""

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bridgeservice import precision
from bridgeservice.amounts import EXACT, plain
from bridgeservice.enums import OrderSide, OrderType
from bridgeservice.exchanges.exchange import Market, MarketType
from bridgeservice.exchanges.orders import Ticket
from servicekit.errors import InvalidArgument
from tests.support.orders import limit, market

BUY, SELL = OrderSide.BUY, OrderSide.SELL
BTC = Market(
    "BTC/USDT", MarketType.SPOT, "BTC", "USDT",
    amount_step="0.00001", min_amount="0.0001", max_amount="1000",
    price_step="0.01", min_price="1", max_price="1000000", min_cost="5", max_cost="9000000",
)  # fmt: skip


def told(ticket: Ticket, of: Market = BTC) -> dict[str, list[str]]:
    """What is wrong, by field."""
    with pytest.raises(InvalidArgument) as caught:
        precision.check(ticket, of)
    assert caught.value.reason == "INVALID_ORDER"
    found: dict[str, list[str]] = {}
    for each in caught.value.violations:
        assert each.description in caught.value.message
        found.setdefault(each.field, []).append(each.description)
    return found


def test_numbers_are_taken_as_they_are() -> None:
    assert precision.check(limit(BUY, "0.10000", "60000.10"), BTC) == (Decimal("0.1"), Decimal("60000.1"))
    assert precision.check(market(SELL, "0.00010"), BTC) == (Decimal("0.0001"), None)


@pytest.mark.parametrize(
    "number", ["", "0", "0.000", "-1", "1e-3", "NaN", "Infinity", "٣", "9" * 31, " 1", "1."]
)
def test_what_is_no_positive_decimal_number_is_refused(number: str) -> None:
    complaint = ["should be a positive decimal number, such as 0.5"]
    assert told(limit(BUY, number, number)) == {"amount": complaint, "price": complaint}


@pytest.mark.parametrize(
    ("amount", "complaints"),
    [
        ("0.123456", ["should be a multiple of 0.00001; the nearest valid value is 0.12346"]),
        ("0.00005", ["should be at least 0.0001; the nearest valid value is 0.00010"]),
        ("1000.00001", ["should be at most 1000; the nearest valid value is 1000.00000"]),
        (
            "0.000001",
            [
                "should be a multiple of 0.00001; the nearest valid value is 0.00010",
                "should be at least 0.0001; the nearest valid value is 0.00010",
            ],
        ),
    ],
)
def test_each_bound_that_is_not_kept_is_told_with_the_nearest_value(
    amount: str, complaints: list[str]
) -> None:
    assert told(market(BUY, amount)) == {"amount": complaints}


def test_a_limit_is_held_against_the_bounds_of_prices() -> None:
    assert told(limit(BUY, "1", "60000.005")) == {
        "price": ["should be a multiple of 0.01; the nearest valid value is 60000.00"]
    }
    assert told(limit(BUY, "1", "0.3"))["price"] == ["should be at least 1; the nearest valid value is 1.00"]


def test_an_order_that_is_worth_too_little_or_too_much_is_told_which_amount_would_do() -> None:
    assert told(limit(BUY, "0.001", "4999.99")) == {
        "amount": [
            "is worth 4.99999, which should be at least 5; the nearest valid amount at this price is 0.00101"
        ]
    }
    assert told(limit(BUY, "1000", "90000"))["amount"] == [
        "is worth 90000000, which should be at most 9000000; the nearest valid amount at this price is 100.00000"
    ]


def test_a_market_order_has_no_price() -> None:
    ticket = Ticket("BTC/USDT", BUY, OrderType.MARKET, "1", "2")
    assert told(ticket) == {"price": ["is for limit orders only; a market order has none"]}


def test_a_contract_is_worth_its_size_and_an_inverse_one_does_not_depend_on_the_price() -> None:
    linear = replace(BTC, type=MarketType.SWAP, settle="USDT", contract_size="0.001", amount_step="1")
    assert told(limit(BUY, "1", "4000"), linear)["amount"] == [
        "is worth 4.000, which should be at least 5; the nearest valid amount at this price is 2"
    ]
    inverse = replace(linear, settle="BTC")
    assert precision.check(limit(BUY, "1", "4000"), inverse) == (Decimal(1), Decimal(4000))


def test_a_market_that_sets_no_bounds_takes_any_positive_number() -> None:
    free = Market("BTC/USDT", MarketType.SPOT, "BTC", "USDT")
    tiny = "0." + "0" * 29 + "1"
    assert precision.check(limit(BUY, tiny, tiny), free) == (Decimal(tiny), Decimal(tiny))


steps = some.sampled_from(["0.00000001", "0.0025", "0.01", "0.5", "1", "10", "3"])
bounds = some.sampled_from(["", "0.001", "0.33", "7", "1000"])
numbers = some.decimals("0.00000001", "100000", allow_nan=False, allow_infinity=False, places=8)


@given(steps, bounds, bounds, numbers)
def test_the_value_that_is_named_as_nearest_is_valid_and_no_other_valid_one_is_nearer(
    step: str, least: str, most: str, value: Decimal
) -> None:
    of = replace(BTC, amount_step=step, min_amount=least, max_amount=most, min_cost="", max_cost="")
    try:
        precision.check(market(BUY, plain(value)), of)
    except InvalidArgument as error:
        _, named, nearest = error.violations[0].description.partition("the nearest valid value is ")
        with localcontext(EXACT):
            if not named:
                assert most
                assert Decimal(most) < max(Decimal(step), Decimal(least or 0)) + Decimal(step)
                return
            precision.check(market(BUY, nearest), of)
            for other in (Decimal(nearest) - Decimal(step), Decimal(nearest) + Decimal(step)):
                if abs(other - value) < abs(Decimal(nearest) - value):
                    with pytest.raises(InvalidArgument):
                        precision.check(market(BUY, plain(other)), of)
