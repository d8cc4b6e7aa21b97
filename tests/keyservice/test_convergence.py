"""A change of a key reaches the bridge while its caller waits, or says honestly why it did not."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from bridgeservice.records import Connector
from keyservice.custody import Rotation
from keyservice.records import Caller
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.credentials import Credentials
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Aborted, FailedPrecondition, ResourceExhausted, Unavailable
from tests.support.bridges import RunningBridge, aborts, hangs, refuses, refuses_once, waits_for
from tests.support.key_service import KeyService, key_request, new_credentials, running
from tests.support.probe import eventually

REASONS = {
    "rejected": (
        refuses(FailedPrecondition("no", reason="CREDENTIALS_REJECTED")),
        status.BRIDGE_STATE_FAILED,
        status.BRIDGE_REASON_CREDENTIALS_REJECTED,
    ),
    "unsupported": (
        refuses(FailedPrecondition("no", reason="EXCHANGE_UNSUPPORTED")),
        status.BRIDGE_STATE_FAILED,
        status.BRIDGE_REASON_EXCHANGE_UNSUPPORTED,
    ),
    "limited": (
        refuses(ResourceExhausted("no", retry_after=timedelta(hours=1))),
        status.BRIDGE_STATE_PENDING,
        status.BRIDGE_REASON_RATE_LIMITED,
    ),
    "exchange away": (
        refuses(Unavailable("no", reason="EXCHANGE_UNAVAILABLE")),
        status.BRIDGE_STATE_PENDING,
        status.BRIDGE_REASON_EXCHANGE_UNAVAILABLE,
    ),
    "refused": (
        refuses(FailedPrecondition("no", reason="WHO_KNOWS")),
        status.BRIDGE_STATE_PENDING,
        status.BRIDGE_REASON_BRIDGE_ERROR,
    ),
    "transport": (
        aborts(grpc.StatusCode.UNAVAILABLE),
        status.BRIDGE_STATE_PENDING,
        status.BRIDGE_REASON_BRIDGE_UNAVAILABLE,
    ),
}


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(
        database_url, bridge_target=bridge.target, bridge_wait=timedelta(seconds=30)
    ) as service:
        yield service


def held(bridge: RunningBridge, key: ApiKey) -> Connector | None:
    return bridge.held().get((f"client_{key.client_id}", key.connector_name))


async def recovered(service: KeyService, bridge: RunningBridge) -> None:
    """The bridge is well again, and KeyService has noticed."""
    bridge.faults.clear()
    await service.bridge.info(timeout=timedelta(seconds=5))


async def set_disabled(service: KeyService, key: ApiKey, *, disabled: bool) -> ApiKey:
    wanted = ApiKey(id=key.id, disabled=disabled)
    request = pb.UpdateApiKeyRequest(api_key=wanted, update_mask=FieldMask(paths=["disabled"]))
    return (await service.stub.UpdateApiKey(request)).api_key


async def test_an_added_key_is_configured_when_its_caller_hears_of_it(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    given = new_credentials()
    answer = await service.stub.AddApiKey(key_request(client, credentials=given))
    key = answer.api_key
    assert answer.trading_bridge_configured
    assert not answer.trading_bridge_warning
    assert key.bridge_status.state == status.BRIDGE_STATE_CONFIGURED
    assert key.bridge_status.attempt_count == 0
    assert not key.bridge_status.HasField("next_attempt_time")
    assert key == await service.get_key(key)
    there = held(bridge, key)
    assert there is not None
    assert there.revision == key.revision
    assert there.credentials.api_key == given.api_key
    assert (await service.row(key)).configured_instance == bridge.instance_id


async def test_each_change_of_a_key_reaches_the_bridge_with_its_revision(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    given = new_credentials()
    rotated = await service.rotate_key(key, given)
    there = held(bridge, key)
    assert there is not None
    assert (there.revision, there.credentials.api_secret) == (rotated.revision, given.api_secret)
    disabled = await set_disabled(service, key, disabled=True)
    assert disabled.bridge_status.state == status.BRIDGE_STATE_REMOVED
    assert held(bridge, key) is None
    enabled = await set_disabled(service, key, disabled=False)
    there = held(bridge, key)
    assert there is not None
    assert (there.revision, there.credentials.api_secret) == (enabled.revision, given.api_secret)
    deleted = await service.delete_key(key)
    assert deleted.bridge_status.state == status.BRIDGE_STATE_REMOVED
    assert held(bridge, key) is None
    back = await service.undelete_key(key)
    assert back.trading_bridge_configured
    assert held(bridge, key) is not None


@pytest.mark.parametrize("case", REASONS)
async def test_a_refusal_is_no_error_of_the_call_and_says_what_it_was(
    service: KeyService, client: Client, bridge: RunningBridge, case: str
) -> None:
    bridge.faults.before["AddConnector"], state, reason = REASONS[case]
    answer = await service.stub.AddApiKey(key_request(client))
    assert answer.message == "API key added successfully"
    assert not answer.trading_bridge_configured
    now = answer.api_key.bridge_status
    assert (now.state, now.reason) == (state, reason)
    assert status.BridgeReason.Name(reason).removeprefix("BRIDGE_REASON_") in answer.trading_bridge_warning
    assert now.HasField("next_attempt_time") == (state == status.BRIDGE_STATE_PENDING)
    if case == "limited":
        assert now.next_attempt_time.seconds - now.last_attempt_time.seconds in (3600, 3601)


async def test_a_bridge_that_hangs_costs_the_caller_no_more_than_the_wait_and_is_named(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    service.convergence.inline_wait = timedelta(seconds=1)
    bridge.faults.before["AddConnector"] = hangs
    answer = await service.stub.AddApiKey(key_request(client))
    assert answer.trading_bridge_warning.startswith(
        "Trading Bridge connector initialization failed: no answer within 1 second (BRIDGE_TIMEOUT)."
    )
    assert "use ReinitializeApiKey to retry now" in answer.trading_bridge_warning


async def test_a_caller_with_little_time_hears_who_was_late_before_it_is_over(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    bridge.faults.before["AddConnector"] = hangs
    answer = await service.stub.AddApiKey(key_request(client), timeout=8)
    assert answer.api_key.bridge_status.reason == status.BRIDGE_REASON_BRIDGE_TIMEOUT


async def test_a_caller_who_goes_away_after_the_commit_does_not_take_the_attempt_along(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    go_on = asyncio.Event()
    bridge.faults.before["AddConnector"] = waits_for(go_on)
    call = service.stub.AddApiKey(key_request(client))
    await eventually(lambda: bool(bridge.faults.requests("AddConnector")), "the bridge is asked")
    call.cancel()
    go_on.set()
    await eventually(lambda: bool(bridge.held()), "the bridge holds the key")
    [row] = await service.sql("SELECT revision FROM exchange_api_keys")
    [connector] = bridge.held().values()
    assert connector.revision == row.revision

    await service.convergence.__aexit__()
    [now] = await service.sql("SELECT bridge_state FROM exchange_api_keys")
    assert now.bridge_state == "configured"


async def test_a_bridge_that_acts_and_does_not_say_so_is_asked_again_and_changes_nothing(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    bridge.faults.after["AddConnector"] = aborts(grpc.StatusCode.UNAVAILABLE)
    key = await service.add_key(client)
    assert not key.trading_bridge_configured
    assert held(bridge, key) is not None
    await recovered(service, bridge)
    claimed = await service.convergence.retry(
        _anybody(), await service.custody.get(_anybody(), _id(key)), None
    )
    assert claimed is not None
    assert claimed.key.configured


async def test_a_current_key_that_is_called_stale_draws_a_new_revision_and_is_configured(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    bridge.faults.before["AddConnector"] = refuses_once(Aborted("no", reason="STALE_REVISION"))
    answer = await service.stub.AddApiKey(key_request(client))
    assert answer.trading_bridge_configured
    first, second = [request.revision for request in bridge.faults.requests("AddConnector")]
    assert first < second == answer.api_key.revision


async def test_the_removal_of_a_key_never_takes_away_another_one_that_has_its_connector_by_now(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    old = await service.add_key(client, label="main")
    bridge.faults.before["RemoveConnector"] = aborts(grpc.StatusCode.UNAVAILABLE)
    gone = await service.delete_key(old)
    assert gone.bridge_status.state == status.BRIDGE_STATE_REMOVING
    assert "It will be retried" in gone.bridge_status.warning
    await recovered(service, bridge)
    new = await service.add_key(client, label="main")
    tried = await service.convergence.retry(_anybody(), await service.custody.get(_anybody(), _id(old)), None)
    assert tried is not None
    assert tried.key.bridge_state.value == "removed"
    there = held(bridge, new)
    assert there is not None
    assert there.revision == new.revision


async def test_rotated_credentials_that_are_refused_leave_the_old_ones_in_no_use(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    bridge.faults.before["AddConnector"] = refuses(FailedPrecondition("no", reason="CREDENTIALS_REJECTED"))
    rotated = await service.rotate_key(key)
    assert rotated.bridge_status.reason == status.BRIDGE_REASON_CREDENTIALS_REJECTED
    assert held(bridge, key) is None
    bridge.faults.clear()
    tried = await service.convergence.retry(_anybody(), await service.custody.get(_anybody(), _id(key)), None)
    assert tried is not None
    assert tried.key.configured


async def test_a_caller_waits_for_one_call_and_not_for_what_a_refusal_brings_along(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    """He waits for a second longer than for the bridge, which takes two to refuse. What that brings along has as long
    again as the bridge had, so it goes on for another second when he is told.
    """

    async def refuses_after_a_while(*_: object) -> None:
        await asyncio.sleep(2)
        raise FailedPrecondition("no", reason="CREDENTIALS_REJECTED")

    key = await service.add_key(client)
    service.convergence.inline_wait = timedelta(seconds=4)
    bridge.faults.before["AddConnector"] = refuses_after_a_while
    bridge.faults.before["RemoveConnector"] = hangs
    rotation = Rotation(
        _id(key), Credentials(api_key=secrets.token_hex(16), api_secret=secrets.token_hex(32))
    )
    tried = await service.custody.rotate(_anybody(), rotation, None)
    assert tried.key.unanswered
    bridge.faults.clear()
    await service.becomes(key, status.BRIDGE_STATE_FAILED)


async def test_credentials_that_cannot_be_opened_are_not_sent_and_not_tried_again(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    await set_disabled(service, key, disabled=True)
    await service.sql("UPDATE exchange_api_keys SET secret_version = 7")
    pushes = len(bridge.faults.requests("AddConnector"))
    enabled = await set_disabled(service, key, disabled=False)
    assert enabled.bridge_status.state == status.BRIDGE_STATE_FAILED
    assert enabled.bridge_status.reason == status.BRIDGE_REASON_KEY_UNREADABLE
    assert len(bridge.faults.requests("AddConnector")) == pushes


def _id(key: ApiKey) -> UUID:
    return UUID(key.id)


def _anybody() -> Caller:
    return Caller("a test")
