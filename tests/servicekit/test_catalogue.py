"""The catalogue as KeyService reads it: no ccxt, no bridge."""

import subprocess
import sys
import time
from dataclasses import FrozenInstanceError

import pytest

from servicekit.catalogue import Catalogue, Exchange


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_an_exchange_is_found_by_its_id_in_any_case(catalogue: Catalogue) -> None:
    kraken = catalogue.find("KraKen")
    assert kraken is not None
    assert (kraken.id, kraken.name) == ("kraken", "Kraken")
    assert kraken == catalogue.find("kraken")


@pytest.mark.parametrize(
    ("old", "present"), [("gateio", "gate"), ("huobi", "htx"), ("HuobiPro", "htx"), ("okex", "okx")]
)
def test_an_old_name_finds_the_exchange_under_its_present_one(
    catalogue: Catalogue, old: str, present: str
) -> None:
    found = catalogue.find(old)
    assert found is not None
    assert found.id == present
    assert old.lower() in found.aliases
    assert catalogue.canonical(old) == present


def test_an_unknown_name_is_found_nowhere_and_stays_itself_in_lower_case(catalogue: Catalogue) -> None:
    assert catalogue.find("Nowhere") is None
    assert catalogue.canonical("Nowhere") == "nowhere"


def test_a_retired_exchange_is_known_by_name_and_not_served(catalogue: Catalogue) -> None:
    assert catalogue.find("bitmart") is None
    assert catalogue.canonical("BitMart") == "bitmart"
    assert catalogue.retired_name("BITMART") == "BitMart"
    assert catalogue.retired_name("binance") is None
    assert catalogue.retired_name("nowhere") is None


def test_paper_needs_no_credentials_and_has_no_sandbox(catalogue: Catalogue) -> None:
    paper = catalogue.find("paper")
    assert paper == Exchange("paper", "Paper", (), (), has_sandbox=False)
    assert paper.missing_credentials([]) == ()


def test_missing_credentials_are_named_in_the_catalogues_order(catalogue: Catalogue) -> None:
    okx = catalogue.find("okx")
    assert okx is not None
    assert okx.missing_credentials([]) == ("api_key", "api_secret", "passphrase")
    assert okx.missing_credentials({"passphrase", "api_key"}) == ("api_secret",)
    assert okx.missing_credentials({"api_key", "api_secret", "passphrase", "uid"}) == ()


def test_credentials_outside_the_three_fields_are_asked_for_by_ccxts_name(catalogue: Catalogue) -> None:
    hyperliquid = catalogue.find("hyperliquid")
    assert hyperliquid is not None
    assert hyperliquid.required_credentials == ("privateKey", "walletAddress")


def test_a_sandbox_is_claimed_only_where_there_is_one(catalogue: Catalogue) -> None:
    has = {exchange.id: exchange.has_sandbox for exchange in catalogue.exchanges}
    assert (has["binance"], has["okx"]) == (True, True)
    assert (has["kraken"], has["kucoin"], has["weex"]) == (False, False, False)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("binanse", "binance"),
        ("Krakn", "kraken"),
        ("gate.io", "gate"),
        ("houbi", "htx"),
        ("bin", "binance"),
        ("crypto", "cryptocom"),
    ],
)
def test_a_mistyped_name_brings_the_one_that_was_meant(catalogue: Catalogue, typed: str, meant: str) -> None:
    assert meant in catalogue.nearest(typed)


def test_suggestions_are_distinct_ids_and_no_more_than_asked_for(catalogue: Catalogue) -> None:
    assert catalogue.nearest("binance") == ["binance", "binanceus", "binanceusdm"]
    many = catalogue.nearest("huob", n=100)
    assert many[:2] == ["htx", "bittrade"]
    assert len(many) == len(set(many))
    assert len(catalogue.nearest("bit")) == 3
    assert catalogue.nearest("huobi", n=1) == ["htx"]


@pytest.mark.parametrize("noise", ["", "qqqqqqqqqqqqqqqq", "binance" * 100_000])
def test_noise_brings_no_suggestion(catalogue: Catalogue, noise: str) -> None:
    assert catalogue.nearest(noise) == []


def test_an_exchange_cannot_be_changed() -> None:
    exchange = Exchange("x", "X", (), (), has_sandbox=False)
    with pytest.raises(FrozenInstanceError):
        exchange.id = "y"  # type: ignore[misc]


def test_the_catalogue_loads_in_under_five_milliseconds() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        Catalogue.load()
        return time.perf_counter() - start

    assert min(seconds() for _ in range(10)) < 0.005  # the best of ten: the machine is shared


def test_reading_the_catalogue_does_not_import_ccxt() -> None:
    program = "import sys, servicekit.catalogue as c; c.Catalogue.load(); sys.exit('ccxt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
