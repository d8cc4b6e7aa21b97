"""The settings of TradingBridge: what they become, and which of them are refused."""

import json
import secrets
from datetime import timedelta

import pytest

from bridgeservice.settings import BridgeServiceSettings
from servicekit.catalogue import Catalogue
from servicekit.config import describe, load
from servicekit.errors import SettingsError


def test_what_concerns_exchanges_is_handed_to_them() -> None:
    password = secrets.token_hex(8)
    settings = load(
        BridgeServiceSettings,
        {
            "BRIDGESERVICE_EXCHANGE_URLS": '{"Kraken": "http://127.0.0.1:8000", "gateio:SANDBOX": "https://x"}',
            "BRIDGESERVICE_PROXY_URL": f"http://user:{password}@192.0.2.1:3128",
            "BRIDGESERVICE_EGRESS_ADDRESS": "192.0.2.1",
            "BRIDGESERVICE_REQUEST_TIMEOUT": "3s",
            "BRIDGESERVICE_RATE_SHARE": "0.5",
        },
    )
    options = settings.exchange_options(Catalogue.load())
    assert options.urls == {"kraken": "http://127.0.0.1:8000", "gate:sandbox": "https://x"}
    assert password in options.proxy_url
    assert password not in f"{settings!r} {options!r}"
    assert (options.egress_address, options.rate_share) == ("192.0.2.1", 0.5)
    assert options.request_timeout == timedelta(seconds=3)


def test_without_any_setting_there_is_no_proxy() -> None:
    settings = load(BridgeServiceSettings, {})
    assert settings.exchange_options(Catalogue.load()).proxy_url == ""
    assert settings.connector_ttl == timedelta(hours=24)
    assert settings.max_concurrent_rpcs > settings.exchange_calls_at_once


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"EXCHANGE_URLS": '{"kraken": "ftp://x"}'}, "begins with http:// or https:// for kraken"),
        ({"EXCHANGE_URLS": "kraken"}, "should be a JSON object"),
        ({"TOMBSTONE_TTL": "1h"}, "BRIDGESERVICE_TOMBSTONE_TTL should not be shorter than"),
        ({"RATE_SHARE": "0"}, "BRIDGESERVICE_RATE_SHARE"),
        ({"PAPER_FAILURE_RATE": "1.1"}, "BRIDGESERVICE_PAPER_FAILURE_RATE"),
        ({"CONNECTOR_TTL": "0"}, "BRIDGESERVICE_CONNECTOR_TTL"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(variables: dict[str, str], sentence: str) -> None:
    environ = {f"BRIDGESERVICE_{name}": value for name, value in variables.items()}
    with pytest.raises(SettingsError, match=sentence):
        load(BridgeServiceSettings, environ)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("binnance", "names binnance, which is no exchange that is served; names that look like it: binance"),
        ("paper", "paper is neither"),
        ("gate:test", "gate:test is neither"),
        ("gateio", "gateio is neither"),
    ],
)
def test_a_base_url_for_what_would_not_use_it_is_refused(name: str, sentence: str) -> None:
    urls = json.dumps({"gate": "http://127.0.0.1:1", name: "http://127.0.0.1:2"})
    settings = load(BridgeServiceSettings, {"BRIDGESERVICE_EXCHANGE_URLS": urls})
    with pytest.raises(SettingsError, match=sentence):
        settings.exchange_options(Catalogue.load())


def test_a_proxy_of_another_kind_is_refused_without_its_password() -> None:
    password = secrets.token_hex(8)
    with pytest.raises(SettingsError, match="BRIDGESERVICE_PROXY_URL should be the URL") as refused:
        load(BridgeServiceSettings, {"BRIDGESERVICE_PROXY_URL": f"socks5://user:{password}@192.0.2.1:1080"})
    assert password not in str(refused.value)


def test_every_setting_says_what_it_means() -> None:
    assert all(each.doc for each in describe(BridgeServiceSettings))
