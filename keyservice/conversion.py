"""Between the contract's messages and what use cases speak of: the only file that knows both."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from bridgeservice.v1 import balance_pb2, credentials_pb2, environment_pb2, permissions_pb2
from keyservice import balances, records, totals
from keyservice.bridge_health import Health
from keyservice.enums import BridgeState, Environment, Permission
from keyservice.repetition import Repetition
from keyservice.v1 import api_key_pb2, audit_event_pb2, bridge_status_pb2, client_pb2, key_balances_pb2
from keyservice.v1 import key_service_pb2 as pb
from servicekit.credentials import Credentials
from servicekit.validation import Violations

# In seconds: ten thousand years, which is as long as the contract's durations are.
_LONGEST_AGE: Final = 315_576_000_000
_ENVIRONMENTS = {
    environment_pb2.ENVIRONMENT_UNSPECIFIED: Environment.LIVE,
    environment_pb2.ENVIRONMENT_LIVE: Environment.LIVE,
    environment_pb2.ENVIRONMENT_SANDBOX: Environment.SANDBOX,
}


def client(found: records.Client) -> client_pb2.Client:
    return client_pb2.Client(
        id=str(found.id),
        name=found.name,
        external_id=found.external_id or "",
        account_name=found.account_name,
        create_time=found.created_at,
        update_time=found.updated_at,
        delete_time=found.deleted_at,
    )


def api_key(found: records.ApiKey) -> api_key_pb2.ApiKey:
    return api_key_pb2.ApiKey(
        id=str(found.id),
        client_id=str(found.client_id),
        exchange=found.exchange,
        label=found.label,
        connector_name=found.connector_name,
        environment=f"ENVIRONMENT_{found.environment.name}",
        key_hint=found.key_hint,
        disabled=found.disabled,
        revision=found.revision,
        permissions=_permissions(found),
        verify_time=found.verified_at,
        trading_bridge_configured=found.configured,
        bridge_status=bridge_status(found),
        create_time=found.created_at,
        update_time=found.updated_at,
        delete_time=found.deleted_at,
    )


def bridge_status(found: records.ApiKey) -> bridge_status_pb2.BridgeStatus:
    return bridge_status_pb2.BridgeStatus(
        configured=found.configured,
        state=f"BRIDGE_STATE_{found.bridge_state.name}",
        reason=f"BRIDGE_REASON_{found.bridge_reason.name}" if found.bridge_reason else None,
        warning=found.warning,
        attempt_count=found.attempt_count,
        last_attempt_time=found.last_attempt_at,
        next_attempt_time=found.next_attempt_at,
        configured_time=found.configured_at,
    )


def audit_event(found: records.AuditEvent) -> audit_event_pb2.AuditEvent:
    return audit_event_pb2.AuditEvent(
        id=str(found.id),
        create_time=found.created_at,
        principal=found.principal,
        action=found.action,
        client_id=_text(found.client_id),
        api_key_id=_text(found.api_key_id),
        request_id=found.request_id,
        outcome=found.outcome,
    )


def key_balances(found: balances.KeyBalances) -> key_balances_pb2.KeyBalances:
    return key_balances_pb2.KeyBalances(
        api_key_id=str(found.key.id),
        exchange=found.key.exchange,
        label=found.key.label,
        configured=found.configured,
        status=f"CONNECTOR_STATUS_{found.status.name}",
        warning=found.warning,
        balances=[
            balance_pb2.Balance(asset=each.asset, free=each.free, used=each.used, total=each.total)
            for each in found.balances
        ],
        as_of_time=found.as_of,
    )


def balance_total(found: totals.Total) -> key_balances_pb2.BalanceTotal:
    return key_balances_pb2.BalanceTotal(
        kind=f"FUNDS_KIND_{found.kind.name}",
        asset=found.asset,
        free=found.free,
        used=found.used,
        total=found.total,
    )


def bridge_health(found: Health) -> pb.GetBridgeHealthResponse:
    info = found.info
    return pb.GetBridgeHealthResponse(
        reachable=found.reachable,
        latency=info.latency if info and found.reachable else None,
        instance_id=info.instance_id if info else "",
        start_time=info.start_time if info else None,
        configured_keys=found.configured_keys,
        pending_keys=found.pending_keys,
        failed_keys=found.failed_keys,
        warning=found.warning,
    )


def max_age(violations: Violations, given: Duration) -> timedelta:
    """How old something may be; what the wire lets be longer than any time there was is as good as for ever."""
    if given.seconds < 0 or given.nanos < 0:
        violations.add("max_age", "is negative; 0 means asked anew")
        return timedelta(0)
    return timedelta(seconds=min(given.seconds, _LONGEST_AGE), microseconds=given.nanos // 1000)


def credentials(given: credentials_pb2.Credentials) -> Credentials:
    return Credentials(
        api_key=given.api_key, api_secret=given.api_secret, passphrase=given.passphrase, extra=given.extra
    )


def environment(violations: Violations, value: int) -> Environment:
    """Proto3 enums are open: a number of a later contract arrives as it is."""
    known = _ENVIRONMENTS.get(value)  # type: ignore[call-overload]  # the stubs have enums, the wire has numbers
    if known is None:
        violations.add("environment", f"{value} is no environment; use LIVE or SANDBOX")
    return known or Environment.LIVE


def state(violations: Violations, value: int) -> BridgeState | None:
    if value == bridge_status_pb2.BRIDGE_STATE_UNSPECIFIED:
        return None
    if value not in bridge_status_pb2.BridgeState.values():
        violations.add("state", f"{value} is no state")
        return None
    name = bridge_status_pb2.BridgeState.Name(value)
    return BridgeState[name.removeprefix("BRIDGE_STATE_")]


def repetition(violations: Violations, method: str, request: Message, request_id: str) -> Repetition | None:
    """The request under its id, which is no part of the body: it can be spelt in two ways."""
    parsed = violations.optional_id("request_id", request_id)
    if parsed is None:
        return None
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    return Repetition(method, parsed, body.SerializeToString(deterministic=True))


def _permissions(found: records.ApiKey) -> permissions_pb2.Permissions | None:
    if found.verified_at is None:
        return None
    return permissions_pb2.Permissions(
        read=_permission(found.can_read),
        trade=_permission(found.can_trade),
        withdraw=_permission(found.can_withdraw),
    )


def _permission(value: Permission | None) -> str:
    return f"PERMISSION_{(value or Permission.UNKNOWN).name}"


def _text(value: UUID | None) -> str:
    return "" if value is None else str(value)
