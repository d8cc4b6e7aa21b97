"""KeyService with no more rights in the database than it is granted: all works, and nothing goes unrecorded."""

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import text

from keyservice.adoption import adopt
from keyservice.audit_verification import verify
from keyservice.housekeeping import Housekeeping
from keyservice.keyring import open_keyring, read_keyring
from keyservice.models import METADATA
from keyservice.resealing import rotate
from keyservice.rolling_check import RollingCheck
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.schema import require_schema
from servicekit.database.url import DatabaseUrl
from tests.support.audit import sealer
from tests.support.bridges import RunningBridge
from tests.support.key_service import KeyService, key_request, new_credentials, refusal, running
from tests.support.old_database import NULLABLE, OldDatabase
from tests.support.roles import Accounts, make_accounts
from tests.support.sealed import execute, new_key


@pytest.fixture
async def service(
    accounts: Accounts, bridge: RunningBridge, output: io.StringIO
) -> AsyncIterator[KeyService]:
    """KeyService with its loops, logged in as its role."""
    async with running(accounts.keyservice, bridge_target=bridge.target, loops=True) as service:
        yield service


@pytest.fixture
async def owner(accounts: Accounts) -> AsyncIterator[Database]:
    """The same database for somebody who may do anything there."""
    database = Database(DatabaseOptions(url=accounts.superuser, pool_size=1))
    yield database
    await database.close()


async def test_the_schema_is_checked_and_the_keyring_opened(accounts: Accounts) -> None:
    database = Database(DatabaseOptions(url=accounts.keyservice, pool_size=1))
    key, next_key = new_key(), new_key()
    await require_schema(database, METADATA)
    await open_keyring(database, [key])
    await open_keyring(database, [key, next_key])
    await rotate(database, await open_keyring(database, [next_key, key]))
    await rotate(database, await open_keyring(database, [next_key]))
    await read_keyring(database, [next_key])
    await database.close()


async def test_everything_that_callers_can_ask_for_is_done(
    service: KeyService, bridge: RunningBridge
) -> None:
    stub = service.stub
    client = await service.add_client(request_id=str(uuid4()))
    await stub.UpdateClient(pb.UpdateClientRequest(client=Client(id=client.id, name="another")))
    request = key_request(client, request_id=str(uuid4()))
    for _ in range(2):
        key = (await stub.AddApiKey(request)).api_key
        assert key.trading_bridge_configured
    paper = await service.add_key(client, exchange="paper")
    watch = stub.WatchApiKeys(pb.WatchApiKeysRequest(client_id=client.id), timeout=20)
    assert (await anext(aiter(watch))).api_key.client_id == client.id
    watch.cancel()
    await service.rotate_key(key)
    for disabled in (True, False):
        wanted = ApiKey(id=key.id, label="main", disabled=disabled)
        mask = FieldMask(paths=["label", "disabled"])
        await stub.UpdateApiKey(pb.UpdateApiKeyRequest(api_key=wanted, update_mask=mask))
    await stub.ReinitializeApiKey(pb.ReinitializeApiKeyRequest(api_key_id=key.id))
    async for _ in stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest()):
        pass
    await stub.VerifyApiKey(pb.VerifyApiKeyRequest(api_key_id=paper.id))
    balances = await stub.GetBalances(pb.GetBalancesRequest(client_id=client.id))
    assert len(balances.keys) == 2
    await stub.GetBridgeHealth(pb.GetBridgeHealthRequest())
    await service.delete_key(key)
    await service.undelete_key(key)
    await service.delete_client(client)
    await service.undelete_client(client)
    assert len((await stub.ListApiKeys(pb.ListApiKeysRequest())).api_keys) == 2
    assert len((await stub.ListClients(pb.ListClientsRequest())).clients) == 1
    events = (await stub.ListAuditEvents(pb.ListAuditEventsRequest())).events
    assert {"CreateClient", "AddApiKey", "ReleaseCredentials", "VerifyApiKey", "UndeleteClient"} <= {
        each.action for each in events
    }


async def test_everything_that_time_does_is_done(
    service: KeyService, client: Client, owner: Database
) -> None:
    key = await service.add_key(client, request_id=str(uuid4()))
    gone = await service.add_key(client, label="gone")
    await service.delete_key(gone)
    await execute(owner, "UPDATE requests SET created_at = now() - interval '8 days'")
    assert await Housekeeping(service.database, erase_after=timedelta(0)).once() == 1
    assert await service.count("requests") == 0
    check = RollingCheck(service.database, service.bridge, service.convergence, every=timedelta(hours=1))
    assert await check.round(timedelta(0)) == 0
    events = await service.count("audit_events")
    assert await sealer(service.database, service.keyring).once() == events
    proof = await verify(service.database.reads, service.keyring)
    assert (proof.told, proof.events, proof.unsealed) == ([], events, 0)
    assert (await service.get_key(key)).trading_bridge_configured


async def test_an_old_databases_secrets_are_adopted(empty_database_url: DatabaseUrl) -> None:
    old = await OldDatabase(empty_database_url, NULLABLE).create()
    await old.add_client("alice")
    await old.add_key("alice", "binance")
    await old.add_key("alice", "gateio")
    await migrate.upgrade(empty_database_url)
    accounts = await make_accounts(empty_database_url)
    database = Database(DatabaseOptions(url=accounts.keyservice, pool_size=2))
    keyring = await open_keyring(database, [new_key()])
    report = await adopt(database, keyring, old.key)
    assert "2 API keys sealed anew." in list(report.lines())
    # What the migration did to the old rows is in the record too, and is sealed with the rest.
    assert await sealer(database, keyring).once() > 4
    assert (await verify(database.reads, keyring)).told == []
    await database.close()


@pytest.mark.parametrize("method", ["AddApiKey", "RotateApiKey", "DeleteApiKey", "ReinitializeApiKey"])
async def test_a_role_that_may_not_write_events_changes_nothing_and_sends_nothing(
    accounts: Accounts, bridge: RunningBridge, output: io.StringIO, owner: Database, method: str
) -> None:
    async with running(accounts.keyservice, bridge_target=bridge.target) as service:
        client = await service.add_client()
        key = await service.add_key(client)
        requests = {
            "AddApiKey": key_request(client, label="another"),
            "RotateApiKey": pb.RotateApiKeyRequest(api_key_id=key.id, credentials=new_credentials()),
            "DeleteApiKey": pb.DeleteApiKeyRequest(api_key_id=key.id),
            "ReinitializeApiKey": pb.ReinitializeApiKeyRequest(api_key_id=key.id),
        }
        before = await service.sql("SELECT ctid, xmin, * FROM exchange_api_keys")
        bridge.faults.seen.clear()
        await execute(owner, f"REVOKE INSERT ON audit_events FROM {accounts.roles.keyservice}")
        told = await refusal(getattr(service.stub, method)(requests[method]))
        assert told.code is grpc.StatusCode.INTERNAL
        assert await service.sql("SELECT ctid, xmin, * FROM exchange_api_keys") == before
        assert bridge.faults.seen == []
    assert "InsufficientPrivilegeError" in output.getvalue()


async def test_a_bug_or_an_intruder_in_the_service_cannot_rewrite_the_record(
    service: KeyService, client: Client
) -> None:
    for statement in (
        "UPDATE audit_events SET principal = ''",
        "DELETE FROM audit_events",
        "TRUNCATE audit_seals",
    ):
        with pytest.raises(Exception, match="refused a statement"):
            async with service.database.transaction() as connection:
                await connection.execute(text(statement))
