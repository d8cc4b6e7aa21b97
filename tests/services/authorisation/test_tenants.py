"""Two tenants with the same things, and every method there is: neither sees or changes any of the other's.

Both services run as processes, with KeyService showing the bridge a token of its own. What must not be seen are marks
that only one of the two has; that they would be found is shown by looking as their owner.
"""

import asyncio
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.rpc.status import RpcFailure
from tests.support.contracts import CONTRACTS, Things, about, admitted, call, tenant_fields
from tests.support.issuer import Issuer, bearing
from tests.support.postgres import ThrowAwayPostgres
from tests.support.probe import plain_channel
from tests.support.service_process import StartService

READS = [
    method
    for contract in CONTRACTS.values()
    for method in contract.methods
    if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
]
WRITES = [method for contract in CONTRACTS.values() for method in contract.methods if method not in READS]
# What tells nothing of a tenant, but of exchanges and of the bridge.
OF_NOBODY = {
    "ListExchanges",
    "GetTicker",
    "ListTickers",
    "GetOrderBook",
    "ListCandles",
    "ListMarkets",
    "GetBridgeInfo",
}
# A method that is missing here is looked at like any other; its answers only need not hold a mark.
SHOWS_MARKS = {
    *(
        "GetClient",
        "ListClients",
        "GetApiKey",
        "ListApiKeys",
        "WatchApiKeys",
        "GetBalances",
        "ListAuditEvents",
    ),
    *("GetAccount", "ListAccounts", "GetConnector", "ListConnectors", "GetPortfolio"),
    *("GetOrder", "ListOrders", "ListTrades", "GetRiskRules"),
}
# Nobody has a position on paper, and the first snapshot is taken a while after the start.
HAVE_NOTHING = {"ListPositions", "GetPortfolioHistory"}
# What is only told of the moment in which it is asked.
PASSING = {"WatchApiKeys", "GetBalances", "GetPortfolio"}
LABELS = ("first", "second", "deleted", "disabled")
PAIRS = 200

Answer = list[bytes] | RpcFailure


@dataclass(frozen=True)
class Tenant:
    """What one of the two has, and what he brings to a call."""

    things: Things
    marks: tuple[bytes, ...]

    def seen_in(self, answer: Answer) -> bool:
        parts = [repr(answer).encode()] if isinstance(answer, RpcFailure) else answer
        return any(mark in part for mark in self.marks for part in parts)


@dataclass(frozen=True)
class Two:
    """The services, and the two who use them."""

    ports: dict[str, int]
    issuer: Issuer
    mine: Tenant
    theirs: Tenant

    def channel_of(self, channels: dict[str, grpc.aio.Channel], method: MethodDescriptor) -> grpc.aio.Channel:
        [name] = [name for name, each in CONTRACTS.items() if each is method.containing_service]
        return channels[name]

    async def channels(self, stack: AsyncExitStack) -> dict[str, grpc.aio.Channel]:
        return {
            name: await stack.enter_async_context(plain_channel(port)) for name, port in self.ports.items()
        }

    def as_(self, tenant: Tenant, method: MethodDescriptor) -> tuple[tuple[str, str], ...]:
        """With the least role that may call it, as one who is limited to this tenant."""
        role = admitted(method)[0]
        return bearing(
            self.issuer.token(sub=tenant.things.client_id, role=role, clients=[tenant.things.client_id])
        )


@pytest.fixture(scope="module")
def two(
    start_shared_service: StartService,
    postgres_server: ThrowAwayPostgres,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Two]:
    folder, issuer = tmp_path_factory.mktemp("tenants"), Issuer()
    issuer.write(folder / "jwks.json")
    (folder / "keyservice.token").write_text(issuer.token(sub="keyservice", role="bridge-writer"))
    database = f"tenants_{secrets.token_hex(6)}"
    postgres_server.sql(f"CREATE DATABASE {database} TEMPLATE {migrated_template} STRATEGY file_copy")
    common = {"DATABASE_URL": postgres_server.url(database)}
    bridge = start_shared_service(
        "bridgeservice", **common, BRIDGESERVICE_JWKS_FILE=str(folder / "jwks.json")
    )
    keys = start_shared_service(
        "keyservice",
        **common,
        KEYSERVICE_JWKS_FILE=str(folder / "jwks.json"),
        KEYSERVICE_BRIDGE_TARGET=bridge.address,
        KEYSERVICE_BRIDGE_TOKEN_FILE=str(folder / "keyservice.token"),
    )
    ports = {"keyservice": keys.port, "bridgeservice": bridge.port}
    mine, theirs = asyncio.run(_tenants(keys.port, bridge.port, issuer))
    yield Two(ports, issuer, mine, theirs)
    keys.close()
    bridge.close()
    postgres_server.sql(f"DROP DATABASE {database} WITH (FORCE)")


async def _tenants(port: int, bridge_port: int, issuer: Issuer) -> tuple[Tenant, Tenant]:
    async with plain_channel(port) as channel, plain_channel(bridge_port) as bridge_channel:
        stub, bridge = KeyServiceStub(channel), TradingBridgeStub(bridge_channel)
        one, other = (bearing(issuer.token()) for _ in range(2))
        return await _tenant(stub, bridge, one), await _tenant(stub, bridge, other)


async def _tenant(stub: Any, bridge: Any, admin: Any) -> Tenant:
    """A client with a key of each kind: in use, deleted, disabled; and an order that was filled, by one in use."""
    client = (await stub.CreateClient(pb.CreateClientRequest(name="tenant"), metadata=admin)).client
    keys = []
    mark = secrets.token_hex(8)
    for label in LABELS:
        request = pb.AddApiKeyRequest(client_id=client.id, exchange="paper", label=f"{label} {mark}")
        answer = await stub.AddApiKey(request, metadata=admin)
        assert answer.trading_bridge_configured, answer.trading_bridge_warning
        keys.append(answer.api_key)
    await stub.DeleteApiKey(pb.DeleteApiKeyRequest(api_key_id=keys[2].id), metadata=admin)
    keys[3].disabled = True
    await stub.UpdateApiKey(pb.UpdateApiKeyRequest(api_key=keys[3]), metadata=admin)
    order_id = await _traded(bridge, admin, client.account_name, keys[0].connector_name)
    engaged = bridge_pb.EngageKillSwitchRequest(account_name=client.account_name, reason=mark)
    await bridge.EngageKillSwitch(engaged, metadata=admin)
    marks = (client.id, mark, order_id, *(key.id for key in keys))
    things = Things(client.id, keys[0].id, keys[0].connector_name, order_id)
    return Tenant(things, tuple(each.encode() for each in marks))


async def _traded(bridge: Any, admin: Any, account_name: str, connector_name: str) -> str:
    """An order that was filled at once, and whose trade is known."""
    wanted = bridge_pb.PlaceOrderRequest(
        account_name=account_name,
        connector_name=connector_name,
        symbol="BTC/USDT",
        side="ORDER_SIDE_SELL",
        type="ORDER_TYPE_MARKET",
        amount="0.5",
    )
    order = (await bridge.PlaceOrder(wanted, metadata=admin)).order
    listing = bridge_pb.ListTradesRequest(account_name=account_name)
    async with asyncio.timeout(20):
        while not (await bridge.ListTrades(listing, metadata=admin)).trades:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.05)
    order_id: str = order.order_id
    return order_id


async def pages(
    channel: grpc.aio.Channel, method: MethodDescriptor, request: Message, metadata: Any
) -> Answer:
    """All that a method tells, page by page where it has pages."""
    told: list[bytes] = []
    paged: Any = request
    has_pages = "page_token" in paged.DESCRIPTOR.fields_by_name
    while True:
        answer = await call(channel, method, paged.SerializeToString(), metadata)
        if isinstance(answer, RpcFailure):
            return answer
        told += answer
        response: Any = GetMessageClass(method.output_type)
        token = response.FromString(answer[-1]).next_page_token if has_pages else ""
        if not token:
            return told
        paged.page_token = token


def requests_of(method: MethodDescriptor, things: Things | None) -> list[Message]:
    """One that names the things, and where a method has filters for what is past, one that does not leave it out."""
    request: Any = about(method, things)
    variants = [request]
    if "page_size" in request.DESCRIPTOR.fields_by_name:
        request.page_size = 2
    if "show_deleted" in request.DESCRIPTOR.fields_by_name:
        variants.append(type(request).FromString(request.SerializeToString()))
        variants[-1].show_deleted = True
    return variants


async def asked(two: Two, method: MethodDescriptor, things: Things | None, tenant: Tenant) -> list[Answer]:
    async with AsyncExitStack() as stack:
        channel = two.channel_of(await two.channels(stack), method)
        metadata = two.as_(tenant, method)
        return [await pages(channel, method, each, metadata) for each in requests_of(method, things)]


each_read = pytest.mark.parametrize("method", READS, ids=lambda method: method.name)


@each_read
async def test_a_tenant_sees_what_is_his_and_nothing_of_the_other_s(
    two: Two, method: MethodDescriptor
) -> None:
    for things in (two.mine.things, None, Things.nobodys(), two.theirs.things):
        for answer in await asked(two, method, things, two.mine):
            shown = answer if isinstance(answer, list) else unsaid(answer, things)
            assert not two.theirs.seen_in(shown), (method.name, things)


@each_read
async def test_what_is_the_other_s_looks_like_what_does_not_exist(two: Two, method: MethodDescriptor) -> None:
    if not tenant_fields(method):
        return
    nobodys = Things.nobodys()
    theirs = await asked(two, method, two.theirs.things, two.mine)
    nothing = await asked(two, method, nobodys, two.mine)
    assert [unsaid(each, two.theirs.things) for each in theirs] == [unsaid(each, nobodys) for each in nothing]


@pytest.mark.parametrize("method", WRITES, ids=lambda method: method.name)
async def test_nobody_changes_what_is_the_other_s_nor_writes_into_its_record(
    two: Two, method: MethodDescriptor
) -> None:
    """And hears the same as of what does not exist."""
    before = await lasting(two, two.theirs)
    nobodys = Things.nobodys()
    [theirs] = await asked(two, method, two.theirs.things, two.mine)
    [nothing] = await asked(two, method, nobodys, two.mine)
    assert unsaid(theirs, two.theirs.things) == unsaid(nothing, nobodys)
    assert await lasting(two, two.theirs) == before


async def lasting(two: Two, tenant: Tenant) -> dict[str, list[Answer]]:
    """All that its owner is told of what he has and of who did what, by method."""
    lists = [method for method in READS if method.name in SHOWS_MARKS - PASSING]
    return {method.name: await asked(two, method, tenant.things, tenant) for method in lists}


@each_read
async def test_what_is_looked_for_would_be_found(two: Two, method: MethodDescriptor) -> None:
    """By its owner, in the same answers."""
    answers = await asked(two, method, two.theirs.things, two.theirs)
    assert any(two.theirs.seen_in(each) for each in answers) is (method.name in SHOWS_MARKS)
    if tenant_fields(method) and method.name not in SHOWS_MARKS:
        assert method.name in HAVE_NOTHING
        assert all(isinstance(each, list) for each in answers)


def test_every_read_is_about_somebody_or_known_to_be_about_nobody() -> None:
    """So that a new one is thought about: either its request says whose things, or its answer is the caller's own."""
    own = {"ListClients", "ListAccounts", "GetBridgeHealth"}
    assert {method.name for method in READS if not tenant_fields(method)} == OF_NOBODY | own


def test_nothing_says_whose_it_is_deeper_down_in_a_request() -> None:
    """Where the bridge would not look for it."""
    for method in CONTRACTS["bridgeservice"].methods:
        deeper = [field for field in tenant_fields(method) if "." in field]
        assert deeper == []


async def test_the_bridge_counts_only_what_the_caller_may_see(two: Two) -> None:
    [method] = [each for each in READS if each.name == "GetBridgeInfo"]
    counts = []
    async with AsyncExitStack() as stack:
        channel = two.channel_of(await two.channels(stack), method)
        for metadata in (two.as_(two.mine, method), bearing(two.issuer.token())):
            answer = await call(channel, method, b"", metadata)
            assert isinstance(answer, list)
            response: Any = GetMessageClass(method.output_type).FromString(answer[0])
            counts.append((response.account_count, response.connector_count))
    assert counts == [(1, 2), (2, 4)]


async def test_a_request_id_of_another_tenant_is_like_one_that_nobody_used(two: Two) -> None:
    [method] = [each for each in CONTRACTS["keyservice"].methods if each.name == "AddApiKey"]
    request_id = "123e4567-e89b-12d3-a456-426614174000"
    async with AsyncExitStack() as stack:
        channel = two.channel_of(await two.channels(stack), method)

        async def add(tenant: Tenant, caller: Tenant) -> Answer:
            request: Any = about(method, tenant.things)
            request.label, request.request_id = "repeated", request_id
            return await call(channel, method, request.SerializeToString(), two.as_(caller, method))

        first = await add(two.theirs, two.theirs)
        assert two.theirs.seen_in(first)
        # The same id and body, by another: he may not add to their client, and hears nothing of what it was used for.
        stolen = await add(two.theirs, two.mine)
        nobodys = await add(Tenant(Things.nobodys(), ()), two.mine)
        assert isinstance(stolen, RpcFailure)
        assert (stolen.code, stolen.reason) == (grpc.StatusCode.NOT_FOUND, "CLIENT_NOT_FOUND")
        assert stolen == nobodys
        # And for a client of his own it is as good as new.
        own = await add(two.mine, two.mine)
        assert isinstance(own, list)
        assert not two.theirs.seen_in(own)


@pytest.mark.parametrize("name", ["GetApiKey", "GetClient", "GetAccount", "GetPortfolio"])
async def test_it_takes_no_longer_to_say_that_what_is_the_other_s_is_not_there(two: Two, name: str) -> None:
    """Whatever the machine does besides: that is shared by both, which are asked in turns."""
    [method] = [each for each in READS if each.name == name]
    metadata = two.as_(two.mine, method)
    theirs, nobodys = (
        about(method, things).SerializeToString() for things in (two.theirs.things, Things.nobodys())
    )
    async with AsyncExitStack() as stack:
        channel = two.channel_of(await two.channels(stack), method)

        async def ask(raw: bytes) -> float:
            began = perf_counter()
            await call(channel, method, raw, metadata)
            return perf_counter() - began

        pairs = []
        for number in range(PAIRS):
            took = {raw: await ask(raw) for raw in (theirs, nobodys)[:: -1 if number % 2 else 1]}
            pairs.append((took[theirs], took[nobodys]))
    assert not is_longer(pairs), pairs
    assert not is_longer([(other, one) for one, other in pairs]), pairs
    # The control: so it would be seen, however the machine was.
    assert is_longer([(4 * one, other) for one, other in pairs]), pairs
    assert is_longer([(1.3, 1.0)] * PAIRS)


def is_longer(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the first of two takes longer by a quarter than the second, from the quickest time to the slowest.

    At most ranks and not in most pairs: on a machine that is busy, one call of a pair takes several times as long as
    the other for no reason.
    """
    ones, others = sorted(one for one, _ in pairs), sorted(other for _, other in pairs)
    return sum(one > 1.25 * other for one, other in zip(ones, others, strict=True)) > 0.7 * len(pairs)


def unsaid(answer: Answer, things: Things | None) -> Answer:
    """The answer without the names that the caller gave himself."""
    if things is None or isinstance(answer, list):
        return answer
    said = repr(answer)
    for given in things.named.values():
        said = said.replace(given, "…")
    return RpcFailure(answer.code, re.sub(r"\s+", " ", said))
