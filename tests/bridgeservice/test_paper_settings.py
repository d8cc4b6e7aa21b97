"""The settings of the exchange ``paper``."""

from datetime import timedelta
from decimal import Decimal

import pytest

from bridgeservice.exchanges.paper_options import STARTING_BALANCES, PaperOptions
from bridgeservice.settings import BridgeServiceSettings
from servicekit import config
from servicekit.catalogue import Catalogue
from servicekit.errors import SettingsError


def options(**environ: str) -> PaperOptions:
    return config.load(BridgeServiceSettings, environ).paper_options(Catalogue.load())


def test_without_any_it_is_quick_and_reliable_with_prices_of_its_own() -> None:
    assert options() == PaperOptions(balances=STARTING_BALANCES)


def test_each_of_them_arrives_with_all_of_its_digits() -> None:
    assert options(
        BRIDGESERVICE_PAPER_SEED="7",
        BRIDGESERVICE_PAPER_LATENCY="250ms",
        BRIDGESERVICE_PAPER_FAILURE_RATE="0.25",
        BRIDGESERVICE_PAPER_BALANCES='{"BTC": "0.12345678901234567890"}',
        BRIDGESERVICE_PAPER_PRICES_FROM="OKEX",
    ) == PaperOptions(
        seed=7,
        latency=timedelta(milliseconds=250),
        failure_rate=0.25,
        balances={"BTC": Decimal("0.12345678901234567890")},
        prices_from="okx",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BALANCES", '{"BTC": "-1"}'),
        ("BALANCES", '{"BTC": "NaN"}'),
        ("BALANCES", '{"": "1"}'),
        ("BALANCES", "BTC"),
        ("PRICES_FROM", "Paper"),
        ("PRICES_FROM", "krakn"),
        ("FAILURE_RATE", "1.1"),
        ("LATENCY", "-1s"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"BRIDGESERVICE_PAPER_{name}"):
        options(**{f"BRIDGESERVICE_PAPER_{name}": value})
