"""What a caller is told when something happens behind a real socket, and what he should be told."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from servicekit.rpc.call import Call
from servicekit.rpc.status import DETAILS_KEY
from tests.support.probe import (
    Echo,
    Probe,
    ProbeStub,
    failure,
    plain_channel,
    serving,
)

Raise = Callable[[], Awaitable[None]]

REQUEST_ID = "the-request-of-this-test"


async def told(behind: Raise, method: str = "GetEcho") -> status_pb2.Status:
    """What a caller is told when this happens in a handler."""

    async def answer(_request: Any, _call: Call) -> Any:
        await behind()
        return Echo()

    async with serving(Probe(answer)) as server, plain_channel(server.port) as channel:
        call = getattr(ProbeStub(channel), method)(
            Echo(), metadata=(("x-request-id", REQUEST_ID),), timeout=60
        )
        return decoded(await failure(_first(call)))


async def _first(call: Any) -> Any:
    return await (call.read() if isinstance(call, grpc.aio.UnaryStreamCall) else call)


def decoded(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The status in the trailers, which says the same as the bare one beside it."""
    [raw] = [value for key, value in error.trailing_metadata() or () if key == DETAILS_KEY]
    assert isinstance(raw, bytes)
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    assert dict(error.trailing_metadata() or ())["x-request-id"]
    return status


def status(code: str, message: str, reason: str, *more: Message, **metadata: str) -> status_pb2.Status:
    """The whole of a status as it should be."""
    expected = status_pb2.Status(code=Code.Value(code), message=message)
    for detail in (ErrorInfo(reason=reason, domain="keybridge", metadata=metadata), *more):
        expected.details.add().Pack(detail)
    return expected


def retry(after: timedelta) -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.FromTimedelta(after)
    return info


INTERNAL = status("INTERNAL", f"internal error; request id {REQUEST_ID}", "INTERNAL", request_id=REQUEST_ID)


def raises(error: BaseException) -> Raise:
    async def behind() -> None:
        raise error

    return behind
