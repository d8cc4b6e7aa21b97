from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Permission(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERMISSION_UNSPECIFIED: _ClassVar[Permission]
    PERMISSION_YES: _ClassVar[Permission]
    PERMISSION_NO: _ClassVar[Permission]
    PERMISSION_UNKNOWN: _ClassVar[Permission]
PERMISSION_UNSPECIFIED: Permission
PERMISSION_YES: Permission
PERMISSION_NO: Permission
PERMISSION_UNKNOWN: Permission

class Permissions(_message.Message):
    __slots__ = ("read", "trade", "withdraw")
    READ_FIELD_NUMBER: _ClassVar[int]
    TRADE_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    read: Permission
    trade: Permission
    withdraw: Permission
    def __init__(self, read: _Optional[_Union[Permission, str]] = ..., trade: _Optional[_Union[Permission, str]] = ..., withdraw: _Optional[_Union[Permission, str]] = ...) -> None: ...
