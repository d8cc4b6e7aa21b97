"""ccxt's dictionaries become records, and nothing is lost or made up on the way."""

from datetime import UTC, datetime
from typing import Any

import pytest
from ccxt.base.decimal_to_precision import DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE
from hypothesis import given
from hypothesis import strategies as st

from bridgeservice.exchanges import convert
from bridgeservice.exchanges.exchange import Balance, Candle, MarketType, Ticker
from servicekit.errors import Unavailable


class TestNumbers:
    @given(st.integers(), st.text("0123456789", max_size=30))
    def test_a_decimal_stays_what_it_was(self, whole: int, decimals: str) -> None:
        text = f"{whole}.{decimals}" if decimals else str(whole)

        assert convert.number(text) == text

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (None, ""),
            (5, "5"),
            (0.5, "0.5"),
            ("1e-7", "0.0000001"),
            ("1.50E+3", "1500"),
            ("-2.5e-2", "-0.025"),
            ("-0.00", "0.00"),
            (".5", "0.5"),
        ],
    )
    def test_other_notations_are_written_out(self, given: object, expected: str) -> None:
        assert convert.number(given) == expected

    @pytest.mark.parametrize(
        "garbage", ["NaN", "Infinity", "1e999999", "1e-999999", "twelve", "", "0x10", "1,5"]
    )
    def test_garbage_is_not_a_number(self, garbage: str) -> None:
        with pytest.raises((ValueError, ArithmeticError)):
            convert.number(garbage)


class TestBalances:
    def test_an_asset_of_which_there_is_nothing_is_left_out(self) -> None:
        answer: dict[str, Any] = {
            "info": {"a": 1},
            "total": {"BTC": "1.0", "ETH": "0.00", "XRP": None, "DOT": "-3"},
            "BTC": {"free": "0.4", "used": "0.6", "total": "1.0"},
            "ETH": {"free": "0.00", "used": "0", "total": "0.00"},
            "XRP": {"free": None, "used": None, "total": None},
            "DOT": {"free": "-3", "used": None, "total": "-3"},
        }

        assert convert.balances("bitstamp", answer) == [
            Balance("BTC", "0.4", "0.6", "1.0"),
            Balance("DOT", "-3", "", "-3"),
        ]

    def test_an_answer_that_holds_neither_a_list_nor_an_object_is_no_account(self) -> None:
        accounts: list[Any] = [[], {"balances": []}, {"data": {}}]
        for empty in accounts:
            assert convert.balances("bitstamp", {"info": empty, "total": {}}) == []
        for no_account in ({}, {"msg": "maintenance"}, {"balances": None}):
            with pytest.raises(ValueError, match="no balances"):
                convert.balances("bitstamp", {"info": no_account, "total": {}})


class TestMarketData:
    def test_what_a_ticker_does_not_have_is_empty(self) -> None:
        assert convert.ticker({"symbol": "A/B", "last": "1", "bid": None}) == Ticker("A/B", last="1")

    def test_offers_are_sorted_as_numbers_and_cut_to_the_depth(self) -> None:
        answer = {"bids": [["9", "1"], ["10", "2"], ["8", "3"]], "asks": [["100", "1"], ["20", "2", 7]]}

        book = convert.order_book("A/B", answer, 2)

        assert book.bids == [("10", "2"), ("9", "1")]
        assert book.asks == [("20", "2"), ("100", "1")]
        assert book.time is None

    def test_a_candle_has_a_time(self) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        row = [round(start.timestamp() * 1000), "1", "3", "0.5", "2", None]

        assert convert.candle(row) == Candle(start, "1", "3", "0.5", "2", "")
        with pytest.raises(ValueError, match="without a time"):
            convert.candle([None, "1", "1", "1", "1", "1"])


class TestMarkets:
    @pytest.mark.parametrize(
        ("mode", "precision", "step"),
        [(TICK_SIZE, "0.05", "0.05"), (DECIMAL_PLACES, 3, "0.001"), (SIGNIFICANT_DIGITS, 5, "")],
    )
    def test_a_step_is_told_however_the_exchange_counts(
        self, mode: int, precision: object, step: str
    ) -> None:
        described = {"symbol": "A/B", "precision": {"amount": precision}}

        market = convert.markets({"A/B": described}, mode)["A/B"]

        assert (market.amount_step, market.price_step) == (step, "")

    def test_one_that_says_little_is_open_and_of_no_known_type(self) -> None:
        market = convert.markets({"A/B": {"symbol": "A/B", "type": "warrant"}}, TICK_SIZE)["A/B"]

        assert (market.type, market.active, market.base, market.max_cost) == (MarketType.OTHER, True, "", "")


def test_an_answer_that_is_stumbled_over_is_one_error_that_tells_nothing_of_it() -> None:
    told = "the text of an answer"
    with pytest.raises(Unavailable) as failed, convert.understood("okx"):
        raise KeyError(told)

    assert failed.value.reason == "EXCHANGE_BAD_RESPONSE"
    assert told not in f"{failed.value} {failed.value.metadata}"
    assert failed.value.__suppress_context__
