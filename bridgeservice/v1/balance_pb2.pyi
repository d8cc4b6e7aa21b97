from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Balance(_message.Message):
    __slots__ = ("asset", "free", "used", "total", "value")
    ASSET_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    asset: str
    free: str
    used: str
    total: str
    value: str
    def __init__(self, asset: _Optional[str] = ..., free: _Optional[str] = ..., used: _Optional[str] = ..., total: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
