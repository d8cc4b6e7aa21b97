"""The bridge as a deployment runs it: a process of its own, real ccxt, and the simulator for the exchanges."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.credentials_pb2 import Credentials
from bridgeservice.v1.permissions_pb2 import PERMISSION_YES
from bridgeservice.v1.portfolio_pb2 import ConnectorPortfolio, ConnectorStatus
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from servicekit.database.url import DatabaseUrl
from tests.simulator.accounts import AccountKeys
from tests.simulator.simulator import Simulator
from tests.support.bridge_service import ACCOUNT, connector_request
from tests.support.key_service import refusal
from tests.support.probe import plain_channel
from tests.support.service_process import ServiceProcess, StartService, raw_url

if TYPE_CHECKING:
    # Known to the stubs only.
    from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeAsyncStub

EXACT = "0.12345678901234567890"
# The first call waits for ccxt's import, which two busy cores make slow.
PATIENT: Any = {"timeout": 60}


@asynccontextmanager
async def asking(process: ServiceProcess) -> "AsyncIterator[TradingBridgeAsyncStub]":
    async with plain_channel(process.port) as channel:
        stub: Any = TradingBridgeStub(channel)
        yield stub


def status(entry: ConnectorPortfolio) -> str:
    return ConnectorStatus.Name(entry.status).removeprefix("CONNECTOR_STATUS_")


def of(keys: AccountKeys) -> Credentials:
    return Credentials(api_key=keys.api_key, api_secret=keys.secret, passphrase=keys.passphrase)


async def test_ccxt_is_imported_once_it_serves_and_once_only_and_health_answers_meanwhile(
    start_service: StartService,
) -> None:
    process = start_service("bridgeservice", PYTHONPROFILEIMPORTTIME="1").wait_ready()
    # Python writes a module's line when its import is at its end.
    whole = re.compile(r"\| +ccxt\.async_support$", re.MULTILINE)
    async with plain_channel(process.port) as channel, asyncio.timeout(60):
        health: Any = HealthStub(channel)
        while not whole.search(process.stderr()):
            answer = await health.Check(HealthCheckRequest(), timeout=5)
            assert answer.status == HealthCheckResponse.SERVING
    process.terminate()
    written = process.errors()
    first = next(number for number, line in enumerate(written) if re.search(r"\| +ccxt\b", line))
    serving = next(number for number, line in enumerate(written) if '"event": "serving"' in line)
    assert serving < first
    assert len(whole.findall("\n".join(written))) == 1


async def test_connectors_work_on_real_ccxt_and_each_failure_is_its_own(
    start_service: StartService,
) -> None:
    async with Simulator() as simulator:
        process = start_service(
            "bridgeservice", measured=True, BRIDGESERVICE_EXCHANGE_URLS=json.dumps(simulator.urls)
        )
        process.wait_ready()
        async with asking(process) as bridge:
            right = simulator.add_account("kraken", balances={"BTC": EXACT, "USDT": "10.50"})
            wrong = simulator.add_account("gate", balances={"USDT": "1"})
            simulator.revoke(wrong)
            verified = connector_request("kraken", credentials=of(right), verify=True)
            await bridge.AddConnector(verified, **PATIENT)
            await bridge.AddConnector(connector_request("gate", credentials=of(wrong)))
            refused = connector_request("gate:other", credentials=of(wrong), verify=True)
            told = await refusal(bridge.AddConnector(refused, **PATIENT))
            assert (told.code, told.reason) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "CREDENTIALS_REJECTED",
            )
            known = await bridge.GetConnector(
                pb.GetConnectorRequest(account_name=ACCOUNT, connector_name="kraken")
            )
            assert known.permissions.read == PERMISSION_YES
            request = pb.GetPortfolioRequest(account_name=ACCOUNT, quote_asset="USDT")
            gate, kraken = (await bridge.GetPortfolio(request, **PATIENT)).connectors
            assert (status(gate), list(gate.balances)) == ("CREDENTIALS_REJECTED", [])
            assert status(kraken) == "OK"
            held = {each.asset: each for each in kraken.balances}
            assert held["BTC"].total == EXACT
            assert held["BTC"].value
            assert held["USDT"].value == held["USDT"].total == "10.50"
            book = await bridge.GetOrderBook(
                pb.GetOrderBookRequest(exchange="kraken", symbol="BTC/USDT", depth=2)
            )
            assert [len(book.order_book.bids), len(book.order_book.asks)] == [2, 2]
            markets = await bridge.ListMarkets(
                pb.ListMarketsRequest(exchange="kraken", symbols=["SHARP/USDT"])
            )
            assert [each.symbol for each in markets.markets] == ["SHARP/USDT"]
            told = await refusal(bridge.GetTicker(pb.GetTickerRequest(exchange="kraken", symbol="SHARPUSDT")))
            assert told.message == "SHARPUSDT is no market of kraken; did you mean SHARP/USDT?"
    process.terminate()
    written = "\n".join(process.errors())
    assert process.status() == 0
    assert not any(secret in written for keys in (right, wrong) for secret in (keys.api_key, keys.secret))


async def test_paper_works_with_a_database_and_says_what_it_lacks_without(
    start_service: StartService, database_url: DatabaseUrl
) -> None:
    with_one = start_service("bridgeservice", DATABASE_URL=raw_url(database_url), measured=True)
    without = start_service("bridgeservice")
    found = {}
    for process in (with_one, without):
        process.wait_ready()
        async with asking(process) as bridge:
            await bridge.AddConnector(connector_request("paper", credentials=None))
            request = pb.GetPortfolioRequest(account_name=ACCOUNT, quote_asset="USDT")
            [found[process]] = (await bridge.GetPortfolio(request, timeout=20)).connectors
    assert status(found[with_one]) == "OK"
    assert {each.asset: bool(each.value) for each in found[with_one].balances}["USDT"]
    assert status(found[without]) == "ERROR"
    assert "database" in found[without].error
