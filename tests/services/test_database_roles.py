"""Both services as a deployment runs them that gives each its own database account: they start, serve, and no more."""

from pathlib import Path

import grpc
import pytest

from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.database import migrate
from servicekit.database.url import DatabaseUrl
from tests.support.roles import Accounts, make_accounts
from tests.support.service_process import StartService, raw_url

both = pytest.mark.parametrize("service", ["keyservice", "bridgeservice"])


async def test_a_client_has_the_balances_of_a_paper_key_through_both_of_them(
    start_service: StartService, accounts: Accounts
) -> None:
    bridge = start_service("bridgeservice", DATABASE_URL=raw_url(accounts.bridgeservice)).wait_ready()
    key_service = start_service(
        "keyservice", DATABASE_URL=raw_url(accounts.keyservice), KEYSERVICE_BRIDGE_TARGET=bridge.address
    ).wait_ready()
    async with grpc.aio.insecure_channel(key_service.address) as channel:
        stub = KeyServiceStub(channel)
        client = (await stub.CreateClient(pb.CreateClientRequest(name="a client"), timeout=20)).client
        added = await stub.AddApiKey(pb.AddApiKeyRequest(client_id=client.id, exchange="paper"), timeout=20)
        assert added.trading_bridge_configured, added.trading_bridge_warning
        balances = await stub.GetBalances(pb.GetBalancesRequest(client_id=client.id), timeout=20)
    assert balances.complete
    assert balances.totals
    for process in (key_service, bridge):
        process.terminate()
        assert process.status() == 0
        assert [line for line in process.errors() if '"error"' in line or "Traceback" in line] == []


@both
async def test_one_that_is_told_to_migrate_where_nothing_is_to_do_starts(
    start_service: StartService, accounts: Accounts, service: str
) -> None:
    url: DatabaseUrl = getattr(accounts, service)
    variables = {f"{service.upper()}_MIGRATE_ON_START": "true", "KEYBRIDGE_DB_ROLE_PREFIX": accounts.prefix}
    start_service(service, DATABASE_URL=raw_url(url), **variables).wait_ready()


@both
async def test_one_that_is_told_to_migrate_and_may_not_says_who_does(
    start_service: StartService, empty_database_url: DatabaseUrl, service: str, tmp_path: Path
) -> None:
    accounts = await make_accounts(empty_database_url)
    url: DatabaseUrl = getattr(accounts, service)
    variables = {f"{service.upper()}_MIGRATE_ON_START": "true", "KEYBRIDGE_DB_ROLE_PREFIX": accounts.prefix}
    for revision in (None, "0002"):
        if revision is not None:
            await migrate.upgrade(empty_database_url, revision, role_prefix=accounts.prefix)
        process = start_service(service, DATABASE_URL=raw_url(url), **variables)
        [line] = process.errors()
        assert process.status() == 1
        assert line.startswith(f"{service}: The account that was used for the database at ")
        assert "migrations and grants are for the owner of its tables" in line
