"""What another process may turn at a simulator: ``POST /_control/<action>`` with a JSON object.

accounts ``{exchange, balances, permissions}`` · revoke ``{exchange, api_key}`` · fill ``{exchange, order_id, amount}``
· price ``{exchange, symbol, price}`` · liquidity ``{exchange, symbol, amount}`` · clock ``{exchange, seconds}``
· faults ``{exchange, kind, path, times, seconds, status}`` · clear ``{exchange}`` · seen ``{exchange, path, method}``
· until ``{exchange, count, path, method}``, which answers when so many have arrived · place ``{exchange, api_key,
symbol, side, amount, price, client_id}`` · orders ``{exchange}``, which is the book
"""

from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.simulator.accounts import Order, Permission
from tests.simulator.faults import FaultKind
from tests.simulator.markets import plain
from tests.simulator.refusals import REFUSALS

if TYPE_CHECKING:
    from tests.simulator.simulator import Simulator

Wanted = dict[str, Any]
"""A JSON object: it has no better type."""


class Control:
    """The actions, each a method of the same name."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self._actions: dict[str, Callable[..., Any]] = {
            "accounts": self._accounts,
            "revoke": self._revoke,
            "fill": self._fill,
            "price": self._price,
            "liquidity": self._liquidity,
            "clock": self._clock,
            "faults": self._faults,
            "clear": self._clear,
            "seen": self._seen,
            "until": self._until,
            "place": self._place,
            "orders": self._orders,
        }

    async def handle(self, request: web.Request) -> web.Response:
        action = self._actions.get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound
        wanted: Wanted = await request.json()
        if wanted.get("exchange") not in self._simulator.dialects:
            raise web.HTTPBadRequest(text="exchange is not one of the simulated ones")
        try:
            done = action(**wanted)
            return web.json_response(await done if isawaitable(done) else done)
        except (TypeError, ValueError, KeyError, *REFUSALS) as error:
            raise web.HTTPBadRequest(text=f"{type(error).__name__}: {error}") from error

    def _accounts(
        self, exchange: str, balances: dict[str, str], permissions: tuple[str, ...] = ("read", "trade")
    ) -> Wanted:
        granted = [Permission(name) for name in permissions]
        keys = self._simulator.add_account(exchange, balances=balances, permissions=granted)
        return {"api_key": keys.api_key, "secret": keys.secret, "passphrase": keys.passphrase}

    def _revoke(self, exchange: str, api_key: str) -> Wanted:
        self._simulator.venues[exchange].accounts[api_key].is_revoked = True
        return {}

    def _fill(self, exchange: str, order_id: str, amount: str | None = None) -> Wanted:
        self._simulator.fill(exchange, order_id, amount)
        return {}

    def _price(self, exchange: str, symbol: str, price: str) -> Wanted:
        self._simulator.set_price(exchange, symbol, price)
        return {}

    def _liquidity(self, exchange: str, symbol: str, amount: str | None = None) -> Wanted:
        self._simulator.set_liquidity(exchange, symbol, amount)
        return {}

    def _clock(self, exchange: str, seconds: float) -> Wanted:
        self._simulator.venues[exchange].clock_skew = seconds
        return {}

    def _faults(self, exchange: str, kind: str, **how: Any) -> Wanted:
        self._simulator.faults[exchange].add(FaultKind(kind), **how)
        return {}

    def _clear(self, exchange: str) -> Wanted:
        self._simulator.faults[exchange].clear()
        return {}

    def _seen(self, exchange: str, path: str = "", method: str = "") -> Wanted:
        return {"count": self._simulator.seen.count(exchange, path, method)}

    async def _until(self, exchange: str, count: int, path: str = "", method: str = "") -> Wanted:
        await self._simulator.seen.until(count, exchange, path, method)
        return {}

    def _place(self, exchange: str, api_key: str, **wanted: Any) -> Wanted:
        keys = self._simulator.venues[exchange].accounts[api_key].keys
        return described(self._simulator.place(keys, **wanted))

    def _orders(self, exchange: str) -> Wanted:
        return {"orders": [described(order) for order in self._simulator.orders(exchange)]}


def described(order: Order) -> Wanted:
    """An order of the book, with its fills."""
    return {
        "order_id": order.id, "client_id": order.client_id, "symbol": order.market.symbol, "side": order.side,
        "type": order.type, "amount": plain(order.amount), "filled": plain(order.filled),
        "price": None if order.price is None else plain(order.price), "status": order.status.value,
        "trades": [
            {"id": trade.id, "amount": plain(trade.amount), "price": plain(trade.price)} for trade in order.trades
        ],
    }  # fmt: skip
