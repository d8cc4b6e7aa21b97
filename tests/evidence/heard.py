"""Everything that a caller is told, kept as bytes: answers, statuses, details and metadata of either end."""

import asyncio
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from servicekit.rpc.status import DETAILS_KEY


class Listener:
    """Calls methods, and keeps whatever comes back."""

    def __init__(self, channel: grpc.aio.Channel, request_id: str) -> None:
        self._channel = channel
        self._request_id = request_id
        self.answers = bytearray()
        self.statuses = bytearray()
        self.codes: list[grpc.StatusCode] = []

    async def call(
        self,
        method: MethodDescriptor,
        request: Message | bytes,
        *,
        seconds: float = 10,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Any:
        """The answer, or the code of the refusal. A stream is heard to its end."""
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        path = f"/{method.containing_service.full_name}/{method.name}"
        make: Any = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        headers = (("x-request-id", self._request_id), *metadata)
        call = make(path)(raw, timeout=seconds, metadata=headers)
        try:
            answer = [each async for each in call] if method.server_streaming else [await call]
        except grpc.aio.AioRpcError as error:
            self._keep_refusal(error)
            return error.code()
        finally:
            await self._keep_metadata(call)
        self.codes.append(grpc.StatusCode.OK)
        for each in answer:
            self.answers += each
            self.answers += repr(GetMessageClass(method.output_type).FromString(each)).encode()
        return GetMessageClass(method.output_type).FromString(answer[0]) if answer else None

    def _keep_refusal(self, error: grpc.aio.AioRpcError) -> None:
        self.codes.append(error.code())
        self.statuses += repr((error.details(), error.debug_error_string(), str(error))).encode()
        for key, value in error.trailing_metadata() or ():
            if key == DETAILS_KEY and isinstance(value, bytes):
                status = status_pb2.Status.FromString(value)
                self.statuses += value + repr(status).encode()
                for detail in status.details:
                    for known in (ErrorInfo(), BadRequest()):
                        if detail.Unpack(known):
                            self.statuses += repr(known).encode()

    async def _keep_metadata(self, call: Any) -> None:
        for metadata in await asyncio.gather(call.initial_metadata(), call.trailing_metadata()):
            self.statuses += repr(tuple(metadata or ())).encode()
