import datetime

from bridgeservice.v1 import balance_pb2 as _balance_pb2
from bridgeservice.v1 import portfolio_pb2 as _portfolio_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FundsKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FUNDS_KIND_UNSPECIFIED: _ClassVar[FundsKind]
    FUNDS_KIND_LIVE: _ClassVar[FundsKind]
    FUNDS_KIND_SANDBOX: _ClassVar[FundsKind]
    FUNDS_KIND_PAPER: _ClassVar[FundsKind]
FUNDS_KIND_UNSPECIFIED: FundsKind
FUNDS_KIND_LIVE: FundsKind
FUNDS_KIND_SANDBOX: FundsKind
FUNDS_KIND_PAPER: FundsKind

class KeyBalances(_message.Message):
    __slots__ = ("api_key_id", "exchange", "label", "configured", "status", "warning", "balances", "as_of_time")
    API_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    BALANCES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    api_key_id: str
    exchange: str
    label: str
    configured: bool
    status: _portfolio_pb2.ConnectorStatus
    warning: str
    balances: _containers.RepeatedCompositeFieldContainer[_balance_pb2.Balance]
    as_of_time: _timestamp_pb2.Timestamp
    def __init__(self, api_key_id: _Optional[str] = ..., exchange: _Optional[str] = ..., label: _Optional[str] = ..., configured: _Optional[bool] = ..., status: _Optional[_Union[_portfolio_pb2.ConnectorStatus, str]] = ..., warning: _Optional[str] = ..., balances: _Optional[_Iterable[_Union[_balance_pb2.Balance, _Mapping]]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BalanceTotal(_message.Message):
    __slots__ = ("kind", "asset", "free", "used", "total")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    kind: FundsKind
    asset: str
    free: str
    used: str
    total: str
    def __init__(self, kind: _Optional[_Union[FundsKind, str]] = ..., asset: _Optional[str] = ..., free: _Optional[str] = ..., used: _Optional[str] = ..., total: _Optional[str] = ...) -> None: ...
