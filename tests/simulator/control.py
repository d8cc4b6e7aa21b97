"""What another process may turn at a simulator: ``POST /_control/<action>`` with a JSON object.

accounts ``{exchange, balances, permissions}`` · revoke ``{exchange, api_key}`` · fill ``{exchange, order_id, amount}``
· price ``{exchange, symbol, price}`` · clock ``{exchange, seconds}`` · faults ``{exchange, kind, path, times, seconds,
status}`` · clear ``{exchange}`` · seen ``{exchange, path, method}``
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.simulator.accounts import Permission
from tests.simulator.faults import FaultKind

if TYPE_CHECKING:
    from tests.simulator.simulator import Simulator

Wanted = dict[str, Any]
"""A JSON object: it has no better type."""


class Control:
    """The actions, each a method of the same name."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self._actions: dict[str, Callable[..., Wanted]] = {
            "accounts": self._accounts,
            "revoke": self._revoke,
            "fill": self._fill,
            "price": self._price,
            "clock": self._clock,
            "faults": self._faults,
            "clear": self._clear,
            "seen": self._seen,
        }

    async def handle(self, request: web.Request) -> web.Response:
        action = self._actions.get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound
        wanted: Wanted = await request.json()
        if wanted.get("exchange") not in self._simulator.dialects:
            raise web.HTTPBadRequest(text="exchange is not one of the simulated ones")
        try:
            return web.json_response(action(**wanted))
        except (TypeError, ValueError, KeyError) as error:
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
