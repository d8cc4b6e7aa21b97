"""The RPCs of API keys, over a real socket: what each changes, and what it leaves as it was."""

import secrets
from datetime import UTC
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from bridgeservice.v1.credentials_pb2 import Credentials
from bridgeservice.v1.environment_pb2 import ENVIRONMENT_LIVE, ENVIRONMENT_SANDBOX
from keyservice.v1 import bridge_status_pb2 as bridge
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from tests.support.key_service import (
    KeyService,
    key_request,
    new_credentials,
    refusal,
    violations,
)
from tests.support.sealed import execute

CALLS = {
    "GetApiKey": pb.GetApiKeyRequest,
    "RotateApiKey": pb.RotateApiKeyRequest,
    "DeleteApiKey": pb.DeleteApiKeyRequest,
    "UndeleteApiKey": pb.UndeleteApiKeyRequest,
}


async def update(service: KeyService, wanted: ApiKey, *paths: str) -> ApiKey:
    request = pb.UpdateApiKeyRequest(api_key=wanted, update_mask=FieldMask(paths=paths))
    return (await service.stub.UpdateApiKey(request)).api_key


async def verified(service: KeyService, key: ApiKey) -> None:
    """As after a verification that found everything allowed, and an acknowledgement of the bridge."""
    await execute(
        service.database,
        "UPDATE exchange_api_keys SET can_read = 'yes', can_trade = 'no', verified_at = now(),"
        " bridge_state = 'configured', configured_at = now(), configured_instance = 'a run', attempt_count = 1"
        " WHERE id = :id",
        id=UUID(key.id),
    )


async def test_a_key_is_taken_into_custody_and_waits_for_the_bridge(
    service: KeyService, client: Client
) -> None:
    given = new_credentials()
    answer = await service.stub.AddApiKey(key_request(client, label="main", credentials=given))
    key = answer.api_key
    assert UUID(key.id).version == 4
    assert (key.client_id, key.exchange, key.label) == (client.id, "kraken", "main")
    assert key.connector_name == "kraken:main"
    assert key.environment == ENVIRONMENT_LIVE
    assert key.key_hint == given.api_key[-4:]
    assert key.revision > 0
    assert not key.disabled
    assert not key.HasField("permissions")
    assert not key.HasField("verify_time")
    assert not key.HasField("delete_time")
    assert key.create_time == key.update_time
    status = key.bridge_status
    assert (status.state, status.reason) == (
        bridge.BRIDGE_STATE_PENDING,
        bridge.BRIDGE_REASON_BRIDGE_UNAVAILABLE,
    )
    assert not status.configured
    assert status.warning == answer.trading_bridge_warning
    assert status.attempt_count == 1
    assert status.HasField("next_attempt_time")
    assert answer.message == "API key added successfully"
    assert not answer.trading_bridge_configured
    assert "The key is saved and will be retried at" in answer.trading_bridge_warning


async def test_what_was_given_is_what_is_sealed_and_nothing_of_it_is_stored_in_the_clear(
    service: KeyService, client: Client
) -> None:
    given = Credentials(
        api_key=secrets.token_hex(16),
        api_secret=secrets.token_hex(16),
        passphrase=secrets.token_hex(16),
        extra={"uid": secrets.token_hex(16), "login": secrets.token_hex(16)},
    )
    key = await service.add_key(client, exchange="ndax", credentials=given)
    opened = await service.opened(key)
    assert opened.pop("extra").decode().count(given.extra["uid"]) == 1
    assert {name: value.decode() for name, value in opened.items()} == {
        "api_key": given.api_key,
        "api_secret": given.api_secret,
        "passphrase": given.passphrase,
    }
    stored = str(await service.row(key))
    for secret in (given.api_key, given.api_secret, given.passphrase, *given.extra.values()):
        assert secret not in stored


async def test_a_key_is_read_back_as_it_was_answered(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    assert await service.get_key(key) == key


async def test_a_key_without_a_label_has_the_exchange_for_its_connector(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client, exchange="BINANCE", environment=ENVIRONMENT_SANDBOX)
    assert (key.exchange, key.connector_name) == ("binance", "binance")
    assert key.environment == ENVIRONMENT_SANDBOX


@pytest.mark.parametrize(("former", "present"), [("gateio", "gate"), ("Huobi", "htx"), ("okex", "okx")])
async def test_a_former_name_is_stored_as_the_present_one(
    service: KeyService, client: Client, former: str, present: str
) -> None:
    credentials = new_credentials(passphrase="" if present != "okx" else secrets.token_hex(8))
    key = await service.add_key(client, exchange=former, credentials=credentials)
    assert (key.exchange, key.connector_name) == (present, present)
    listed = await service.stub.ListApiKeys(pb.ListApiKeysRequest(exchange=former))
    assert [each.id for each in listed.api_keys] == [key.id]


async def test_paper_needs_no_credentials_and_a_client_may_have_many(
    service: KeyService, client: Client
) -> None:
    given = new_credentials()
    keys = [await service.add_key(client, exchange="paper", label=str(number)) for number in range(3)]
    keys += [
        await service.add_key(client, exchange="paper", label=label, credentials=given) for label in "ab"
    ]
    for key in keys:
        assert (await service.row(key)).fingerprint is None
    assert await service.opened(keys[0]) == {}
    assert (await service.row(keys[0])).key_id is None
    assert (await service.opened(keys[3]))["api_key"] == given.api_key.encode()


async def test_rotation_draws_a_revision_and_a_secret_version_and_forgets_what_was_verified(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client, label="main")
    await verified(service, key)
    before = await service.get_key(key)
    assert before.HasField("permissions")
    assert before.trading_bridge_configured
    given = new_credentials()
    answer = await service.stub.RotateApiKey(pb.RotateApiKeyRequest(api_key_id=key.id, credentials=given))
    rotated = answer.api_key
    assert answer.message == "API key rotated successfully"
    assert not answer.trading_bridge_configured
    assert answer.trading_bridge_warning
    assert rotated.revision > key.revision
    assert (await service.row(key)).secret_version == 2
    assert not rotated.HasField("permissions")
    assert not rotated.HasField("verify_time")
    assert rotated.bridge_status.state == bridge.BRIDGE_STATE_PENDING
    assert not rotated.bridge_status.HasField("configured_time")
    assert rotated.bridge_status.attempt_count == 0
    assert rotated.key_hint == given.api_key[-4:]
    assert (rotated.connector_name, rotated.label) == (key.connector_name, key.label)
    assert await service.opened(key) == {
        "api_key": given.api_key.encode(),
        "api_secret": given.api_secret.encode(),
    }


async def test_rotation_leaves_nothing_of_credentials_that_the_new_ones_lack(
    service: KeyService, client: Client
) -> None:
    old = new_credentials(passphrase=secrets.token_hex(8), extra={"uid": secrets.token_hex(8)})
    key = await service.add_key(client, credentials=old)
    await service.rotate_key(key, new_credentials())
    row = await service.row(key)
    assert (row.passphrase, row.extra) == (None, None)


async def test_a_key_may_be_rotated_to_the_credentials_that_it_has(
    service: KeyService, client: Client
) -> None:
    given = new_credentials()
    key = await service.add_key(client, credentials=given)
    assert (await service.rotate_key(key, given)).revision > key.revision


async def test_a_disabled_key_is_rotated_without_coming_back_to_the_bridge(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    await update(service, ApiKey(id=key.id, disabled=True), "disabled")
    rotated = await service.rotate_key(key)
    assert rotated.disabled
    assert rotated.bridge_status.state == bridge.BRIDGE_STATE_REMOVING


async def test_a_paper_key_is_rotated_without_credentials(service: KeyService, client: Client) -> None:
    key = await service.add_key(client, exchange="paper")
    answer = await service.stub.RotateApiKey(pb.RotateApiKeyRequest(api_key_id=key.id))
    assert answer.api_key.revision > key.revision


async def test_a_new_label_changes_neither_connector_nor_revision(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client, label="before")
    await verified(service, key)
    renamed = await update(service, ApiKey(id=key.id, label="after"), "label")
    assert (renamed.label, renamed.connector_name) == ("after", "kraken:before")
    assert renamed.revision == key.revision
    assert renamed.trading_bridge_configured
    assert renamed.update_time.ToNanoseconds() > key.update_time.ToNanoseconds()


async def test_disabling_and_enabling_draw_a_revision_each_and_leave_the_secret_version(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    await verified(service, key)
    disabled = await update(service, ApiKey(id=key.id, disabled=True), "disabled")
    assert disabled.disabled
    assert disabled.bridge_status.state == bridge.BRIDGE_STATE_REMOVING
    assert disabled.HasField("permissions")
    enabled = await update(service, ApiKey(id=key.id), "disabled")
    assert not enabled.disabled
    assert enabled.bridge_status.state == bridge.BRIDGE_STATE_PENDING
    assert key.revision < disabled.revision < enabled.revision
    assert (await service.row(key)).secret_version == 1


async def test_an_update_ignores_what_the_mask_does_not_name(service: KeyService, client: Client) -> None:
    key = await service.add_key(client, label="before")
    wanted = ApiKey(id=key.id, label="\n", disabled=True, exchange="binance", key_hint="oops", revision=1)
    changed = await update(service, wanted, "disabled")
    assert (changed.label, changed.disabled, changed.exchange) == ("before", True, "kraken")
    assert changed.key_hint == key.key_hint
    assert changed.revision > key.revision


async def test_an_update_without_a_mask_changes_the_fields_that_are_set(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client, label="before")
    changed = await update(service, ApiKey(id=key.id, disabled=True))
    assert (changed.label, changed.disabled) == ("before", True)
    changed = await update(service, ApiKey(id=key.id, label="after"))
    assert (changed.label, changed.disabled) == ("after", True)


async def test_an_update_that_names_no_field_and_sets_none_is_refused(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    told = await refusal(service.stub.UpdateApiKey(pb.UpdateApiKeyRequest(api_key=ApiKey(id=key.id))))
    assert violations(told) == {
        "update_mask": "is empty, and none of the fields has a value; name those to change: disabled, label"
    }


async def test_an_update_to_what_is_so_already_changes_nothing_at_all(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client, label="same")
    before = await service.row(key)
    assert await update(service, key) == key
    assert await update(service, key, "label", "disabled", "label") == key
    assert await service.row(key) == before


async def test_a_deleted_key_is_out_of_sight_and_still_read(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await verified(service, key)
    deleted = await service.delete_key(key)
    assert deleted.HasField("delete_time")
    assert deleted.revision > key.revision
    assert deleted.bridge_status.state == bridge.BRIDGE_STATE_REMOVING
    assert not deleted.trading_bridge_configured
    assert await service.get_key(key) == deleted
    assert not (await service.stub.ListApiKeys(pb.ListApiKeysRequest())).api_keys
    [listed] = (await service.stub.ListApiKeys(pb.ListApiKeysRequest(show_deleted=True))).api_keys
    assert listed == deleted


async def test_undelete_brings_back_the_very_key(service: KeyService, client: Client) -> None:
    key = await service.add_key(client, label="main")
    before = await service.opened(key)
    deleted = await service.delete_key(key)
    restored = await service.undelete_key(key)
    assert not restored.HasField("delete_time")
    assert restored.revision > deleted.revision
    assert restored.bridge_status.state == bridge.BRIDGE_STATE_PENDING
    assert await service.opened(key) == before
    assert (await service.row(key)).secret_version == 1


async def test_a_disabled_key_comes_back_disabled(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await update(service, ApiKey(id=key.id, disabled=True), "disabled")
    await service.delete_key(key)
    restored = await service.undelete_key(key)
    assert restored.disabled
    assert restored.bridge_status.state == bridge.BRIDGE_STATE_REMOVING


async def test_deleting_and_undeleting_twice_changes_nothing_the_second_time(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    deleted = await service.delete_key(key)
    assert await service.delete_key(key) == deleted
    restored = await service.undelete_key(key)
    assert await service.undelete_key(key) == restored


async def test_a_deleted_key_is_neither_rotated_nor_changed(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await service.delete_key(key)
    before = await service.row(key)
    rotation = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=new_credentials())
    renaming = pb.UpdateApiKeyRequest(api_key=ApiKey(id=key.id, label="late"))
    for refused in (service.stub.RotateApiKey(rotation), service.stub.UpdateApiKey(renaming)):
        told = await refusal(refused)
        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "API_KEY_DELETED")
    assert await service.row(key) == before


async def test_deleting_a_client_deletes_its_keys_and_undelete_brings_back_just_those(
    service: KeyService, client: Client
) -> None:
    early, live, disabled = [await service.add_key(client, label=label) for label in ("e", "l", "d")]
    bystander = await service.add_key(await service.add_client())
    await service.delete_key(early)
    disabled = await update(service, ApiKey(id=disabled.id, disabled=True), "disabled")
    await service.delete_client(client)
    gone = [await service.get_key(key) for key in (live, disabled)]
    for before, after in zip((live, disabled), gone, strict=True):
        assert after.HasField("delete_time")
        assert after.revision > before.revision
        assert after.bridge_status.state == bridge.BRIDGE_STATE_REMOVING
    await service.undelete_client(client)
    back = [await service.get_key(key) for key in (live, disabled)]
    for before, after in zip(gone, back, strict=True):
        assert not after.HasField("delete_time")
        assert after.revision > before.revision
    assert [key.bridge_status.state for key in back] == [
        bridge.BRIDGE_STATE_PENDING,
        bridge.BRIDGE_STATE_REMOVING,
    ]
    assert (await service.get_key(early)).HasField("delete_time")
    assert await service.get_key(bystander) == bystander


async def test_the_client_of_a_key_comes_back_before_the_key(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await service.delete_client(client)
    told = await refusal(service.stub.UndeleteApiKey(pb.UndeleteApiKeyRequest(api_key_id=key.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CLIENT_DELETED")


async def test_a_deleted_or_unknown_client_gets_no_key(service: KeyService, client: Client) -> None:
    await service.delete_client(client)
    for owner in (client, Client(id=str(uuid4()))):
        told = await refusal(service.stub.AddApiKey(key_request(owner)))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CLIENT_NOT_FOUND")
    assert await service.count("exchange_api_keys") == 0


async def test_a_key_that_never_was_is_not_found_whatever_is_asked(service: KeyService) -> None:
    for name, request in CALLS.items():
        told = await refusal(getattr(service.stub, name)(request(api_key_id=str(uuid4()))))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "API_KEY_NOT_FOUND")
    unknown = pb.UpdateApiKeyRequest(api_key=ApiKey(id=str(uuid4()), label="x"))
    assert (await refusal(service.stub.UpdateApiKey(unknown))).reason == "API_KEY_NOT_FOUND"


async def test_revisions_grow_over_all_keys_and_changes(service: KeyService, client: Client) -> None:
    first, second = await service.add_key(client), await service.add_key(client, exchange="binance")
    drawn = [first.revision, second.revision]
    for key in (first, second):
        drawn.append((await service.rotate_key(key)).revision)
        drawn.append((await update(service, ApiKey(id=key.id, disabled=True), "disabled")).revision)
        drawn.append((await service.delete_key(key)).revision)
        drawn.append((await service.undelete_key(key)).revision)
    assert drawn == sorted(set(drawn))


async def test_no_answer_has_a_field_that_could_hold_a_secret() -> None:
    fields = {field.name for field in ApiKey.DESCRIPTOR.fields}
    assert not fields & {"credentials", "api_key", "api_secret", "passphrase", "extra"}


async def test_a_key_that_was_deleted_at_the_same_moment_as_its_client_but_by_itself_stays_deleted(
    service: KeyService, client: Client
) -> None:
    by_itself, with_client = [await service.add_key(client, label=label) for label in "ab"]
    await service.delete_key(by_itself)
    await service.delete_client(client)
    await service.sql("UPDATE clients SET deleted_at = '2026-01-01'")
    await service.sql("UPDATE exchange_api_keys SET deleted_at = '2026-01-01' WHERE label = 'a'")
    await service.undelete_client(client)
    assert (await service.get_key(by_itself)).HasField("delete_time")
    assert not (await service.get_key(with_client)).HasField("delete_time")
    for key in (by_itself, with_client):
        assert not (await service.row(key)).deleted_with_client


async def test_a_rotated_disabled_key_is_told_that_it_stays_away_from_the_bridge(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    await update(service, ApiKey(id=key.id, disabled=True), "disabled")
    request = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=new_credentials())
    answer = await service.stub.RotateApiKey(request)
    assert not answer.trading_bridge_configured
    assert answer.trading_bridge_warning.startswith("The key is disabled")


async def test_the_warning_of_a_repetition_says_that_the_key_was_deleted_since(
    service: KeyService, client: Client
) -> None:
    request = key_request(client, request_id=str(uuid4()))
    key = (await service.stub.AddApiKey(request)).api_key
    await service.delete_key(key)
    assert (await service.stub.AddApiKey(request)).trading_bridge_warning.startswith("The key is deleted")


@pytest.mark.parametrize("way_back", ["enabled", "undeleted", "undeleted with its client"])
async def test_a_key_that_cannot_be_read_stays_failed_when_it_comes_back(
    service: KeyService, client: Client, way_back: str
) -> None:
    key = await service.add_key(client)
    await service.sql("UPDATE exchange_api_keys SET key_id = NULL")
    if way_back == "enabled":
        await update(service, ApiKey(id=key.id, disabled=True), "disabled")
        await update(service, ApiKey(id=key.id), "disabled")
    elif way_back == "undeleted":
        await service.delete_key(key)
        await service.undelete_key(key)
    else:
        await service.delete_client(client)
        await service.undelete_client(client)
    status = (await service.get_key(key)).bridge_status
    assert (status.state, status.reason) == (bridge.BRIDGE_STATE_FAILED, bridge.BRIDGE_REASON_KEY_UNREADABLE)
    assert "RotateApiKey" in status.warning
    rotated = await service.rotate_key(key)
    assert rotated.bridge_status.state == bridge.BRIDGE_STATE_PENDING


async def test_times_of_a_key_are_those_of_one_clock(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await update(service, ApiKey(id=key.id, label="late"), "label")
    deleted = await service.delete_key(key)
    changed = await service.row(key)
    assert changed.created_at < changed.deleted_at <= changed.updated_at
    [now] = await service.sql("SELECT clock_timestamp() AS now")
    assert changed.updated_at < now.now
    assert deleted.update_time.ToDatetime(tzinfo=UTC) == changed.updated_at
