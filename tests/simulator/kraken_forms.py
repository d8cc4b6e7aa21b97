"""How Kraken writes assets, markets, orders and fills."""

from collections.abc import Iterable
from decimal import Decimal

from tests.simulator.accounts import Order, Status, Trade
from tests.simulator.dialect import Json
from tests.simulator.markets import Market, plain

ALTERNATIVE = {"BTC": "XBT"}
OLD_NAMES = {"BTC": "XXBT", "ETH": "XETH", "XRP": "XXRP"}
STATUSES = {
    Status.OPEN: "open",
    Status.FILLED: "closed",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "expired",
}


def short(asset: str) -> str:
    return ALTERNATIVE.get(asset, asset)


def short_pair(market: Market) -> str:
    return short(market.base) + short(market.quote)


def long_pair(market: Market) -> str:
    """Only a pair of two old names is written in them."""
    if market.base in OLD_NAMES and market.quote in OLD_NAMES:
        return OLD_NAMES[market.base] + OLD_NAMES[market.quote]
    return short_pair(market)


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
