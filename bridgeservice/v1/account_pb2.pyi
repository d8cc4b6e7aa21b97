import datetime

from bridgeservice.v1 import connector_pb2 as _connector_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Account(_message.Message):
    __slots__ = ("account_name", "connectors", "create_time")
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTORS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    account_name: str
    connectors: _containers.RepeatedCompositeFieldContainer[_connector_pb2.Connector]
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, account_name: _Optional[str] = ..., connectors: _Optional[_Iterable[_Union[_connector_pb2.Connector, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
