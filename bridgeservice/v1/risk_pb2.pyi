import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RiskRuleKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RISK_RULE_KIND_UNSPECIFIED: _ClassVar[RiskRuleKind]
    RISK_RULE_KIND_ALLOWED_SYMBOLS: _ClassVar[RiskRuleKind]
    RISK_RULE_KIND_MAX_ORDER_NOTIONAL: _ClassVar[RiskRuleKind]
    RISK_RULE_KIND_MAX_DAILY_NOTIONAL: _ClassVar[RiskRuleKind]
    RISK_RULE_KIND_MAX_OPEN_ORDERS: _ClassVar[RiskRuleKind]
    RISK_RULE_KIND_MAX_ORDERS_PER_MINUTE: _ClassVar[RiskRuleKind]
    RISK_RULE_KIND_READ_ONLY: _ClassVar[RiskRuleKind]

class RiskAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RISK_ACTION_UNSPECIFIED: _ClassVar[RiskAction]
    RISK_ACTION_REFUSE: _ClassVar[RiskAction]
    RISK_ACTION_REFUSE_AND_CANCEL: _ClassVar[RiskAction]
    RISK_ACTION_WARN: _ClassVar[RiskAction]
RISK_RULE_KIND_UNSPECIFIED: RiskRuleKind
RISK_RULE_KIND_ALLOWED_SYMBOLS: RiskRuleKind
RISK_RULE_KIND_MAX_ORDER_NOTIONAL: RiskRuleKind
RISK_RULE_KIND_MAX_DAILY_NOTIONAL: RiskRuleKind
RISK_RULE_KIND_MAX_OPEN_ORDERS: RiskRuleKind
RISK_RULE_KIND_MAX_ORDERS_PER_MINUTE: RiskRuleKind
RISK_RULE_KIND_READ_ONLY: RiskRuleKind
RISK_ACTION_UNSPECIFIED: RiskAction
RISK_ACTION_REFUSE: RiskAction
RISK_ACTION_REFUSE_AND_CANCEL: RiskAction
RISK_ACTION_WARN: RiskAction

class RiskRule(_message.Message):
    __slots__ = ("kind", "action", "limit", "quote_asset", "symbols")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    QUOTE_ASSET_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    kind: RiskRuleKind
    action: RiskAction
    limit: str
    quote_asset: str
    symbols: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[_Union[RiskRuleKind, str]] = ..., action: _Optional[_Union[RiskAction, str]] = ..., limit: _Optional[str] = ..., quote_asset: _Optional[str] = ..., symbols: _Optional[_Iterable[str]] = ...) -> None: ...

class KillSwitch(_message.Message):
    __slots__ = ("account_name", "connector_name", "reason", "cancel_open_orders", "engage_time")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CANCEL_OPEN_ORDERS_FIELD_NUMBER: _ClassVar[int]
    ENGAGE_TIME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    reason: str
    cancel_open_orders: bool
    engage_time: _timestamp_pb2.Timestamp
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., reason: _Optional[str] = ..., cancel_open_orders: _Optional[bool] = ..., engage_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
