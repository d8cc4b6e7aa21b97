"""How Binance writes markets, orders and fills."""

from decimal import Decimal

from tests.simulator.accounts import Order, Status, Trade
from tests.simulator.dialect import Json
from tests.simulator.markets import Market, plain

STATUSES = {Status.FILLED: "FILLED", Status.CANCELED: "CANCELED", Status.EXPIRED: "EXPIRED"}


def market_info(market_id: str, market: Market) -> Json:
    price_step, amount_step = plain(market.price_step), plain(market.amount_step)
    lots = {"minQty": amount_step, "maxQty": "90000000.00000000", "stepSize": amount_step}
    return {
        "symbol": market_id, "status": "TRADING", "baseAsset": market.base, "baseAssetPrecision": 8,
        "quoteAsset": market.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"], "icebergAllowed": True, "ocoAllowed": True,
        "otoAllowed": True, "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True,
        "cancelReplaceAllowed": True, "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": price_step, "maxPrice": "1000000.00000000",
             "tickSize": price_step},
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
        ],
        "permissions": [], "permissionSets": [["SPOT"]], "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }  # fmt: skip


def order_info(order: Order) -> Json:
    resting = "PARTIALLY_FILLED" if order.trades else "NEW"
    return {
        "symbol": order.market.base + order.market.quote, "orderId": int(order.id), "orderListId": -1,
        "clientOrderId": order.client_id, "price": plain(order.price or Decimal(0)),
        "origQty": plain(order.amount), "executedQty": plain(order.filled),
        "cummulativeQuoteQty": plain(order.cost), "origQuoteOrderQty": plain(order.quote_amount or Decimal(0)),
        "status": STATUSES.get(order.status, resting), "timeInForce": order.time_in_force,
        "type": "LIMIT_MAKER" if order.is_post_only else order.type.upper(), "side": order.side.upper(),
        "stopPrice": "0.00000000", "icebergQty": "0.00000000", "time": order.created_ms,
        "updateTime": order.updated_ms, "isWorking": True, "workingTime": order.created_ms,
        "selfTradePreventionMode": "NONE",
    }  # fmt: skip


def trade_info(trade: Trade) -> Json:
    return {
        "symbol": trade.order.market.base + trade.order.market.quote, "id": trade.id,
        "orderId": int(trade.order.id), "orderListId": -1, "price": plain(trade.price),
        "qty": plain(trade.amount), "quoteQty": plain(trade.cost), "commission": plain(trade.fee),
        "commissionAsset": trade.fee_asset, "time": trade.time_ms, "isBuyer": trade.order.is_buy,
        "isMaker": trade.is_maker, "isBestMatch": True,
    }  # fmt: skip
