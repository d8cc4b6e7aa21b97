"""Binance: spot in full, and as much of the futures as loading markets needs.

Signed are all parameters, by HMAC-SHA256 in hex; ``timestamp`` may be ``recvWindow`` old and one second ahead.
"""

import hashlib
import hmac
import json
from decimal import Decimal

from tests.simulator.accounts import Account, Holding, Order, Permission
from tests.simulator.binance_forms import market_info, order_info, trade_info
from tests.simulator.dialect import Answer, Call, Dialect, Json, RefusedError
from tests.simulator.markets import Limits, Market, plain
from tests.simulator.refusals import (
    Broken,
    DuplicateClientIdError,
    InsufficientFundsError,
    UnknownMarketError,
    UnknownOrderError,
    WouldMatchError,
    cause,
)
from tests.simulator.venue import ClientIds, Venue

READ, TRADE = Permission.READ, Permission.TRADE
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14400, "1d": 86400}
ERRORS = {
    UnknownMarketError: (-1121, "Invalid symbol."),
    UnknownOrderError: (-2011, "Unknown order sent."),
    InsufficientFundsError: (-2010, "Account has insufficient balance for requested action."),
    DuplicateClientIdError: (-2010, "Duplicate order sent."),
    Broken.LEAST_AMOUNT: (-1013, "Filter failure: LOT_SIZE"),
    Broken.AMOUNT_STEP: (-1013, "Filter failure: LOT_SIZE"),
    Broken.MOST_AMOUNT: (-1013, "Filter failure: LOT_SIZE"),
    Broken.LEAST_PRICE: (-1013, "Filter failure: PRICE_FILTER"),
    Broken.PRICE_STEP: (-1013, "Filter failure: PRICE_FILTER"),
    Broken.MOST_PRICE: (-1013, "Filter failure: PRICE_FILTER"),
    Broken.LEAST_COST: (-1013, "Filter failure: NOTIONAL"),
    Broken.MOST_COST: (-1013, "Filter failure: NOTIONAL"),
    WouldMatchError: (-2010, "Order would immediately match and take."),
}
PERPETUALS = {
    "fapi": ("BTCUSDT", "USDT", "USDT"),
    "dapi": ("BTCUSD_PERP", "USD", "BTC"),
}


def failure(code: int, message: str, status: int = 400) -> Answer:
    return Answer({"code": code, "msg": message}, status)


class Binance(Dialect):
    """https://developers.binance.com/docs/binance-spot-api-docs/rest-api"""

    name = "binance"
    limits = Limits(
        least_cost=Decimal(5), most_cost=Decimal(9_000_000), most_amount=Decimal(90_000_000),
        most_price=Decimal(1_000_000),
    )  # fmt: skip
    client_ids = ClientIds.ONCE_ENDED

    def __init__(self, venue: Venue) -> None:
        super().__init__(venue)
        self._by_id = {market.base + market.quote: market for market in venue.markets.values()}
        self.public("/api/v3/ping", lambda _: {})
        self.public("/api/v3/time", lambda _: {"serverTime": venue.now_ms()})
        self.public("/api/v3/exchangeInfo", self._exchange_info)
        self.public("/api/v3/ticker/24hr", self._tickers)
        self.public("/api/v3/depth", self._depth)
        self.public("/api/v3/klines", self._klines)
        for family in PERPETUALS:
            self.public(f"/{family}/v1/exchangeInfo", self._perpetuals)
        self.private("GET", "/sapi/v1/capital/config/getall", self._coins, READ)
        self.private("GET", "/sapi/v1/margin/allPairs", lambda *_: [], READ)
        self.private("GET", "/sapi/v1/margin/isolated/allPairs", lambda *_: [], READ)
        self.private("GET", "/sapi/v1/account/apiRestrictions", self._restrictions)
        self.private("GET", "/api/v3/account", self._account, READ)
        self.private("POST", "/api/v3/order", self._create, TRADE)
        self.private("DELETE", "/api/v3/order", self._cancel, TRADE)
        self.private("GET", "/api/v3/order", self._order, READ)
        self.private("GET", "/api/v3/openOrders", self._open_orders, READ)
        self.private("DELETE", "/api/v3/openOrders", self._cancel_all, TRADE)
        self.private("GET", "/api/v3/allOrders", self._all_orders, READ)
        self.private("GET", "/api/v3/myTrades", self._my_trades, READ)
        for nothing in ("v1/leverageBracket", "v3/positionRisk"):
            self.private("GET", f"/fapi/{nothing}", lambda *_: [], READ)

    @staticmethod
    def order_id(number: int) -> str:
        return str(number)

    def authenticated(self, call: Call) -> Account:
        account = self.venue.account(call.headers.get("X-MBX-APIKEY", ""))
        if account is None:
            # A key that never was is -2008 on the real one; ccxt knows that code only at api.binance.com.
            raise RefusedError(failure(-2015, "Invalid API-key, IP, or permissions for action.", 401))
        params = call.params
        if "timestamp" not in params:
            raise RefusedError(
                failure(-1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
            )
        ahead = int(params["timestamp"]) - self.venue.now_ms()
        if ahead > 1000:
            raise RefusedError(
                failure(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
            )
        if -ahead > int(params.get("recvWindow", 5000)):
            raise RefusedError(failure(-1021, "Timestamp for this request is outside of the recvWindow."))
        payload, _, signature = (call.query + call.body).rpartition("&signature=")
        expected = hmac.new(account.keys.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature):
            raise RefusedError(failure(-1022, "Signature for this request is not valid."))
        return account

    def forbidden(self) -> Answer:
        return failure(-2015, "Invalid API-key, IP, or permissions for action.", 401)

    def refusal(self, error: Exception) -> Answer:
        return failure(*ERRORS[cause(error)])

    def rate_limited(self, seconds: float, /) -> Answer:
        text = (
            "Too many requests; current limit of IP(127.0.0.1) is 6000 requests per minute. "
            "Please use the websocket for live updates to avoid bans."
        )
        return Answer({"code": -1003, "msg": text}, 429, {"Retry-After": str(int(seconds))})

    def banned(self, seconds: float, /) -> Answer:
        until = self.venue.now_ms() + int(seconds * 1000)
        text = (
            f"Way too many requests; IP(127.0.0.1) banned until {until}. "
            "Please use the websocket for live updates to avoid bans."
        )
        return Answer({"code": -1003, "msg": text}, 418, {"Retry-After": str(int(seconds))})

    def _market(self, call: Call) -> Market:
        try:
            return self._by_id[call.params["symbol"]]
        except KeyError:
            raise UnknownMarketError from None

    def _exchange_info(self, _: Call) -> Json:
        symbols = [market_info(market_id, market) for market_id, market in self._by_id.items()]
        return {"timezone": "UTC", "serverTime": self.venue.now_ms(), "symbols": symbols}

    def _perpetuals(self, call: Call) -> Json:
        symbol, quote, margin = PERPETUALS[call.path.split("/")[1]]
        return {
            "symbols": [
                {
                    "symbol": symbol, "pair": "BTC" + quote, "contractType": "PERPETUAL",
                    "deliveryDate": 4133404800000, "onboardDate": 1569398400000, "status": "TRADING",
                    "contractStatus": "TRADING", "contractSize": 1, "baseAsset": "BTC", "quoteAsset": quote,
                    "marginAsset": margin, "pricePrecision": 1, "quantityPrecision": 3, "filters": [],
                }
            ]
        }  # fmt: skip

    def _tickers(self, call: Call) -> Json:
        if "symbol" in call.params:
            return self._ticker(self._market(call))
        wanted = json.loads(call.params.get("symbols", "[]")) or self._by_id
        return [self._ticker(self._by_id[market_id]) for market_id in wanted]

    def _ticker(self, market: Market) -> Json:
        ([(bid, bid_size)], [(ask, ask_size)]), price = (
            self.venue.book(market, 1),
            self.venue.prices[market.symbol],
        )
        now = self.venue.now_ms()
        return {
            "symbol": market.base + market.quote, "priceChange": "0", "priceChangePercent": "0.000",
            "weightedAvgPrice": plain(price), "prevClosePrice": plain(price), "lastPrice": plain(price),
            "lastQty": "1", "bidPrice": plain(bid), "bidQty": plain(bid_size), "askPrice": plain(ask),
            "askQty": plain(ask_size), "openPrice": plain(price), "highPrice": plain(price),
            "lowPrice": plain(price), "volume": "1000", "quoteVolume": plain(price * 1000),
            "openTime": now - 86_400_000, "closeTime": now, "firstId": 1, "lastId": 2, "count": 2,
        }  # fmt: skip

    def _depth(self, call: Call) -> Json:
        bids, asks = self.venue.book(self._market(call), int(call.params.get("limit", 100)))
        return {
            "lastUpdateId": 1,
            "bids": [[plain(price), plain(amount)] for price, amount in bids],
            "asks": [[plain(price), plain(amount)] for price, amount in asks],
        }

    def _klines(self, call: Call) -> Json:
        params = call.params
        seconds, start = SECONDS[params["interval"]], params.get("startTime")
        count = int(params.get("limit", 500))
        candles = self.venue.candles(self._market(call), seconds, int(start) if start else None, count)
        return [
            [int(at), *map(plain, row), int(at) + seconds * 1000 - 1, "0", 1, "0", "0", "0"]
            for at, *row in candles
        ]

    def _coins(self, _: Call, account: Account) -> Json:
        held = {asset: account.holdings.get(asset, Holding()) for asset in self.venue.assets}
        return [
            {
                "coin": asset, "name": asset, "trading": True, "isLegalMoney": False,
                "free": plain(holding.free), "locked": plain(holding.used),
                "depositAllEnable": True, "withdrawAllEnable": True, "networkList": [],
            }
            for asset, holding in held.items()
        ]  # fmt: skip

    def _restrictions(self, _: Call, account: Account) -> Json:
        return {
            "ipRestrict": False, "createTime": 1698645219000, "enableReading": account.may(READ),
            "enableWithdrawals": account.may(Permission.WITHDRAW), "enableInternalTransfer": False,
            "enableMargin": False, "enableFutures": False, "permitsUniversalTransfer": False,
            "enableVanillaOptions": False, "enableSpotAndMarginTrading": account.may(TRADE),
        }  # fmt: skip

    def _account(self, _: Call, account: Account) -> Json:
        return {
            "makerCommission": 10, "takerCommission": 10, "canTrade": account.may(TRADE),
            "canWithdraw": account.may(Permission.WITHDRAW), "canDeposit": True, "accountType": "SPOT",
            "updateTime": self.venue.now_ms(), "permissions": ["SPOT"],
            "balances": [
                {"asset": asset, "free": plain(holding.free), "locked": plain(holding.used)}
                for asset, holding in account.holdings.items()
            ],
        }  # fmt: skip

    def _create(self, call: Call, account: Account) -> Json:
        params, market = call.params, self._market(call)
        order = self.venue.place(
            account,
            market,
            params["side"].lower(),
            amount=Decimal(params["quantity"]) if "quantity" in params else None,
            quote_amount=Decimal(params["quoteOrderQty"]) if "quoteOrderQty" in params else None,
            price=Decimal(params["price"]) if "price" in params else None,
            time_in_force=params.get("timeInForce", "GTC"),
            is_post_only=params["type"] == "LIMIT_MAKER",
            client_id=params.get("newClientOrderId", ""),
        )
        fills = [
            {
                "price": plain(trade.price), "qty": plain(trade.amount), "commission": plain(trade.fee),
                "commissionAsset": trade.fee_asset, "tradeId": trade.id,
            }
            for trade in order.trades
        ]  # fmt: skip
        return {**order_info(order), "transactTime": order.created_ms, "fills": fills}

    def _find(self, call: Call, account: Account) -> Order | None:
        params = call.params
        return account.find(
            self._market(call),
            order_id=params.get("orderId", ""),
            client_id=params.get("origClientOrderId", ""),
        )

    def _cancel(self, call: Call, account: Account) -> Json:
        order = self.venue.cancel(account, self._find(call, account))
        return {**order_info(order), "origClientOrderId": order.client_id, "transactTime": order.updated_ms}

    def _order(self, call: Call, account: Account) -> Json:
        order = self._find(call, account)
        if order is None:
            raise RefusedError(failure(-2013, "Order does not exist."))
        return order_info(order)

    def _open_orders(self, call: Call, account: Account) -> Json:
        market = self._market(call) if "symbol" in call.params else None
        return [order_info(order) for order in account.select(market, is_open=True)]

    def _cancel_all(self, call: Call, account: Account) -> Json:
        orders = account.select(self._market(call), is_open=True)
        if not orders:
            raise UnknownOrderError
        return [order_info(self.venue.cancel(account, order)) for order in orders]

    def _all_orders(self, call: Call, account: Account) -> Json:
        return [order_info(order) for order in account.select(self._market(call))]

    def _my_trades(self, call: Call, account: Account) -> Json:
        """The last ones, or from a time or an id on the first ones."""
        market, params = self._market(call), call.params
        start, end = (int(params[name]) if name in params else None for name in ("startTime", "endTime"))
        if start is not None and end is not None and end - start > 24 * 3_600_000:
            raise RefusedError(failure(-1127, "More than 24 hours between startTime and endTime."))
        fills = account.fills(
            market, order_id=params.get("orderId"), since_ms=start or 0, until_ms=end or float("inf")
        )
        limit = min(int(params.get("limit", 500)), 1000)
        if "fromId" in params:
            fills = [trade for trade in fills if trade.id >= int(params["fromId"])]
        found = fills[:limit] if start is not None or "fromId" in params else fills[-limit:]
        return [trade_info(trade) for trade in found]
