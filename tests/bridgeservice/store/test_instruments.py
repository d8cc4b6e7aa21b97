"""What exchanges trade, kept in PostgreSQL: whole, exact, and replaced as a whole."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from bridgeservice.exchanges.instruments import Description, Instruments
from bridgeservice.store.instruments import BATCH, InstrumentStore
from servicekit.database.engine import Database
from servicekit.errors import Internal

LIVE, SANDBOX = "LIVE", "SANDBOX"
BTC: Description = {
    "symbol": "BTC/USDT",
    "active": True,
    "expiry": None,
    "precision": {"amount": "0.12345678901234567890", "price": 1e-08},
    "tierBased": [0.1, 1.0, 12345678901234567890],
    "info": {"name": "Ḃitcoin \\u0000 'quoted' \"twice\" :colon %s", "filters": []},
}


@pytest.fixture
def store(database: Database) -> Instruments:
    return InstrumentStore(database)


@pytest.fixture
def exchange() -> str:
    """One that no other test knows."""
    return secrets.token_hex(8)


@contextmanager
def counted_inserts() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT"):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_what_was_never_saved_is_none(store: Instruments, exchange: str) -> None:
    assert await store.load(exchange, LIVE) is None


async def test_a_description_comes_back_as_it_was_to_the_last_digit(
    store: Instruments, exchange: str
) -> None:
    await store.save(exchange, LIVE, {"BTC/USDT": BTC}, {"BTC": {"code": "BTC"}})
    stored = await store.load(exchange, LIVE)
    assert stored is not None
    assert stored.markets == {"BTC/USDT": BTC}
    assert stored.currencies == {"BTC": {"code": "BTC"}}


async def test_what_is_no_longer_traded_is_gone_and_what_is_new_is_there(
    store: Instruments, exchange: str
) -> None:
    await store.save(exchange, LIVE, {"A/B": {"n": 1}, "C/D": {"n": 1}}, {"A": {}, "B": {}})
    before = await store.load(exchange, LIVE)
    await store.save(exchange, LIVE, {"A/B": {"n": 2}, "E/F": {"n": 2}}, {"A": {}})
    after = await store.load(exchange, LIVE)
    assert before is not None
    assert after is not None
    assert after.markets == {"A/B": {"n": 2}, "E/F": {"n": 2}}
    assert after.currencies == {"A": {}}
    assert after.loaded_at > before.loaded_at


async def test_exchanges_environments_and_kinds_are_kept_apart(store: Instruments, exchange: str) -> None:
    await store.save(exchange, LIVE, {"A": {"n": 1}}, {"A": {"n": 2}})
    await store.save(exchange, SANDBOX, {"A": {"n": 3}}, {})
    await store.save("other " + exchange, LIVE, {"A": {"n": 4}}, {})
    await store.save("other " + exchange, SANDBOX, {}, {})
    kept = [
        await store.load(*of) for of in ((exchange, LIVE), (exchange, SANDBOX), ("other " + exchange, LIVE))
    ]
    assert [each and each.markets for each in kept] == [{"A": {"n": 1}}, {"A": {"n": 3}}, {"A": {"n": 4}}]
    assert kept[0] is not None
    assert kept[0].currencies == {"A": {"n": 2}}
    assert await store.load("other " + exchange, SANDBOX) is None


async def test_many_are_one_statement_a_batch(store: Instruments, exchange: str) -> None:
    markets = {f"A{number}/USDT": {"n": number} for number in range(2 * BATCH)}
    with counted_inserts() as inserts:
        await store.save(exchange, LIVE, markets, {"USDT": {}})
    assert len(inserts) == 3
    assert len(set(inserts)) == 1
    stored = await store.load(exchange, LIVE)
    assert stored is not None
    assert stored.markets == markets


async def test_of_replicas_that_save_at_once_one_whole_answer_remains(
    make_database: Callable[[], Database], exchange: str
) -> None:
    answers = [
        {f"{letter}{number}": {"of": letter} for number in range(40)} | {"X": {"of": letter}}
        for letter in "abcd"
    ]
    # In different orders too, which would be deadlocks if they did not take turns.
    stores = [InstrumentStore(make_database()) for _ in answers]
    saves = [
        store.save(exchange, LIVE, dict(reversed(answer.items())) if odd else answer, {})
        for odd, (store, answer) in enumerate(zip(stores, answers, strict=True))
    ]
    await asyncio.gather(*saves)
    stored = await stores[0].load(exchange, LIVE)
    assert stored is not None
    assert stored.markets in answers


@pytest.mark.parametrize("impossible", [float("nan"), object(), "\x00"])
async def test_what_json_or_postgresql_can_not_hold_is_an_error_of_ours_and_changes_nothing(
    store: Instruments, impossible: object, exchange: str
) -> None:
    await store.save(exchange, LIVE, {"A/B": {}}, {})
    with pytest.raises(Internal):
        await store.save(exchange, LIVE, {"C/D": {}, "E/F": {"n": impossible}}, {})
    stored = await store.load(exchange, LIVE)
    assert stored is not None
    assert stored.markets == {"A/B": {}}
