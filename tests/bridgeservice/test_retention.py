"""Orders and trades that are old enough are hidden, never deleted, and come back when they are kept for longer."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from bridgeservice.enums import OrderSide
from bridgeservice.exchanges.orders import ExchangeTrade
from bridgeservice.retention import Retention, Spans
from bridgeservice.store import accounts, trades
from bridgeservice.v1 import trading_bridge_pb2 as pb
from servicekit.database.engine import Database
from tests.support.trading import Trader, trading

DAY = timedelta(days=1)
FOR_EVER = Spans(None, 365 * DAY)


@pytest.fixture
async def trader(database: Database) -> AsyncIterator[Trader]:
    async with trading(database) as trader:
        yield trader


async def keep(trader: Trader, spans: Spans) -> None:
    await Retention(trader.database, spans).once(datetime.now(UTC))


async def listed_trades(trader: Trader) -> list[str]:
    answer = await trader.bridge.stub.ListTrades(pb.ListTradesRequest(account_name=trader.account))
    return [each.exchange_trade_id for each in answer.trades]


async def test_what_is_older_than_the_retention_is_hidden_and_comes_back_with_a_longer_one(
    trader: Trader,
) -> None:
    trader.book.fills_at_once = True
    old, young = await trader.place(), await trader.place()
    await trader.change(old, "created_at = now() - interval '10 days'")
    async with trader.database.transaction() as connection:
        account_id = await accounts.ensure(connection, trader.account)
        told = [
            ExchangeTrade(
                str(days), "", "BTC/USDT", OrderSide.BUY, "1", "1", "1", datetime.now(UTC) - days * DAY
            )
            for days in (1, 10)
        ]
        await trades.apply(connection, account_id, "kraken", told)
    await keep(trader, Spans(5 * DAY, 365 * DAY))
    assert [each.order_id for each in await trader.listed()] == [young.order_id]
    assert await listed_trades(trader) == ["1"]
    assert (await trader.row(old))["deleted_at"] is not None
    await keep(trader, Spans(20 * DAY, 365 * DAY))
    assert len(await trader.listed()) == 2
    assert await listed_trades(trader) == ["1", "10"]
    await keep(trader, Spans(5 * DAY, 365 * DAY))
    await keep(trader, FOR_EVER)
    assert len(await trader.listed()) == 2


async def test_an_order_that_has_not_ended_is_not_hidden_however_old(trader: Trader) -> None:
    order = await trader.place()
    await trader.change(order, "created_at = now() - interval '10 days'")
    await keep(trader, Spans(5 * DAY, 365 * DAY))
    assert len(await trader.listed()) == 1
