"""OKX: spot and a perpetual contract. Errors are five digits in ``code``, or one for each order of a batch.

Signed are timestamp, method, path with query string and body, by HMAC-SHA256 in base64; the timestamp is ISO 8601
and may be 30 seconds off; the passphrase goes along as it is.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from tests.simulator.accounts import Account, Order, Permission
from tests.simulator.dialect import Answer, Call, Dialect, Json, RefusedError
from tests.simulator.markets import Limits, Market, plain
from tests.simulator.okx_forms import (
    instrument,
    kind,
    market_info,
    order_info,
    position_info,
    trade_info,
)
from tests.simulator.refusals import (
    REFUSALS,
    Broken,
    DuplicateClientIdError,
    InsufficientFundsError,
    NothingToReduceError,
    UnknownMarketError,
    UnknownOrderError,
    WouldMatchError,
    cause,
)
from tests.simulator.venue import ClientIds, Venue

READ, TRADE = Permission.READ, Permission.TRADE
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1H": 3600, "4H": 14400, "1D": 86400, "1Dutc": 86400}
FRESH_MS = 30_000
PAGE = 100
ERRORS = {
    UnknownMarketError: ("51001", "Instrument ID does not exist"),
    UnknownOrderError: ("51400", "Order cancellation failed as the order does not exist."),
    InsufficientFundsError: ("51008", "Order failed. Insufficient USDT balance in account."),
    DuplicateClientIdError: ("51016", "Client order ID already exists."),
    NothingToReduceError: ("51169", "Order failed because you don't have any positions in this direction."),
    Broken.LEAST_AMOUNT: ("51020", "Your order should meet or exceed the minimum order amount."),
    Broken.AMOUNT_STEP: ("51121", "Order quantity must be a multiple of the lot size."),
    Broken.MOST_AMOUNT: ("51203", "Order amount exceeds the limit."),
    Broken.LEAST_PRICE: ("51122", "Order price should be higher than the min price."),
    Broken.PRICE_STEP: ("51000", "Parameter px error"),
    Broken.MOST_PRICE: ("51006", "Order price is not within the price limit."),
    WouldMatchError: ("51124", "Post only order would be filled immediately."),
}
GRANTED = {READ: "read_only", TRADE: "trade", Permission.WITHDRAW: "withdraw"}


def failure(code: str, message: str, status: int = 401) -> Answer:
    return Answer({"code": code, "msg": message, "data": []}, status)


class Okx(Dialect):
    """https://www.okx.com/docs-v5/en/"""

    name = "okx"
    limits = Limits(most_amount=Decimal(9_999_999_999))
    client_ids = ClientIds.NEVER
    contracts = (Market("BTC", "USDT", Decimal(60000), 1, 0, contract_size=Decimal("0.01")),)

    def __init__(self, venue: Venue) -> None:
        super().__init__(venue)
        self._by_id = {instrument(market): market for market in venue.markets.values()}
        self.public("/api/v5/public/time", lambda _: [{"ts": str(venue.now_ms())}])
        self.public("/api/v5/public/instruments", self._instruments)
        self.public("/api/v5/market/ticker", lambda call: [self._ticker(self._market(call.params))])
        self.public("/api/v5/market/tickers", self._tickers)
        self.public("/api/v5/market/books", self._book)
        self.public("/api/v5/market/candles", self._candles)
        self.public("/api/v5/market/history-candles", self._candles)
        self.private("GET", "/api/v5/asset/currencies", self._currencies, READ)
        self.private("GET", "/api/v5/account/config", self._config, READ)
        self.private("GET", "/api/v5/account/balance", self._balance, READ)
        self.private("POST", "/api/v5/trade/order", self._create, TRADE)
        self.private("POST", "/api/v5/trade/batch-orders", self._create, TRADE)
        self.private("POST", "/api/v5/trade/cancel-order", self._cancel, TRADE)
        self.private("POST", "/api/v5/trade/cancel-batch-orders", self._cancel, TRADE)
        self.private("GET", "/api/v5/trade/order", self._order, READ)
        self.private("GET", "/api/v5/trade/orders-pending", self._pending, READ)
        self.private("GET", "/api/v5/trade/orders-history", self._history, READ)
        self.private("GET", "/api/v5/trade/orders-history-archive", self._history, READ)
        self.private("POST", "/api/v5/trade/cancel-all-after", self._cancel_all_after, TRADE)
        self.private("GET", "/api/v5/account/positions", self._positions, READ)
        self.private("GET", "/api/v5/trade/fills", self._fills, READ)
        self.private("GET", "/api/v5/trade/fills-history", self._fills, READ)

    @staticmethod
    def order_id(number: int) -> str:
        return f"31725{number:013}"

    def wrapped(self, data: Json) -> Json:
        return {"code": "0", "data": data, "msg": ""}

    def authenticated(self, call: Call) -> Account:
        key, headers = call.headers.get("OK-ACCESS-KEY"), call.headers
        if not key:
            raise RefusedError(failure("50103", "Request header OK-ACCESS-KEY can not be empty."))
        account = self.venue.account(key)
        if account is None:
            raise RefusedError(failure("50119", "API key doesn't exist"))
        timestamp = headers.get("OK-ACCESS-TIMESTAMP", "")
        try:
            sent_ms = datetime.fromisoformat(timestamp).timestamp() * 1000
        except ValueError:
            raise RefusedError(failure("50112", "Invalid OK-ACCESS-TIMESTAMP")) from None
        if abs(sent_ms - self.venue.now_ms()) > FRESH_MS:
            raise RefusedError(failure("50102", "Timestamp request expired"))
        payload = timestamp + call.method + call.target + call.body
        expected = hmac.new(account.keys.secret.encode(), payload.encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(base64.b64encode(expected).decode(), headers.get("OK-ACCESS-SIGN", "")):
            raise RefusedError(failure("50113", "Invalid Sign"))
        if not hmac.compare_digest(account.keys.passphrase, headers.get("OK-ACCESS-PASSPHRASE", "")):
            raise RefusedError(failure("50105", "Request header OK-ACCESS-PASSPHRASE incorrect."))
        return account

    def forbidden(self) -> Answer:
        return failure("50120", "This API key doesn't have permission to use this function")

    def refusal(self, error: Exception) -> Answer:
        return failure(*ERRORS[cause(error)], status=200)

    def rate_limited(self, _: float, /) -> Answer:
        return failure("50011", "Too Many Requests", 429)

    def _market(self, params: dict[str, str]) -> Market:
        try:
            return self._by_id[params["instId"]]
        except KeyError:
            raise UnknownMarketError from None

    def _instruments(self, call: Call) -> Json:
        return [market_info(market) for market in self._of_kind(call)]

    def _of_kind(self, call: Call) -> list[Market]:
        return [market for market in self._by_id.values() if kind(market) == call.params["instType"]]

    def _tickers(self, call: Call) -> Json:
        return [self._ticker(market) for market in self._of_kind(call)]

    def _ticker(self, market: Market) -> Json:
        [(bid, bid_size)], [(ask, ask_size)] = self.venue.book(market, 1)
        price = self.venue.prices[market.symbol]
        return {
            "instType": kind(market), "instId": instrument(market), "last": plain(price),
            "lastSz": "1", "askPx": plain(ask), "askSz": plain(ask_size), "bidPx": plain(bid),
            "bidSz": plain(bid_size), "open24h": plain(price), "high24h": plain(price),
            "low24h": plain(price), "volCcy24h": plain(price * 1000), "vol24h": "1000",
            "ts": str(self.venue.now_ms()), "sodUtc0": plain(price), "sodUtc8": plain(price),
        }  # fmt: skip

    def _book(self, call: Call) -> Json:
        bids, asks = self.venue.book(self._market(call.params), int(call.params.get("sz", 1)))
        return [
            {
                "bids": [[plain(price), plain(amount), "0", "1"] for price, amount in bids],
                "asks": [[plain(price), plain(amount), "0", "1"] for price, amount in asks],
                "ts": str(self.venue.now_ms()),
            }
        ]

    def _candles(self, call: Call) -> Json:
        params = call.params
        start = int(params["before"]) + 1 if "before" in params else None
        rows = self.venue.candles(
            self._market(params), SECONDS[params.get("bar", "1m")], start, int(params.get("limit", 100))
        )
        return [[str(int(at)), *map(plain, row), "0", "0", "1"] for at, *row in reversed(rows)]

    def _currencies(self, _: Call, __: Account) -> Json:
        return [
            {
                "ccy": asset, "chain": f"{asset}-ERC20", "name": asset, "canDep": True, "canWd": True,
                "canInternal": True, "fee": "0.1", "minWd": "1", "maxWd": "1000000", "wdTickSz": "8",
            }
            for asset in self.venue.assets
        ]  # fmt: skip

    def _config(self, _: Call, account: Account) -> Json:
        perm = ",".join(GRANTED[p] for p in Permission if account.may(p))
        return [{"uid": "1", "mainUid": "1", "acctLv": "1", "posMode": "net_mode", "perm": perm, "ip": ""}]

    def _balance(self, _: Call, account: Account) -> Json:
        now = str(self.venue.now_ms())
        details = [
            {
                "ccy": asset, "eq": plain(held.total), "cashBal": plain(held.total),
                "availBal": plain(held.free), "frozenBal": plain(held.used), "ordFrozen": plain(held.used),
                "availEq": "", "uTime": now,
            }
            for asset, held in account.holdings.items()
        ]  # fmt: skip
        return [{"uTime": now, "totalEq": "", "details": details}]

    def _create(self, call: Call, account: Account) -> Json:
        return self._each(call, lambda order: self._create_one(order, account))

    def _cancel(self, call: Call, account: Account) -> Json:
        return self._each(call, lambda order: self.venue.cancel(account, self._find(order, account)))

    def _each(self, call: Call, act: Callable[[dict[str, str]], Order]) -> Json:
        """Do it for each order of the body: one that fails says so by itself."""
        wanted, results = call.json, []
        for params in wanted if isinstance(wanted, list) else [wanted]:
            code, message, order_id = "0", "", params.get("ordId", "")
            try:
                order_id = act(params).id
            except REFUSALS as error:
                code, message = ERRORS[cause(error)]
            client_id = params.get("clOrdId", "")
            results.append({"ordId": order_id, "clOrdId": client_id, "sCode": code, "sMsg": message})
        if all(result["sCode"] != "0" for result in results):
            body = {"code": "1", "data": results, "msg": "All operations failed"}
            raise RefusedError(Answer(body))
        return results

    def _create_one(self, params: dict[str, str], account: Account) -> Order:
        order_type, size = params["ordType"], Decimal(params["sz"])
        spends = order_type == "market" and params["side"] == "buy" and params.get("tgtCcy") == "quote_ccy"
        return self.venue.place(
            account,
            self._market(params),
            params["side"],
            amount=None if spends else size,
            quote_amount=size if spends else None,
            price=Decimal(params["px"]) if order_type != "market" else None,
            time_in_force=order_type.upper() if order_type in ("ioc", "fok") else "GTC",
            is_post_only=order_type == "post_only",
            is_reduce_only=params.get("reduceOnly") in (True, "true"),
            client_id=params.get("clOrdId", ""),
        )

    def _find(self, params: dict[str, str], account: Account) -> Order | None:
        market = self._market(params)
        return account.find(market, order_id=params.get("ordId", ""), client_id=params.get("clOrdId", ""))

    def _order(self, call: Call, account: Account) -> Json:
        order = self._find(call.params, account)
        if order is None:
            raise RefusedError(failure("51603", "Order does not exist", 200))
        return [order_info(order)]

    def _pending(self, call: Call, account: Account) -> Json:
        """A hundred at a time, the newest first, that are older than the order of this id."""
        after = int(call.params.get("after", 10**30))
        orders = self._listed(call, account, is_open=True)
        return [order for order in orders if int(order["ordId"]) < after][:PAGE]

    def _history(self, call: Call, account: Account) -> Json:
        wanted = call.params.get("state")
        orders = self._listed(call, account, is_open=False)
        return [order for order in orders if wanted in (None, order["state"])]

    def _listed(self, call: Call, account: Account, *, is_open: bool) -> list[Json]:
        market = self._market(call.params) if "instId" in call.params else None
        return [order_info(order) for order in reversed(account.select(market, is_open=is_open))]

    def _fills(self, call: Call, account: Account) -> Json:
        """A hundred at a time, the newest first, that are older than the one of this bill."""
        params = call.params
        fills = account.fills(
            self._market(params) if "instId" in params else None,
            order_id=params.get("ordId"),
            since_ms=int(params.get("begin", 0)),
            until_ms=float(params.get("end", "inf")),
        )
        wanted, after = params.get("instType", "SPOT"), int(params.get("after", 10**30))
        older = [t for t in reversed(fills) if t.id < after and kind(t.order.market) == wanted]
        return [trade_info(trade) for trade in older[: min(int(params.get("limit", PAGE)), PAGE)]]

    def _positions(self, _: Call, account: Account) -> Json:
        venue, now = self.venue, self.venue.now_ms()
        return [
            position_info(venue.markets[symbol], position, venue.prices[symbol], now)
            for symbol, position in account.positions.items()
            if position.contracts
        ]

    def _cancel_all_after(self, call: Call, account: Account) -> Json:
        seconds = int(call.json["timeOut"])
        if seconds and not 10 <= seconds <= 120:
            raise RefusedError(failure("51000", "Parameter timeOut error", 200))
        at = self.venue.cancel_all_after(account, seconds)
        return [{"triggerTime": str(at or 0), "tag": "", "ts": str(self.venue.now_ms())}]
