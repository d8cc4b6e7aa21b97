"""A reader who asks an exchange for more than it answers keeps nobody else from trading on it, nor from asking.

The bridge is a process with its own limits of callers, and real ccxt keeps the exchange's rate before the simulator.
"""

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import pytest

from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import (
    ORDER_SIDE_BUY,
    ORDER_STATE_CANCELED,
    ORDER_STATE_OPEN,
    ORDER_TYPE_LIMIT,
)
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from servicekit.database.url import DatabaseUrl
from servicekit.rpc.status import from_rpc_error
from tests.simulator.simulator import READ_AND_TRADE, Simulator
from tests.support.bridge_service import credentials_of
from tests.support.issuer import Issuer, bearing
from tests.support.probe import plain_channel
from tests.support.service_process import StartService, raw_url

CLIENT = "123e4567-e89b-12d3-a456-426614174000"
ACCOUNT = f"client_{CLIENT}"
ORDERS = 8
A_SECOND = 50
"""So often the greedy one calls, which is half of what he may."""

Question = Callable[[Any, int], Any]


def book(stub: Any, number: int) -> Any:
    """The dearest there is, each time another one, so that no two are one question."""
    request = pb.GetOrderBookRequest(exchange="binance", symbol="BTC/USDT", depth=1000 - number % 400)
    return stub.GetOrderBook, request


def candles(stub: Any, number: int) -> Any:
    request = pb.ListCandlesRequest(exchange="kraken", symbol="BTC/USDT", timeframe="1m", page_size=1)
    request.start_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=2000 + number))
    return stub.ListCandles, request


@dataclass
class Greedy:
    """A reader of no client's things, and whether he was told that it is too much."""

    stub: Any
    question: Question
    metadata: Any = ()
    refused: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """In the block, he asks and asks; it begins once he asks for more than there is."""
        task = asyncio.create_task(self._ask_on())
        try:
            async with asyncio.timeout(30):
                await self.refused.wait()
            yield
            # One who has failed asks no more, and then nobody was greedy while others were measured.
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask_on(self) -> None:
        async with asyncio.TaskGroup() as group:
            began, number = perf_counter(), 0
            while True:
                while number < (perf_counter() - began) * A_SECOND:
                    group.create_task(self._ask(number))
                    number += 1
                await asyncio.sleep(0.005)

    async def _ask(self, number: int) -> None:
        call, request = self.question(self.stub, number)
        try:
            await call(request, metadata=self.metadata, timeout=60)
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            assert told.reason == "RATE_LIMITED"
            assert told.retry_after
            self.refused.set()


@dataclass(frozen=True)
class Stage:
    """A bridge with a trader's connector, and somebody greedy beside him."""

    stub: Any
    exchange: str
    issuer: Issuer
    greedy: Greedy

    def as_(self, name: str, role: str, clients: Sequence[str] = ()) -> Any:
        return bearing(self.issuer.token(sub=name, role=role, clients=clients))

    async def place(self) -> float:
        """Orders, each of which has to be there afterwards; how long one of them took."""
        request = pb.PlaceOrderRequest(
            account_name=ACCOUNT,
            connector_name=self.exchange,
            symbol="BTC/USDT",
            side=ORDER_SIDE_BUY,
            type=ORDER_TYPE_LIMIT,
            amount="0.002",
            price="50000",
        )
        took = []
        for _ in range(ORDERS):
            began = perf_counter()
            answer = await self.stub.PlaceOrder(
                request, metadata=self.as_("trader", "trader", [CLIENT]), timeout=30
            )
            took.append(perf_counter() - began)
            assert answer.order.state == ORDER_STATE_OPEN, answer.order.reason
        return statistics.median(took)

    async def cancel(self) -> float:
        """All of them, which then have to be over; how long that took."""
        began = perf_counter()
        request = pb.CancelAllOrdersRequest(account_name=ACCOUNT, connector_name=self.exchange)
        answer = await self.stub.CancelAllOrders(
            request, metadata=self.as_("trader", "trader", [CLIENT]), timeout=60
        )
        assert [each.state for each in answer.orders] == [ORDER_STATE_CANCELED] * ORDERS
        return perf_counter() - began


@asynccontextmanager
async def stage(
    url: DatabaseUrl, start_service: StartService, folder: Path, exchange: str, question: Question
) -> AsyncIterator[Stage]:
    issuer = Issuer()
    issuer.write(folder / "jwks.json")
    async with Simulator() as simulator:
        keys = simulator.add_account(exchange, permissions=READ_AND_TRADE, balances={"USDT": "10000"})
        bridge = start_service(
            "bridgeservice",
            DATABASE_URL=raw_url(url),
            BRIDGESERVICE_EXCHANGE_URLS=json.dumps(simulator.urls),
            BRIDGESERVICE_JWKS_FILE=str(folder / "jwks.json"),
        )
        await asyncio.to_thread(bridge.wait_ready)
        async with plain_channel(bridge.port) as channel, plain_channel(bridge.port) as other:
            stub: Any = TradingBridgeStub(channel)
            greedy = Greedy(TradingBridgeStub(other), question)
            ready = Stage(stub, exchange, issuer, greedy)
            greedy.metadata = ready.as_("greedy", "reader")
            await stub.AddConnector(
                pb.AddConnectorRequest(
                    account_name=ACCOUNT,
                    connector_name=exchange,
                    exchange=exchange,
                    revision=1,
                    credentials=credentials_of(keys),
                ),
                metadata=ready.as_("keyservice", "bridge-writer", "*"),
                timeout=30,
            )
            yield ready


@pytest.mark.parametrize(("exchange", "question"), [("binance", book), ("kraken", candles)])
async def test_a_reader_who_asks_for_more_than_there_is_keeps_nobody_else_from_trading(
    database_url: DatabaseUrl, start_service: StartService, tmp_path: Path, exchange: str, question: Question
) -> None:
    async with stage(database_url, start_service, tmp_path, exchange, question) as ready:
        await ready.place()  # so that what is made once is there
        quiet = await ready.place()
        async with ready.greedy.asking():
            loud = await ready.place()
    # Without fairness it is half a minute.
    assert loud < max(10 * quiet, 5), (quiet, loud)


async def test_nor_from_ending_his_orders_nor_from_asking_a_little(
    database_url: DatabaseUrl, start_service: StartService, tmp_path: Path
) -> None:
    async with stage(database_url, start_service, tmp_path, "binance", book) as ready:
        await ready.place()
        quiet = await ready.cancel()
        await ready.place()
        async with ready.greedy.asking():
            loud = await ready.cancel()
            began = perf_counter()
            request = pb.GetTickerRequest(exchange="binance", symbol="BTC/USDT")
            await ready.stub.GetTicker(request, metadata=ready.as_("reader", "reader"), timeout=60)
            asked = perf_counter() - began
    assert loud < max(3 * quiet, 5), (quiet, loud)
    # What the greedy one has waiting takes half a minute.
    assert asked < 10, asked
