import datetime

from bridgeservice.v1 import balance_pb2 as _balance_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConnectorStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONNECTOR_STATUS_UNSPECIFIED: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_OK: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_NOT_FOUND: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_CREDENTIALS_REJECTED: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_RATE_LIMITED: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_EXCHANGE_UNAVAILABLE: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_EXCHANGE_UNSUPPORTED: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_TIMEOUT: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_ERROR: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_NOT_CONFIGURED: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_BRIDGE_TIMEOUT: _ClassVar[ConnectorStatus]
    CONNECTOR_STATUS_BRIDGE_UNAVAILABLE: _ClassVar[ConnectorStatus]
CONNECTOR_STATUS_UNSPECIFIED: ConnectorStatus
CONNECTOR_STATUS_OK: ConnectorStatus
CONNECTOR_STATUS_NOT_FOUND: ConnectorStatus
CONNECTOR_STATUS_CREDENTIALS_REJECTED: ConnectorStatus
CONNECTOR_STATUS_RATE_LIMITED: ConnectorStatus
CONNECTOR_STATUS_EXCHANGE_UNAVAILABLE: ConnectorStatus
CONNECTOR_STATUS_EXCHANGE_UNSUPPORTED: ConnectorStatus
CONNECTOR_STATUS_TIMEOUT: ConnectorStatus
CONNECTOR_STATUS_ERROR: ConnectorStatus
CONNECTOR_STATUS_NOT_CONFIGURED: ConnectorStatus
CONNECTOR_STATUS_BRIDGE_TIMEOUT: ConnectorStatus
CONNECTOR_STATUS_BRIDGE_UNAVAILABLE: ConnectorStatus

class ConnectorPortfolio(_message.Message):
    __slots__ = ("connector_name", "exchange", "status", "error", "balances", "as_of_time")
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    BALANCES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    connector_name: str
    exchange: str
    status: ConnectorStatus
    error: str
    balances: _containers.RepeatedCompositeFieldContainer[_balance_pb2.Balance]
    as_of_time: _timestamp_pb2.Timestamp
    def __init__(self, connector_name: _Optional[str] = ..., exchange: _Optional[str] = ..., status: _Optional[_Union[ConnectorStatus, str]] = ..., error: _Optional[str] = ..., balances: _Optional[_Iterable[_Union[_balance_pb2.Balance, _Mapping]]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PortfolioPoint(_message.Message):
    __slots__ = ("time", "value", "quote_asset", "balances", "complete")
    TIME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    QUOTE_ASSET_FIELD_NUMBER: _ClassVar[int]
    BALANCES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    value: str
    quote_asset: str
    balances: _containers.RepeatedCompositeFieldContainer[_balance_pb2.Balance]
    complete: bool
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., value: _Optional[str] = ..., quote_asset: _Optional[str] = ..., balances: _Optional[_Iterable[_Union[_balance_pb2.Balance, _Mapping]]] = ..., complete: _Optional[bool] = ...) -> None: ...
