"""The unit of work: all or nothing, and what happens when PostgreSQL, the network or the caller gives up."""

import asyncio
import os
import secrets
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import engine
from servicekit.database.engine import ATTEMPTS, Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Aborted, DeadlineExceeded, Internal, Unavailable
from tests.support.probe import eventually

MakeDatabase = Callable[..., Database]


async def add(connection: AsyncConnection, name: str) -> None:
    await connection.execute(text("INSERT INTO owners (name) VALUES (:name)"), {"name": name})


async def names(database: Database) -> list[str]:
    async with database.autocommit() as connection:
        return list((await connection.execute(text("SELECT name FROM owners ORDER BY name"))).scalars())


async def backend(connection: AsyncConnection) -> int:
    return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def waits_for_lock(database: Database, pid: int) -> None:
    """Until that backend stands in a queue for a lock."""
    waiting = text("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = :pid")
    async with asyncio.timeout(30), database.autocommit() as connection:
        while not (  # noqa: ASYNC110 - it happens inside PostgreSQL
            await connection.execute(waiting, {"pid": pid})
        ).scalar_one():
            await asyncio.sleep(0.01)


async def test_a_block_that_ends_is_committed(database: Database) -> None:
    async with database.transaction() as connection:
        await add(connection, "x")
    assert await names(database) == ["x"]


async def test_a_block_that_raises_is_rolled_back_and_the_error_is_its_own(database: Database) -> None:
    async def work() -> None:
        async with database.transaction() as connection:
            await add(connection, "x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert await names(database) == []
    assert database.pool.checkedout() == 0


async def test_a_block_that_is_cancelled_is_rolled_back(database: Database) -> None:
    inserted = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as connection:
            await add(connection, "x")
            inserted.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inserted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(database) == []
    assert database.pool.checkedout() == 0


async def test_a_statement_that_is_cancelled_leaves_a_pool_that_works(make_database: MakeDatabase) -> None:
    database = make_database(pool_size=1)

    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))

    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await work()
    async with database.transaction() as connection:
        assert await backend(connection)


async def test_a_cancelled_commit_ends_first_and_keeps_its_connection(
    make_database: MakeDatabase, database: Database
) -> None:
    """Its COMMIT waits for the lock of a deferred constraint and is cancelled twice meanwhile."""
    single = make_database(pool_size=1)
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    before: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with single.transaction() as connection:
            before.set_result(await backend(connection))
            await connection.execute(text("INSERT INTO later VALUES (1)"))

    async with database.transaction() as holder:
        await holder.execute(text("INSERT INTO later VALUES (1)"))
        task = asyncio.create_task(work())
        await waits_for_lock(database, await before)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        await holder.rollback()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with single.transaction() as connection:
        assert (await connection.execute(text("SELECT n FROM later"))).scalars().all() == [1]
        assert await backend(connection) == await before


async def test_a_commit_that_fails_after_its_caller_left_is_only_a_cancellation(
    make_database: MakeDatabase, database: Database
) -> None:
    single = make_database(pool_size=1)
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with single.transaction() as connection:
            pid.set_result(await backend(connection))
            await connection.execute(text("INSERT INTO later VALUES (1)"))

    async with database.transaction() as holder:
        await holder.execute(text("INSERT INTO later VALUES (1)"))
        task = asyncio.create_task(work())
        await waits_for_lock(database, await pid)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert single.pool.checkedout() == 0


async def test_a_commit_that_gets_no_answer_is_a_deadline_and_its_connection_is_dropped(
    make_database: MakeDatabase, database: Database, run_out: Callable[[], None]
) -> None:
    single = make_database(pool_size=1, statement_timeout=timedelta(hours=1))
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    pids: list[int] = []

    async def work() -> None:
        async with single.transaction() as connection:
            pids.append(await backend(connection))
            await connection.execute(text("INSERT INTO later VALUES (1)"))

    async with database.transaction() as holder:
        await holder.execute(text("INSERT INTO later VALUES (1)"))
        task = asyncio.create_task(work())
        await eventually(lambda: bool(pids), "its block has begun")
        await waits_for_lock(database, pids[0])
        run_out()
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(task, 30)
    async with single.transaction() as connection:
        assert await backend(connection) not in pids


async def test_a_commit_that_the_database_refuses_is_translated(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    with pytest.raises(Exception, match="exists already") as refusal:
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO later VALUES (1), (1)"))
    assert type(refusal.value).__name__ == "AlreadyExists"


async def test_a_connection_lost_in_a_commit_is_unavailable_and_replaced(
    make_database: MakeDatabase, database: Database
) -> None:
    single = make_database(pool_size=1)
    pids: list[int] = []

    async def work() -> None:
        async with single.transaction() as connection:
            pids.append(await backend(connection))
            async with database.autocommit() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pids[0]})

    with pytest.raises(Unavailable):
        await work()
    async with single.transaction() as connection:
        assert await backend(connection) not in pids


async def test_a_serialization_failure_is_tried_again_and_loses_no_update(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE counter AS SELECT 0 AS n"))
    tries = 0
    both_have_read = asyncio.Barrier(2)

    async def increment(connection: AsyncConnection) -> None:
        nonlocal tries
        tries += 1
        n = (await connection.execute(text("SELECT n FROM counter"))).scalar_one()
        if tries <= 2:
            await both_have_read.wait()
        await connection.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})

    await asyncio.gather(*(database.run(increment, isolation="SERIALIZABLE") for _ in range(2)))
    async with database.autocommit() as connection:
        assert (await connection.execute(text("SELECT n FROM counter"))).scalar_one() == 2
    assert tries == 3


async def test_a_deadlock_is_tried_again(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            text("CREATE TABLE counters AS SELECT i, 0 AS n FROM generate_series(1, 2) i")
        )
    tries = 0
    both_hold_one = asyncio.Barrier(2)

    def increment(*order: int) -> Callable[[AsyncConnection], object]:
        async def work(connection: AsyncConnection) -> None:
            nonlocal tries
            tries += 1
            first = tries <= 2
            await connection.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            for position, i in enumerate(order):
                if position and first:
                    await both_hold_one.wait()
                await connection.execute(text("UPDATE counters SET n = n + 1 WHERE i = :i"), {"i": i})

        return work

    await asyncio.gather(database.run(increment(1, 2)), database.run(increment(2, 1)))  # type: ignore[arg-type]  # ours
    async with database.autocommit() as connection:
        assert (await connection.execute(text("SELECT n FROM counters"))).scalars().all() == [2, 2]
    assert tries == 3


async def test_the_retries_end(database: Database) -> None:
    tries = 0

    async def hopeless(connection: AsyncConnection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute(
            text("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'serialization_failure'; END $$")
        )

    with pytest.raises(Aborted) as refusal:
        await database.run(hopeless)
    assert (tries, refusal.value.reason) == (ATTEMPTS, "DATABASE_CONFLICT")


async def test_a_use_cases_own_aborted_is_not_tried_again(database: Database) -> None:
    tries = 0

    async def refuse(_: AsyncConnection) -> None:
        nonlocal tries
        tries += 1
        raise Aborted("A newer revision is there.", reason="STALE_REVISION")

    with pytest.raises(Aborted, match="newer revision"):
        await database.run(refuse)
    assert tries == 1


async def test_what_run_returns_is_what_the_work_returned(database: Database) -> None:
    assert await database.run(backend) > 0


async def test_a_full_pool_is_unavailable_after_its_time(make_database: MakeDatabase) -> None:
    database = make_database(pool_size=1, pool_timeout=timedelta(seconds=0.1))
    async with database.transaction():
        with pytest.raises(Unavailable) as refusal:
            async with database.transaction():
                pass
        assert await database.ready()
    assert refusal.value.reason == "DATABASE_BUSY"
    assert (database.pool.size(), database.pool.overflow()) == (1, 0)


@pytest.mark.parametrize("times", range(3))
async def test_a_connection_that_died_while_idle_never_surfaces(
    make_database: MakeDatabase, database: Database, times: int
) -> None:
    pooled = make_database(pool_size=3)
    connections = [pooled.transaction() for _ in range(3)]
    pids = [await backend(await block.__aenter__()) for block in connections]
    for block in connections:
        await block.__aexit__(None, None, None)
    async with database.autocommit() as connection:
        for pid in pids:
            await connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    for _ in pids:
        async with pooled.autocommit() as connection:
            assert await backend(connection) not in pids


async def test_a_connection_that_was_cut_between_two_states_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_TRUSTED_SECONDS", 0.0)
    async with database.autocommit() as connection:
        before = await backend(connection)
    execute, asked = asyncpg.Connection.execute, 0

    async def confused(connection: Any, *args: Any, **named: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise asyncpg.InternalClientError(
                "cannot switch to state 12; another operation (2) is in progress"
            )
        return await execute(connection, *args, **named)

    monkeypatch.setattr(asyncpg.Connection, "execute", confused)
    async with database.autocommit() as connection:
        assert await backend(connection) != before
    with pytest.raises(Unavailable):
        async with database.transaction():
            raise asyncpg.InternalClientError("got result for unknown protocol state 3")


async def test_a_connection_whose_server_vanished_while_idle_never_surfaces(
    make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody said that it ended: its process stands still, and answers no ping."""
    monkeypatch.setattr(engine, "_TRUSTED_SECONDS", 0.0)
    monkeypatch.setattr(engine, "_PING_SECONDS", 0.1)
    single = make_database(pool_size=1)
    async with single.autocommit() as connection:
        pid = await backend(connection)
    os.kill(pid, signal.SIGSTOP)
    try:
        async with single.autocommit() as connection:
            assert await backend(connection) != pid
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_connection_that_was_just_used_is_not_asked_for_a_sign_of_life(
    make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = make_database(pool_size=1)
    last = text("SELECT query FROM pg_stat_activity WHERE pid = :pid")
    async with single.autocommit() as connection:
        pid = await backend(connection)
    for seconds, pinged in ((60.0, False), (0.0, True)):
        monkeypatch.setattr(engine, "_TRUSTED_SECONDS", seconds)
        async with single.autocommit(), make_database().autocommit() as other:
            said = (await other.execute(last, {"pid": pid})).scalar_one()
        assert (said == "SELECT 1") is pinged


async def test_a_connection_lost_in_the_middle_is_unavailable(
    make_database: MakeDatabase, database: Database
) -> None:
    lonely = make_database(pool_size=1)
    with pytest.raises(Unavailable) as refusal:
        async with lonely.autocommit() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert refusal.value.reason == "DATABASE_UNAVAILABLE"
    async with lonely.autocommit() as connection:
        assert await backend(connection)


async def test_without_a_ping_a_dead_connection_fails_a_write_cleanly(
    make_database: MakeDatabase, database: Database
) -> None:
    blind = make_database(pool_size=1, pre_ping=False)
    async with blind.transaction() as connection:
        pid = await backend(connection)
    async with database.autocommit() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    with pytest.raises(Unavailable):
        async with blind.transaction() as connection:
            await add(connection, "x")
    assert await names(database) == []


async def test_a_statement_that_takes_too_long_is_a_deadline(make_database: MakeDatabase) -> None:
    database = make_database(statement_timeout=timedelta(milliseconds=100))
    with pytest.raises(DeadlineExceeded) as refusal:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))
    assert refusal.value.reason == "DATABASE_TIMEOUT"


async def test_a_server_that_says_nothing_is_a_deadline_and_its_connection_is_dropped(
    make_database: MakeDatabase,
) -> None:
    database = make_database(pool_size=1)
    pids: list[int] = []

    async def work() -> None:
        async with database.transaction() as connection:
            pids.append(await backend(connection))
            raise TimeoutError  # what asyncpg raises once command_timeout is over

    with pytest.raises(DeadlineExceeded):
        await work()
    async with database.transaction() as connection:
        assert await backend(connection) not in pids


async def test_the_session_is_what_the_options_say(make_database: MakeDatabase) -> None:
    database = make_database(application_name="keyservice", statement_timeout=timedelta(seconds=7))
    async with database.autocommit() as connection:
        shown = {}
        for name in ("application_name", "statement_timeout", "jit", "timezone"):
            shown[name] = (await connection.execute(text(f"SHOW {name}"))).scalar_one()
    assert shown == {
        "application_name": "keyservice",
        "statement_timeout": "7s",
        "jit": "off",
        "timezone": "UTC",
    }


async def test_a_read_holds_no_transaction_open(database: Database) -> None:
    async with database.autocommit() as connection:
        times = {(await connection.execute(text("SELECT now()"))).scalar_one() for _ in range(2)}
    assert len(times) == 2


async def test_a_vanished_server_is_unavailable_and_not_ready(
    database_url: DatabaseUrl,
) -> None:
    gone = DatabaseUrl(host=f"{database_url.host}/nowhere", port=5432, database="d", sslmode="disable")
    database = Database(DatabaseOptions(url=gone))
    assert not await database.ready()
    with pytest.raises(Unavailable):
        async with database.transaction():
            pass
    await database.close()


async def test_nothing_that_prints_an_engine_prints_the_password(database_url: DatabaseUrl) -> None:
    password = secrets.token_hex(8)
    database = Database(
        DatabaseOptions(url=DatabaseUrl("h", 5432, "d", "u", SecretStr(password), sslmode="disable"))
    )
    inner = database._engine
    for shown in (repr(database.options), repr(inner), str(inner.url), repr(database.pool)):
        assert password not in shown


async def test_an_error_of_the_statement_is_internal_and_rolls_back(database: Database) -> None:
    async def work() -> None:
        async with database.transaction() as connection:
            await add(connection, "x")
            await connection.execute(text("SELECT no_such_column FROM owners"))

    with pytest.raises(Internal):
        await work()
    assert await names(database) == []
