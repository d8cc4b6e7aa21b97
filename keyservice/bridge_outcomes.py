"""The table of outcomes: what each way in which a call to the bridge can fail means for a key.

An answer with our ErrorInfo was given by the bridge itself, whatever is wrong with the exchange behind it. One
without was made by the transport, or by something in between, and only that says anything of the bridge.
"""

from collections.abc import Mapping

from grpc import StatusCode

from keyservice.breaker import Sign
from keyservice.bridge_records import Outcome
from keyservice.enums import BridgeReason
from servicekit.rpc.status import RpcFailure

# Of the bridge's own answers some reasons say more than their code does.
BY_REASON: Mapping[str, BridgeReason] = {
    "CREDENTIALS_REJECTED": BridgeReason.CREDENTIALS_REJECTED,
    "EXCHANGE_UNSUPPORTED": BridgeReason.EXCHANGE_UNSUPPORTED,
    "SANDBOX_UNSUPPORTED": BridgeReason.EXCHANGE_UNSUPPORTED,
    "NOT_SUPPORTED": BridgeReason.EXCHANGE_UNSUPPORTED,
    # The bridge, and not an exchange behind it, was late: it found no time even to begin, or to say who is late.
    "DEADLINE_EXCEEDED": BridgeReason.BRIDGE_TIMEOUT,
    "DEADLINE_TOO_SHORT": BridgeReason.BRIDGE_TIMEOUT,
    "REQUEST_NOT_SENT": BridgeReason.BRIDGE_TIMEOUT,
    # The bridge says of itself that it can't serve now; what else is UNAVAILABLE is so behind it.
    "SHUTTING_DOWN": BridgeReason.BRIDGE_UNAVAILABLE,
    "STARTING": BridgeReason.BRIDGE_UNAVAILABLE,
    "TOO_MANY_CALLS": BridgeReason.BRIDGE_UNAVAILABLE,
    # And that it limits this KeyService, which it does where its role is not bridge-writer.
    "RATE_EXCEEDED": BridgeReason.BRIDGE_UNAVAILABLE,
    "TOO_MANY_CALLS_OF_ONE": BridgeReason.BRIDGE_UNAVAILABLE,
    "UNAVAILABLE": BridgeReason.BRIDGE_UNAVAILABLE,
}

# Whatever is not named, here and in the next table, is BRIDGE_ERROR.
BY_CODE_OF_OURS: Mapping[StatusCode, BridgeReason] = {
    StatusCode.UNAVAILABLE: BridgeReason.EXCHANGE_UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: BridgeReason.EXCHANGE_UNAVAILABLE,
    StatusCode.RESOURCE_EXHAUSTED: BridgeReason.RATE_LIMITED,
}

BY_CODE_OF_THE_TRANSPORT: Mapping[StatusCode, BridgeReason] = {
    StatusCode.UNAVAILABLE: BridgeReason.BRIDGE_UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: BridgeReason.BRIDGE_TIMEOUT,
    # A connection that was cut in the middle of an answer, and a proxy that has nobody behind it.
    StatusCode.INTERNAL: BridgeReason.BRIDGE_UNAVAILABLE,
    StatusCode.UNKNOWN: BridgeReason.BRIDGE_UNAVAILABLE,
}

# The bridge would take the same content under a higher revision.
STALE = frozenset({"STALE_REVISION", "REVISION_REUSED"})
MISSING = frozenset({"CONNECTOR_NOT_FOUND", "ACCOUNT_NOT_FOUND"})
# It is there, and can't be asked for anything now.
_NOT_SERVING = frozenset({"SHUTTING_DOWN", "STARTING"})
_OF_THE_BRIDGE = (BridgeReason.BRIDGE_UNAVAILABLE, BridgeReason.BRIDGE_TIMEOUT)
# With these also the bridge's own answer may end what it had done already.
_HALF_WAY = frozenset({StatusCode.DEADLINE_EXCEEDED, StatusCode.INTERNAL})


def outcome_of(failure: RpcFailure) -> Outcome:
    """What a failed call means for the key that it was about."""
    return Outcome(
        reason=_reason(failure),
        retry_after=failure.retry_after,
        stale=failure.reason in STALE,
        missing=failure.reason in MISSING,
        refused=failure.ours and failure.code not in _HALF_WAY,
        code=failure.code.name,
    )


def sign_of(failure: RpcFailure) -> Sign:
    """What it means for the bridge."""
    if failure.reason in _NOT_SERVING:
        return Sign.NOT_SERVING
    if failure.ours:
        return Sign.BUSY if _reason(failure) in _OF_THE_BRIDGE else Sign.ALIVE
    if failure.code is StatusCode.UNAVAILABLE:
        return Sign.AWAY
    return Sign.SILENT if failure.code is StatusCode.DEADLINE_EXCEEDED else Sign.NEITHER


def _reason(failure: RpcFailure) -> BridgeReason:
    if failure.reason is None:
        return BY_CODE_OF_THE_TRANSPORT.get(failure.code, BridgeReason.BRIDGE_ERROR)
    if failure.reason in BY_REASON:
        return BY_REASON[failure.reason]
    if failure.code is StatusCode.INVALID_ARGUMENT and _about_credentials(failure):
        return BridgeReason.CREDENTIALS_INCOMPLETE
    return BY_CODE_OF_OURS.get(failure.code, BridgeReason.BRIDGE_ERROR)


def _about_credentials(failure: RpcFailure) -> bool:
    return any(violation.field.startswith("credentials") for violation in failure.violations)
