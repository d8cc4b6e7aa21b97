"""Kraken: spot. Its errors come with status 200, its assets have names of their own, and it counts nonces.

Signed are the path and SHA256(nonce + body), by HMAC-SHA512 under the decoded secret; a nonce must grow.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from decimal import Decimal

from tests.simulator.accounts import Account, Order, Permission, Status, Trade
from tests.simulator.dialect import Answer, Call, Dialect, Json, RefusedError
from tests.simulator.markets import Market, plain
from tests.simulator.venue import (
    InsufficientFundsError,
    InvalidOrderError,
    UnknownMarketError,
    UnknownOrderError,
    Venue,
    WouldMatchError,
)

READ, TRADE = Permission.READ, Permission.TRADE
ALTERNATIVE = {"BTC": "XBT"}
OLD_NAMES = {"BTC": "XXBT", "ETH": "XETH", "XRP": "XXRP"}
STATUSES = {
    Status.OPEN: "open",
    Status.FILLED: "closed",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "expired",
}
ERRORS = {
    UnknownMarketError: "EQuery:Unknown asset pair",
    UnknownOrderError: "EOrder:Unknown order",
    InsufficientFundsError: "EOrder:Insufficient funds",
    InvalidOrderError: "EGeneral:Invalid arguments:volume",
    WouldMatchError: "EOrder:Post only order",
}
GRANTED = {
    Permission.READ: ["query-funds", "query-open-trades", "query-closed-trades", "query-ledger"],
    Permission.TRADE: ["modify-trades", "close-trades"],
    Permission.WITHDRAW: ["withdraw-funds"],
}


def failure(*errors: str) -> Answer:
    return Answer({"error": list(errors)})


def short(asset: str) -> str:
    return ALTERNATIVE.get(asset, asset)


def short_pair(market: Market) -> str:
    return short(market.base) + short(market.quote)


def long_pair(market: Market) -> str:
    """Only a pair of two old names is written in them."""
    if market.base in OLD_NAMES and market.quote in OLD_NAMES:
        return OLD_NAMES[market.base] + OLD_NAMES[market.quote]
    return short_pair(market)


class Kraken(Dialect):
    """https://docs.kraken.com/api/docs/rest-api"""

    name = "kraken"
    fees_in_quote = True

    def __init__(self, venue: Venue) -> None:
        super().__init__(venue)
        self._by_name = {name(m): m for m in venue.markets.values() for name in (short_pair, long_pair)}
        self.public("/0/public/Time", lambda _: {"unixtime": venue.now_ms() // 1000})
        self.public("/0/public/SystemStatus", lambda _: {"status": "online"})
        self.public("/0/public/Assets", self._assets)
        self.public("/0/public/AssetPairs", self._asset_pairs)
        self.public("/0/public/Ticker", self._tickers)
        self.public("/0/public/Depth", self._depth)
        self.public("/0/public/OHLC", self._candles)
        self.private("POST", "/0/private/GetApiKeyInfo", self._key_info)
        self.private("POST", "/0/private/BalanceEx", self._balances, READ)
        self.private("POST", "/0/private/AddOrder", self._create, TRADE)
        self.private("POST", "/0/private/CancelOrder", self._cancel, TRADE)
        self.private("POST", "/0/private/CancelAll", self._cancel_all, TRADE)
        self.private("POST", "/0/private/QueryOrders", self._query_orders, READ)
        self.private("POST", "/0/private/OpenOrders", self._open_orders, READ)
        self.private("POST", "/0/private/ClosedOrders", self._closed_orders, READ)
        self.private("POST", "/0/private/TradesHistory", self._trades, READ)

    @staticmethod
    def order_id(number: int) -> str:
        return f"O{number:05}-SIMUL-{number % 1_000_000:06}"

    def wrapped(self, data: Json) -> Json:
        return {"error": [], "result": data}

    def unknown_path(self) -> Answer:
        return failure("EGeneral:Unknown method")

    def authenticated(self, call: Call) -> Account:
        account = self.venue.account(call.headers.get("API-Key", ""))
        if account is None:
            raise RefusedError(failure("EAPI:Invalid key"))
        nonce = call.params.get("nonce", "")
        digest = hashlib.sha256((nonce + call.body).encode()).digest()
        secret = base64.b64decode(account.keys.secret)
        expected = base64.b64encode(hmac.new(secret, call.path.encode() + digest, hashlib.sha512).digest())
        if not hmac.compare_digest(expected.decode(), call.headers.get("API-Sign", "")):
            raise RefusedError(failure("EAPI:Invalid signature"))
        if not nonce.isdigit() or int(nonce) <= account.last_nonce:
            raise RefusedError(failure("EAPI:Invalid nonce"))
        account.last_nonce = int(nonce)
        return account

    def forbidden(self) -> Answer:
        return failure("EGeneral:Permission denied")

    def refusal(self, error: Exception) -> Answer:
        return failure(ERRORS[type(error)])

    def rate_limited(self, _: float, /) -> Answer:
        return failure("EAPI:Rate limit exceeded")

    def banned(self, _: float, /) -> Answer:
        return failure("EGeneral:Temporary lockout")

    def _market(self, name: str) -> Market:
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownMarketError from None

    def _assets(self, _: Call) -> Json:
        return {
            OLD_NAMES.get(asset, asset): {
                "aclass": "currency", "altname": short(asset), "decimals": 10, "display_decimals": 5,
                "status": "enabled",
            }
            for asset in self.venue.assets
        }  # fmt: skip

    def _asset_pairs(self, _: Call) -> Json:
        return {long_pair(market): market_info(market) for market in self.venue.markets.values()}

    def _tickers(self, call: Call) -> Json:
        names = call.params.get("pair")
        wanted = map(self._market, names.split(",")) if names else self.venue.markets.values()
        return {long_pair(market): self._ticker(market) for market in wanted}

    def _ticker(self, market: Market) -> Json:
        [(bid, _)], [(ask, _)] = self.venue.book(market, 1)
        price = plain(self.venue.prices[market.symbol])
        return {
            "a": [plain(ask), "1", "1.000"], "b": [plain(bid), "1", "1.000"], "c": [price, "0.1"],
            "v": ["100", "1000"], "p": [price, price], "t": [10, 100], "l": [price, price],
            "h": [price, price], "o": price,
        }  # fmt: skip

    def _depth(self, call: Call) -> Json:
        market = self._market(call.params["pair"])
        bids, asks = self.venue.book(market, int(call.params.get("count", 100)))
        now = self.venue.now_ms() // 1000
        return {
            long_pair(market): {
                "asks": [[plain(price), plain(amount), now] for price, amount in asks],
                "bids": [[plain(price), plain(amount), now] for price, amount in bids],
            }
        }

    def _candles(self, call: Call) -> Json:
        market, since = self._market(call.params["pair"]), call.params.get("since")
        seconds = int(call.params.get("interval", 1)) * 60
        start = int(float(since)) * 1000 + 1 if since else None
        rows = [
            [
                int(at) // 1000,
                plain(opened),
                plain(high),
                plain(low),
                plain(closed),
                plain(closed),
                plain(volume),
                1,
            ]
            for at, opened, high, low, closed, volume in self.venue.candles(market, seconds, start, 720)
        ]
        return {long_pair(market): rows, "last": rows[-1][0] if rows else 0}

    def _key_info(self, _: Call, account: Account) -> Json:
        return {
            "apiKeyName": "simulated", "apiKey": account.keys.api_key, "nonce": str(account.last_nonce),
            "nonceWindow": "0", "validUntil": "0", "queryFrom": "0", "queryTo": "0", "ipAllowlist": [],
            "permissions": [name for p in Permission if account.may(p) for name in GRANTED[p]],
        }  # fmt: skip

    def _balances(self, _: Call, account: Account) -> Json:
        return {
            OLD_NAMES.get(asset, asset): {"balance": plain(holding.total), "hold_trade": plain(holding.used)}
            for asset, holding in account.holdings.items()
        }

    def _create(self, call: Call, account: Account) -> Json:
        params = call.params
        market, flags, volume = (
            self._market(params["pair"]),
            params.get("oflags", ""),
            Decimal(params["volume"]),
        )
        order = self.venue.place(
            account,
            market,
            params["type"],
            amount=None if "viqc" in flags else volume,
            quote_amount=volume if "viqc" in flags else None,
            price=Decimal(params["price"]) if "price" in params else None,
            time_in_force=params.get("timeinforce", "GTC"),
            is_post_only="post" in flags,
            client_id=params.get("cl_ord_id") or params.get("userref", ""),
        )
        return {"descr": {"order": described(order)}, "txid": [order.id]}

    def _cancel(self, call: Call, account: Account) -> Json:
        params = call.params
        named = account.find(order_id=params.get("txid", ""), client_id=params.get("cl_ord_id", ""))
        self.venue.cancel(account, named)
        return {"count": 1}

    def _cancel_all(self, _: Call, account: Account) -> Json:
        return {"count": len([self.venue.cancel(account, order) for order in account.select(is_open=True)])}

    def _query_orders(self, call: Call, account: Account) -> Json:
        found = [account.orders.get(order_id) for order_id in call.params["txid"].split(",")]
        if None in found:
            raise UnknownOrderError
        return order_infos(order for order in found if order)

    def _open_orders(self, call: Call, account: Account) -> Json:
        return {"open": order_infos(named(call, account.select(is_open=True)))}

    def _closed_orders(self, call: Call, account: Account) -> Json:
        closed = order_infos(named(call, account.select(is_open=False)))
        return {"closed": closed, "count": len(closed)}

    def _trades(self, _: Call, account: Account) -> Json:
        return {
            "trades": {f"T{trade.id:05}-SIMUL": trade_info(trade) for trade in account.trades},
            "count": len(account.trades),
        }


def named(call: Call, orders: list[Order]) -> Iterable[Order]:
    """Those with the client order id that the call names, or all."""
    client_id = call.params.get("cl_ord_id") or call.params.get("userref")
    return (order for order in orders if client_id in (None, order.client_id))


def market_info(market: Market) -> Json:
    return {
        "altname": short_pair(market), "wsname": f"{short(market.base)}/{short(market.quote)}",
        "aclass_base": "currency", "base": OLD_NAMES.get(market.base, market.base),
        "aclass_quote": "currency", "quote": OLD_NAMES.get(market.quote, market.quote), "lot": "unit",
        "cost_decimals": 8, "pair_decimals": market.price_places, "lot_decimals": market.amount_places,
        "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [], "fees": [[0, 0.1]],
        "fees_maker": [[0, 0.1]], "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40,
        "ordermin": plain(market.amount_step), "costmin": "0.5", "tick_size": plain(market.price_step),
        "status": "online",
    }  # fmt: skip


def described(order: Order) -> str:
    limit = "" if order.price is None else f" {plain(order.price)}"
    return f"{order.side} {plain(order.amount)} {short_pair(order.market)} @ {order.type}{limit}"


def order_infos(orders: Iterable[Order]) -> Json:
    return {order.id: order_info(order) for order in orders}


def order_info(order: Order) -> Json:
    ended = {} if order.status is Status.OPEN else {"closetm": order.updated_ms / 1000}
    return {
        "refid": None, "userref": None, "cl_ord_id": order.client_id or None,
        "status": STATUSES[order.status], "opentm": order.created_ms / 1000, "starttm": 0, "expiretm": 0,
        "descr": {
            "pair": short_pair(order.market), "type": order.side, "ordertype": order.type,
            "price": plain(order.price or Decimal(0)), "price2": "0", "leverage": "none",
            "order": described(order), "close": "",
        },
        "vol": plain(order.amount), "vol_exec": plain(order.filled), "cost": plain(order.cost),
        "fee": plain(order.fee), "price": plain(order.average), "stopprice": "0.00000",
        "limitprice": "0.00000", "misc": "", "oflags": "fciq,post" if order.is_post_only else "fciq",
        "trades": [f"T{trade.id:05}-SIMUL" for trade in order.trades], **ended,
    }  # fmt: skip


def trade_info(trade: Trade) -> Json:
    return {
        "ordertxid": trade.order.id, "postxid": "TSIMUL", "pair": long_pair(trade.order.market),
        "time": trade.time_ms / 1000, "type": trade.order.side, "ordertype": trade.order.type,
        "price": plain(trade.price), "cost": plain(trade.cost), "fee": plain(trade.fee),
        "vol": plain(trade.amount), "margin": "0", "misc": "", "trade_id": trade.id, "maker": trade.is_maker,
    }  # fmt: skip
