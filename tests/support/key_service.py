"""KeyService in the test's own process: the real servicer behind a real socket, on a real database."""

import asyncio
import io
import secrets
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import Row, text

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.attempts import Attempts
from keyservice.balances import Balances, Converge
from keyservice.bridge import Bridge, connect_bridge
from keyservice.bridge_health import BridgeHealth
from keyservice.bridge_watch import BridgeWatch
from keyservice.clients import Clients
from keyservice.conflicts import CONFLICTS
from keyservice.convergence import Convergence
from keyservice.convergence_loop import ConvergenceLoop
from keyservice.custody import Custody
from keyservice.ending import Ending
from keyservice.keyring import Keyring, open_keyring
from keyservice.paging import PageTokens
from keyservice.reinitialization import Reinitialization
from keyservice.servicer import KeyServicer, UseCases
from keyservice.settings import KeyServiceSettings
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.bridge_status_pb2 import BridgeState
from keyservice.v1.client_pb2 import Client
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from keyservice.verification import Verification
from keyservice.watching import PATIENCE, Watching
from servicekit.catalogue import Catalogue
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from servicekit.loops import background
from servicekit.rpc.binding import Service
from servicekit.rpc.call import Call
from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal
from servicekit.rpc.server import Server
from servicekit.rpc.status import RpcFailure, from_rpc_error
from servicekit.v1 import policy_pb2
from tests.support.probe import failure, plain_channel, quick
from tests.support.sealed import new_key, read_rows

if TYPE_CHECKING:
    # Known to the stubs only.
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

PRINCIPAL = "x-principal"
CATALOGUE = Catalogue.load()
NOBODY = "127.0.0.1:1"
"""A target where there is no bridge."""


class Credulous:
    """Takes callers for whom they say they are, which is enough to tell two of them apart."""

    async def authorize(self, call: Call, _policy: Policy, /) -> Principal | None:
        name = call.header(PRINCIPAL)
        return Principal(name, policy_pb2.ROLE_ADMIN, None) if name else None


@dataclass(frozen=True, slots=True)
class KeyService:
    """The service as its callers see it, and what is behind it."""

    stub: "KeyServiceAsyncStub"
    database: Database
    keyring: Keyring
    clients: Clients
    custody: Custody
    balances: Balances
    health: BridgeHealth
    port: int
    bridge: Bridge
    convergence: Convergence
    watching: Watching
    registry: CollectorRegistry
    """Of its metrics."""

    async def add_client(self, name: str = "a client", **fields: Any) -> Client:
        return (await self.stub.CreateClient(pb.CreateClientRequest(name=name, **fields))).client

    async def add_key(self, client: Client, **fields: Any) -> ApiKey:
        return (await self.stub.AddApiKey(key_request(client, **fields))).api_key

    async def get_key(self, key: ApiKey) -> ApiKey:
        return (await self.stub.GetApiKey(pb.GetApiKeyRequest(api_key_id=key.id))).api_key

    async def becomes(self, key: ApiKey, state: BridgeState) -> None:
        """Wait until this is what is known of the key's place at the bridge."""
        async with asyncio.timeout(10):
            while (await self.get_key(key)).bridge_status.state != state:  # noqa: ASYNC110 - asked for
                await asyncio.sleep(0.02)

    async def delete_key(self, key: ApiKey) -> ApiKey:
        return (await self.stub.DeleteApiKey(pb.DeleteApiKeyRequest(api_key_id=key.id))).api_key

    async def undelete_key(self, key: ApiKey) -> ApiKey:
        return (await self.stub.UndeleteApiKey(pb.UndeleteApiKeyRequest(api_key_id=key.id))).api_key

    async def rotate_key(self, key: ApiKey, credentials: Credentials | None = None) -> ApiKey:
        request = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=credentials or new_credentials())
        return (await self.stub.RotateApiKey(request)).api_key

    async def delete_client(self, client: Client) -> Client:
        return (await self.stub.DeleteClient(pb.DeleteClientRequest(client_id=client.id))).client

    async def undelete_client(self, client: Client) -> Client:
        return (await self.stub.UndeleteClient(pb.UndeleteClientRequest(client_id=client.id))).client

    async def opened(self, key: ApiKey) -> dict[str, bytes]:
        """The credentials of a key, read from its row and opened for its place."""
        row_id = UUID(key.id)
        return (await read_rows(self.database, [row_id]))[row_id].open(self.keyring)

    async def row(self, key: ApiKey) -> Row[Any]:
        """The row of a key, as someone at psql would see it."""
        [row] = await self.sql("SELECT * FROM exchange_api_keys WHERE id = :id", id=UUID(key.id))
        return row

    async def sql(self, statement: str, **parameters: object) -> list[Row[Any]]:
        """Plain SQL, and the rows that it gives."""
        async with self.database.transaction() as connection:
            result = await connection.execute(text(statement), parameters)
            return list(result.all()) if result.returns_rows else []

    async def count(self, table: str) -> int:
        [row] = await self.sql(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
        return int(row[0])


@asynccontextmanager
async def running(
    url: DatabaseUrl,
    *,
    erase_at_once: bool = False,
    pool_size: int = 20,
    bridge_target: str = NOBODY,
    bridge_wait: timedelta = timedelta(seconds=3),
    converge: Converge | None = None,
    master_key: SecretStr | None = None,
    loops: bool = False,
    watch_patience: timedelta = PATIENCE,
    **options: Any,
) -> AsyncIterator[KeyService]:
    """KeyService on a database at head. Where it is given no bridge, none is there; nor are its loops, unasked.

    ``options`` are those of its server.
    """
    database = Database(DatabaseOptions(url=url, pool_size=pool_size), CONFLICTS)
    try:
        keyring = await open_keyring(database, [master_key or new_key()])
        stack = AsyncExitStack()
        to_bridge = connect_bridge(KeyServiceSettings(bridge_target=bridge_target))
        bridge = Bridge(await stack.enter_async_context(to_bridge))
        ending = Ending()
        watching = await stack.enter_async_context(Watching(database, ending, patience=watch_patience))
        registry = CollectorRegistry()
        convergence = Convergence(
            database,
            keyring,
            bridge,
            watching,
            Attempts(registry),
            inline_wait=bridge_wait,
            bridge_timeout=timedelta(seconds=20),
        )
        await stack.enter_async_context(background(convergence.renew_claims))
        await stack.enter_async_context(convergence)
        if loops:
            running_loops = background(
                ConvergenceLoop(database, convergence, at_once=8).run,
                BridgeWatch(database, bridge, convergence).run,
                watching.tell_others,
                watching.listen,
            )
            await stack.enter_async_context(running_loops)
        clients = Clients(database, keyring, convergence, erase_at_once=erase_at_once)
        custody = Custody(database, keyring, CATALOGUE, convergence, erase_at_once=erase_at_once)
        balances = Balances(database, bridge, converge or convergence.repair, wait=bridge_wait)
        health = BridgeHealth(database, bridge, wait=bridge_wait)
        use_cases = UseCases(
            clients=clients,
            custody=custody,
            reinitialization=Reinitialization(database, convergence, ending, most_of_one=2),
            verification=Verification(database, bridge, convergence),
            watching=watching,
            balances=balances,
            health=health,
        )
        servicer = KeyServicer(use_cases, CATALOGUE, PageTokens(keyring))
        contract = pb.DESCRIPTOR.services_by_name["KeyService"]
        server = Server([Service(contract, servicer)], quick(**options), authorizer=Credulous())
        ending.begins_with(server.draining)
        await server.start()
        await server.set_serving()
        try:
            async with plain_channel(server.port) as channel:
                stub = KeyServiceStub(channel)
                yield KeyService(
                    stub=stub,
                    database=database,
                    keyring=keyring,
                    clients=clients,
                    custody=custody,
                    balances=balances,
                    health=health,
                    port=server.port,
                    bridge=bridge,
                    convergence=convergence,
                    watching=watching,
                    registry=registry,
                )
        finally:
            await server.stop()
            await stack.aclose()
    finally:
        await to_bridge.close()
        await database.close()


@pytest.fixture
async def service(database_url: DatabaseUrl, output: io.StringIO) -> AsyncIterator[KeyService]:
    """KeyService, with nothing in it yet; it logs into ``output``."""
    async with running(database_url) as service:
        yield service


@pytest.fixture
async def client(service: KeyService) -> Client:
    """A client without keys."""
    return await service.add_client()


def new_credentials(**changes: Any) -> Credentials:
    """Credentials that nobody has had before."""
    return Credentials(**{"api_key": secrets.token_hex(16), "api_secret": secrets.token_hex(32)} | changes)


def key_request(client: Client, **changes: Any) -> pb.AddApiKeyRequest:
    """A valid request, for an exchange that needs an api key and a secret."""
    values: dict[str, Any] = {"client_id": client.id, "exchange": "kraken"} | changes
    if "credentials" not in values and values["exchange"] != "paper":
        values["credentials"] = new_credentials()
    return pb.AddApiKeyRequest(**values)


async def refusal(call: Awaitable[Any]) -> RpcFailure:
    """What the service refused a call with; it must have, and in its own words."""
    told = from_rpc_error(await failure(call))
    assert told.ours, told
    return told


def violations(told: RpcFailure) -> dict[str, str]:
    """What is wrong with each field."""
    return {violation.field: violation.description for violation in told.violations}
