"""How OKX writes markets, orders, fills and positions."""

from decimal import Decimal

from tests.simulator.accounts import Order, Position, Status, Trade
from tests.simulator.dialect import Json
from tests.simulator.markets import Market, plain
from tests.simulator.venue import LEVERAGE

STATES = {Status.FILLED: "filled", Status.CANCELED: "canceled", Status.EXPIRED: "canceled"}


def kind(market: Market) -> str:
    return "SPOT" if market.contract_size is None else "SWAP"


def instrument(market: Market) -> str:
    pair = f"{market.base}-{market.quote}"
    return pair if market.contract_size is None else f"{pair}-SWAP"


def market_info(market: Market) -> Json:
    pair = f"{market.base}-{market.quote}"
    listed = {
        "alias": "", "category": "1", "expTime": "", "instId": instrument(market), "instType": kind(market),
        "instIdCode": 1, "listTime": "1548133413000", "lotSz": plain(market.amount_step),
        "maxLmtSz": "9999999999", "maxMktSz": "1000000", "minSz": plain(market.amount_step), "optType": "",
        "state": "live", "stk": "", "tickSz": plain(market.price_step), "ruleType": "normal",
    }  # fmt: skip
    if market.contract_size is None:
        return {
            **listed, "baseCcy": market.base, "quoteCcy": market.quote, "settleCcy": "", "ctMult": "", "ctType": "",
            "ctVal": "", "ctValCcy": "", "instFamily": "", "uly": "", "lever": "",
        }  # fmt: skip
    return {
        **listed, "baseCcy": "", "quoteCcy": "", "settleCcy": market.quote, "ctMult": "1", "ctType": "linear",
        "ctVal": plain(market.contract_size), "ctValCcy": market.base, "instFamily": pair, "uly": pair,
        "lever": plain(LEVERAGE),
    }  # fmt: skip


def order_info(order: Order) -> Json:
    kinds = {"IOC": "ioc", "FOK": "fok"}
    order_type = "post_only" if order.is_post_only else kinds.get(order.time_in_force, order.type)
    mode = "cash" if order.market.contract_size is None else "cross"
    resting, last = "partially_filled" if order.trades else "live", order.trades[-1:]
    spent = order.quote_amount
    return {
        "instType": kind(order.market), "instId": instrument(order.market), "ordId": order.id,
        "clOrdId": order.client_id, "side": order.side, "ordType": order_type, "posSide": "net", "tdMode": mode,
        "sz": plain(order.amount if spent is None else spent), "px": plain(order.price) if order.price else "",
        "tgtCcy": "" if order.price else "base_ccy" if spent is None else "quote_ccy",
        "accFillSz": plain(order.filled), "avgPx": plain(order.average) if order.trades else "",
        "state": STATES.get(order.status, resting), "fee": plain(-order.fee),
        "feeCcy": order.trades[-1].fee_asset if order.trades else order.market.quote,
        "fillPx": "".join(plain(trade.price) for trade in last),
        "fillSz": "".join(plain(trade.amount) for trade in last),
        "fillTime": "".join(str(trade.time_ms) for trade in last), "reduceOnly": str(order.is_reduce_only).lower(),
        "cTime": str(order.created_ms), "uTime": str(order.updated_ms), "tag": "", "category": "normal",
    }  # fmt: skip


def trade_info(trade: Trade) -> Json:
    order = trade.order
    return {
        "instType": kind(order.market), "instId": instrument(order.market), "tradeId": str(trade.id),
        "ordId": order.id, "clOrdId": order.client_id, "billId": str(trade.id), "side": order.side,
        "fillPx": plain(trade.price), "fillSz": plain(trade.amount), "fee": plain(-trade.fee),
        "feeCcy": trade.fee_asset, "execType": "M" if trade.is_maker else "T", "ts": str(trade.time_ms),
    }  # fmt: skip


def position_info(market: Market, position: Position, mark: Decimal, now_ms: int) -> Json:
    worth = market.cost(abs(position.contracts), mark)
    return {
        "instType": "SWAP", "instId": instrument(market), "mgnMode": "cross", "posId": "1", "posSide": "net",
        "pos": plain(position.contracts), "availPos": plain(position.contracts), "avgPx": plain(position.entry),
        "markPx": plain(mark), "upl": plain(position.gain(mark) * market.cost(Decimal(1), Decimal(1))),
        "lever": plain(LEVERAGE), "liqPx": "", "imr": plain(worth / LEVERAGE), "mmr": plain(worth / 250),
        "mgnRatio": "100", "margin": "", "notionalUsd": plain(worth), "ccy": market.quote, "posCcy": "",
        "adl": "1", "cTime": str(now_ms), "uTime": str(now_ms),
    }  # fmt: skip
