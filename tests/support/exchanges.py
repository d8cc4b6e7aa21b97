"""Exchanges as the bridge has them, connected to a simulator."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bridgeservice.exchanges.ccxt_exchange import CcxtExchange
from bridgeservice.exchanges.ccxt_session import CcxtSession
from bridgeservice.exchanges.exchange import Environment, Owner
from bridgeservice.exchanges.instruments import Description, Instruments, Stored
from bridgeservice.exchanges.options import Options
from servicekit.credentials import Credentials
from tests.simulator.accounts import AccountKeys
from tests.simulator.simulator import Simulator

OWNER = Owner(account_name="client_1", connector_name="main")

# The exchanges' own rate limits would make a test wait; what is tested about them sets its own.
QUICK = Options(rate_share=1000)


def credentials(keys: AccountKeys) -> Credentials:
    """What a client of a simulated exchange was given, as the bridge holds it."""
    return Credentials(api_key=keys.api_key, api_secret=keys.secret, passphrase=keys.passphrase)


@asynccontextmanager
async def connected(
    simulator: Simulator,
    exchange_id: str,
    options: Options = QUICK,
    instruments: Instruments | None = None,
) -> AsyncIterator[CcxtExchange]:
    """The exchange, with all of its requests going to the simulator."""
    exchange = CcxtExchange(exchange_id, Environment.LIVE, replace(options, urls=simulator.urls), instruments)
    try:
        yield exchange
    finally:
        await exchange.close()


def session(exchange: CcxtExchange, simulator: Simulator, **account: Any) -> CcxtSession:
    """A connector in use, for a new account that is as the arguments say."""
    return exchange.session(credentials(simulator.add_account(exchange.id, **account)), OWNER)


class Shelf:
    """Keeps instruments in memory, by the store's protocol."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Stored] = {}

    async def load(self, exchange: str, environment: str) -> Stored | None:
        return self.kept.get((exchange, environment))

    async def save(
        self,
        exchange: str,
        environment: str,
        markets: Mapping[str, Description],
        currencies: Mapping[str, Description],
    ) -> None:
        self.kept[exchange, environment] = Stored(dict(markets), dict(currencies), datetime.now(UTC))
