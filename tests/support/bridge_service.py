"""TradingBridge in the test's own process: the real servicer behind a real socket, on exchanges from memory."""

import io
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from bridgeservice import tenancy
from bridgeservice.accounts import Accounts
from bridgeservice.cancellation import Cancellation
from bridgeservice.directory import Directory
from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.history import History
from bridgeservice.journal import Journal
from bridgeservice.market_data import MarketData
from bridgeservice.order_metrics import OrderMetrics
from bridgeservice.orders import Orders
from bridgeservice.portfolio import Portfolios
from bridgeservice.positions import Positions
from bridgeservice.prices import Prices
from bridgeservice.readings import Readings
from bridgeservice.reconciliation_loop import nobody_compares
from bridgeservice.resolution import Resolution
from bridgeservice.resolution_loop import ResolutionLoop
from bridgeservice.risk import Breaches, Risk
from bridgeservice.rules import Rules
from bridgeservice.sending import Sending
from bridgeservice.servicer import BridgeServicer, Identity, UseCases
from bridgeservice.sessions import Sessions
from bridgeservice.single_flight import SingleFlight
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.connector_pb2 import Connector
from bridgeservice.v1.credentials_pb2 import Credentials
from bridgeservice.v1.portfolio_pb2 import ConnectorPortfolio
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from bridgeservice.verification import Verification
from bridgeservice.worth import Worth
from servicekit.database.engine import Database
from servicekit.paging import PageTokens, keyed
from servicekit.rpc.admission import Admission
from servicekit.rpc.binding import Service
from servicekit.rpc.server import Server
from servicekit.work import Work
from tests.simulator.accounts import AccountKeys
from tests.support.fake_exchanges import FakeExchanges
from tests.support.probe import plain_channel, quick

if TYPE_CHECKING:
    # Known to the stubs only.
    from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeAsyncStub

ACCOUNT = "client_of_this_test"


@dataclass(frozen=True, slots=True)
class Bridge:
    """The service as its callers see it, and what is behind it."""

    stub: "TradingBridgeAsyncStub"
    exchanges: FakeExchanges
    accounts: Accounts
    calls: ExchangeCalls
    sessions: Sessions
    prices: Prices
    identity: Identity
    server: Server
    resolving: ResolutionLoop
    """Not running: a test has it do one turn."""
    registry: CollectorRegistry

    @property
    def under_way(self) -> int:
        """How many calls are being served."""
        admission = self.server.chain.admission
        assert isinstance(admission, Admission)
        return admission.serving

    async def add(self, name: str = "kraken", revision: int = 1, **changes: Any) -> Connector:
        return (await self.stub.AddConnector(connector_request(name, revision, **changes))).connector

    async def get(self, name: str = "kraken", account_name: str = ACCOUNT) -> Connector:
        request = pb.GetConnectorRequest(account_name=account_name, connector_name=name)
        return (await self.stub.GetConnector(request)).connector

    async def remove(self, name: str = "kraken", revision: int = 1, account_name: str = ACCOUNT) -> None:
        await self.stub.RemoveConnector(
            pb.RemoveConnectorRequest(account_name=account_name, connector_name=name, revision=revision)
        )

    async def portfolio(self, *names: str, seconds: float = 20, **fields: Any) -> pb.GetPortfolioResponse:
        request = pb.GetPortfolioRequest(**{"account_name": ACCOUNT, "connector_names": names} | fields)
        return await self.stub.GetPortfolio(request, timeout=seconds)

    async def holding(self, name: str = "kraken", **fields: Any) -> ConnectorPortfolio:
        """The one entry of a portfolio that was asked for this connector only."""
        [entry] = (await self.portfolio(name, **fields)).connectors
        return entry


@asynccontextmanager
async def running(
    *,
    longest: timedelta = timedelta(seconds=20),
    most_at_once: int = 2000,
    idle: timedelta = timedelta(minutes=10),
    database: Database | None = None,
    rules: Rules | None = None,
    order_params: Collection[str] = (),
    settling_time: timedelta = timedelta(minutes=2),
    lease: timedelta | None = None,
    around: Callable[[BridgeServicer], object] = lambda servicer: servicer,
    **options: Any,
) -> AsyncIterator[Bridge]:
    """A bridge that holds nothing yet; ``around`` is put between its servicer and the socket. It remembers things
    where it is given a database.
    """
    exchanges = FakeExchanges()
    calls = ExchangeCalls(exchanges, timeout=longest, most_at_once=most_at_once)
    sessions, flights = Sessions(calls, idle=idle), SingleFlight()
    accounts = Accounts(sessions, keep_tombstones=timedelta(days=2))
    prices = Prices(calls, flights)
    journal, work, registry = Journal(database), Work(longest), CollectorRegistry()
    risk = Risk(database, Worth(prices), Breaches(registry))
    metrics = OrderMetrics(registry)
    sending = Sending(journal, sessions, metrics, work, timeout=longest)
    resolution = Resolution(
        journal, sessions, metrics, lease=lease or sending.lease, settling_time=settling_time
    )
    loop = ResolutionLoop(journal, accounts, resolution, work)
    accounts.tell(loop.hear)
    cancellation = Cancellation(accounts, journal, resolution, work)
    use_cases = UseCases(
        accounts,
        Verification(accounts, sessions, flights),
        Portfolios(accounts, Readings(sessions, flights), prices),
        MarketData(calls, flights),
        Directory(exchanges),
        Orders(accounts, calls, journal, rules or risk, sending, sweeps=cancellation, uses=nobody_compares),
        risk,
        History(database, accounts, nobody_compares),
        cancellation,
        Positions(accounts, sessions),
    )
    identity = Identity(str(uuid4()), datetime.now(UTC), "1.2.3", "192.0.2.7")
    tokens = PageTokens(keyed(secrets.token_bytes()))
    servicer = BridgeServicer(identity, use_cases, exchanges.catalogue, tokens, order_params=order_params)
    contract = pb.DESCRIPTOR.services_by_name["TradingBridge"]
    server = Server(
        [Service(contract, around(servicer), tenancy=tenancy.of)],
        replace(quick(), max_concurrent_rpcs=10_000, **options),
    )
    await server.start()
    await server.set_serving()
    try:
        async with plain_channel(server.port) as channel, work:
            stub = TradingBridgeStub(channel)
            yield Bridge(stub, exchanges, accounts, calls, sessions, prices, identity, server, loop, registry)
    finally:
        await flights.close()
        await server.stop()
        await sessions.close()


@pytest.fixture
async def bridge(output: io.StringIO) -> AsyncIterator[Bridge]:
    """A bridge; it logs into ``output``."""
    async with running() as bridge:
        yield bridge


def new_credentials(**changes: Any) -> Credentials:
    """Credentials that nobody has had before."""
    return Credentials(**{"api_key": secrets.token_hex(16), "api_secret": secrets.token_hex(32)} | changes)


def credentials_of(keys: AccountKeys) -> Credentials:
    """Those that a simulated exchange has given out."""
    return Credentials(api_key=keys.api_key, api_secret=keys.secret, passphrase=keys.passphrase)


def connector_request(name: str = "kraken", revision: int = 1, **changes: Any) -> pb.AddConnectorRequest:
    """A valid request, for an exchange that needs an api key and a secret."""
    values: dict[str, Any] = {
        "account_name": ACCOUNT,
        "connector_name": name,
        "exchange": name.partition(":")[0],
        "revision": revision,
    }
    if "credentials" not in changes:
        values["credentials"] = new_credentials()
    return pb.AddConnectorRequest(**values | changes)
