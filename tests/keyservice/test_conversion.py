"""Conversions: each word of the contract has its word here, and nothing is lost on the way."""

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgeservice.v1 import environment_pb2, permissions_pb2
from keyservice import conversion
from keyservice.enums import BridgeReason, BridgeState, Environment, Permission
from keyservice.records import ApiKey, AuditEvent, Client
from keyservice.v1 import bridge_status_pb2 as bridge
from keyservice.v1 import key_service_pb2 as pb
from servicekit.errors import InvalidArgument
from servicekit.validation import Violations

NOW = datetime(2026, 11, 21, 10, 37, 0, 123456, tzinfo=UTC)


def api_key(**changes: Any) -> ApiKey:
    values: dict[str, Any] = {
        "id": uuid4(),
        "client_id": uuid4(),
        "exchange": "kraken",
        "label": "",
        "connector_name": "kraken",
        "environment": Environment.LIVE,
        "key_hint": "",
        "disabled": False,
        "revision": 1,
        "secret_version": 1,
        "can_read": None,
        "can_trade": None,
        "can_withdraw": None,
        "verified_at": None,
        "bridge_state": BridgeState.PENDING,
        "bridge_reason": None,
        "attempt_count": 0,
        "last_attempt_at": None,
        "next_attempt_at": None,
        "configured_at": None,
        "erased_at": None,
        "created_at": NOW,
        "updated_at": NOW,
        "deleted_at": None,
    }
    return ApiKey(**values | changes)


@pytest.mark.parametrize(
    ("words", "contract", "prefix"),
    [
        (Environment, environment_pb2.Environment, "ENVIRONMENT_"),
        (BridgeState, bridge.BridgeState, "BRIDGE_STATE_"),
        (BridgeReason, bridge.BridgeReason, "BRIDGE_REASON_"),
        (Permission, permissions_pb2.Permission, "PERMISSION_"),
    ],
)
def test_ours_and_the_contracts_enums_have_the_same_words(
    words: type[StrEnum], contract: Any, prefix: str
) -> None:
    assert {f"{prefix}{word.name}" for word in words} == set(contract.keys()) - {f"{prefix}UNSPECIFIED"}
    assert all(word.value == word.name.lower() for word in words)


def test_a_key_that_the_bridge_holds_has_all_that_is_known_of_it() -> None:
    later = NOW + timedelta(seconds=1)
    found = api_key(
        label="main",
        connector_name="kraken:before",
        environment=Environment.SANDBOX,
        disabled=True,
        can_read=Permission.YES,
        can_trade=Permission.NO,
        verified_at=NOW,
        bridge_state=BridgeState.CONFIGURED,
        attempt_count=3,
        last_attempt_at=NOW,
        configured_at=later,
        deleted_at=later,
    )
    message = conversion.api_key(found)
    assert (message.id, message.client_id) == (str(found.id), str(found.client_id))
    assert (message.label, message.connector_name) == ("main", "kraken:before")
    assert message.environment == environment_pb2.ENVIRONMENT_SANDBOX
    assert message.disabled
    assert message.trading_bridge_configured
    assert message.permissions == permissions_pb2.Permissions(
        read=permissions_pb2.PERMISSION_YES,
        trade=permissions_pb2.PERMISSION_NO,
        withdraw=permissions_pb2.PERMISSION_UNKNOWN,
    )
    assert message.bridge_status == bridge.BridgeStatus(
        configured=True,
        state=bridge.BRIDGE_STATE_CONFIGURED,
        attempt_count=3,
        last_attempt_time=NOW,
        configured_time=later,
    )
    assert message.delete_time.ToDatetime(tzinfo=UTC) == later


@pytest.mark.parametrize("state", BridgeState)
@pytest.mark.parametrize("reason", [None, *BridgeReason])
def test_every_state_and_reason_has_its_word(state: BridgeState, reason: BridgeReason | None) -> None:
    status = conversion.bridge_status(api_key(bridge_state=state, bridge_reason=reason))
    assert bridge.BridgeState.Name(status.state) == f"BRIDGE_STATE_{state.name}"
    word = reason.name if reason else "UNSPECIFIED"
    assert bridge.BridgeReason.Name(status.reason) == f"BRIDGE_REASON_{word}"
    assert status.configured == (state is BridgeState.CONFIGURED)
    waits = state in (BridgeState.PENDING, BridgeState.FAILED)
    assert bool(status.warning) == (waits or (state is BridgeState.REMOVING and reason is not None))


def test_a_client_and_an_event_without_this_or_that() -> None:
    client = Client(uuid4(), "Ada", None, NOW, NOW, None)
    message = conversion.client(client)
    assert (message.external_id, message.account_name) == ("", f"client_{client.id}")
    assert not message.HasField("delete_time")
    event = conversion.audit_event(AuditEvent(uuid4(), NOW, "ada", "CreateClient", None, None, "", "OK"))
    assert (event.client_id, event.api_key_id) == ("", "")


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_keeps_its_microseconds(moment: datetime) -> None:
    message = conversion.client(Client(uuid4(), "Ada", None, moment, moment, None))
    assert message.create_time.ToDatetime(tzinfo=UTC) == moment


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    message = conversion.client(Client(uuid4(), "Ada", None, elsewhere, elsewhere, None))
    assert message.create_time.ToDatetime(tzinfo=UTC) == NOW


def test_filters_and_environments_that_are_not_said_have_their_meaning() -> None:
    check = Violations()
    assert conversion.state(check, bridge.BRIDGE_STATE_UNSPECIFIED) is None
    assert conversion.environment(check, environment_pb2.ENVIRONMENT_UNSPECIFIED) is Environment.LIVE
    for state in BridgeState:
        assert conversion.state(check, bridge.BridgeState.Value(f"BRIDGE_STATE_{state.name}")) is state
    assert conversion.environment(check, environment_pb2.ENVIRONMENT_SANDBOX) is Environment.SANDBOX
    check.refuse()


def test_numbers_of_a_later_contract_are_violations() -> None:
    check = Violations()
    conversion.environment(check, 99)
    conversion.state(check, 99)
    with pytest.raises(InvalidArgument) as caught:
        check.refuse()
    assert [(each.field, each.description) for each in caught.value.violations] == [
        ("environment", "99 is no environment; use LIVE or SANDBOX"),
        ("state", "99 is no state"),
    ]


def test_a_repetition_is_the_whole_request_in_one_form() -> None:
    check = Violations()
    request = pb.AddApiKeyRequest(request_id=str(uuid4()))
    for name in ("uid", "login", "token"):
        request.credentials.extra[name] = name
    reordered = pb.AddApiKeyRequest(request_id=request.request_id)
    for name in ("token", "uid", "login"):
        reordered.credentials.extra[name] = name
    one, other = (
        conversion.repetition(check, "AddApiKey", each, each.request_id) for each in (request, reordered)
    )
    assert one is not None
    assert one == other
    assert str(one.request_id) == request.request_id
    assert conversion.repetition(check, "AddApiKey", request, "") is None
    check.refuse()
    assert conversion.repetition(check, "AddApiKey", request, "7") is None
    with pytest.raises(InvalidArgument):
        check.refuse()
