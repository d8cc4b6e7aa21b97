"""Between the contract's messages and what use cases speak of: the only file that knows both."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from bridgeservice import records
from bridgeservice.amounts import plain
from bridgeservice.directory import Entry
from bridgeservice.exchanges import exchange as exchanges
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.store.snapshots import Point
from bridgeservice.v1 import (
    account_pb2,
    balance_pb2,
    connector_pb2,
    credentials_pb2,
    environment_pb2,
    exchange_pb2,
    market_pb2,
    order_pb2,
    permissions_pb2,
    portfolio_pb2,
    trade_pb2,
)
from bridgeservice.validation import Checks
from servicekit.credentials import Credentials

_ENVIRONMENTS = {
    environment_pb2.ENVIRONMENT_UNSPECIFIED: Environment.LIVE,
    environment_pb2.ENVIRONMENT_LIVE: Environment.LIVE,
    environment_pb2.ENVIRONMENT_SANDBOX: Environment.SANDBOX,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE_BYTES = 8


def environment(check: Checks, value: int) -> Environment:
    """Proto3 enums are open: a number of a later contract arrives as it is."""
    known = _ENVIRONMENTS.get(value)  # type: ignore[call-overload]  # the stubs have enums, the wire has numbers
    if known is None:
        check.add("environment", f"{value} is no environment; use LIVE or SANDBOX")
    return known or Environment.LIVE


def credentials(given: credentials_pb2.Credentials) -> Credentials:
    return Credentials(
        api_key=given.api_key, api_secret=given.api_secret, passphrase=given.passphrase, extra=given.extra
    )


def moment(check: Checks, field: str, given: Timestamp) -> datetime:
    """A time, which the wire lets be any number of seconds."""
    try:
        return given.ToDatetime(UTC)
    except (ValueError, OverflowError):
        check.add(field, "is not a time between the years 1 and 9999")
        return _EPOCH


def max_age(check: Checks, given: Duration) -> float:
    """In seconds."""
    return check.age("max_age", given.seconds + given.nanos / 1e9)


def span(check: Checks, field: str, given: Duration) -> timedelta:
    """A length of time, which the wire lets be more than there is."""
    try:
        return timedelta(seconds=given.seconds, microseconds=given.nanos / 1000)
    except OverflowError:
        check.add(field, "is longer than there is time")
        return timedelta(0)


def place_of_time(time: datetime | None) -> bytes | None:
    """Where a list that is sorted by time goes on."""
    if time is None:
        return None
    microseconds = (time - _EPOCH) // timedelta(microseconds=1)
    return microseconds.to_bytes(_PLACE_BYTES, "big", signed=True)


def time_of_place(place: bytes | None) -> datetime | None:
    if place is None:
        return None
    return _EPOCH + timedelta(microseconds=int.from_bytes(place, "big", signed=True))


def exchange(entry: Entry) -> exchange_pb2.Exchange:
    return exchange_pb2.Exchange(
        id=entry.exchange.id,
        name=entry.exchange.name,
        required_credentials=entry.exchange.required_credentials,
        sandbox=entry.exchange.has_sandbox,
        capabilities=entry.capabilities,
    )


def account(found: records.Account, instance_id: str) -> account_pb2.Account:
    return account_pb2.Account(
        account_name=found.name,
        connectors=[connector(each, instance_id) for each in found.sorted()],
        create_time=found.created_at,
    )


def connector(found: records.Connector, instance_id: str) -> connector_pb2.Connector:
    return connector_pb2.Connector(
        account_name=found.account_name,
        connector_name=found.name,
        exchange=found.exchange,
        environment=f"ENVIRONMENT_{found.environment.value}",
        revision=found.revision,
        instance_id=instance_id,
        create_time=found.created_at,
    )


def permissions(found: exchanges.Permissions | None) -> permissions_pb2.Permissions | None:
    if found is None:
        return None
    return permissions_pb2.Permissions(
        read=f"PERMISSION_{found.read.value}",
        trade=f"PERMISSION_{found.trade.value}",
        withdraw=f"PERMISSION_{found.withdraw.value}",
    )


def holding(found: records.Holding) -> portfolio_pb2.ConnectorPortfolio:
    reading = found.reading
    return portfolio_pb2.ConnectorPortfolio(
        connector_name=found.connector_name,
        exchange=found.exchange,
        status=f"CONNECTOR_STATUS_{found.status.value}",
        error=found.error,
        balances=[_balance(each, found) for each in reading.balances] if reading else (),
        as_of_time=reading.asked_at if reading else None,
    )


def ticker(found: exchanges.Ticker, exchange_id: str) -> market_pb2.Ticker:
    return market_pb2.Ticker(
        exchange=exchange_id,
        symbol=found.symbol,
        bid=found.bid,
        ask=found.ask,
        last=found.last,
        volume=found.volume,
        time=found.time,
    )


def order_book(found: exchanges.OrderBook, exchange_id: str) -> market_pb2.OrderBook:
    return market_pb2.OrderBook(
        exchange=exchange_id,
        symbol=found.symbol,
        bids=_levels(found.bids),
        asks=_levels(found.asks),
        time=found.time,
    )


def candle(found: exchanges.Candle) -> market_pb2.Candle:
    return market_pb2.Candle(
        time=found.time,
        open=found.open,
        high=found.high,
        low=found.low,
        close=found.close,
        volume=found.volume,
    )


def market(found: exchanges.Market, exchange_id: str) -> market_pb2.Market:
    return market_pb2.Market(
        exchange=exchange_id,
        symbol=found.symbol,
        type="MARKET_TYPE_UNSPECIFIED"
        if found.type is exchanges.MarketType.OTHER
        else f"MARKET_TYPE_{found.type.name}",
        base_asset=found.base,
        quote_asset=found.quote,
        settle_asset=found.settle,
        active=found.active,
        amount_step=found.amount_step,
        price_step=found.price_step,
        min_amount=found.min_amount,
        max_amount=found.max_amount,
        min_price=found.min_price,
        max_price=found.max_price,
        min_cost=found.min_cost,
        max_cost=found.max_cost,
        contract_size=found.contract_size,
    )


def point(found: Point) -> portfolio_pb2.PortfolioPoint:
    return portfolio_pb2.PortfolioPoint(
        time=found.time,
        value=plain(found.value),
        quote_asset=found.quote_asset,
        balances=[
            balance_pb2.Balance(asset=asset, **{name: plain(amount) for name, amount in amounts.items()})
            for asset, amounts in found.balances.items()
        ],
        complete=found.complete,
    )


def trade(found: records.Trade) -> trade_pb2.Trade:
    return trade_pb2.Trade(
        trade_id=str(found.id),
        exchange_trade_id=found.exchange_trade_id,
        order_id=str(found.order_id) if found.order_id else "",
        symbol=found.symbol,
        side=f"ORDER_SIDE_{found.side.name}",
        amount=plain(found.amount),
        price=plain(found.price),
        cost=plain(found.cost),
        fees=fees(found.fees),
        time=found.traded_at,
    )


def fees(found: Mapping[str, str]) -> list[order_pb2.Fee]:
    """By asset."""
    return [order_pb2.Fee(asset=asset, amount=amount) for asset, amount in sorted(found.items())]


def _balance(found: exchanges.Balance, within: records.Holding) -> balance_pb2.Balance:
    return balance_pb2.Balance(
        asset=found.asset,
        free=found.free,
        used=found.used,
        total=found.total,
        value=within.values.get(found.asset, ""),
    )


def _levels(offers: Sequence[tuple[str, str]]) -> list[market_pb2.OrderBookLevel]:
    return [market_pb2.OrderBookLevel(price=price, amount=amount) for price, amount in offers]
