"""Orders on a bridge as its callers make them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import ORDER_SIDE_BUY, ORDER_TYPE_LIMIT, Order, OrderState
from servicekit.database.engine import Database
from tests.support.bridge_service import Bridge, connector_request, running
from tests.support.fake_orders import FakeBook, Fault
from tests.support.probe import eventually

LONG_AFTER = "1 hour"
"""More than any sending and settling takes."""


@dataclass(frozen=True, slots=True)
class Trader:
    """A caller with an account of his own and a connector in it, so that tests can share a database."""

    bridge: Bridge
    database: Database
    account: str
    connector: str = "kraken"

    @property
    def book(self) -> FakeBook:
        """What the exchange has on it."""
        return self.bridge.exchanges[self.connector].orders

    @property
    def sent(self) -> int:
        """How often an order was sent to the exchange."""
        return self.book.asked.count("place")

    def request(self, **changes: Any) -> pb.PlaceOrderRequest:
        """A limit order that the market takes."""
        values: dict[str, Any] = {
            "account_name": self.account,
            "connector_name": self.connector,
            "symbol": "BTC/USDT",
            "side": ORDER_SIDE_BUY,
            "type": ORDER_TYPE_LIMIT,
            "amount": "0.50",
            "price": "100.10",
        }
        return pb.PlaceOrderRequest(**values | changes)

    async def place(self, *, seconds: float = 20, **changes: Any) -> Order:
        answer = await self.bridge.stub.PlaceOrder(self.request(**changes), timeout=seconds)
        return answer.order

    async def get(self, order: Order) -> Order:
        request = pb.GetOrderRequest(account_name=self.account, order_id=order.order_id)
        return (await self.bridge.stub.GetOrder(request)).order

    async def once(self, order: Order, wanted: str, *, seconds: float = 10) -> Order:
        """The order as soon as it is in this state."""
        until = asyncio.get_running_loop().time() + seconds
        while state(found := await self.get(order)) != wanted:
            assert asyncio.get_running_loop().time() < until, f"it never became {wanted}: {found}"
            await asyncio.sleep(0.01)
        return found

    async def cancel(self, order: Order, *, seconds: float = 20) -> Order:
        request = pb.CancelOrderRequest(account_name=self.account, order_id=order.order_id)
        return (await self.bridge.stub.CancelOrder(request, timeout=seconds)).order

    async def cancel_all(self, *, seconds: float = 20, **filters: Any) -> list[Order]:
        request = pb.CancelAllOrdersRequest(account_name=self.account, **filters)
        return list((await self.bridge.stub.CancelAllOrders(request, timeout=seconds)).orders)

    async def page(self, **filters: Any) -> pb.ListOrdersResponse:
        return await self.bridge.stub.ListOrders(pb.ListOrdersRequest(account_name=self.account, **filters))

    async def listed(self, **filters: Any) -> list[Order]:
        return list((await self.page(**filters)).orders)

    async def row(self, order: Order) -> dict[str, Any]:
        """The order's row, as someone at psql would see it."""
        async with self.database.autocommit() as connection:
            found = await connection.execute(
                text("SELECT *, clock_timestamp() AS read_at FROM bridge.orders WHERE id = :id"),
                {"id": UUID(order.order_id)},
            )
            return dict(found.one()._mapping)

    async def pass_time(self, order: Order, span: str) -> None:
        """Let it have been journalled earlier, by an interval of PostgreSQL, and be due now."""
        await self.change(order, f"created_at = created_at - interval '{span}', next_check_at = now()")

    async def look(self, order: Order, *, after: str = "0") -> Order:
        """Let the bridge ask about it and no other, this much time after it did so last; how it is then."""
        async with self.database.autocommit() as connection:
            others = "next_check_at = now() + interval '1 day' WHERE next_check_at IS NOT NULL"
            await connection.execute(text(f"UPDATE bridge.orders SET {others}"))  # noqa: S608 - ours
        await self.pass_time(order, after)
        assert await self.bridge.resolving.once() == 1
        await eventually(lambda: not self.bridge.resolving.busy, "it has asked")
        return await self.get(order)

    async def change(self, order: Order, assignments: str) -> None:
        """Change the order's row behind everybody's back."""
        async with self.database.autocommit() as connection:
            statement = text(f"UPDATE bridge.orders SET {assignments} WHERE id = :id")  # noqa: S608 - a test's
            await connection.execute(statement, {"id": UUID(order.order_id)})


@asynccontextmanager
async def trading(database: Database, connector: str = "kraken", **options: Any) -> AsyncIterator[Trader]:
    """A bridge that keeps orders, and one who trades on it."""
    async with running(database=database, **options) as bridge:
        trader = Trader(bridge, database, f"client_{uuid4()}", connector)
        await bridge.stub.AddConnector(connector_request(connector, account_name=trader.account))
        yield trader


async def unknown(trader: Trader, fault: Fault = Fault.AFTER, **fields: Any) -> Order:
    """An order of which nobody knows what became."""
    trader.book.fail("place", fault)
    order = await trader.place(**fields)
    assert state(order) == "UNKNOWN"
    return order


def state(order: Order) -> str:
    return OrderState.Name(order.state).removeprefix("ORDER_STATE_")
