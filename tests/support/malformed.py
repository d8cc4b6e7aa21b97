"""Requests that no decent client sends, made from a contract and a seed: the same seed makes the same ones.

Some of the mutated ones are still valid messages by accident. What a server owes to all of them is a status
that says whose fault it was: never UNKNOWN, never INTERNAL, and a process that goes on.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_LISTENING = 2.0
OVERSIZED = 1024 * 1024 + 1
_GROUP_END = 4
_INTEGERS = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}
_UNSIGNED = {FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}


@dataclass(frozen=True, slots=True)
class Malformed:
    """One such request: bytes for a method, and what was done to them."""

    method: MethodDescriptor
    kind: str
    raw: bytes = field(repr=False)

    @property
    def path(self) -> str:
        """The method as it stands in a request."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


def malformed_requests(seed: int, descriptor: ServiceDescriptor) -> Iterator[Malformed]:
    """Without end: every method in turn, each time mutated somehow; one in 500 is larger than allowed."""
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable, and guards nothing
    kinds = list(_MUTATIONS)
    while True:
        for method in descriptor.methods:
            if chance.random() < 1 / 500:
                yield Malformed(method, "oversized", chance.randbytes(OVERSIZED))
                continue
            kind = chance.choice(kinds)
            yield Malformed(method, kind, _MUTATIONS[kind](chance, method.input_type))


async def send(channel: grpc.aio.Channel, request: Malformed, seconds: float = 10) -> grpc.StatusCode:
    """Send it as it is and return the status; a stream is heard until its first answer only."""
    requests: Any = iter([request.raw]) if request.method.client_streaming else request.raw
    sides = (request.method.client_streaming, request.method.server_streaming)
    make: Any = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[sides]
    call: Any = make(request.path)(requests, timeout=seconds)
    try:
        if request.method.name.startswith("Watch"):
            return await _watched(call)
        if request.method.server_streaming:
            if await call.read() is not grpc.aio.EOF:
                call.cancel()
                return grpc.StatusCode.OK
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await call.code()  # type: ignore[no-any-return]


async def _watched(call: Any) -> grpc.StatusCode:
    """A watch that is not refused at once was accepted: it may have nothing to say for as long as one listens."""
    code = grpc.StatusCode.OK
    try:
        async with asyncio.timeout(_LISTENING):
            if await call.read() is grpc.aio.EOF:
                code = await call.code()
            return code
    except TimeoutError:
        return code
    finally:
        call.cancel()


def _valid(chance: random.Random, descriptor: Descriptor) -> bytes:
    message: Message = GetMessageClass(descriptor)()
    _fill(chance, message, depth=3)
    return message.SerializeToString()


def _fill(chance: random.Random, message: Any, depth: int) -> None:
    for each in message.DESCRIPTOR.fields:
        if chance.random() < 0.3:
            continue
        if each.message_type is not None:
            if depth > 0 and not each.message_type.GetOptions().map_entry:
                child = getattr(message, each.name)
                _fill(chance, child.add() if each.is_repeated else child, depth - 1)
        elif each.is_repeated:
            getattr(message, each.name).append(_scalar(chance, each))
        else:
            setattr(message, each.name, _scalar(chance, each))


def _scalar(chance: random.Random, each: FieldDescriptor) -> Any:
    if each.cpp_type in _INTEGERS:
        return chance.randint(-(2**31), 2**31 - 1)
    if each.cpp_type in _UNSIGNED:
        return chance.randint(0, 2**32 - 1)
    if each.enum_type is not None:
        return chance.randint(0, 2**31 - 1)
    if each.type == FieldDescriptor.TYPE_STRING:
        return "".join(chance.choices("aé\u2028\0'\"%{}\U0001f511", k=chance.randint(0, 40)))
    if each.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.randint(0, 40))
    return chance.random() < 0.5


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _numbers(descriptor: Descriptor) -> list[int]:
    return [each.number for each in descriptor.fields] or [1]


def _noise(chance: random.Random, _: Descriptor) -> bytes:
    return chance.randbytes(chance.randint(1, 200))


def _empty(_: random.Random, __: Descriptor) -> bytes:
    return b""


def _cut_short(chance: random.Random, descriptor: Descriptor) -> bytes:
    raw = _valid(chance, descriptor)
    return raw[: chance.randint(0, len(raw))]


def _flipped(chance: random.Random, descriptor: Descriptor) -> bytes:
    raw = bytearray(_valid(chance, descriptor) or b"\0")
    for _ in range(chance.randint(1, 4)):
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return bytes(raw)


def _spliced(chance: random.Random, descriptor: Descriptor) -> bytes:
    one, other = _valid(chance, descriptor), _valid(chance, descriptor)
    return one[: chance.randint(0, len(one))] + other[chance.randint(0, len(other)) :]


def _wrong_types(chance: random.Random, descriptor: Descriptor) -> bytes:
    bodies = {
        0: _varint(chance.getrandbits(64)),
        1: chance.randbytes(8),
        2: b"\x03\xff\xfe\xfd",
        5: chance.randbytes(4),
    }
    wire_types = chance.choices(list(bodies), k=4)
    return b"".join(_tag(chance.choice(_numbers(descriptor)), kind) + bodies[kind] for kind in wire_types)


def _bad_text(chance: random.Random, descriptor: Descriptor) -> bytes:
    number = chance.choice(_numbers(descriptor))
    return _tag(number, 2) + b"\x04" + chance.choice([b"\xff\xff\xff\xff", b"\xed\xa0\x80a", b"\xc3\x28aa"])


def _endless_varint(chance: random.Random, descriptor: Descriptor) -> bytes:
    return _tag(chance.choice(_numbers(descriptor)), 0) + b"\xff" * chance.randint(10, 30)


def _lying_length(chance: random.Random, descriptor: Descriptor) -> bytes:
    return _tag(chance.choice(_numbers(descriptor)), 2) + _varint(chance.getrandbits(40)) + b"short"


def _deep(chance: random.Random, descriptor: Descriptor) -> bytes:
    number, raw = chance.choice(_numbers(descriptor)), b""
    for _ in range(200):
        raw = _tag(number, 2) + _varint(len(raw)) + raw
    return raw


def _stray_group(chance: random.Random, descriptor: Descriptor) -> bytes:
    return _tag(chance.choice(_numbers(descriptor)), _GROUP_END)


_MUTATIONS: dict[str, Callable[[random.Random, Descriptor], bytes]] = {
    "noise": _noise,
    "empty": _empty,
    "cut short": _cut_short,
    "flipped bits": _flipped,
    "spliced": _spliced,
    "wrong types": _wrong_types,
    "bad text": _bad_text,
    "endless varint": _endless_varint,
    "lying length": _lying_length,
    "deep": _deep,
    "stray group": _stray_group,
}
