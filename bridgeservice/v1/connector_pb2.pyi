import datetime

from bridgeservice.v1 import environment_pb2 as _environment_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Connector(_message.Message):
    __slots__ = ("account_name", "connector_name", "exchange", "environment", "revision", "instance_id", "create_time")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_NAME_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connector_name: str
    exchange: str
    environment: _environment_pb2.Environment
    revision: int
    instance_id: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, account_name: _Optional[str] = ..., connector_name: _Optional[str] = ..., exchange: _Optional[str] = ..., environment: _Optional[_Union[_environment_pb2.Environment, str]] = ..., revision: _Optional[int] = ..., instance_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
