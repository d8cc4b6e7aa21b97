"""Kraken: spot. Its errors come with status 200, its assets have names of their own, and it counts nonces.

Signed are the path and SHA256(nonce + body), by HMAC-SHA512 under the decoded secret; a nonce must grow.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from tests.simulator.accounts import Account, Order, Permission
from tests.simulator.dialect import Answer, Call, Dialect, Json, RefusedError
from tests.simulator.kraken_forms import (
    OLD_NAMES,
    described,
    long_pair,
    market_info,
    order_infos,
    short,
    short_pair,
    trade_info,
)
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
ERRORS = {
    UnknownMarketError: "EQuery:Unknown asset pair",
    UnknownOrderError: "EOrder:Unknown order",
    InsufficientFundsError: "EOrder:Insufficient funds",
    DuplicateClientIdError: "EOrder:Duplicate order",
    Broken.LEAST_AMOUNT: "EGeneral:Invalid arguments:volume minimum not met",
    Broken.AMOUNT_STEP: "EGeneral:Invalid arguments:volume",
    Broken.MOST_AMOUNT: "EGeneral:Invalid arguments:volume",
    Broken.LEAST_PRICE: "EGeneral:Invalid arguments:price",
    Broken.PRICE_STEP: "EOrder:Invalid price:price can only be specified up to so many decimals.",
    Broken.MOST_PRICE: "EGeneral:Invalid arguments:price",
    Broken.LEAST_COST: "EOrder:Cost minimum not met",
    WouldMatchError: "EOrder:Post only order",
}
GRANTED = {
    Permission.READ: ["query-funds", "query-open-trades", "query-closed-trades", "query-ledger"],
    Permission.TRADE: ["modify-trades", "close-trades"],
    Permission.WITHDRAW: ["withdraw-funds"],
}


PAGE = 50


def written(at_ms: int) -> str:
    """A moment as ISO 8601."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat()


def failure(*errors: str) -> Answer:
    return Answer({"error": list(errors)})


class Kraken(Dialect):
    """https://docs.kraken.com/api/docs/rest-api"""

    name = "kraken"
    fees_in_quote = True
    limits = Limits(least_cost=Decimal("0.5"))
    client_ids = ClientIds.ONCE_ENDED

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
        self.private("POST", "/0/private/CancelAllOrdersAfter", self._cancel_all_after, TRADE)
        self.private("POST", "/0/private/OpenPositions", lambda *_: [], READ)
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
        return failure(ERRORS[cause(error)])

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

    def _trades(self, call: Call, account: Account) -> Json:
        """Fifty at a time, the newest first; what happened at the start itself is left out."""
        params = call.params
        end = float(params.get("end", "inf")) * 1000
        fills = [
            trade
            for trade in account.fills(until_ms=end)
            if "start" not in params or trade.time_ms > float(params["start"]) * 1000
        ]
        page = fills[::-1][int(params.get("ofs", 0)) :][:PAGE]
        return {
            "trades": {f"T{trade.id:05}-SIMUL": trade_info(trade) for trade in page},
            "count": len(fills),
        }

    def _cancel_all_after(self, call: Call, account: Account) -> Json:
        at = self.venue.cancel_all_after(account, int(call.params["timeout"]))
        return {
            "currentTime": written(self.venue.now_ms()),
            "triggerTime": "0" if at is None else written(at),
        }


def named(call: Call, orders: list[Order]) -> Iterable[Order]:
    """Those with the client order id that the call names, or all."""
    client_id = call.params.get("cl_ord_id") or call.params.get("userref")
    return (order for order in orders if client_id in (None, order.client_id))
