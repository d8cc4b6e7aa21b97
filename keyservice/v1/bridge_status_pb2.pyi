import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BridgeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BRIDGE_STATE_UNSPECIFIED: _ClassVar[BridgeState]
    BRIDGE_STATE_PENDING: _ClassVar[BridgeState]
    BRIDGE_STATE_CONFIGURED: _ClassVar[BridgeState]
    BRIDGE_STATE_FAILED: _ClassVar[BridgeState]
    BRIDGE_STATE_REMOVING: _ClassVar[BridgeState]
    BRIDGE_STATE_REMOVED: _ClassVar[BridgeState]

class BridgeReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BRIDGE_REASON_UNSPECIFIED: _ClassVar[BridgeReason]
    BRIDGE_REASON_BRIDGE_TIMEOUT: _ClassVar[BridgeReason]
    BRIDGE_REASON_BRIDGE_UNAVAILABLE: _ClassVar[BridgeReason]
    BRIDGE_REASON_CREDENTIALS_REJECTED: _ClassVar[BridgeReason]
    BRIDGE_REASON_CREDENTIALS_INCOMPLETE: _ClassVar[BridgeReason]
    BRIDGE_REASON_EXCHANGE_UNSUPPORTED: _ClassVar[BridgeReason]
    BRIDGE_REASON_EXCHANGE_UNAVAILABLE: _ClassVar[BridgeReason]
    BRIDGE_REASON_RATE_LIMITED: _ClassVar[BridgeReason]
    BRIDGE_REASON_KEY_UNREADABLE: _ClassVar[BridgeReason]
    BRIDGE_REASON_BRIDGE_ERROR: _ClassVar[BridgeReason]
BRIDGE_STATE_UNSPECIFIED: BridgeState
BRIDGE_STATE_PENDING: BridgeState
BRIDGE_STATE_CONFIGURED: BridgeState
BRIDGE_STATE_FAILED: BridgeState
BRIDGE_STATE_REMOVING: BridgeState
BRIDGE_STATE_REMOVED: BridgeState
BRIDGE_REASON_UNSPECIFIED: BridgeReason
BRIDGE_REASON_BRIDGE_TIMEOUT: BridgeReason
BRIDGE_REASON_BRIDGE_UNAVAILABLE: BridgeReason
BRIDGE_REASON_CREDENTIALS_REJECTED: BridgeReason
BRIDGE_REASON_CREDENTIALS_INCOMPLETE: BridgeReason
BRIDGE_REASON_EXCHANGE_UNSUPPORTED: BridgeReason
BRIDGE_REASON_EXCHANGE_UNAVAILABLE: BridgeReason
BRIDGE_REASON_RATE_LIMITED: BridgeReason
BRIDGE_REASON_KEY_UNREADABLE: BridgeReason
BRIDGE_REASON_BRIDGE_ERROR: BridgeReason

class BridgeStatus(_message.Message):
    __slots__ = ("configured", "state", "reason", "warning", "attempt_count", "last_attempt_time", "next_attempt_time", "configured_time")
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_TIME_FIELD_NUMBER: _ClassVar[int]
    configured: bool
    state: BridgeState
    reason: BridgeReason
    warning: str
    attempt_count: int
    last_attempt_time: _timestamp_pb2.Timestamp
    next_attempt_time: _timestamp_pb2.Timestamp
    configured_time: _timestamp_pb2.Timestamp
    def __init__(self, configured: _Optional[bool] = ..., state: _Optional[_Union[BridgeState, str]] = ..., reason: _Optional[_Union[BridgeReason, str]] = ..., warning: _Optional[str] = ..., attempt_count: _Optional[int] = ..., last_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., configured_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
