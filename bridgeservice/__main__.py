"""Runs TradingBridge, ``python -m bridgeservice``: reads from top to bottom, and builds every object once."""

import secrets
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import uuid4

from bridgeservice import tenancy
from bridgeservice.accounts import Accounts
from bridgeservice.directory import Directory
from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.exchanges import plugins
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.paper import paper_provider
from bridgeservice.exchanges.paper_options import PAPER
from bridgeservice.exchanges.registry import Registry
from bridgeservice.housekeeping import Housekeeping
from bridgeservice.market_data import MarketData
from bridgeservice.models import METADATA
from bridgeservice.portfolio import Portfolios
from bridgeservice.prices import Prices
from bridgeservice.readings import Readings
from bridgeservice.servicer import BridgeServicer, Identity, UseCases
from bridgeservice.sessions import Sessions
from bridgeservice.settings import BridgeServiceSettings
from bridgeservice.single_flight import SingleFlight
from bridgeservice.store.instruments import InstrumentStore
from bridgeservice.v1 import trading_bridge_pb2
from bridgeservice.verification import Verification
from servicekit import command_line, logs, startup
from servicekit.catalogue import Catalogue
from servicekit.database.named import names_database
from servicekit.metrics import Metrics
from servicekit.paging import PageTokens, keyed
from servicekit.rpc.binding import Service
from servicekit.rpc.server import Server
from servicekit.version import version

_log = logs.get(__name__)

ONE_PROCESS_BECAUSE = (
    "the bridge keeps its connectors in memory, so a worker would not know the connectors of the others; "
    "run more bridges behind a balancer that hashes on the header x-keybridge-account"
)


async def serve(settings: BridgeServiceSettings, shares_port: bool) -> None:
    logs.configure(settings.log_level, settings.log_format)
    metrics = Metrics()
    identity = Identity(str(uuid4()), datetime.now(UTC), version(), settings.egress_address)
    async with AsyncExitStack() as stack:
        database = ready = None
        # In production the step is taken in any case: it refuses a database that nobody named.
        if names_database(settings) or settings.environment == "production":
            database = await stack.enter_async_context(
                startup.open_database(settings, METADATA, name="bridgeservice")
            )
            metrics.watch_pool("bridgeservice", database.pool)
            ready = database.ready
        else:
            _log.warning("runs without a database: orders will be refused, and nothing is remembered")
        shipped, plugged_in = Catalogue.load(), plugins.installed()
        paper = paper_provider(
            settings.paper_options(plugins.extended(shipped, plugged_in)),
            database,
            lambda name: calls.to(name, Environment.LIVE),
        )
        exchanges = Registry(
            shipped,
            settings.exchange_options(shipped),
            built_in={PAPER: paper},
            plugged_in=plugged_in,
            instruments=None if database is None else InstrumentStore(database),
        )
        stack.push_async_callback(exchanges.close)
        calls = ExchangeCalls(
            exchanges, timeout=settings.exchange_timeout, most_at_once=settings.exchange_calls_at_once
        )
        sessions = Sessions(calls, idle=settings.session_idle)
        stack.push_async_callback(sessions.close)
        flights = SingleFlight()
        stack.push_async_callback(flights.close)
        accounts = Accounts(sessions, keep_tombstones=settings.tombstone_ttl)
        prices = Prices(calls, flights)
        use_cases = UseCases(
            accounts,
            Verification(accounts, sessions, flights),
            Portfolios(accounts, Readings(sessions, flights), prices),
            MarketData(calls, flights),
            Directory(exchanges),
        )
        token_key = settings.page_token_key
        tokens = PageTokens(
            keyed(token_key.get_secret_value().encode() if token_key else secrets.token_bytes())
        )
        servicer = BridgeServicer(identity, use_cases, exchanges.catalogue, tokens)
        contract = trading_bridge_pb2.DESCRIPTOR.services_by_name["TradingBridge"]
        service = Service(contract, servicer, tenancy=tenancy.of)
        options = startup.server_options(settings, shares_port=shares_port)
        server = Server([service], options, metrics=metrics, authorizer=startup.authorizer(settings))
        housekeeping = Housekeeping(
            accounts, sessions, prices,
            connector_ttl=settings.connector_ttl, session_idle=settings.session_idle,
        )  # fmt: skip
        stop = await stack.enter_async_context(startup.serving(server, settings, metrics, ready=ready))
        await stack.enter_async_context(startup.background(housekeeping.run))
        # Only now, so that the bridge serves before ccxt is there; who needs it waits for it.
        exchanges.start()
        await stop.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; return the exit status."""
    return command_line.main(
        "bridgeservice",
        BridgeServiceSettings,
        serve,
        about="TradingBridge: turns API keys into exchange connectors; balances, orders, market data.",
        one_process_because=ONE_PROCESS_BECAUSE,
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
