"""Positions over a socket: as the exchange tells them, filtered, and page by page."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from bridgeservice.exchanges.orders import Position, PositionSide
from bridgeservice.v1 import position_pb2
from bridgeservice.v1 import trading_bridge_pb2 as pb
from servicekit.database.engine import Database
from tests.support.fake_orders import Fault
from tests.support.key_service import refusal
from tests.support.trading import Trader, trading

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
THEN = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
async def trader(database: Database) -> AsyncIterator[Trader]:
    async with trading(database) as trader:
        trader.book.positions = (
            Position(ETH, PositionSide.SHORT, "3", entry_price="2000.10", time=THEN),
            Position(BTC, PositionSide.SHORT, "0.5", unrealized_pnl="-12.5", time=THEN),
            Position(BTC, PositionSide.LONG, "1.50", leverage="10", liquidation_price="20000"),
            Position("ODD/USDT:USDT", PositionSide.OTHER, "1", mark_price="7"),
        )
        yield trader


async def listed(trader: Trader, **filters: Any) -> pb.ListPositionsResponse:
    request = pb.ListPositionsRequest(account_name=trader.account, connector_name="kraken", **filters)
    return await trader.bridge.stub.ListPositions(request, timeout=20)


async def test_positions_are_told_by_symbol_with_all_that_the_exchange_says(trader: Trader) -> None:
    positions = list((await listed(trader)).positions)
    assert [(each.symbol, each.amount) for each in positions] == [
        (BTC, "1.50"),
        (BTC, "0.5"),
        (ETH, "3"),
        ("ODD/USDT:USDT", "1"),
    ]
    assert positions[0] == position_pb2.Position(
        symbol=BTC, side="POSITION_SIDE_LONG", amount="1.50", leverage="10", liquidation_price="20000"
    )
    assert (positions[1].unrealized_pnl, positions[2].entry_price) == ("-12.5", "2000.10")
    assert positions[3].side == position_pb2.POSITION_SIDE_UNSPECIFIED


async def test_pages_together_hold_each_position_once(trader: Trader) -> None:
    found: list[position_pb2.Position] = []
    token = ""
    while True:
        page = await listed(trader, page_size=1, page_token=token)
        found += page.positions
        token = page.next_page_token
        if not token:
            break
    assert found == list((await listed(trader)).positions)


async def test_filters_select_by_symbol_and_by_time(trader: Trader) -> None:
    assert {each.symbol for each in (await listed(trader, symbol=BTC)).positions} == {BTC}
    later = await listed(trader, start_time=datetime(2026, 6, 1, tzinfo=UTC))
    assert [each.symbol for each in later.positions] == [BTC, "ODD/USDT:USDT"]  # of which no time is known


async def test_a_spot_account_has_none(trader: Trader) -> None:
    trader.book.positions = ()
    assert list((await listed(trader)).positions) == []


async def test_an_exchange_that_fails_is_an_error_and_no_empty_list(trader: Trader) -> None:
    trader.book.fail("positions", Fault.BEFORE)
    told = await refusal(listed(trader))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "EXCHANGE_UNAVAILABLE")


async def test_a_connector_that_is_not_there_is_said_to_be_missing(trader: Trader) -> None:
    request = pb.ListPositionsRequest(account_name=trader.account, connector_name="okx")
    told = await refusal(trader.bridge.stub.ListPositions(request))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CONNECTOR_NOT_FOUND")
