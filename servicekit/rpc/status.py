"""Errors on the wire, both ways: our tree to ``google.rpc.Status``, and a caught RPC error to facts, or to our tree.

Every refusal of ours carries a ``google.rpc.ErrorInfo`` of the domain "keybridge"; a status without one was
made by the transport or by someone else, and ``RpcFailure.ours`` tells the two apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc.aio import AioRpcError

from servicekit import errors

DETAILS_KEY = "grpc-status-details-bin"

# A status travels in the trailing headers, and a client of default settings takes 8 KiB of those in all: the
# details in base64, and the message once more with every byte outside of ASCII as three.
MAX_TEXT = 500
MAX_DETAILS = 4096
_MAX_REASON = 100
_MAX_METADATA = 1500
_ENTRY = 8  # what one entry of a map takes beyond its words

CODES: dict[type[errors.KeybridgeError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
CODE_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


def code_of(error: errors.KeybridgeError) -> grpc.StatusCode:
    """The status code of an error: its class's, or that of the nearest class it descends from."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), grpc.StatusCode.INTERNAL)


def to_status(error: errors.KeybridgeError, request_id: str) -> status_pb2.Status:
    """What the caller gets. An internal error keeps its words to itself and gives the request id instead."""
    code = code_of(error)
    if code is grpc.StatusCode.INTERNAL:
        info = ErrorInfo(reason="INTERNAL", domain=errors.DOMAIN, metadata={"request_id": request_id})
        return _status(code, f"internal error; request id {request_id}", [info])
    info = ErrorInfo(
        reason=_cut(error.reason, _MAX_REASON), domain=errors.DOMAIN, metadata=_facts(error.metadata)
    )
    details: list[Message] = [info]
    if error.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        details.append(retry)
    message = _cut(error.message)
    violations = error.violations if isinstance(error, errors.InvalidArgument) else ()
    if not violations:
        return _status(code, message, details)
    return _with_violations(code, message, details, violations)


def _with_violations(
    code: grpc.StatusCode, message: str, details: list[Message], violations: Sequence[errors.Violation]
) -> status_pb2.Status:
    """As many of the violations, from the first on, as fit into what a client takes in headers."""
    while True:
        bad = BadRequest(
            field_violations=[
                BadRequest.FieldViolation(field=_cut(each.field), description=_cut(each.description))
                for each in violations
            ]
        )
        status = _status(code, message, [*details, bad])
        if status.ByteSize() <= MAX_DETAILS or len(violations) == 1:
            return status
        violations = violations[: len(violations) // 2]


def _facts(metadata: Mapping[str, str]) -> dict[str, str]:
    """As many of the facts, from the first on, as fit; a long value is cut."""
    facts: dict[str, str] = {}
    left = _MAX_METADATA
    for key, value in metadata.items():
        left -= len(key.encode())
        if left <= 0:
            break
        facts[key] = _cut(value, min(left, MAX_TEXT))
        left -= len(facts[key].encode()) + _ENTRY
    return facts


def _cut(text: str, most: int = MAX_TEXT) -> str:
    return text.encode()[:most].decode(errors="ignore")


def _status(code: grpc.StatusCode, message: str, details: Sequence[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


@dataclass(frozen=True, slots=True)
class RpcFailure:
    """What a failed call said, for the code that made the call."""

    code: grpc.StatusCode
    message: str
    reason: str | None = None
    """The reason of our ErrorInfo; None when the answer was not made by one of our services."""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after: timedelta | None = None
    violations: tuple[errors.Violation, ...] = ()

    @property
    def ours(self) -> bool:
        """A service of ours gave this answer; otherwise the transport did, or something in between."""
        return self.reason is not None


def from_rpc_error(error: AioRpcError) -> RpcFailure:
    """Decode a failed call; details that are missing, broken or about another status count for nothing.

    A caller that cancels its own call gets a CancelledError and no RPC error. So CANCELLED in here is the
    other side's: it was stopping, and the call counts as UNAVAILABLE.
    """
    code = error.code()
    if code is grpc.StatusCode.CANCELLED:
        code = grpc.StatusCode.UNAVAILABLE
    bare = RpcFailure(code=code, message=error.details() or "")
    info, retry, bad = ErrorInfo(), RetryInfo(), BadRequest()
    try:
        status = _details(error)
        for detail in status.details:
            for known in (info, retry, bad):
                detail.Unpack(known)
    except DecodeError:
        return bare
    if info.domain != errors.DOMAIN or CODE_BY_NUMBER.get(status.code) is not bare.code:
        return bare
    return replace(
        bare,
        reason=info.reason,
        metadata=dict(info.metadata),
        retry_after=retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
        violations=tuple(errors.Violation(each.field, each.description) for each in bad.field_violations),
    )


def to_error(failure: RpcFailure) -> errors.KeybridgeError:
    """The same as an error of our tree, for callers who want one; a code that is of no class there is Internal."""
    kind = next((kind for kind, code in CODES.items() if code is failure.code), errors.Internal)
    if issubclass(kind, errors.InvalidArgument):
        return kind(
            failure.message, violations=failure.violations, reason=failure.reason, metadata=failure.metadata
        )
    return kind(
        failure.message,
        reason=failure.reason,
        metadata=failure.metadata,
        retry_after=failure.retry_after,
    )


def _details(error: AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()
