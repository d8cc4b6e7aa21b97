"""Gate: spot. Errors are a ``label`` and a message; a client order id starts with ``t-`` and stands in for an id.

Signed are method, path, query string without URL encoding, SHA512(body) and timestamp in lines, by HMAC-SHA512 in
hex; the timestamp is in seconds and may be 60 off.
"""

import hashlib
import hmac
from decimal import Decimal
from urllib.parse import unquote

from tests.simulator.accounts import Account, Order, Permission, Status, Trade
from tests.simulator.dialect import Answer, Call, Dialect, Json, RefusedError
from tests.simulator.markets import Limits, Market, plain
from tests.simulator.refusals import (
    Broken,
    InsufficientFundsError,
    UnknownMarketError,
    UnknownOrderError,
    WouldMatchError,
    cause,
)
from tests.simulator.venue import Venue

READ, TRADE = Permission.READ, Permission.TRADE
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14400, "1d": 86400}
FRESH_MS = 60_000
DAY = 86_400
STATUSES = {
    Status.OPEN: ("open", "open"),
    Status.FILLED: ("closed", "filled"),
    Status.CANCELED: ("cancelled", "cancelled"),
    Status.EXPIRED: ("cancelled", "ioc"),
}
ERRORS = {
    UnknownMarketError: ("INVALID_CURRENCY_PAIR", "Invalid currency pair"),
    UnknownOrderError: ("ORDER_NOT_FOUND", "Order not found"),
    InsufficientFundsError: ("BALANCE_NOT_ENOUGH", "Not enough balance"),
    Broken.LEAST_AMOUNT: ("INVALID_PARAM_VALUE", "Your order size is too small"),
    Broken.AMOUNT_STEP: ("INVALID_PRECISION", "Invalid amount precision"),
    Broken.MOST_AMOUNT: ("INVALID_PARAM_VALUE", "Your order size is too large"),
    Broken.LEAST_PRICE: ("INVALID_PARAM_VALUE", "Invalid price"),
    Broken.PRICE_STEP: ("INVALID_PRECISION", "Invalid price precision"),
    Broken.MOST_PRICE: ("INVALID_PARAM_VALUE", "Invalid price"),
    Broken.LEAST_COST: ("INVALID_PARAM_VALUE", "Your order size is too small. The minimum is 1 USDT"),
    Broken.MOST_COST: ("INVALID_PARAM_VALUE", "Your order size is too large"),
    WouldMatchError: ("POC_FILL_IMMEDIATELY", "Order would match and take immediately so its cancelled"),
}


def failure(label: str, message: str, status: int = 401) -> Answer:
    return Answer({"label": label, "message": message}, status)


class Gate(Dialect):
    """https://www.gate.com/docs/developers/apiv4/"""

    name = "gate"
    limits = Limits(least_cost=Decimal(1), most_cost=Decimal(5_000_000))

    def __init__(self, venue: Venue) -> None:
        super().__init__(venue)
        self._by_id = {f"{market.base}_{market.quote}": market for market in venue.markets.values()}
        self.public("/api/v4/spot/time", lambda _: {"server_time": venue.now_ms()})
        self.public("/api/v4/spot/currencies", self._currencies)
        self.public("/api/v4/spot/currency_pairs", self._pairs)
        for nothing in (
            "margin/currency_pairs", "futures/{settle}/contracts", "delivery/{settle}/contracts",
            "options/underlyings",
        ):  # fmt: skip
            self.public(f"/api/v4/{nothing}", lambda _: [])
        self.public("/api/v4/spot/tickers", self._tickers)
        self.public("/api/v4/spot/order_book", self._book)
        self.public("/api/v4/spot/candlesticks", self._candles)
        self.private("GET", "/api/v4/account/detail", self._detail)
        self.private("GET", "/api/v4/spot/accounts", self._balances, READ)
        self.private("POST", "/api/v4/spot/orders", self._create, TRADE)
        self.private("GET", "/api/v4/spot/orders", self._orders, READ)
        self.private("DELETE", "/api/v4/spot/orders", self._cancel_all, TRADE)
        self.private("GET", "/api/v4/spot/open_orders", self._open_orders, READ)
        self.private("GET", "/api/v4/spot/orders/{order_id}", self._order, READ)
        self.private("DELETE", "/api/v4/spot/orders/{order_id}", self._cancel, TRADE)
        self.private("GET", "/api/v4/spot/my_trades", self._my_trades, READ)
        self.private("GET", "/api/v4/futures/usdt/positions", lambda *_: [], READ)

    @staticmethod
    def order_id(number: int) -> str:
        return str(95_000_000_000 + number)

    def authenticated(self, call: Call) -> Account:
        headers = call.headers
        if not all(headers.get(name) for name in ("KEY", "Timestamp", "SIGN")):
            raise RefusedError(failure("MISSING_REQUIRED_HEADER", "Missing required header"))
        account = self.venue.account(headers["KEY"])
        if account is None:
            raise RefusedError(failure("INVALID_KEY", "Invalid key provided"))
        timestamp = headers["Timestamp"]
        if abs(float(timestamp) * 1000 - self.venue.now_ms()) > FRESH_MS:
            text = "gap between request Timestamp and server time exceeds 60"
            raise RefusedError(failure("REQUEST_EXPIRED", text))
        digest = hashlib.sha512(call.body.encode()).hexdigest()
        payload = "\n".join((call.method, call.path, unquote(call.query), digest, timestamp))
        expected = hmac.new(account.keys.secret.encode(), payload.encode(), hashlib.sha512).hexdigest()
        if not hmac.compare_digest(expected, headers["SIGN"]):
            raise RefusedError(failure("INVALID_SIGNATURE", "Signature mismatch"))
        return account

    def forbidden(self) -> Answer:
        return failure("FORBIDDEN", "Request API key does not have spot permission", 403)

    def refusal(self, error: Exception) -> Answer:
        return failure(*ERRORS[cause(error)], status=400)

    def rate_limited(self, seconds: float, /) -> Answer:
        reset = int(self.venue.now_ms() / 1000 + seconds)
        headers = {
            "X-Gate-RateLimit-Requests-Remain": "0",
            "X-Gate-RateLimit-Limit": "200",
            "X-Gate-RateLimit-Reset-Timestamp": str(reset),
        }
        return Answer({"label": "TOO_MANY_REQUESTS", "message": "Request Rate limit Exceeded"}, 429, headers)

    def _market(self, market_id: str) -> Market:
        try:
            return self._by_id[market_id]
        except KeyError:
            raise UnknownMarketError from None

    def _currencies(self, _: Call) -> Json:
        return [
            {
                "currency": asset, "name": asset, "delisted": False, "withdraw_disabled": False,
                "withdraw_delayed": False, "deposit_disabled": False, "trade_disabled": False,
                "chain": "ETH", "chains": [],
            }
            for asset in self.venue.assets
        ]  # fmt: skip

    def _pairs(self, _: Call) -> Json:
        return [market_info(market_id, market) for market_id, market in self._by_id.items()]

    def _tickers(self, call: Call) -> Json:
        wanted = call.params.get("currency_pair")
        markets = [self._market(wanted)] if wanted else list(self._by_id.values())
        return [self._ticker(market) for market in markets]

    def _ticker(self, market: Market) -> Json:
        [(bid, bid_size)], [(ask, ask_size)] = self.venue.book(market, 1)
        price = self.venue.prices[market.symbol]
        return {
            "currency_pair": f"{market.base}_{market.quote}", "last": plain(price), "lowest_ask": plain(ask),
            "lowest_size": plain(ask_size), "highest_bid": plain(bid), "highest_size": plain(bid_size),
            "change_percentage": "0", "base_volume": "1000", "quote_volume": plain(price * 1000),
            "high_24h": plain(price), "low_24h": plain(price),
        }  # fmt: skip

    def _book(self, call: Call) -> Json:
        bids, asks = self.venue.book(
            self._market(call.params["currency_pair"]), int(call.params.get("limit", 10))
        )
        now = self.venue.now_ms()
        return {
            "id": 1, "current": now, "update": now,
            "bids": [[plain(price), plain(amount)] for price, amount in bids],
            "asks": [[plain(price), plain(amount)] for price, amount in asks],
        }  # fmt: skip

    def _candles(self, call: Call) -> Json:
        params, seconds = call.params, SECONDS[call.params["interval"]]
        start, count = None, int(params.get("limit", 100))
        if "from" in params:
            start = int(params["from"]) * 1000
            count = (int(params.get("to", self.venue.now_ms() // 1000)) - int(params["from"])) // seconds + 1
        return [
            [str(int(at) // 1000), *map(plain, (volume * closed, closed, high, low, opened, volume)), "true"]
            for at, opened, high, low, closed, volume in self.venue.candles(
                self._market(params["currency_pair"]), seconds, start, count
            )
        ]

    def _detail(self, _: Call, __: Account) -> Json:
        return {
            "user_id": 10406147, "ip_whitelist": [], "currency_pairs": [], "key": {"mode": 1}, "tier": 0,
            "copy_trading_role": 0,
        }  # fmt: skip

    def _balances(self, _: Call, account: Account) -> Json:
        return [
            {"currency": asset, "available": plain(holding.free), "locked": plain(holding.used)}
            for asset, holding in account.holdings.items()
        ]

    def _create(self, call: Call, account: Account) -> Json:
        wanted = call.json
        is_market, time_in_force = wanted["type"] == "market", wanted.get("time_in_force", "gtc")
        amount = Decimal(wanted["amount"])
        spends = is_market and wanted["side"] == "buy"
        order = self.venue.place(
            account,
            self._market(wanted["currency_pair"]),
            wanted["side"],
            amount=None if spends else amount,
            quote_amount=amount if spends else None,
            price=None if is_market else Decimal(wanted["price"]),
            time_in_force=time_in_force.upper(),
            is_post_only=time_in_force == "poc",
            client_id=wanted.get("text", ""),
        )
        return order_info(order)

    def _find(self, call: Call, account: Account) -> Order:
        market, named = self._market(call.params["currency_pair"]), call.params["order_id"]
        is_client_id = named.startswith("t-")
        order = account.find(
            market, order_id="" if is_client_id else named, client_id=named if is_client_id else ""
        )
        if order is None:
            raise UnknownOrderError
        return order

    def _order(self, call: Call, account: Account) -> Json:
        return order_info(self._find(call, account))

    def _cancel(self, call: Call, account: Account) -> Json:
        return order_info(self.venue.cancel(account, self._find(call, account)))

    def _cancel_all(self, call: Call, account: Account) -> Json:
        wanted = call.params.get("currency_pair")
        orders = account.select(self._market(wanted) if wanted else None, is_open=True)
        return [{**order_info(self.venue.cancel(account, order)), "succeeded": True} for order in orders]

    def _orders(self, call: Call, account: Account) -> Json:
        market = self._market(call.params["currency_pair"])
        return [order_info(o) for o in account.select(market, is_open=call.params["status"] == "open")]

    def _open_orders(self, call: Call, account: Account) -> Json:
        """Of every market a page."""
        by_pair: dict[str, list[Json]] = {}
        for order in account.select(is_open=True):
            info = order_info(order)
            by_pair.setdefault(info["currency_pair"], []).append(info)
        page, limit = int(call.params.get("page", 1)), min(int(call.params.get("limit", 100)), 100)
        return [
            {"currency_pair": pair, "total": len(orders), "orders": orders[(page - 1) * limit : page * limit]}
            for pair, orders in by_pair.items()
        ]

    def _my_trades(self, call: Call, account: Account) -> Json:
        """The newest first, of a month at the most and of a week unless it is said."""
        params, now = call.params, self.venue.now_ms() // 1000
        end = int(params.get("to", now + 1))
        start = int(params.get("from", end - 7 * DAY))
        if end - start > 30 * DAY:
            raise RefusedError(failure("INVALID_PARAM_VALUE", "time range can't exceed 30 days", 400))
        wanted = params.get("currency_pair")
        fills = account.fills(
            self._market(wanted) if wanted else None,
            order_id=params.get("order_id"),
            since_ms=start * 1000,
            until_ms=end * 1000,
        )
        page, limit = int(params.get("page", 1)), min(int(params.get("limit", 100)), 1000)
        return [trade_info(trade) for trade in fills[::-1][(page - 1) * limit : page * limit]]


def market_info(market_id: str, market: Market) -> Json:
    return {
        "id": market_id, "base": market.base, "base_name": market.base, "quote": market.quote,
        "quote_name": market.quote, "fee": "0.1", "min_base_amount": plain(market.amount_step),
        "min_quote_amount": "1", "max_quote_amount": "5000000", "amount_precision": market.amount_places,
        "precision": market.price_places, "trade_status": "tradable", "sell_start": 1607313600,
        "buy_start": 1700492400, "type": "normal",
    }  # fmt: skip


def order_info(order: Order) -> Json:
    status, finished = STATUSES[order.status]
    spent = order.quote_amount
    return {
        "id": order.id, "text": order.client_id or "apiv4", "amend_text": "-",
        "create_time": str(order.created_ms // 1000), "update_time": str(order.updated_ms // 1000),
        "create_time_ms": order.created_ms, "update_time_ms": order.updated_ms, "status": status,
        "currency_pair": f"{order.market.base}_{order.market.quote}", "type": order.type,
        "account": "spot", "side": order.side, "amount": plain(order.amount if spent is None else spent),
        "price": plain(order.price or Decimal(0)),
        "time_in_force": "poc" if order.is_post_only else order.time_in_force.lower(), "iceberg": "0",
        "left": plain(order.remaining if spent is None else spent - order.cost),
        "filled_amount": plain(order.filled), "fill_price": plain(order.cost),
        "filled_total": plain(order.cost), "avg_deal_price": plain(order.average), "fee": plain(order.fee),
        "fee_currency": order.market.base if order.is_buy else order.market.quote, "point_fee": "0",
        "gt_fee": "0", "gt_discount": False, "rebated_fee": "0", "rebated_fee_currency": order.market.quote,
        "finish_as": finished,
    }  # fmt: skip


def trade_info(trade: Trade) -> Json:
    order = trade.order
    return {
        "id": str(trade.id), "create_time": str(trade.time_ms // 1000),
        "create_time_ms": f"{trade.time_ms}.000000", "currency_pair": f"{order.market.base}_{order.market.quote}",
        "side": order.side, "role": "maker" if trade.is_maker else "taker", "amount": plain(trade.amount),
        "price": plain(trade.price), "order_id": order.id, "fee": plain(trade.fee),
        "fee_currency": trade.fee_asset, "point_fee": "0", "gt_fee": "0", "text": order.client_id or "apiv4",
    }  # fmt: skip
