"""The traders of a crash run: each places orders without a pause, repeats what got no answer, and cancels some."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc

from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.credentials_pb2 import Credentials
from bridgeservice.v1.order_pb2 import (
    ORDER_SIDE_BUY,
    ORDER_STATE_OPEN,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    Order,
)
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from tests.evidence.crash_clients import Line
from tests.evidence.crash_journal import AWAY
from tests.simulator.accounts import AccountKeys

CALL_SECONDS = 10.0
SYMBOL = "BTC/USDT"
AMOUNT = "0.001"
# Far below the book, so that it rests; each step further down is another price.
HIGHEST = 3_000_000
# What becomes of a cancel: the order has ended in between, or the exchange was told to refuse the next request.
EXPECTED = ("This order is ", "The account on ")


@dataclass
class Intent:
    """One order that a trader wanted, under one request id, whatever became of it."""

    request: pb.PlaceOrderRequest
    answers: set[str] = field(default_factory=set)
    """The ids that answers to it named; a second one means that it was doubled."""
    exchange_ids: set[str] = field(default_factory=set)
    """What the exchange calls it, as answers said."""

    @property
    def looks(self) -> str:
        """All that tells it from others where there are no client order ids."""
        return f"{self.request.amount} at {self.request.price or 'market'}"


@dataclass
class Trader:
    """One account on the bridge, with one account at one exchange, and the only one to trade on either."""

    line: Line
    keys: AccountKeys
    account: str
    chance: random.Random
    intents: dict[str, Intent] = field(default_factory=dict)
    """By request id."""
    calls: "Counter[str]" = field(default_factory=Counter)
    refused: "Counter[str]" = field(default_factory=Counter)
    """Refusals that nothing in a crash run accounts for; none is expected."""
    in_flight: int = 0
    _open: list[Order] = field(default_factory=list)
    _step: int = 0

    @property
    def connector(self) -> pb.AddConnectorRequest:
        return pb.AddConnectorRequest(
            account_name=self.account,
            connector_name=self.keys.exchange,
            exchange=self.keys.exchange,
            credentials=Credentials(api_key=self.keys.api_key, api_secret=self.keys.secret),
            revision=1,
        )

    async def trade(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            what = self.chance.random()
            if what < 0.15 and self._open:
                await self._cancel(self._open.pop(self.chance.randrange(len(self._open))))
            elif what < 0.25:
                await self._place(self._market(), stopping)
            elif what < 0.4:
                twin = self._limit()
                await asyncio.gather(*(self._place(twin, stopping) for _ in range(2)))
            else:
                await self._place(self._limit(), stopping)

    def _limit(self) -> pb.PlaceOrderRequest:
        """Unlike any before it."""
        self._step += 1
        cents = HIGHEST - self._step
        return pb.PlaceOrderRequest(
            account_name=self.account,
            connector_name=self.keys.exchange,
            symbol=SYMBOL,
            side=ORDER_SIDE_BUY,
            type=ORDER_TYPE_LIMIT,
            amount=AMOUNT,
            price=f"{cents // 100}.{cents % 100:02}",
        )

    def _market(self) -> pb.PlaceOrderRequest:
        request = self._limit()
        request.type, request.price = ORDER_TYPE_MARKET, ""
        return request

    async def _place(self, like: pb.PlaceOrderRequest, stopping: asyncio.Event) -> None:
        request = pb.PlaceOrderRequest()
        request.CopyFrom(like)
        request.request_id = str(uuid4())
        intent = self.intents[request.request_id] = Intent(request)
        while not await self._send(intent) and not stopping.is_set() and self.chance.random() < 0.9:
            self.calls["repeated"] += 1

    async def _send(self, intent: Intent) -> bool:
        answer = await self._call("PlaceOrder", intent.request)
        if answer is None:
            return False
        order = answer.order
        self.calls["answered"] += not intent.answers
        intent.answers.add(order.order_id)
        if order.exchange_order_id:
            intent.exchange_ids.add(order.exchange_order_id)
        if order.state == ORDER_STATE_OPEN and order.type == ORDER_TYPE_LIMIT:
            self._open.append(order)
        return True

    async def _cancel(self, order: Order) -> None:
        request = pb.CancelOrderRequest(account_name=self.account, order_id=order.order_id)
        self.calls["cancelled"] += await self._call("CancelOrder", request) is not None

    async def _call(self, method: str, request: Any) -> Any:
        """The answer, or None where there was none."""
        stub = await self.line.stub()
        self.in_flight += 1
        try:
            return await getattr(stub, method)(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            self._note(error)
            # One that fails at once must not be asked in a busy loop.
            await asyncio.sleep(0.02)
            return None
        finally:
            self.in_flight -= 1

    def _note(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() in AWAY:
            self.calls["unknown"] += 1
        elif not (error.details() or "").startswith(EXPECTED):
            self.refused[f"{error.code().name}: {error.details()}"] += 1


async def push(address: str, traders: Sequence[Trader]) -> None:
    """Give a bridge that has just started all connectors, as KeyService does."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = TradingBridgeStub(channel)  # whose types differ between its synchronous and its aio form
        for trader in traders:
            await stub.AddConnector(trader.connector, timeout=CALL_SECONDS)
