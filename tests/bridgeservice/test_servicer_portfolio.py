"""Portfolios over a real socket: honest about each connector, asked at once, and valued only where there is a price."""

import asyncio
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from bridgeservice.exchanges.exchange import Balance, Environment, MarketType, Ticker
from bridgeservice.records import Connector
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.environment_pb2 import ENVIRONMENT_SANDBOX
from bridgeservice.v1.portfolio_pb2 import ConnectorPortfolio, ConnectorStatus
from servicekit.credentials import Credentials
from servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from tests.support.bridge_service import ACCOUNT, Bridge, running
from tests.support.fake_exchanges import FakeExchange, spot
from tests.support.key_service import refusal, violations
from tests.support.probe import eventually

LONG = Duration(seconds=3600)


def status(entry: ConnectorPortfolio) -> str:
    return ConnectorStatus.Name(entry.status).removeprefix("CONNECTOR_STATUS_")


def holds(exchange: FakeExchange, **totals: str) -> None:
    exchange.balances = [Balance(asset, total, "0", total) for asset, total in totals.items()]


def trades(exchange: FakeExchange, **last: str) -> None:
    """Spot markets by name, with ``_`` for the slash, and the price of each; an empty one has no ticker."""
    symbols = {name.replace("_", "/"): price for name, price in last.items()}
    exchange.known_markets = {symbol: spot(symbol) for symbol in symbols}
    exchange.known_tickers = {
        symbol: Ticker(symbol, last=price) for symbol, price in symbols.items() if price
    }


def values(entry: ConnectorPortfolio) -> dict[str, str]:
    return {balance.asset: balance.value for balance in entry.balances}


async def test_each_connector_answers_with_what_it_holds_and_when_it_was_asked(bridge: Bridge) -> None:
    await bridge.add("kraken")
    await bridge.add("gate:main", exchange="gate")
    holds(bridge.exchanges["gate"], DUST="0.12345678901234567890", ETH="")
    before = datetime.now(UTC) - timedelta(seconds=1)
    answer = await bridge.portfolio()
    assert [(each.connector_name, each.exchange, status(each)) for each in answer.connectors] == [
        ("gate:main", "gate", "OK"),
        ("kraken", "kraken", "OK"),
    ]
    assert answer.complete
    [dust, eth] = answer.connectors[0].balances
    assert (dust.total, dust.used, dust.value) == ("0.12345678901234567890", "0", "")
    assert eth.total == ""
    for entry in answer.connectors:
        assert before < entry.as_of_time.ToDatetime(UTC) < before + timedelta(seconds=20)


async def test_an_empty_connector_is_ok_and_empty(bridge: Bridge) -> None:
    await bridge.add()
    bridge.exchanges["kraken"].balances = ()
    entry = await bridge.holding()
    assert (status(entry), list(entry.balances)) == ("OK", [])


async def test_what_is_not_there_is_said_to_be_missing(bridge: Bridge) -> None:
    told = await refusal(bridge.portfolio())
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")
    await bridge.add()
    answer = await bridge.portfolio("gate", "kraken", "gate")
    assert [(each.connector_name, status(each)) for each in answer.connectors] == [
        ("gate", "NOT_FOUND"),
        ("kraken", "OK"),
    ]
    assert answer.connectors[0].error
    assert not answer.connectors[0].HasField("as_of_time")
    assert not answer.complete


async def test_a_connector_that_has_another_revision_than_was_asked_for_is_not_read(bridge: Bridge) -> None:
    await bridge.add("kraken", revision=2)
    await bridge.add("gate", revision=2)
    for other in (1, 3):
        answer = await bridge.portfolio("kraken", "gate", revisions={"kraken": other})
        assert [status(each) for each in answer.connectors] == ["NOT_FOUND", "OK"]
        assert not answer.complete
    assert not bridge.exchanges["kraken"].asked
    assert (await bridge.portfolio("kraken", revisions={"kraken": 2})).complete
    for refused in ({"gate": 2}, {"kraken": 0}):
        told = await refusal(bridge.portfolio("kraken", revisions=refused))
        assert violations(told).keys() == {"revisions"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FailedPrecondition("refused.", reason="CREDENTIALS_REJECTED"), "CREDENTIALS_REJECTED"),
        (ResourceExhausted("wait.", reason="RATE_LIMITED"), "RATE_LIMITED"),
        (Unavailable("away.", reason="EXCHANGE_BAD_RESPONSE"), "EXCHANGE_UNAVAILABLE"),
        (FailedPrecondition("gone.", reason="EXCHANGE_UNSUPPORTED"), "EXCHANGE_UNSUPPORTED"),
        (FailedPrecondition("no such call.", reason="NOT_SUPPORTED"), "EXCHANGE_UNSUPPORTED"),
        (DeadlineExceeded("late.", reason="EXCHANGE_TIMEOUT"), "TIMEOUT"),
        (FailedPrecondition("no.", reason="EXCHANGE_ERROR"), "ERROR"),
        (InvalidArgument("what?"), "ERROR"),
    ],
)
async def test_a_connector_that_failed_says_why_and_harms_no_other(
    bridge: Bridge, error: Exception, expected: str
) -> None:
    await bridge.add("kraken")
    await bridge.add("gate")
    bridge.exchanges["kraken"].error = error
    gate, kraken = (await bridge.portfolio()).connectors
    assert status(gate) == "OK"
    assert (status(kraken), kraken.error, list(kraken.balances)) == (expected, str(error), [])
    assert not kraken.HasField("as_of_time")


async def test_what_nobody_foresaw_is_an_error_of_its_connector_and_stays_in_the_log(
    bridge: Bridge, output: io.StringIO
) -> None:
    await bridge.add("kraken")
    await bridge.add("gate")
    bridge.exchanges["kraken"].error = KeyError("s3cret")
    gate, kraken = (await bridge.portfolio()).connectors
    assert (status(gate), status(kraken)) == ("OK", "ERROR")
    assert "s3cret" not in kraken.error
    assert "unforeseen error in reading a connector" in output.getvalue()
    assert "s3cret" not in output.getvalue()


async def test_one_that_hangs_costs_the_others_nothing_and_the_answer_is_in_time(bridge: Bridge) -> None:
    await bridge.add("kraken")
    await bridge.add("gate")
    bridge.exchanges["kraken"].gate = asyncio.Event()
    gate, kraken = (await bridge.portfolio(seconds=5)).connectors
    assert (status(gate), status(kraken)) == ("OK", "TIMEOUT")
    assert kraken.error.startswith("kraken did not answer within 4.")


async def test_equal_readings_at_once_are_one_call(bridge: Bridge) -> None:
    await bridge.add()
    exchange = bridge.exchanges["kraken"]
    exchange.gate = asyncio.Event()
    asked = [asyncio.create_task(bridge.holding()) for _ in range(50)]
    await eventually(lambda: bridge.under_way == 50, "all of them have begun")
    # Each has its request by the time that the exchange answers a question which was asked after them.
    await eventually(lambda: exchange.asked["balances"] == 1, "the exchange is asked")
    await bridge.stub.GetBridgeInfo(pb.GetBridgeInfoRequest())
    asked[0].cancel()
    exchange.gate.set()
    answers = await asyncio.gather(*asked[1:])
    assert {status(each) for each in answers} == {"OK"}
    assert len({each.as_of_time.ToNanoseconds() for each in answers}) == 1
    assert exchange.asked["balances"] == 1


async def test_an_old_figure_is_served_only_as_far_as_the_caller_allows(bridge: Bridge) -> None:
    await bridge.add()
    exchange = bridge.exchanges["kraken"]
    first = await bridge.holding()
    holds(exchange, BTC="3")
    assert await bridge.holding(max_age=LONG) == first
    assert exchange.asked["balances"] == 1
    second = await bridge.holding()
    assert second.balances[0].total == "3"
    assert second.as_of_time.ToNanoseconds() > first.as_of_time.ToNanoseconds()
    exchange.error = Unavailable("away.")
    assert status(await bridge.holding(max_age=LONG)) == "OK"
    assert status(await bridge.holding(max_age=Duration(nanos=1))) == "EXCHANGE_UNAVAILABLE"
    await bridge.add(revision=2)
    assert status(await bridge.holding(max_age=LONG)) == "EXCHANGE_UNAVAILABLE"


async def test_values_come_from_the_market_or_from_its_inverse_and_the_quote_asset_is_itself(
    bridge: Bridge,
) -> None:
    await bridge.add()
    exchange = bridge.exchanges["kraken"]
    holds(exchange, BTC="0.12345678901234567890", EUR="110", USDT="7.00", NIX="5")
    trades(exchange, BTC_USDT="64000.10", USDT_EUR="1.1")
    answer = await bridge.portfolio(quote_asset="USDT")
    assert values(answer.connectors[0]) == {
        "BTC": "7901.24684246902468416789",
        "EUR": "100",
        "USDT": "7.00",
        "NIX": "",
    }
    assert list(answer.unpriced_assets) == ["NIX"]
    assert answer.complete
    assert exchange.wanted == [["BTC/USDT", "USDT/EUR"]]


@pytest.mark.parametrize(
    ("ticker", "value"),
    [
        (Ticker("BTC/USDT", last="10", bid="1", ask="2"), "20"),
        (Ticker("BTC/USDT", bid="1", ask="2"), "3"),
        (Ticker("BTC/USDT", bid="1"), ""),
        (Ticker("BTC/USDT", last="0"), ""),
        (Ticker("BTC/USDT", last="-3"), ""),
        (Ticker("BTC/USDT", last="garbage"), ""),
        (Ticker("BTC/USDT", last="NaN"), ""),
        (Ticker("BTC/USDT", last="1e999999"), ""),
    ],
)
async def test_what_is_no_price_values_nothing(bridge: Bridge, ticker: Ticker, value: str) -> None:
    await bridge.add()
    exchange = bridge.exchanges["kraken"]
    holds(exchange, BTC="2")
    exchange.known_tickers = {"BTC/USDT": ticker}
    answer = await bridge.portfolio(quote_asset="USDT")
    assert values(answer.connectors[0]) == {"BTC": value}
    assert list(answer.unpriced_assets) == ([] if value else ["BTC"])


@pytest.mark.parametrize("changes", [{"active": False}, {"type": MarketType.SWAP}])
async def test_only_a_spot_market_that_is_open_gives_a_price(bridge: Bridge, changes: dict[str, Any]) -> None:
    await bridge.add()
    exchange = bridge.exchanges["kraken"]
    exchange.known_markets = {"BTC/USDT": replace(spot("BTC/USDT"), **changes)}
    assert list((await bridge.portfolio(quote_asset="USDT")).unpriced_assets) == ["BTC"]
    assert exchange.asked["tickers"] == 0


async def test_an_amount_that_the_exchange_does_not_tell_is_worth_nothing_that_we_know(
    bridge: Bridge,
) -> None:
    await bridge.add()
    holds(bridge.exchanges["kraken"], BTC="")
    answer = await bridge.portfolio(quote_asset="USDT")
    assert values(answer.connectors[0]) == {"BTC": ""}
    assert list(answer.unpriced_assets) == ["BTC"]


async def test_tickers_are_asked_once_for_all_connectors_of_an_exchange(bridge: Bridge) -> None:
    for name in ("kraken:a", "kraken:b", "gate"):
        await bridge.add(name)
    await bridge.add("binance:test", environment=ENVIRONMENT_SANDBOX)
    await bridge.portfolio(quote_asset="USDT")
    assert bridge.exchanges["kraken"].asked["tickers"] == 1
    assert bridge.exchanges["gate"].asked["tickers"] == 1
    # A price of the live world says nothing of the test net.
    assert bridge.exchanges.made["binance", Environment.SANDBOX].asked["tickers"] == 1
    assert ("binance", Environment.LIVE) not in bridge.exchanges.made


async def test_prices_are_remembered_as_long_as_the_caller_allows(bridge: Bridge) -> None:
    await bridge.add()
    exchange = bridge.exchanges["kraken"]
    for max_age, asked in ((None, 1), (LONG, 1), (None, 2)):
        await bridge.portfolio(quote_asset="USDT", max_age=max_age)
        assert exchange.asked["tickers"] == asked
    bridge.prices.forget(0)
    await bridge.portfolio(quote_asset="USDT", max_age=LONG)
    assert exchange.asked["tickers"] == 3


async def test_without_tickers_the_balances_are_still_there(bridge: Bridge) -> None:
    await bridge.add()
    await bridge.holding()
    bridge.exchanges["kraken"].error = Unavailable("away.")
    answer = await bridge.portfolio(quote_asset="USDT", max_age=LONG)
    assert (status(answer.connectors[0]), list(answer.unpriced_assets)) == ("OK", ["BTC"])
    bridge.exchanges["kraken"].gate = asyncio.Event()
    answer = await bridge.portfolio(quote_asset="USDT", max_age=LONG, seconds=5)
    assert (status(answer.connectors[0]), list(answer.unpriced_assets)) == ("OK", ["BTC"])


async def test_a_connector_that_hangs_does_not_cost_the_others_their_values(bridge: Bridge) -> None:
    await bridge.add("kraken")
    await bridge.add("gate")
    bridge.exchanges["kraken"].gate = asyncio.Event()
    gate, kraken = (await bridge.portfolio(quote_asset="USDT", seconds=5)).connectors
    assert (values(gate), status(kraken)) == ({"BTC": "200"}, "TIMEOUT")


async def test_everything_that_is_wrong_is_told_at_once(bridge: Bridge) -> None:
    told = await refusal(
        bridge.portfolio("", "x" * 129, account_name="", quote_asset="U" * 33, max_age=Duration(seconds=-1))
    )
    assert violations(told).keys() == {
        "account_name",
        "connector_names[0]",
        "connector_names[1]",
        "quote_asset",
        "max_age",
    }
    told = await refusal(bridge.portfolio(*["kraken"] * 1001))
    assert violations(told) == {"connector_names": "names 1001; at most 1000 are allowed"}


async def test_a_thousand_calls_that_hang_leave_another_exchange_as_it_was() -> None:
    async with running(max_concurrent_streams=10_000) as bridge:
        await bridge.add("gate")
        for number in range(1000):
            name = f"account {number}"
            bridge.accounts.add(Connector(name, "kraken", "kraken", Environment.LIVE, Credentials(), 1))
        hanging = bridge.exchanges["kraken"]
        hanging.gate = asyncio.Event()
        await bridge.holding("gate")
        waiting = [
            asyncio.create_task(bridge.holding(account_name=f"account {number}")) for number in range(1000)
        ]
        await eventually(lambda: hanging.asked["balances"] == 1000, "all of them hang", 60)
        for _ in range(10):
            assert status(await bridge.holding("gate")) == "OK"
        assert not any(task.done() for task in waiting)
        hanging.gate.set()
        assert {status(each) for each in await asyncio.gather(*waiting)} == {"OK"}


async def test_an_exchange_that_is_full_of_waiting_calls_says_so_at_once() -> None:
    async with running(most_at_once=1) as bridge:
        await bridge.add("kraken:a")
        await bridge.add("kraken:b")
        hanging = bridge.exchanges["kraken"]
        hanging.gate = asyncio.Event()
        first = asyncio.create_task(bridge.holding("kraken:a"))
        await eventually(lambda: hanging.asked["balances"] == 1, "one waits")
        assert status(await bridge.holding("kraken:b")) == "RATE_LIMITED"
        hanging.gate.set()
        assert status(await first) == "OK"


async def test_a_caller_without_a_deadline_is_bounded_by_the_bridges_own() -> None:
    async with running(longest=timedelta(milliseconds=50)) as bridge:
        await bridge.add()
        bridge.exchanges["kraken"].gate = asyncio.Event()
        request = pb.GetPortfolioRequest(account_name=ACCOUNT)
        [entry] = (await bridge.stub.GetPortfolio(request)).connectors
        assert (status(entry), entry.error) == ("TIMEOUT", "kraken did not answer within 0.05 seconds.")
