"""Sums of balances."""

from hypothesis import given
from hypothesis import strategies as some

from keyservice.bridge_records import Balance
from keyservice.totals import FundsKind, Total, totals


def balance(asset: str, *figures: str) -> Balance:
    free, used, total = figures
    return Balance(asset, free, used, total)


def test_funds_of_different_sorts_are_never_added_up() -> None:
    btc = balance("BTC", "1", "0", "1")
    assert totals([(FundsKind.PAPER, btc), (FundsKind.SANDBOX, btc), (FundsKind.LIVE, btc)]) == [
        Total(kind, "BTC", "1", "0", "1") for kind in (FundsKind.LIVE, FundsKind.SANDBOX, FundsKind.PAPER)
    ]


def test_sums_are_exact_and_written_without_an_exponent() -> None:
    parts = [balance("BTC", "0.1", "0", "1e-8"), balance("BTC", "0.2", "0.0", "90071992547409930")]
    [total] = totals((FundsKind.LIVE, each) for each in parts)
    assert (total.free, total.used, total.total) == ("0.3", "0.0", "90071992547409930.00000001")


def test_what_one_exchange_does_not_say_is_not_known_of_the_sum() -> None:
    parts = [balance("BTC", "1", "", "1"), balance("BTC", "2", "1", "NaN"), balance("ETH", "5", "0", "5")]
    btc, eth = totals((FundsKind.LIVE, each) for each in parts)
    assert (btc.free, btc.used, btc.total) == ("3", "", "")
    assert eth.total == "5"


@given(some.lists(some.integers(min_value=0, max_value=10**40), min_size=1, max_size=20))
def test_no_digit_is_ever_lost(amounts: list[int]) -> None:
    parts = [balance("X", *(f"{each // 10**18}.{each % 10**18:018d}",) * 3) for each in amounts]
    [total] = totals((FundsKind.LIVE, each) for each in parts)
    assert int(total.total.replace(".", "")) == sum(amounts)
