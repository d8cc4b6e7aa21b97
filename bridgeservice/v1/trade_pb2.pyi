import datetime

from bridgeservice.v1 import order_pb2 as _order_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Trade(_message.Message):
    __slots__ = ("trade_id", "exchange_trade_id", "order_id", "symbol", "side", "amount", "price", "cost", "fees", "time")
    TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    FEES_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    trade_id: str
    exchange_trade_id: str
    order_id: str
    symbol: str
    side: _order_pb2.OrderSide
    amount: str
    price: str
    cost: str
    fees: _containers.RepeatedCompositeFieldContainer[_order_pb2.Fee]
    time: _timestamp_pb2.Timestamp
    def __init__(self, trade_id: _Optional[str] = ..., exchange_trade_id: _Optional[str] = ..., order_id: _Optional[str] = ..., symbol: _Optional[str] = ..., side: _Optional[_Union[_order_pb2.OrderSide, str]] = ..., amount: _Optional[str] = ..., price: _Optional[str] = ..., cost: _Optional[str] = ..., fees: _Optional[_Iterable[_Union[_order_pb2.Fee, _Mapping]]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
