"""Both contracts as tables for tests: every method there is, and a request of each about things of one's choice.

Nothing here names a method, so that a new one is in every test that goes by these.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from bridgeservice.v1 import trading_bridge_pb2
from keyservice.v1 import key_service_pb2
from servicekit.rpc.policy import name_of, policies
from servicekit.rpc.status import RpcFailure, from_rpc_error

CONTRACTS: dict[str, ServiceDescriptor] = {
    "keyservice": key_service_pb2.DESCRIPTOR.services_by_name["KeyService"],
    "bridgeservice": trading_bridge_pb2.DESCRIPTOR.services_by_name["TradingBridge"],
}
GARBAGE = b"\xff\xff\xff"
"""No request of any method."""

# What a valid request says beside the things that it is about, by the name of the field.
_PLAUSIBLE: dict[str, Any] = {
    "name": "a name",
    "exchange": "paper",
    "revision": 1,
    "symbol": "BTC/USDT",
    "side": 1,
    "type": 1,
    "amount": "1",
}
_SECONDS_LISTENED = 1.0


@dataclass(frozen=True, slots=True)
class Things:
    """What requests are about: a client, a key of it, and what the two are called on the bridge."""

    client_id: str
    api_key_id: str
    connector_name: str = "paper"
    order_id: str = dataclasses.field(default_factory=lambda: str(uuid4()))

    @classmethod
    def nobodys(cls) -> "Things":
        """Things that do not exist."""
        return cls(str(uuid4()), str(uuid4()))

    @property
    def named(self) -> dict[str, str]:
        """By the path of the field that says so, within a request."""
        return {
            "client_id": self.client_id,
            "client.id": self.client_id,
            "api_key_id": self.api_key_id,
            "api_key.id": self.api_key_id,
            "account_name": f"client_{self.client_id}",
            "connector_name": self.connector_name,
            "connector_names": self.connector_name,
            "order_id": self.order_id,
        }

    def marks(self) -> tuple[bytes, ...]:
        """What gives them away in an answer, also as a part of something else."""
        return (self.client_id.encode(), self.api_key_id.encode())


def path(method: MethodDescriptor) -> str:
    """As it stands in a call."""
    return f"/{method.containing_service.full_name}/{method.name}"


def admitted(method: MethodDescriptor) -> list[str]:
    """The roles that the contract names for a method, the least of the ladder first."""
    return [name_of(role) for role in sorted(policies(method.containing_service)[method.name].roles)]


def tenant_fields(method: MethodDescriptor) -> set[str]:
    """The fields of a request that say whose things it is about, as paths."""
    known = Things.nobodys().named.keys() - {"connector_name", "connector_names", "order_id"}
    return {found for found, _ in _fields(method.input_type, "") if found in known}


def about(method: MethodDescriptor, things: Things | None = None) -> Message:
    """A request that is valid as far as it goes; about these things, where it can name any."""
    request = GetMessageClass(method.input_type)()
    named = {} if things is None else things.named
    for found, field in _fields(method.input_type, ""):
        value = named.get(found, _PLAUSIBLE.get(found))
        if value is not None:
            _set(request, found, [value] if field.is_repeated else value)
    if "update_mask" in method.input_type.fields_by_name:
        changed = next(name for name in ("name", "label") if _set_nested(request, name))
        _set(request, "update_mask", FieldMask(paths=[changed]))
    return request


async def call(
    channel: grpc.aio.Channel, method: MethodDescriptor, raw: bytes, metadata: Any = (), seconds: float = 20
) -> list[bytes] | RpcFailure:
    """The answers as they come over the wire, or the refusal; of a stream without end what comes at once."""
    if not method.server_streaming:
        make: Any = channel.unary_unary(path(method))
        try:
            return [await make(raw, metadata=metadata, timeout=seconds)]
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
    stream: Any = channel.unary_stream(path(method))
    endless = method.name.startswith("Watch")
    heard = stream(raw, metadata=metadata, timeout=_SECONDS_LISTENED if endless else seconds)
    answers: list[bytes] = []
    try:
        while (answer := await heard.read()) is not grpc.aio.EOF:
            answers.append(answer)
    except grpc.aio.AioRpcError as error:
        told = from_rpc_error(error)
        if not (endless and not told.ours and told.code is grpc.StatusCode.DEADLINE_EXCEEDED):
            return told
    return answers


def _fields(descriptor: Descriptor, prefix: str) -> Iterator[tuple[str, FieldDescriptor]]:
    """Every field that a request can set, one level deep: what lies deeper is no business of callers."""
    for field in descriptor.fields:
        yield prefix + field.name, field
        if not prefix and field.message_type is not None and not field.is_repeated:
            yield from _fields(field.message_type, f"{field.name}.")


def _set(request: Any, found: str, value: Any) -> None:
    *parents, name = found.split(".")
    for parent in parents:
        request = getattr(request, parent)
    if isinstance(value, list):
        getattr(request, name).extend(value)
    elif isinstance(value, Message):
        getattr(request, name).CopyFrom(value)
    else:
        setattr(request, name, value)


def _set_nested(request: Any, name: str) -> bool:
    """Give the resource that is to be changed a new value."""
    for field in request.DESCRIPTOR.fields:
        if field.message_type is not None and name in field.message_type.fields_by_name:
            setattr(getattr(request, field.name), name, "changed")
            return True
    return False
