import datetime

from bridgeservice.v1 import environment_pb2 as _environment_pb2
from bridgeservice.v1 import permissions_pb2 as _permissions_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from keyservice.v1 import bridge_status_pb2 as _bridge_status_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApiKey(_message.Message):
    __slots__ = ("id", "client_id", "exchange", "label", "connector_name", "environment", "key_hint", "disabled", "revision", "permissions", "verify_time", "trading_bridge_configured", "bridge_status", "create_time", "update_time", "delete_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    KEY_HINT_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    TRADING_BRIDGE_CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    BRIDGE_STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DELETE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    client_id: str
    exchange: str
    label: str
    connector_name: str
    environment: _environment_pb2.Environment
    key_hint: str
    disabled: bool
    revision: int
    permissions: _permissions_pb2.Permissions
    verify_time: _timestamp_pb2.Timestamp
    trading_bridge_configured: bool
    bridge_status: _bridge_status_pb2.BridgeStatus
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    delete_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., client_id: _Optional[str] = ..., exchange: _Optional[str] = ..., label: _Optional[str] = ..., connector_name: _Optional[str] = ..., environment: _Optional[_Union[_environment_pb2.Environment, str]] = ..., key_hint: _Optional[str] = ..., disabled: _Optional[bool] = ..., revision: _Optional[int] = ..., permissions: _Optional[_Union[_permissions_pb2.Permissions, _Mapping]] = ..., verify_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trading_bridge_configured: _Optional[bool] = ..., bridge_status: _Optional[_Union[_bridge_status_pb2.BridgeStatus, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., delete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
