"""The bridge as a deployment runs it: a process of its own, real ccxt, and the simulator for the exchanges."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import (
    ORDER_SIDE_BUY,
    ORDER_STATE_CANCELED,
    ORDER_STATE_FILLED,
    ORDER_STATE_OPEN,
    ORDER_STATE_PENDING,
    ORDER_STATE_REJECTED,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
)
from bridgeservice.v1.permissions_pb2 import PERMISSION_YES
from bridgeservice.v1.portfolio_pb2 import ConnectorPortfolio, ConnectorStatus
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from servicekit.database.url import DatabaseUrl
from tests.simulator.faults import FaultKind
from tests.simulator.simulator import Simulator
from tests.support.bridge_service import ACCOUNT, connector_request, credentials_of
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


@asynccontextmanager
async def at_kraken(
    start_service: StartService, database_url: DatabaseUrl
) -> "AsyncIterator[tuple[Simulator, TradingBridgeAsyncStub]]":
    """A bridge that keeps orders and holds a connector there, where each nonce has to be the largest, and questions
    count but neither orders nor cancels.
    """
    async with Simulator() as simulator:
        keys = simulator.add_account("kraken", balances={"USDT": "1000"})
        process = start_service(
            "bridgeservice",
            DATABASE_URL=raw_url(database_url),
            BRIDGESERVICE_EXCHANGE_URLS=json.dumps(simulator.urls),
        )
        async with asking(process) as bridge:
            await bridge.AddConnector(connector_request("kraken", credentials=credentials_of(keys)))
            yield simulator, bridge


def resting_order() -> pb.PlaceOrderRequest:
    """One that waits in kraken's book."""
    return pb.PlaceOrderRequest(
        account_name=ACCOUNT, connector_name="kraken", symbol="SHARP/USDT", side=ORDER_SIDE_BUY,
        type=ORDER_TYPE_LIMIT, amount="10.5", price="1.0", request_id=str(uuid4()),
    )  # fmt: skip


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
            verified = connector_request("kraken", credentials=credentials_of(right), verify=True)
            await bridge.AddConnector(verified, **PATIENT)
            await bridge.AddConnector(connector_request("gate", credentials=credentials_of(wrong)))
            refused = connector_request("gate:other", credentials=credentials_of(wrong), verify=True)
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


async def test_orders_are_placed_on_real_ccxt_and_on_paper_and_survive_a_restart(
    start_service: StartService, database_url: DatabaseUrl
) -> None:
    async with Simulator() as simulator:
        keys = simulator.add_account("kraken", balances={"USDT": "1000"})
        settings = {
            "DATABASE_URL": raw_url(database_url),
            "BRIDGESERVICE_EXCHANGE_URLS": json.dumps(simulator.urls),
        }
        process = start_service("bridgeservice", measured=True, **settings)
        wish = resting_order()
        async with asking(process) as bridge:
            await bridge.AddConnector(connector_request("kraken", credentials=credentials_of(keys)))
            await bridge.AddConnector(connector_request("paper", credentials=None))
            resting = (await bridge.PlaceOrder(wish, **PATIENT)).order
            assert (resting.state, resting.filled, resting.remaining) == (ORDER_STATE_OPEN, "0", "10.5")
            on_paper = pb.PlaceOrderRequest()
            on_paper.CopyFrom(wish)
            on_paper.connector_name, on_paper.type, on_paper.price = "paper", ORDER_TYPE_MARKET, ""
            told = await refusal(bridge.PlaceOrder(on_paper))
            assert told.reason == "REQUEST_ID_REUSED"
            on_paper.request_id = str(uuid4())
            bought = (await bridge.PlaceOrder(on_paper)).order
            assert (bought.state, bought.filled) == (ORDER_STATE_FILLED, "10.5")
            assert bought.fees[0].asset == "USDT"
        process.terminate()
        assert process.status() == 0
        again = start_service("bridgeservice", measured=True, **settings)
        async with asking(again) as bridge:
            assert (await bridge.PlaceOrder(wish)).order == resting
            listed = await bridge.ListOrders(pb.ListOrdersRequest(account_name=ACCOUNT))
            assert [each.order_id for each in listed.orders] == [bought.order_id, resting.order_id]
            await bridge.AddConnector(connector_request("kraken", credentials=credentials_of(keys)))
            cancel = pb.CancelOrderRequest(account_name=ACCOUNT, order_id=resting.order_id)
            assert (await bridge.CancelOrder(cancel, **PATIENT)).order.state == ORDER_STATE_CANCELED
        [placed] = simulator.orders("kraken")
        assert (placed.id, placed.status.value) == (resting.exchange_order_id, "canceled")


async def test_all_orders_are_gone_when_that_is_answered_and_orders_wait_for_no_question(
    start_service: StartService, database_url: DatabaseUrl
) -> None:
    count = 8
    async with at_kraken(start_service, database_url) as (simulator, bridge):
        placed = await asyncio.gather(*(bridge.PlaceOrder(resting_order(), **PATIENT) for _ in range(count)))
        assert {answer.order.state for answer in placed} == {ORDER_STATE_OPEN}
        everything = pb.CancelAllOrdersRequest(account_name=ACCOUNT)
        told = (await bridge.CancelAllOrders(everything, timeout=10)).orders
        assert len(told) == count
        # The time is enough for some, and no other one is told as if it were still there.
        assert {(each.state, each.reason) for each in told} == {
            (ORDER_STATE_CANCELED, ""),
            (ORDER_STATE_OPEN, "CANCEL_ACKNOWLEDGED"),
        }
        assert [each.status.value for each in simulator.orders("kraken")] == ["canceled"] * count
        assert simulator.seen.count("kraken", "/CancelOrder") == count
        # What became of them is still being asked.
        answer = await asyncio.wait_for(bridge.PlaceOrder(resting_order(), **PATIENT), 5)
        assert answer.order.state == ORDER_STATE_OPEN
        assert simulator.seen.count("kraken", "/AddOrder") == count + 1


async def test_an_order_that_waits_behind_a_question_that_hangs_is_rejected_when_its_time_is_up(
    start_service: StartService, database_url: DatabaseUrl
) -> None:
    async with at_kraken(start_service, database_url) as (simulator, bridge):
        await bridge.ListMarkets(pb.ListMarketsRequest(exchange="kraken"), **PATIENT)
        simulator.faults["kraken"].add(FaultKind.HANG, path="/BalanceEx")
        holding = pb.GetPortfolioRequest(account_name=ACCOUNT, quote_asset="USDT")
        asked = asyncio.ensure_future(bridge.GetPortfolio(holding, **PATIENT))
        await asyncio.wait_for(simulator.seen.until(1, "kraken", "/BalanceEx"), 20)
        order = (await bridge.PlaceOrder(resting_order(), timeout=2)).order
        assert order.state == ORDER_STATE_PENDING
        request = pb.GetOrderRequest(account_name=ACCOUNT, order_id=order.order_id)
        async with asyncio.timeout(20):
            while order.state == ORDER_STATE_PENDING:
                await asyncio.sleep(0.05)
                order = (await bridge.GetOrder(request)).order
        assert (order.state, order.reason) == (ORDER_STATE_REJECTED, "EXCHANGE_TIMEOUT")
        simulator.faults["kraken"].clear()
        await asked
        assert simulator.orders("kraken") == []


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
    async with asking(without) as bridge:
        told = await refusal(bridge.ListOrders(pb.ListOrdersRequest(account_name=ACCOUNT)))
        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DATABASE_REQUIRED")
