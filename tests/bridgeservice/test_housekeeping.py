"""What time does to the bridge: it runs by itself, and forgets what is due."""

import asyncio
import io
from datetime import timedelta

from bridgeservice.accounts import Accounts
from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.housekeeping import Housekeeping
from bridgeservice.prices import Prices
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from bridgeservice.single_flight import SingleFlight
from servicekit.credentials import Credentials
from tests.support.fake_exchanges import FakeExchanges
from tests.support.probe import eventually


async def test_idle_sessions_are_closed_and_unconfirmed_connectors_are_forgotten(output: io.StringIO) -> None:
    exchanges = FakeExchanges()
    calls = ExchangeCalls(exchanges, timeout=timedelta(seconds=20), most_at_once=10)
    sessions = Sessions(calls, idle=timedelta(milliseconds=4))
    accounts = Accounts(sessions, keep_tombstones=timedelta(hours=1))
    prices = Prices(calls, SingleFlight())
    place = ("kraken", Environment.LIVE)
    await prices.of(place, ["BTC"], "USDT", max_age=60, within=None)
    held = accounts.add(Connector("a", "kraken", "kraken", Environment.LIVE, Credentials(), 1))
    async with sessions.of(held):
        pass
    housekeeping = Housekeeping(
        accounts,
        sessions,
        prices,
        connector_ttl=timedelta(milliseconds=200),
        session_idle=timedelta(milliseconds=4),
    )
    loop = asyncio.create_task(housekeeping.run())
    try:
        await eventually(lambda: exchanges["kraken"].sessions[0].closed, "the session is closed")
        assert sessions.open_count == 0
        await eventually(lambda: accounts.connector_count == 0, "the connector is forgotten")
    finally:
        loop.cancel()
    assert accounts.account_count == 0
    assert "forgot connectors that nobody has confirmed" in output.getvalue()
    await prices.of(place, ["BTC"], "USDT", max_age=60, within=None)
    assert exchanges["kraken"].asked["tickers"] == 2
