import datetime

from bridgeservice.v1 import account_pb2 as _account_pb2
from bridgeservice.v1 import connector_pb2 as _connector_pb2
from bridgeservice.v1 import credentials_pb2 as _credentials_pb2
from bridgeservice.v1 import environment_pb2 as _environment_pb2
from bridgeservice.v1 import exchange_pb2 as _exchange_pb2
from bridgeservice.v1 import market_pb2 as _market_pb2
from bridgeservice.v1 import order_pb2 as _order_pb2
from bridgeservice.v1 import permissions_pb2 as _permissions_pb2
from bridgeservice.v1 import portfolio_pb2 as _portfolio_pb2
from bridgeservice.v1 import position_pb2 as _position_pb2
from bridgeservice.v1 import risk_pb2 as _risk_pb2
from bridgeservice.v1 import trade_pb2 as _trade_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from servicekit.v1 import policy_pb2 as _policy_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetBridgeInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBridgeInfoResponse(_message.Message):
    __slots__ = ("instance_id", "start_time", "version", "account_count", "connector_count", "egress_address")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    EGRESS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    start_time: _timestamp_pb2.Timestamp
    version: str
    account_count: int
    connector_count: int
    egress_address: str
    def __init__(self, instance_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[str] = ..., account_count: _Optional[int] = ..., connector_count: _Optional[int] = ..., egress_address: _Optional[str] = ...) -> None: ...

class ListExchangesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListExchangesResponse(_message.Message):
    __slots__ = ("exchanges", "next_page_token")
    EXCHANGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    exchanges: _containers.RepeatedCompositeFieldContainer[_exchange_pb2.Exchange]
    next_page_token: str
    def __init__(self, exchanges: _Optional[_Iterable[_Union[_exchange_pb2.Exchange, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CreateAccountRequest(_message.Message):
    __slots__ = ("account_name",)
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    def __init__(self, account_name: _Optional[str] = ...) -> None: ...

class CreateAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: _account_pb2.Account
    def __init__(self, account: _Optional[_Union[_account_pb2.Account, _Mapping]] = ...) -> None: ...

class GetAccountRequest(_message.Message):
    __slots__ = ("account_name",)
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    def __init__(self, account_name: _Optional[str] = ...) -> None: ...

class GetAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: _account_pb2.Account
    def __init__(self, account: _Optional[_Union[_account_pb2.Account, _Mapping]] = ...) -> None: ...

class ListAccountsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAccountsResponse(_message.Message):
    __slots__ = ("accounts", "next_page_token")
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    accounts: _containers.RepeatedCompositeFieldContainer[_account_pb2.Account]
    next_page_token: str
    def __init__(self, accounts: _Optional[_Iterable[_Union[_account_pb2.Account, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteAccountRequest(_message.Message):
    __slots__ = ("account_name",)
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    def __init__(self, account_name: _Optional[str] = ...) -> None: ...

class DeleteAccountResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddConnectorRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "exchange", "credentials", "environment", "revision", "verify")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    exchange: str
    credentials: _credentials_pb2.Credentials
    environment: _environment_pb2.Environment
    revision: int
    verify: bool
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., exchange: _Optional[str] = ..., credentials: _Optional[_Union[_credentials_pb2.Credentials, _Mapping]] = ..., environment: _Optional[_Union[_environment_pb2.Environment, str]] = ..., revision: _Optional[int] = ..., verify: _Optional[bool] = ...) -> None: ...

class AddConnectorResponse(_message.Message):
    __slots__ = ("connector", "permissions", "warning")
    CONNECTOR_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    connector: _connector_pb2.Connector
    permissions: _permissions_pb2.Permissions
    warning: str
    def __init__(self, connector: _Optional[_Union[_connector_pb2.Connector, _Mapping]] = ..., permissions: _Optional[_Union[_permissions_pb2.Permissions, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class GetConnectorRequest(_message.Message):
    __slots__ = ("account_name", "connector_name")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ...) -> None: ...

class GetConnectorResponse(_message.Message):
    __slots__ = ("connector", "permissions")
    CONNECTOR_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    connector: _connector_pb2.Connector
    permissions: _permissions_pb2.Permissions
    def __init__(self, connector: _Optional[_Union[_connector_pb2.Connector, _Mapping]] = ..., permissions: _Optional[_Union[_permissions_pb2.Permissions, _Mapping]] = ...) -> None: ...

class VerifyConnectorRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "revision")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    revision: int
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class VerifyConnectorResponse(_message.Message):
    __slots__ = ("connector", "permissions", "warning")
    CONNECTOR_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    connector: _connector_pb2.Connector
    permissions: _permissions_pb2.Permissions
    warning: str
    def __init__(self, connector: _Optional[_Union[_connector_pb2.Connector, _Mapping]] = ..., permissions: _Optional[_Union[_permissions_pb2.Permissions, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class RemoveConnectorRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "revision")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    revision: int
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class RemoveConnectorResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListConnectorsRequest(_message.Message):
    __slots__ = ("account_name", "page_size", "page_token")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    page_size: int
    page_token: str
    def __init__(self, account_name: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListConnectorsResponse(_message.Message):
    __slots__ = ("connectors", "next_page_token")
    CONNECTORS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    connectors: _containers.RepeatedCompositeFieldContainer[_connector_pb2.Connector]
    next_page_token: str
    def __init__(self, connectors: _Optional[_Iterable[_Union[_connector_pb2.Connector, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPortfolioRequest(_message.Message):
    __slots__ = ("account_name", "connector_names", "quote_asset", "max_age", "revisions")
    class RevisionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAMES_FIELD_NUMBER: _ClassVar[int]
    QUOTE_ASSET_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_names: _containers.RepeatedScalarFieldContainer[str]
    quote_asset: str
    max_age: _duration_pb2.Duration
    revisions: _containers.ScalarMap[str, int]
    def __init__(self, account_name: _Optional[str] = ..., connector_names: _Optional[_Iterable[str]] = ..., quote_asset: _Optional[str] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., revisions: _Optional[_Mapping[str, int]] = ...) -> None: ...

class GetPortfolioResponse(_message.Message):
    __slots__ = ("connectors", "unpriced_assets", "complete")
    CONNECTORS_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_ASSETS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    connectors: _containers.RepeatedCompositeFieldContainer[_portfolio_pb2.ConnectorPortfolio]
    unpriced_assets: _containers.RepeatedScalarFieldContainer[str]
    complete: bool
    def __init__(self, connectors: _Optional[_Iterable[_Union[_portfolio_pb2.ConnectorPortfolio, _Mapping]]] = ..., unpriced_assets: _Optional[_Iterable[str]] = ..., complete: _Optional[bool] = ...) -> None: ...

class PlaceOrderRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "symbol", "side", "type", "amount", "price", "time_in_force", "post_only", "reduce_only", "request_id", "params")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    TIME_IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    POST_ONLY_FIELD_NUMBER: _ClassVar[int]
    REDUCE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    symbol: str
    side: _order_pb2.OrderSide
    type: _order_pb2.OrderType
    amount: str
    price: str
    time_in_force: _order_pb2.TimeInForce
    post_only: bool
    reduce_only: bool
    request_id: str
    params: _containers.ScalarMap[str, str]
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., symbol: _Optional[str] = ..., side: _Optional[_Union[_order_pb2.OrderSide, str]] = ..., type: _Optional[_Union[_order_pb2.OrderType, str]] = ..., amount: _Optional[str] = ..., price: _Optional[str] = ..., time_in_force: _Optional[_Union[_order_pb2.TimeInForce, str]] = ..., post_only: _Optional[bool] = ..., reduce_only: _Optional[bool] = ..., request_id: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PlaceOrderResponse(_message.Message):
    __slots__ = ("order",)
    ORDER_FIELD_NUMBER: _ClassVar[int]
    order: _order_pb2.Order
    def __init__(self, order: _Optional[_Union[_order_pb2.Order, _Mapping]] = ...) -> None: ...

class CancelOrderRequest(_message.Message):
    __slots__ = ("account_name", "order_id")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    order_id: str
    def __init__(self, account_name: _Optional[str] = ..., order_id: _Optional[str] = ...) -> None: ...

class CancelOrderResponse(_message.Message):
    __slots__ = ("order",)
    ORDER_FIELD_NUMBER: _ClassVar[int]
    order: _order_pb2.Order
    def __init__(self, order: _Optional[_Union[_order_pb2.Order, _Mapping]] = ...) -> None: ...

class CancelAllOrdersRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "symbol")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    symbol: str
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., symbol: _Optional[str] = ...) -> None: ...

class CancelAllOrdersResponse(_message.Message):
    __slots__ = ("orders",)
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    orders: _containers.RepeatedCompositeFieldContainer[_order_pb2.Order]
    def __init__(self, orders: _Optional[_Iterable[_Union[_order_pb2.Order, _Mapping]]] = ...) -> None: ...

class GetOrderRequest(_message.Message):
    __slots__ = ("account_name", "order_id")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    order_id: str
    def __init__(self, account_name: _Optional[str] = ..., order_id: _Optional[str] = ...) -> None: ...

class GetOrderResponse(_message.Message):
    __slots__ = ("order",)
    ORDER_FIELD_NUMBER: _ClassVar[int]
    order: _order_pb2.Order
    def __init__(self, order: _Optional[_Union[_order_pb2.Order, _Mapping]] = ...) -> None: ...

class ListOrdersRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "symbol", "open_only", "page_size", "page_token")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    OPEN_ONLY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    symbol: str
    open_only: bool
    page_size: int
    page_token: str
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., symbol: _Optional[str] = ..., open_only: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListOrdersResponse(_message.Message):
    __slots__ = ("orders", "next_page_token")
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    orders: _containers.RepeatedCompositeFieldContainer[_order_pb2.Order]
    next_page_token: str
    def __init__(self, orders: _Optional[_Iterable[_Union[_order_pb2.Order, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListTradesRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "symbol", "start_time", "page_size", "page_token")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    symbol: str
    start_time: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., symbol: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTradesResponse(_message.Message):
    __slots__ = ("trades", "next_page_token")
    TRADES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    trades: _containers.RepeatedCompositeFieldContainer[_trade_pb2.Trade]
    next_page_token: str
    def __init__(self, trades: _Optional[_Iterable[_Union[_trade_pb2.Trade, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListPositionsRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "symbol", "start_time", "page_size", "page_token")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    symbol: str
    start_time: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., symbol: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPositionsResponse(_message.Message):
    __slots__ = ("positions", "next_page_token")
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedCompositeFieldContainer[_position_pb2.Position]
    next_page_token: str
    def __init__(self, positions: _Optional[_Iterable[_Union[_position_pb2.Position, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetTickerRequest(_message.Message):
    __slots__ = ("exchange", "symbol")
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    exchange: str
    symbol: str
    def __init__(self, exchange: _Optional[str] = ..., symbol: _Optional[str] = ...) -> None: ...

class GetTickerResponse(_message.Message):
    __slots__ = ("ticker",)
    TICKER_FIELD_NUMBER: _ClassVar[int]
    ticker: _market_pb2.Ticker
    def __init__(self, ticker: _Optional[_Union[_market_pb2.Ticker, _Mapping]] = ...) -> None: ...

class ListTickersRequest(_message.Message):
    __slots__ = ("exchange", "symbols", "page_size", "page_token")
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    exchange: str
    symbols: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    def __init__(self, exchange: _Optional[str] = ..., symbols: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTickersResponse(_message.Message):
    __slots__ = ("tickers", "next_page_token")
    TICKERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tickers: _containers.RepeatedCompositeFieldContainer[_market_pb2.Ticker]
    next_page_token: str
    def __init__(self, tickers: _Optional[_Iterable[_Union[_market_pb2.Ticker, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetOrderBookRequest(_message.Message):
    __slots__ = ("exchange", "symbol", "depth")
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    exchange: str
    symbol: str
    depth: int
    def __init__(self, exchange: _Optional[str] = ..., symbol: _Optional[str] = ..., depth: _Optional[int] = ...) -> None: ...

class GetOrderBookResponse(_message.Message):
    __slots__ = ("order_book",)
    ORDER_BOOK_FIELD_NUMBER: _ClassVar[int]
    order_book: _market_pb2.OrderBook
    def __init__(self, order_book: _Optional[_Union[_market_pb2.OrderBook, _Mapping]] = ...) -> None: ...

class ListCandlesRequest(_message.Message):
    __slots__ = ("exchange", "symbol", "timeframe", "start_time", "page_size", "page_token")
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMEFRAME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    exchange: str
    symbol: str
    timeframe: str
    start_time: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, exchange: _Optional[str] = ..., symbol: _Optional[str] = ..., timeframe: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCandlesResponse(_message.Message):
    __slots__ = ("candles", "next_page_token")
    CANDLES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    candles: _containers.RepeatedCompositeFieldContainer[_market_pb2.Candle]
    next_page_token: str
    def __init__(self, candles: _Optional[_Iterable[_Union[_market_pb2.Candle, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListMarketsRequest(_message.Message):
    __slots__ = ("exchange", "symbols", "page_size", "page_token")
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    exchange: str
    symbols: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    def __init__(self, exchange: _Optional[str] = ..., symbols: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMarketsResponse(_message.Message):
    __slots__ = ("markets", "next_page_token")
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    markets: _containers.RepeatedCompositeFieldContainer[_market_pb2.Market]
    next_page_token: str
    def __init__(self, markets: _Optional[_Iterable[_Union[_market_pb2.Market, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPortfolioHistoryRequest(_message.Message):
    __slots__ = ("account_name", "start_time", "end_time", "interval")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    interval: _duration_pb2.Duration
    def __init__(self, account_name: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetPortfolioHistoryResponse(_message.Message):
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[_portfolio_pb2.PortfolioPoint]
    def __init__(self, points: _Optional[_Iterable[_Union[_portfolio_pb2.PortfolioPoint, _Mapping]]] = ...) -> None: ...

class SetRiskRulesRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "rules")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    rules: _containers.RepeatedCompositeFieldContainer[_risk_pb2.RiskRule]
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[_risk_pb2.RiskRule, _Mapping]]] = ...) -> None: ...

class SetRiskRulesResponse(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[_risk_pb2.RiskRule]
    def __init__(self, rules: _Optional[_Iterable[_Union[_risk_pb2.RiskRule, _Mapping]]] = ...) -> None: ...

class GetRiskRulesRequest(_message.Message):
    __slots__ = ("account_name", "connector_name")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ...) -> None: ...

class GetRiskRulesResponse(_message.Message):
    __slots__ = ("rules", "kill_switches")
    RULES_FIELD_NUMBER: _ClassVar[int]
    KILL_SWITCHES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[_risk_pb2.RiskRule]
    kill_switches: _containers.RepeatedCompositeFieldContainer[_risk_pb2.KillSwitch]
    def __init__(self, rules: _Optional[_Iterable[_Union[_risk_pb2.RiskRule, _Mapping]]] = ..., kill_switches: _Optional[_Iterable[_Union[_risk_pb2.KillSwitch, _Mapping]]] = ...) -> None: ...

class EngageKillSwitchRequest(_message.Message):
    __slots__ = ("account_name", "connector_name", "reason", "cancel_open_orders")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CANCEL_OPEN_ORDERS_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    reason: str
    cancel_open_orders: bool
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., reason: _Optional[str] = ..., cancel_open_orders: _Optional[bool] = ...) -> None: ...

class EngageKillSwitchResponse(_message.Message):
    __slots__ = ("kill_switch", "orders")
    KILL_SWITCH_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    kill_switch: _risk_pb2.KillSwitch
    orders: _containers.RepeatedCompositeFieldContainer[_order_pb2.Order]
    def __init__(self, kill_switch: _Optional[_Union[_risk_pb2.KillSwitch, _Mapping]] = ..., orders: _Optional[_Iterable[_Union[_order_pb2.Order, _Mapping]]] = ...) -> None: ...

class ReleaseKillSwitchRequest(_message.Message):
    __slots__ = ("account_name", "connector_name")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ...) -> None: ...

class ReleaseKillSwitchResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
