"""A connector to a simulated exchange, as the bridge has it, and the other side of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from bridgeservice.enums import OrderSide
from bridgeservice.exchanges.ccxt_exchange import CcxtExchange
from bridgeservice.exchanges.ccxt_session import CcxtSession
from bridgeservice.exchanges.options import Options
from bridgeservice.exchanges.orders import ExchangeOrder
from tests.simulator.accounts import AccountKeys, Order
from tests.simulator.simulator import Simulator
from tests.support.exchanges import OWNER, QUICK, connected, credentials
from tests.support.orders import accepted, limit, named

SYMBOL = "BTC/USDT"


@dataclass(frozen=True, slots=True)
class Desk:
    """One connector to a simulated exchange, with money to trade, and the other side of it."""

    simulator: Simulator
    exchange: CcxtExchange
    keys: AccountKeys
    session: CcxtSession

    @property
    def book(self) -> list[Order]:
        return self.simulator.orders(self.exchange.id)

    def client_id(self) -> str:
        return self.exchange.client_order_id(uuid4())

    async def rests(self, **more: Any) -> ExchangeOrder:
        """A limit order below the book."""
        return accepted(await self.session.place(limit(OrderSide.BUY, "0.02", "50000", **more)))

    async def now(self, order: ExchangeOrder) -> ExchangeOrder:
        found = await self.session.order(named(order))
        assert found is not None
        return found


@asynccontextmanager
async def trading(exchange_id: str, options: Options = QUICK, **account: Any) -> AsyncIterator[Desk]:
    async with Simulator() as simulator, connected(simulator, exchange_id, options) as exchange:
        keys = simulator.add_account(
            exchange_id, balances={"USDT": "10000", "BTC": "1", "ETH": "10"}, **account
        )
        yield Desk(simulator, exchange, keys, exchange.session(credentials(keys), OWNER))
