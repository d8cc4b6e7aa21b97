"""KuCoin: spot of a classic account with high-frequency trading, as all accounts now are.

Signed are timestamp, method, path with query string and body, by HMAC-SHA256 in base64; the passphrase goes along
signed in the same way (key version 2); the timestamp may be five seconds off.
"""

import base64
import hashlib
import hmac
from decimal import Decimal

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
SECONDS = {"1min": 60, "5min": 300, "15min": 900, "1hour": 3600, "4hour": 14400, "1day": 86400}
FRESH_MS = 5_000
WEEK_MS = 7 * 86_400_000
FULL_DEPTH = 200
HEADERS = ("KC-API-KEY", "KC-API-SIGN", "KC-API-TIMESTAMP", "KC-API-PASSPHRASE")
ERRORS = {
    UnknownMarketError: ("400100", "Unsupported trading pair."),
    UnknownOrderError: ("400100", "order_not_exist_or_not_allow_to_cancel"),
    InsufficientFundsError: ("200004", "Balance insufficient!"),
    Broken.LEAST_AMOUNT: ("400100", "Order size below the minimum requirement."),
    Broken.AMOUNT_STEP: ("600100", "Order size increment invalid."),
    Broken.MOST_AMOUNT: ("400100", "Order size above the maximum requirement."),
    Broken.LEAST_PRICE: ("400100", "price not in the given range!"),
    Broken.PRICE_STEP: ("400100", "Price increment invalid."),
    Broken.MOST_PRICE: ("400100", "price not in the given range!"),
    Broken.LEAST_COST: ("600101", "The order funds should more then 0.1 USDT."),
    Broken.MOST_COST: ("400100", "Order funds above the maximum requirement."),
    WouldMatchError: ("300000", "Post only order would be filled at once"),
}
GRANTED = {READ: ["General"], TRADE: ["Spot"], Permission.WITHDRAW: ["Transfer"]}


def failure(code: str, message: str, status: int = 401) -> Answer:
    return Answer({"code": code, "msg": message}, status)


def signed(text: str, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


class Kucoin(Dialect):
    """https://www.kucoin.com/docs-new/"""

    name = "kucoin"
    limits = Limits(
        least_cost=Decimal("0.1"), most_cost=Decimal(99_999_999), most_amount=Decimal(10_000_000_000)
    )

    def __init__(self, venue: Venue) -> None:
        super().__init__(venue)
        self._by_id = {f"{market.base}-{market.quote}": market for market in venue.markets.values()}
        self.public("/api/v1/timestamp", lambda _: venue.now_ms())
        self.public("/api/v3/currencies", self._currencies)
        self.public("/api/v2/symbols", self._symbols)
        self.public("/api/v1/contracts/active", lambda _: [])
        self.public("/api/v1/market/allTickers", self._tickers)
        self.public("/api/v1/market/stats", lambda call: self._ticker(self._market(call.params)))
        self.public("/api/v1/market/orderbook/level2_{depth}", self._book)
        self.public("/api/v1/market/candles", self._candles)
        self.private("GET", "/api/v3/market/orderbook/level2", lambda call, _: self._book(call), READ)
        self.private("GET", "/api/v3/margin/symbols", lambda *_: {"timestamp": 0, "items": []}, READ)
        self.private("GET", "/api/v1/isolated/symbols", lambda *_: [], READ)
        self.private("GET", "/api/ua/v1/account/mode", lambda *_: {"selfAccountMode": "CLASSIC"}, READ)
        self.private("GET", "/api/v1/hf/accounts/opened", lambda *_: True, READ)
        self.private("GET", "/api/v1/user/api-key", self._key_info, READ)
        self.private("GET", "/api/v1/accounts", self._accounts, READ)
        self.private("POST", "/api/v1/hf/orders", self._create, TRADE)
        self.private("DELETE", "/api/v1/hf/orders", self._cancel_all, TRADE)
        self.private("DELETE", "/api/v1/hf/orders/cancelAll", self._cancel_all, TRADE)
        self.private("GET", "/api/v1/hf/orders/active", self._active, READ)
        self.private("GET", "/api/v1/hf/orders/active/symbols", self._active_symbols, READ)
        self.private("GET", "/api/v1/positions", lambda *_: [], READ)
        self.private("GET", "/api/v1/hf/orders/done", self._done, READ)
        self.private("GET", "/api/v1/hf/orders/client-order/{client_oid}", self._order, READ)
        self.private("DELETE", "/api/v1/hf/orders/client-order/{client_oid}", self._cancel, TRADE)
        self.private("GET", "/api/v1/hf/orders/{order_id}", self._order, READ)
        self.private("DELETE", "/api/v1/hf/orders/{order_id}", self._cancel, TRADE)
        self.private("GET", "/api/v1/hf/fills", self._fills, READ)

    @staticmethod
    def order_id(number: int) -> str:
        return f"6745{number:020x}"

    def wrapped(self, data: Json) -> Json:
        return {"code": "200000", "data": data}

    def authenticated(self, call: Call) -> Account:
        key, sign, timestamp, passphrase = (call.headers.get(name, "") for name in HEADERS)
        if not all((key, sign, timestamp, passphrase)):
            raise RefusedError(failure("400001", "Please check the header of your request."))
        account = self.venue.account(key)
        if account is None:
            raise RefusedError(failure("400003", "KC-API-KEY not exists"))
        if not timestamp.isdigit() or abs(int(timestamp) - self.venue.now_ms()) > FRESH_MS:
            raise RefusedError(failure("400002", "KC-API-TIMESTAMP Invalid"))
        secret = account.keys.secret
        expected = signed(timestamp + call.method + call.target + call.body, secret)
        if not hmac.compare_digest(expected, sign):
            raise RefusedError(failure("400005", "Invalid KC-API-SIGN"))
        if not hmac.compare_digest(signed(account.keys.passphrase, secret), passphrase):
            raise RefusedError(failure("400004", "Invalid KC-API-PASSPHRASE"))
        return account

    def forbidden(self) -> Answer:
        return failure("400007", "Access denied, require more permission.", 403)

    def refusal(self, error: Exception) -> Answer:
        return failure(*ERRORS[cause(error)], status=200)

    def rate_limited(self, seconds: float, /) -> Answer:
        headers = {
            "gw-ratelimit-limit": "2000",
            "gw-ratelimit-remaining": "0",
            "gw-ratelimit-reset": str(int(seconds * 1000)),
        }
        body = {"code": "429000", "msg": "Too many requests in a short period of time, please retry later"}
        return Answer(body, 429, headers)

    def _market(self, params: dict[str, str]) -> Market:
        try:
            return self._by_id[params["symbol"]]
        except KeyError:
            raise UnknownMarketError from None

    def _currencies(self, _: Call) -> Json:
        chain = {
            "chainName": "ERC20", "chainId": "eth", "withdrawalMinSize": "1", "depositMinSize": None,
            "withdrawFeeRate": "0", "withdrawalMinFee": "0.1", "isWithdrawEnabled": True,
            "isDepositEnabled": True, "confirms": 12, "preConfirms": 12, "withdrawPrecision": 8,
            "needTag": False,
        }  # fmt: skip
        return [
            {"currency": asset, "name": asset, "fullName": asset, "precision": 8, "chains": [chain]}
            for asset in self.venue.assets
        ]

    def _symbols(self, _: Call) -> Json:
        return [market_info(market_id, market) for market_id, market in self._by_id.items()]

    def _tickers(self, _: Call) -> Json:
        tickers = [self._ticker(market) for market in self._by_id.values()]
        return {"time": self.venue.now_ms(), "ticker": tickers}

    def _ticker(self, market: Market) -> Json:
        [(bid, _)], [(ask, _)] = self.venue.book(market, 1)
        price, name = plain(self.venue.prices[market.symbol]), f"{market.base}-{market.quote}"
        return {
            "time": self.venue.now_ms(), "symbol": name, "symbolName": name, "buy": plain(bid),
            "sell": plain(ask), "changeRate": "0", "changePrice": "0", "high": price, "low": price,
            "vol": "1000", "volValue": plain(self.venue.prices[market.symbol] * 1000), "last": price,
            "averagePrice": price, "takerFeeRate": "0.001", "makerFeeRate": "0.001",
            "takerCoefficient": "1", "makerCoefficient": "1",
        }  # fmt: skip

    def _book(self, call: Call) -> Json:
        depth = int(call.params.get("depth", FULL_DEPTH))
        bids, asks = self.venue.book(self._market(call.params), depth)
        return {
            "time": self.venue.now_ms(), "sequence": "1",
            "bids": [[plain(price), plain(amount)] for price, amount in bids],
            "asks": [[plain(price), plain(amount)] for price, amount in asks],
        }  # fmt: skip

    def _candles(self, call: Call) -> Json:
        params, seconds = call.params, SECONDS[call.params["type"]]
        end = int(params.get("endAt", self.venue.now_ms() // 1000))
        start = int(params.get("startAt", end - 100 * seconds))
        count = min((end - start) // seconds + 1, 1500)
        return [
            [str(int(at) // 1000), *map(plain, (opened, closed, high, low, volume, volume * closed))]
            for at, opened, high, low, closed, volume in reversed(
                self.venue.candles(self._market(params), seconds, start * 1000, count)
            )
        ]

    def _key_info(self, _: Call, account: Account) -> Json:
        granted = ",".join(name for p in Permission if account.may(p) for name in GRANTED[p])
        return {
            "uid": 1, "remark": "simulated", "apiKey": account.keys.api_key, "apiVersion": 2,
            "permission": granted, "ipWhitelist": "", "createdAt": 1698645219000, "isMaster": True,
        }  # fmt: skip

    def _accounts(self, call: Call, account: Account) -> Json:
        kind = call.params.get("type", "trade_hf")
        return [
            {
                "id": f"simulated-{asset}", "currency": asset, "type": kind, "balance": plain(holding.total),
                "available": plain(holding.free), "holds": plain(holding.used),
            }
            for asset, holding in account.holdings.items()
            if kind == "trade_hf"
        ]  # fmt: skip

    def _create(self, call: Call, account: Account) -> Json:
        wanted = call.json
        is_market = wanted["type"] == "market"
        order = self.venue.place(
            account,
            self._market(wanted),
            wanted["side"],
            amount=Decimal(wanted["size"]) if "size" in wanted else None,
            quote_amount=Decimal(wanted["funds"]) if "funds" in wanted else None,
            price=None if is_market else Decimal(wanted["price"]),
            time_in_force=wanted.get("timeInForce", "GTC"),
            is_post_only=wanted.get("postOnly", False),
            client_id=wanted["clientOid"],
        )
        return {"orderId": order.id, "clientOid": order.client_id}

    def _find(self, call: Call, account: Account) -> Order | None:
        params = call.params
        return account.find(
            self._market(params),
            order_id=params.get("order_id", ""),
            client_id=params.get("client_oid", ""),
        )

    def _order(self, call: Call, account: Account) -> Json:
        order = self._find(call, account)
        if order is None:
            raise RefusedError(failure("400100", "The order does not exist.", 200))
        return order_info(order)

    def _cancel(self, call: Call, account: Account) -> Json:
        order = self.venue.cancel(account, self._find(call, account))
        return {"clientOid": order.client_id} if "client_oid" in call.params else {"orderId": order.id}

    def _cancel_all(self, call: Call, account: Account) -> Json:
        market = self._market(call.params) if "symbol" in call.params else None
        ended = [self.venue.cancel(account, order) for order in account.select(market, is_open=True)]
        if market:
            return "success"
        names = {f"{order.market.base}-{order.market.quote}" for order in ended}
        return {"succeedSymbols": sorted(names), "failedSymbols": []}

    def _active(self, call: Call, account: Account) -> Json:
        return [order_info(order) for order in account.select(self._market(call.params), is_open=True)]

    def _done(self, call: Call, account: Account) -> Json:
        orders = account.select(self._market(call.params), is_open=False)
        return {"lastId": 0, "items": [order_info(order) for order in reversed(orders)]}

    def _fills(self, call: Call, account: Account) -> Json:
        """The newest first, of a week at the most, that were before the last one of the page before."""
        params, now = call.params, self.venue.now_ms()
        start = int(params.get("startAt", int(params.get("endAt", now)) - WEEK_MS))
        end = int(params.get("endAt", start + WEEK_MS))
        if end - start > WEEK_MS:
            raise RefusedError(failure("400100", "The time range must be within 7 days.", 200))
        fills = account.fills(
            self._market(params), order_id=params.get("orderId"), since_ms=start, until_ms=end
        )
        older = [trade for trade in fills[::-1] if trade.id < int(params.get("lastId", trade.id + 1))]
        page = older[: min(int(params.get("limit", 20)), 100)]
        return {"lastId": page[-1].id if page else 0, "items": [trade_info(trade) for trade in page]}

    def _active_symbols(self, _: Call, account: Account) -> Json:
        markets = [order.market for order in account.select(is_open=True)]
        return {"symbols": sorted({f"{market.base}-{market.quote}" for market in markets})}


def market_info(market_id: str, market: Market) -> Json:
    return {
        "symbol": market_id, "name": market_id, "baseCurrency": market.base, "quoteCurrency": market.quote,
        "feeCurrency": market.quote, "market": "USDS", "baseMinSize": plain(market.amount_step),
        "quoteMinSize": "0.1", "baseMaxSize": "10000000000", "quoteMaxSize": "99999999",
        "baseIncrement": plain(market.amount_step), "quoteIncrement": "0.000001",
        "priceIncrement": plain(market.price_step), "priceLimitRate": "0.1", "minFunds": "0.1",
        "isMarginEnabled": False, "enableTrading": True, "feeCategory": 1, "makerFeeCoefficient": "1.00",
        "takerFeeCoefficient": "1.00", "st": False,
    }  # fmt: skip


def order_info(order: Order) -> Json:
    is_open = order.status is Status.OPEN
    return {
        "id": order.id, "clientOid": order.client_id, "symbol": f"{order.market.base}-{order.market.quote}",
        "opType": "DEAL", "type": order.type, "side": order.side, "price": plain(order.price or Decimal(0)),
        "size": plain(order.amount), "funds": plain(order.quote_amount or Decimal(0)),
        "dealSize": plain(order.filled), "dealFunds": plain(order.cost), "fee": plain(order.fee),
        "feeCurrency": order.market.base if order.is_buy else order.market.quote, "stp": None,
        "timeInForce": order.time_in_force, "postOnly": order.is_post_only, "hidden": False,
        "iceberg": False, "visibleSize": "0", "cancelAfter": 0, "channel": "API", "remark": None,
        "tags": None, "cancelExist": order.status in (Status.CANCELED, Status.EXPIRED),
        "createdAt": order.created_ms, "lastUpdatedAt": order.updated_ms, "tradeType": "TRADE",
        "inOrderBook": is_open, "cancelledSize": plain(Decimal(0) if is_open else order.remaining),
        "cancelledFunds": "0", "remainSize": plain(order.remaining), "remainFunds": "0", "active": is_open,
    }  # fmt: skip


def trade_info(trade: Trade) -> Json:
    order = trade.order
    return {
        "id": trade.id, "symbol": f"{order.market.base}-{order.market.quote}", "tradeId": trade.id,
        "orderId": order.id, "counterOrderId": "0", "side": order.side,
        "liquidity": "maker" if trade.is_maker else "taker", "forceTaker": False,
        "price": plain(trade.price), "size": plain(trade.amount), "funds": plain(trade.cost),
        "fee": plain(trade.fee), "feeRate": "0.001", "feeCurrency": trade.fee_asset, "stop": "",
        "tradeType": "TRADE", "type": order.type, "createdAt": trade.time_ms,
    }  # fmt: skip
