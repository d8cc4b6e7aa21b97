"""How markets are named, and what is said to one who names them otherwise."""

import pytest

from bridgeservice.symbols import misspelt, nearest, require
from servicekit.errors import InvalidArgument
from tests.support.fake_exchanges import spot

MARKETS = {
    symbol: spot(symbol)
    for symbol in ("BTC/USDT", "BTC/USD", "BTC/EUR", "BTC/JPY", "ETH/USDT", "SHARP/USDT", "SHIB/USDT")
}
PLAIN = {symbol: symbol.replace("/", "") for symbol in MARKETS}


@pytest.mark.parametrize(
    ("symbol", "right"),
    [
        ("SHARP-USDT", "SHARP/USDT"),
        ("btc_usdt", "BTC/USDT"),
        ("BTC/USDT", None),
        ("BTC/USD:BTC-261225-70000-C", None),
        ("BTCUSDT", None),
        ("a-b-c", None),
        ("-", None),
    ],
)
def test_a_dash_is_known_for_a_slash(symbol: str, right: str | None) -> None:
    assert misspelt(symbol) == right


@pytest.mark.parametrize(
    ("symbol", "found"),
    [
        ("BTCUSDT", ["BTC/USDT"]),
        ("btc/usdt", ["BTC/USDT"]),
        ("BTC/USDC", ["BTC/USD", "BTC/USDT"]),
        ("SHARK/USDT", ["SHARP/USDT"]),
        ("?", []),
        ("", []),
    ],
)
def test_the_nearest_are_those_that_were_meant(symbol: str, found: list[str]) -> None:
    assert nearest(symbol, PLAIN)[: len(found) or None] == found


def test_at_most_three_are_named() -> None:
    assert len(nearest("BTC/XYZ", PLAIN)) == 3


def test_each_unknown_market_is_named_with_what_it_may_have_been() -> None:
    require("symbols", ["BTC/USDT"], MARKETS, "kraken")
    with pytest.raises(InvalidArgument) as caught:
        require("symbols", ["ETHUSDT", "BTC/USDT", "??"], MARKETS, "kraken")
    assert [each.description for each in caught.value.violations] == [
        "ETHUSDT is no market of kraken; did you mean ETH/USDT?",
        "?? is no market of kraken; ListMarkets names all",
    ]
    assert caught.value.reason == "UNKNOWN_SYMBOL"


def test_what_was_meant_is_looked_for_a_few_times_only() -> None:
    with pytest.raises(InvalidArgument) as caught:
        require("symbols", [f"BTC/USD{place}" for place in range(1000)], MARKETS, "kraken")
    told = [each.description for each in caught.value.violations]
    assert len(told) == 1000
    assert ["did you mean" in each for each in told[:7]] == [True] * 5 + [False] * 2
    assert told[-1] == "BTC/USD999 is no market of kraken"
