"""The table of trades: a fill counts once, however often and by however many it is told, and fills its order."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, select

from bridgeservice import models
from bridgeservice.enums import OrderSide, OrderState, OrderType
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.orders import ExchangeTrade, Fee
from bridgeservice.journal import Journal
from bridgeservice.order_records import Outcome
from bridgeservice.records import Trade, TradeFilter
from bridgeservice.store import accounts
from bridgeservice.store import trades as store
from bridgeservice.v1 import trading_bridge_pb2 as pb
from servicekit.database.engine import Database
from tests.support.bridge_service import running

START = datetime(2026, 1, 1, tzinfo=UTC)


def traded(number: int, amount: str = "1", **changes: Any) -> ExchangeTrade:
    values: dict[str, Any] = {
        "id": f"t{number}",
        "order_id": "x1",
        "symbol": "BTC/USDT",
        "side": OrderSide.BUY,
        "amount": amount,
        "price": "100.5",
        "cost": format(Decimal(amount) * Decimal("100.5"), "f"),
        "time": START + timedelta(seconds=number),
        "fees": (Fee("USDT", "0.1"),),
    }
    return ExchangeTrade(**values | changes)


@pytest.fixture
def account() -> str:
    return f"client_{uuid4()}"


@pytest.fixture
async def account_id(database: Database, account: str) -> UUID:
    async with database.transaction() as connection:
        return await accounts.ensure(connection, account)


async def ordered(database: Database, account_id: UUID, amount: str = "3", **changes: Any) -> UUID:
    """An open order of the journal; its id."""
    values: dict[str, Any] = {
        "account_id": account_id,
        "connector_name": "kraken",
        "exchange": "kraken",
        "environment": Environment.LIVE,
        "exchange_order_id": "x1",
        "symbol": "BTC/USDT",
        "side": OrderSide.BUY,
        "type": OrderType.LIMIT,
        "amount": Decimal(amount),
        "price": Decimal(101),
        "state": OrderState.OPEN,
    }
    async with database.transaction() as connection:
        row = await connection.execute(
            insert(models.Order).values(values | changes).returning(models.Order.id)
        )
        order_id: UUID = row.scalar_one()
    return order_id


async def read(database: Database, order_id: UUID) -> Any:
    return (await database.reads.execute(select(models.Order).where(models.Order.id == order_id))).one()


async def apply(database: Database, account_id: UUID, trades: Sequence[ExchangeTrade]) -> int:
    async with database.transaction() as connection:
        return await store.apply(connection, account_id, "kraken", trades)


async def listed(database: Database, account: str, **filters: Any) -> list[Trade]:
    page = await store.page(database.reads, account, TradeFilter(**filters), after=None, size=1000)
    return list(page.rows)


async def test_fills_bring_their_order_forward_and_to_its_end(
    database: Database, account: str, account_id: UUID
) -> None:
    order_id = await ordered(database, account_id)
    assert await apply(database, account_id, [traded(1), traded(2, "0.5", price="102", cost="51")]) == 2
    order = await read(database, order_id)
    assert (order.state, order.filled, order.cost) == (OrderState.OPEN, Decimal("1.5"), Decimal("151.5"))
    assert (order.average_price, order.fees) == (Decimal(101), {"USDT": "0.2"})
    assert await apply(database, account_id, [traded(3, "1.5")]) == 1
    order = await read(database, order_id)
    assert (order.state, order.filled) == (OrderState.FILLED, Decimal("3.0"))
    assert {each.order_id for each in await listed(database, account)} == {order_id}


async def test_a_fill_that_is_told_again_changes_nothing(
    database: Database, account: str, account_id: UUID
) -> None:
    order_id = await ordered(database, account_id)
    for told in ([traded(1)], [traded(1), traded(2)], [traded(2), traded(1)]):
        await apply(database, account_id, told)
    assert (await read(database, order_id)).filled == 2
    assert len(await listed(database, account)) == 2


async def test_fills_that_many_tell_at_once_count_once(
    make_database: Callable[[], Database], account_id: UUID
) -> None:
    databases = [make_database() for _ in range(4)]
    order_id = await ordered(databases[0], account_id, "100")
    told = [traded(number) for number in range(60)]
    orders = [told, told[::-1], told[30:] + told[:30], told]
    new = await asyncio.gather(
        *(apply(each, account_id, some) for each, some in zip(databases, orders, strict=True))
    )
    assert sum(new) == 60
    assert (await read(databases[0], order_id)).filled == 60


async def test_different_fills_of_an_order_that_are_stored_at_once_add_up(
    make_database: Callable[[], Database], account_id: UUID
) -> None:
    databases = [make_database() for _ in range(4)]
    order_id = await ordered(databases[0], account_id, "60")

    async def store_one_by_one(database: Database, numbers: range) -> None:
        for number in numbers:
            await apply(database, account_id, [traded(number)])

    await asyncio.gather(
        *(store_one_by_one(each, range(first, 60, 4)) for first, each in enumerate(databases))
    )
    order = await read(databases[0], order_id)
    assert (order.state, order.filled) == (OrderState.FILLED, 60)


async def test_an_order_that_its_fills_have_ended_is_not_asked_about_any_more(
    database: Database, account_id: UUID
) -> None:
    order_id = await ordered(database, account_id, "2", next_check_at=START)
    await apply(database, account_id, [traded(1)])
    assert (await read(database, order_id)).next_check_at == START
    await apply(database, account_id, [traded(2)])
    order = await read(database, order_id)
    assert (order.state, order.next_check_at) == (OrderState.FILLED, None)


async def test_what_the_exchange_told_beyond_the_trades_stays(database: Database, account_id: UUID) -> None:
    order_id = await ordered(database, account_id, filled=Decimal(2), cost=Decimal(201))
    await apply(database, account_id, [traded(1)])
    order = await read(database, order_id)
    assert (order.filled, order.cost) == (2, 201)


async def test_a_fill_that_comes_before_its_order_is_given_to_it_later(
    database: Database, account: str, account_id: UUID
) -> None:
    await apply(database, account_id, [traded(1), traded(2, order_id="other"), traded(3, order_id="")])
    assert [each.order_id for each in await listed(database, account)] == [None, None, None]
    order_id = await ordered(database, account_id, "1", external=True)
    async with database.transaction() as connection:
        await store.adopt(connection, [order_id])
    assert [each.order_id for each in await listed(database, account)] == [None, None, order_id]
    assert (await read(database, order_id)).state is OrderState.FILLED


async def test_several_orders_are_each_given_their_own(
    database: Database, account: str, account_id: UUID
) -> None:
    await apply(database, account_id, [traded(n, order_id=f"x{n}") for n in (1, 2, 3)])
    first, second = [await ordered(database, account_id, "1", exchange_order_id=f"x{n}") for n in (1, 2)]
    async with database.transaction() as connection:
        await store.adopt(connection, [first, second])
    assert [each.order_id for each in await listed(database, account)] == [None, second, first]
    assert [(await read(database, each)).filled for each in (first, second)] == [1, 1]


async def test_an_order_whose_id_is_learnt_is_given_what_was_told_under_it_before(
    database: Database, account: str, account_id: UUID
) -> None:
    order_id = await ordered(
        database, account_id, exchange_order_id=None, state=OrderState.UNKNOWN, next_check_at=START
    )
    await apply(database, account_id, [traded(1)])
    journal = Journal(database)
    order = await journal.get(account, order_id)
    now = await journal.write(order, Outcome(OrderState.OPEN, exchange_order_id="x1"))
    assert (now.state, now.filled) == (OrderState.OPEN, Decimal(1))
    assert [each.order_id for each in await listed(database, account)] == [order_id]


async def test_the_same_number_on_two_markets_is_two_trades(
    database: Database, account: str, account_id: UUID
) -> None:
    assert await apply(database, account_id, [traded(1), traded(1, symbol="ETH/USDT")]) == 2
    assert len(await listed(database, account)) == 2


async def test_fees_are_summed_up_by_asset_and_rebates_too(database: Database, account_id: UUID) -> None:
    order_id = await ordered(database, account_id)
    fees = (Fee("USDT", "0.10"), Fee("USDT", "0.05"), Fee("BNB", "-0.01"), Fee("", "3"), Fee("KCS", ""))
    await apply(database, account_id, [traded(1, fees=fees), traded(2, fees=())])
    assert (await read(database, order_id)).fees == {"USDT": "0.15", "BNB": "-0.01"}


async def test_more_than_a_batch_goes_in_as_well(database: Database, account: str, account_id: UUID) -> None:
    trades = [traded(number) for number in range(store.BATCH + 7)]
    assert await apply(database, account_id, trades) == len(trades)


class TestListTrades:
    """The RPC, over a socket."""

    async def test_pages_through_the_newest_first_with_each_filter(
        self, database: Database, account: str, account_id: UUID
    ) -> None:
        trades = [traded(n, symbol="BTC/USDT" if n % 2 else "ETH/USDT") for n in range(25)]
        await apply(database, account_id, trades)
        async with database.transaction() as connection:
            await store.apply(connection, account_id, "gate", [traded(100)])
        async with running(database=database) as bridge:

            async def all_of(**filters: Any) -> list[str]:
                found: list[str] = []
                request = pb.ListTradesRequest(account_name=account, page_size=4, **filters)
                while True:
                    page = await bridge.stub.ListTrades(request)
                    found += [each.exchange_trade_id for each in page.trades]
                    request.page_token = page.next_page_token
                    if not request.page_token:
                        return found

            numbered = [f"t{n}" for n in range(25)][::-1]
            assert await all_of() == ["t100", *numbered]
            assert await all_of(connector_name="kraken") == numbered
            assert await all_of(symbol="ETH/USDT") == numbered[::2]
            assert await all_of(connector_name="kraken", symbol="BTC/USDT") == numbered[1::2]
            assert (
                await all_of(connector_name="kraken", start_time=START + timedelta(seconds=20))
                == numbered[:5]
            )
            assert await all_of(connector_name="bybit") == []

    async def test_tells_a_trade_with_all_its_digits(
        self, database: Database, account: str, account_id: UUID
    ) -> None:
        order_id = await ordered(database, account_id)
        await apply(
            database, account_id, [traded(1, "0.12345678901234567890", cost="12.4074072839506172730")]
        )
        async with running(database=database) as bridge:
            [trade] = (await bridge.stub.ListTrades(pb.ListTradesRequest(account_name=account))).trades
        assert trade.order_id == str(order_id)
        assert (trade.amount, trade.price) == ("0.12345678901234567890", "100.5")
        assert [(fee.asset, fee.amount) for fee in trade.fees] == [("USDT", "0.1")]
        assert trade.time.ToDatetime(UTC) == START + timedelta(seconds=1)

    async def test_an_account_of_which_nothing_is_known_has_none(self, database: Database) -> None:
        async with running(database=database) as bridge:
            answer = await bridge.stub.ListTrades(pb.ListTradesRequest(account_name=f"client_{uuid4()}"))
        assert (list(answer.trades), answer.next_page_token) == ([], "")
