"""Portfolio snapshots and what is read of them: the real tables, and portfolios that a test makes up."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from bridgeservice.accounts import Accounts
from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.exchanges.exchange import Balance, Environment
from bridgeservice.portfolio import Wish
from bridgeservice.records import Connector, Holding, Portfolio, Reading, ReadStatus
from bridgeservice.retention import Retention, Spans
from bridgeservice.sessions import Sessions
from bridgeservice.snapshots import Snapshots, Terms
from bridgeservice.store import snapshots as store
from bridgeservice.store.snapshots import Point, Range
from bridgeservice.v1 import trading_bridge_pb2 as pb
from servicekit.credentials import Credentials
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError, NotFound, Unavailable
from tests.support.bridge_service import running
from tests.support.fake_exchanges import FakeExchanges
from tests.support.logged import lines

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
TERMS = Terms(HOUR, "USDT")


@dataclass
class MadeUp:
    """Portfolios as a test wants them: by connector, the balances with their values, or None for a failed reading."""

    holdings: dict[str, Mapping[Balance, str] | None] = field(default_factory=dict)
    asked: list[Wish] = field(default_factory=list)
    at: datetime = NOON

    async def get(self, wish: Wish) -> Portfolio:
        self.asked.append(wish)
        return Portfolio([self._holding(name) for name in wish.connector_names], ())

    def _holding(self, name: str) -> Holding:
        held = self.holdings.get(name)
        if held is None:
            return Holding(name, "kraken", ReadStatus.TIMEOUT, "late")
        values = {balance.asset: value for balance, value in held.items() if value}
        return Holding(
            name, "kraken", ReadStatus.OK, reading=Reading(list(held), self.at, 0.0), values=values
        )


def held(asset: str, total: str, value: str) -> Mapping[Balance, str]:
    return {Balance(asset, total, "0", total): value}


def worth(point: Point) -> tuple[str, bool]:
    """What a point says of the whole, as text: numbers there keep their digits."""
    return ("" if point.value is None else str(point.value), point.complete)


@pytest.fixture
def account() -> str:
    return f"client_{uuid4()}"


@pytest.fixture
async def accounts(account: str) -> AsyncIterator[Accounts]:
    calls = ExchangeCalls(FakeExchanges(), timeout=timedelta(seconds=20), most_at_once=10)
    sessions = Sessions(calls, idle=HOUR)
    accounts = Accounts(sessions, keep_tombstones=DAY)
    for name in ("gate", "kraken"):
        accounts.add(Connector(account, name, name, Environment.LIVE, Credentials(), 1))
    yield accounts
    await sessions.close()


async def history(
    database: Database, account: str, interval: timedelta = HOUR, connectors: Sequence[str] = ()
) -> list[Point]:
    return await store.points(
        database.reads, account, Range(NOON - 30 * DAY, NOON + 30 * DAY, interval), connectors
    )


async def test_a_span_has_one_snapshot_of_each_connector_with_its_values(
    database: Database, accounts: Accounts, account: str
) -> None:
    made_up = MadeUp({"kraken": held("BTC", "1.50", "150.1"), "gate": held("BTC", "0.1", "10")})
    snapshots = Snapshots(database, accounts, made_up, TERMS)
    assert await snapshots.once(NOON) == 2
    assert await snapshots.once(NOON + HOUR - timedelta(seconds=1)) == 0
    [point] = await history(database, account)
    assert point == Point(
        NOON,
        Decimal("160.1"),
        "USDT",
        {
            "BTC": {
                "free": Decimal("1.60"),
                "used": Decimal(0),
                "total": Decimal("1.60"),
                "value": Decimal("160.1"),
            }
        },
        complete=True,
    )
    assert len(made_up.asked) == 1


async def test_two_replicas_at_once_make_one_row(
    make_database: Callable[[], Database], accounts: Accounts, account: str
) -> None:
    databases = [make_database() for _ in range(2)]
    made_up = MadeUp({"kraken": held("BTC", "1", "7"), "gate": held("BTC", "1", "7")})
    await asyncio.gather(*(Snapshots(each, accounts, made_up, TERMS).once(NOON) for each in databases))
    [point] = await history(databases[0], account)
    assert point.value == 14


async def test_a_connector_that_failed_has_no_row_and_is_read_again_within_the_span(
    database: Database, accounts: Accounts, account: str
) -> None:
    made_up = MadeUp({"kraken": held("BTC", "1", "100"), "gate": None})
    snapshots = Snapshots(database, accounts, made_up, TERMS)
    assert await snapshots.once(NOON) == 1
    [point] = await history(database, account, connectors=["gate", "kraken"])
    assert point.value == 100
    made_up.holdings["gate"] = held("ETH", "1", "50")
    assert await snapshots.once(NOON + timedelta(minutes=30)) == 1
    [point] = await history(database, account, connectors=["gate", "kraken"])
    assert worth(point) == ("150", True)
    assert made_up.asked[-1].connector_names == ["gate"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotFound("There is no such account.", reason="ACCOUNT_NOT_FOUND"), []),
        (Unavailable("It is not there.", reason="AWAY"), ["AWAY"]),
    ],
)
async def test_an_account_that_goes_away_or_fails_costs_the_others_nothing_and_a_failure_is_told(
    database: Database,
    accounts: Accounts,
    account: str,
    output: io.StringIO,
    error: KeybridgeError,
    told: list[str],
) -> None:
    class Failing(MadeUp):
        async def get(self, wish: Wish) -> Portfolio:
            if wish.account_name == account:
                raise error
            return await super().get(wish)

    other = f"client_{uuid4()}"
    accounts.add(Connector(other, "kraken", "kraken", Environment.LIVE, Credentials(), 1))
    failing = Failing({"kraken": held("BTC", "1", "100")})
    assert await Snapshots(database, accounts, failing, TERMS).once(NOON) == 1
    assert [line["reason"] for line in lines(output)] == told


async def test_what_has_no_price_is_not_valued_and_says_so(
    database: Database, accounts: Accounts, account: str
) -> None:
    made_up = MadeUp({"kraken": held("ODD", "5", ""), "gate": {}})
    await Snapshots(database, accounts, made_up, TERMS).once(NOON)
    [point] = await history(database, account)
    assert worth(point) == ("0", False)  # what gate holds is worth nothing, for certain
    assert point.balances == {"ODD": {"free": Decimal(5), "used": Decimal(0), "total": Decimal(5)}}


async def test_nothing_priced_at_all_is_no_value(
    database: Database, accounts: Accounts, account: str
) -> None:
    made_up = MadeUp({"kraken": held("ODD", "5", "")})
    await Snapshots(database, accounts, made_up, TERMS).once(NOON)
    [point] = await history(database, account)
    assert worth(point) == ("", False)


async def test_a_longer_span_has_the_last_snapshot_of_each_connector(
    database: Database, accounts: Accounts, account: str
) -> None:
    made_up = MadeUp()
    snapshots = Snapshots(database, accounts, made_up, TERMS)
    for hour, (kraken, gate) in enumerate([("1", "10"), ("2", "20"), ("3", None), ("4", "40")]):
        made_up.at = NOON + hour * HOUR
        made_up.holdings = {
            "kraken": held("BTC", "1", kraken),
            "gate": held("BTC", "1", gate) if gate else None,
        }
        await snapshots.once(made_up.at)
    values = [worth(point) for point in await history(database, account)]
    assert values == [("11", True), ("22", True), ("3", False), ("44", True)]
    [day] = await history(database, account, DAY)
    assert (day.time, *worth(day)) == (datetime(2026, 3, 4, tzinfo=UTC), "44", True)


async def test_a_connector_that_the_bridge_holds_is_missed_after_its_last_snapshot(
    database: Database, accounts: Accounts, account: str
) -> None:
    made_up = MadeUp({"kraken": held("BTC", "1", "1"), "gate": held("BTC", "1", "1")})
    snapshots = Snapshots(database, accounts, made_up, TERMS)
    await snapshots.once(NOON)
    made_up.holdings["gate"], made_up.at = None, NOON + HOUR
    await snapshots.once(NOON + HOUR)
    assert [each.complete for each in await history(database, account)] == [True, True]
    still_there = await history(database, account, connectors=["gate", "kraken"])
    assert [each.complete for each in still_there] == [True, False]


async def test_values_in_another_quote_asset_are_not_added_up(
    database: Database, accounts: Accounts, account: str
) -> None:
    made_up = MadeUp({"kraken": held("BTC", "1", "100")})
    await Snapshots(database, accounts, made_up, TERMS).once(NOON)
    made_up.holdings, made_up.at = {"kraken": None, "gate": held("BTC", "1", "90")}, NOON + HOUR
    await Snapshots(database, accounts, made_up, Terms(HOUR, "EUR")).once(NOON + HOUR)
    [day] = await history(database, account, DAY)
    assert (day.quote_asset, *worth(day)) == ("EUR", "90", False)


async def test_snapshots_are_forgotten_when_they_are_old_enough(
    database: Database, accounts: Accounts, account: str
) -> None:
    made_up = MadeUp({"kraken": held("BTC", "1", "1")})
    snapshots = Snapshots(database, accounts, made_up, TERMS)
    for days in range(3):
        await snapshots.once(NOON + days * DAY)
    await Retention(database, Spans(None, 2 * DAY)).once(NOON + 3 * DAY)
    assert [each.time for each in await history(database, account)] == [NOON + DAY, NOON + 2 * DAY]


class TestGetPortfolioHistory:
    """The RPC, over a socket."""

    async def test_answers_with_the_points_in_their_digits(
        self, database: Database, accounts: Accounts, account: str
    ) -> None:
        made_up = MadeUp({"kraken": held("BTC", "0.12345678901234567890", "150.10")})
        await Snapshots(database, accounts, made_up, TERMS).once(NOON)
        async with running(database=database) as bridge:
            request = pb.GetPortfolioHistoryRequest(
                account_name=account, start_time=NOON - DAY, end_time=NOON + DAY, interval=HOUR
            )
            [point] = (await bridge.stub.GetPortfolioHistory(request)).points
        assert point.time.ToDatetime(UTC) == NOON
        assert (point.value, point.quote_asset, point.complete) == ("150.10", "USDT", True)
        [balance] = point.balances
        assert (balance.asset, balance.total, balance.value) == ("BTC", "0.12345678901234567890", "150.10")

    async def test_an_account_without_snapshots_has_no_points(self, database: Database, account: str) -> None:
        async with running(database=database) as bridge:
            answer = await bridge.stub.GetPortfolioHistory(
                pb.GetPortfolioHistoryRequest(account_name=account)
            )
        assert list(answer.points) == []

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("account_name", {"account_name": ""}),
            ("interval", {"interval": Duration(seconds=59)}),
            ("interval", {"interval": Duration(seconds=-3600)}),
            ("interval", {"interval": Duration(seconds=2**62)}),
            ("interval", {"interval": Duration(seconds=60)}),
            ("end_time", {"start_time": NOON, "end_time": NOON}),
            ("start_time", {"start_time": Timestamp(seconds=2**60)}),
            ("end_time", {"end_time": Timestamp(seconds=-(2**60))}),
        ],
    )
    async def test_refuses_what_makes_no_sense_and_names_the_field(
        self, database: Database, field: str, changes: dict[str, object]
    ) -> None:
        async with running(database=database) as bridge:
            request = pb.GetPortfolioHistoryRequest(**{"account_name": "a"} | changes)  # type: ignore[arg-type]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bridge.stub.GetPortfolioHistory(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in str(caught.value.details())

    async def test_needs_a_database(self) -> None:
        async with running() as bridge:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bridge.stub.GetPortfolioHistory(pb.GetPortfolioHistoryRequest(account_name="a"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
