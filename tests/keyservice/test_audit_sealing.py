"""Sealing: everything that was committed is under a seal, once, in its order, and nothing comes to lie before it."""

import asyncio
import io
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from keyservice.audit_sealing import PATIENCE, AuditSealer
from keyservice.audit_verification import Proof, verify
from keyservice.keyring import Keyring, open_keyring, read_keyring
from keyservice.resealing import rotate
from keyservice.store import audit_seals
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition
from tests.support.audit import add_events, seal_batches, sealer, skip_positions
from tests.support.logged import lines
from tests.support.probe import eventually
from tests.support.sealed import execute, new_key


@pytest.fixture
async def keyring(database: Database) -> Keyring:
    return await open_keyring(database, [new_key()])


_DEFAULT = text("""
    SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    WHERE adrelid = 'audit_events'::regclass AND attname = 'position'
""")


async def proof_of(database: Database, keyring: Keyring) -> Proof:
    proof = await verify(database.reads, keyring)
    assert proof.told == []
    return proof


async def sealed_counts(database: Database) -> list[int]:
    return [seal.batch.event_count for seal in await audit_seals.page(database.reads, after=0, size=1000)]


async def test_what_has_come_since_the_last_turn_is_put_under_one_seal(
    database: Database, keyring: Keyring
) -> None:
    sealing = sealer(database, keyring)
    assert await sealing.once() == 0
    await add_events(database, 3)
    await skip_positions(database)
    await add_events(database, 2)
    assert await sealing.once() == 5
    assert await sealing.once() == 0
    await add_events(database, 1)
    assert await sealing.once() == 1
    assert await sealed_counts(database) == [5, 1]
    proof = await proof_of(database, keyring)
    assert (proof.seals, proof.events, proof.unsealed) == (2, 6, 0)


async def test_a_turn_that_finds_much_makes_several_seals(database: Database, keyring: Keyring) -> None:
    await add_events(database, 10)
    assert await sealer(database, keyring, batch=4).once() == 10
    assert await sealed_counts(database) == [4, 4, 2]
    await proof_of(database, keyring)


async def test_an_event_of_a_transaction_under_way_keeps_what_lies_behind_it_from_being_sealed(
    database: Database, keyring: Keyring
) -> None:
    sealing = sealer(database, keyring)
    await add_events(database, 1)
    async with database.transaction() as slow:
        await slow.execute(text("INSERT INTO audit_events (principal, action) VALUES ('slow', 'a')"))
        await add_events(database, 2)
        assert await sealing.once() == 0
        assert await sealing.once() == 0
    assert await sealing.once() == 4
    await proof_of(database, keyring)


async def test_whoever_draws_a_position_has_a_transaction_id_by_then_for_which_the_sealer_waits(
    database: Database, keyring: Keyring
) -> None:
    sealing = sealer(database, keyring)
    async with database.transaction() as connection:
        default = (await connection.execute(_DEFAULT)).scalar_one()
    assigned = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
    # Now and then the sequence needs an id for itself. It has just had one, for the next 32 positions.
    await skip_positions(database)
    async with database.transaction() as slow:
        assert not (await slow.execute(assigned)).scalar_one()
        position = (await slow.execute(text(f"SELECT {default}"))).scalar_one()
        assert (await slow.execute(assigned)).scalar_one()
        await add_events(database, 1)
        assert await sealing.once() == 0
        await slow.execute(
            text("INSERT INTO audit_events (position, principal, action) VALUES (:position, 'slow', 'a')"),
            {"position": position},
        )
    assert await sealing.once() == 2
    await proof_of(database, keyring)


async def test_a_transaction_that_never_ends_holds_up_only_what_came_after_it(
    database: Database, keyring: Keyring
) -> None:
    sealing = sealer(database, keyring)
    await add_events(database, 2)
    async with database.transaction() as early:
        await early.execute(text("SELECT pg_current_xact_id()"))
        await add_events(database, 1)
        assert await sealing.once() == 0
        async with database.transaction() as late:
            await late.execute(text("SELECT pg_current_xact_id()"))
            await early.rollback()
            await add_events(database, 5)
            assert await sealing.once() == 3
            assert await sealing.once() == 0
    assert await sealing.once() == 5
    await proof_of(database, keyring)


async def test_what_many_write_at_once_while_it_is_sealed_is_all_sealed_in_its_order(
    database: Database, keyring: Keyring
) -> None:
    sealings = [sealer(database, keyring) for _ in range(2)]
    writing = True

    async def write() -> None:
        for number in range(25):
            async with database.transaction() as connection:
                await connection.execute(
                    text("INSERT INTO audit_events (principal, action) VALUES ('p', 'a')")
                )
                await asyncio.sleep(0.001 * (number % 3))
                if number % 5 == 0:
                    await connection.rollback()

    async def seal(sealing: AuditSealer) -> None:
        while writing:
            await sealing.once()

    sealers = [asyncio.ensure_future(seal(each)) for each in sealings]
    await asyncio.gather(*(write() for _ in range(8)))
    writing = False
    await asyncio.gather(*sealers)
    await sealings[0].once()
    proof = await proof_of(database, keyring)
    assert (proof.events, proof.unsealed) == (8 * 20, 0)
    assert proof.seals > 1


async def test_while_one_replica_has_the_turn_another_one_leaves_it_to_it(
    database: Database, keyring: Keyring
) -> None:
    await add_events(database, 1)
    sealing = sealer(database, keyring)
    async with database.transaction() as other:
        assert (await audit_seals.turn(other)).mine
        assert await sealing.once() == 0
    assert await sealing.once() == 1


async def test_replicas_go_on_where_another_one_stopped(database: Database, keyring: Keyring) -> None:
    one, other = sealer(database, keyring), sealer(database, keyring)
    for sealing in (one, other, one, one, other):
        await add_events(database, 1)
        assert await sealing.once() == 1
    assert (await proof_of(database, keyring)).seals == 5


async def test_a_look_that_another_server_was_asked_for_is_forgotten(
    database: Database, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fail-over, transactions may be counted from an earlier one again."""
    sealing = sealer(database, keyring)
    await add_events(database, 1)
    real = audit_seals.fence

    async def of_another_server(*arguments: object, **named: object) -> object:
        fence = await real(*arguments, **named)  # type: ignore[arg-type]
        assert fence is not None
        return audit_seals.Fence(fence.position, fence.transaction, fence.server_start + timedelta(1))

    monkeypatch.setattr(audit_seals, "fence", of_another_server)
    assert await sealing.once() == 0
    monkeypatch.undo()
    assert await sealing.once() == 1


async def test_the_chain_goes_on_over_a_change_of_the_master_key(
    database: Database, keyring: Keyring
) -> None:
    old, new = new_key(), new_key()
    await execute(database, "TRUNCATE encryption_keys CASCADE")
    await seal_batches(database, await open_keyring(database, [old]), 2)
    await open_keyring(database, [old, new])
    promoted = await open_keyring(database, [new, old])
    await rotate(database, promoted)
    alone = await open_keyring(database, [new])
    await rotate(database, alone)
    await seal_batches(database, alone, 3)
    assert (await proof_of(database, await read_keyring(database, [new]))).events == 5


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM audit_seals WHERE number = 3",
        "DELETE FROM audit_seals",
        "UPDATE audit_seals SET digest = digest || '\\x00' WHERE number = 3",
        "INSERT INTO audit_seals SELECT 4, 1, 1000, 2000, 1, digest, mac, mac, now() FROM audit_seals LIMIT 1",
    ],
)
async def test_a_chain_that_somebody_changed_is_not_gone_on_with_but_told(
    database: Database, keyring: Keyring, tampering: str, output: io.StringIO
) -> None:
    sealing = sealer(database, keyring)
    for _ in range(3):
        await add_events(database, 1)
        await sealing.once()
    await execute(database, tampering)
    await execute(database, "UPDATE audit_events SET principal = 'nobody'")
    with pytest.raises(FailedPrecondition, match="taken away or changed"):
        await sealing.once()
    loop = asyncio.ensure_future(sealing.run())
    try:
        await eventually(lambda: "can't be sealed" in output.getvalue(), "it is told")
    finally:
        loop.cancel()
    [line] = lines(output)
    assert (line["level"], line["reason"]) == ("error", "AUDIT_SEALS_CHANGED")


@pytest.mark.parametrize(
    ("holding", "hindrance"),
    [
        (f"SELECT pg_advisory_xact_lock({audit_seals.ADVISORY_LOCK})", "another session has the turn"),
        ("SELECT pg_current_xact_id()", "a transaction is open that is older than the events"),
    ],
)
async def test_who_holds_up_the_seals_does_not_do_so_in_silence(
    database: Database, keyring: Keyring, output: io.StringIO, holding: str, hindrance: str
) -> None:
    registry, every, now = CollectorRegistry(), timedelta(milliseconds=10), 100.0
    sealing = AuditSealer(database, keyring, every=every, registry=registry, clock=lambda: now)
    patience = PATIENCE * every.total_seconds()

    def delay() -> float | None:
        return registry.get_sample_value("keyservice_audit_seal_delay_seconds")

    async with database.transaction() as other:
        await other.execute(text(holding))
        await add_events(database, 1)
        assert await sealing.once() == 0
        now += patience
        loop = asyncio.ensure_future(sealing.run())
        try:
            await eventually(lambda: delay() == pytest.approx(patience), "the delay is counted")
            assert output.getvalue() == ""
            now += 1
            await eventually(lambda: output.getvalue() != "", "the delay is told")
            await other.rollback()
            await eventually(lambda: delay() == 0, "the events are sealed")
        finally:
            loop.cancel()
    assert (lines(output)[0]["level"], lines(output)[0]["reason"]) == ("error", hindrance)
    assert await sealed_counts(database) == [1]


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ("DELETE FROM audit_seals", "AUDIT_SEALS_CHANGED"),
        ("ALTER TABLE audit_events RENAME TO elsewhere", "DATABASE_ERROR"),
    ],
)
async def test_turns_that_fail_are_a_delay_too_and_are_told_as_one(
    database: Database, keyring: Keyring, output: io.StringIO, failing: str, reason: str
) -> None:
    registry, every, now = CollectorRegistry(), timedelta(milliseconds=10), 100.0
    sealing = AuditSealer(database, keyring, every=every, registry=registry, clock=lambda: now)
    await add_events(database, 1)
    assert await sealing.once() == 1
    await execute(database, failing)
    now += 1000
    loop = asyncio.ensure_future(sealing.run())
    try:
        await eventually(lambda: "is not being sealed" in output.getvalue(), "the delay is told")
    finally:
        loop.cancel()
    assert registry.get_sample_value("keyservice_audit_seal_delay_seconds") == 1000
    told = next(line for line in lines(output) if "is not being sealed" in str(line["event"]))
    assert (told["level"], told["seconds"], told["reason"]) == ("error", 1000, reason)


async def test_the_loop_goes_on_after_the_database_was_away(
    database: Database, keyring: Keyring, output: io.StringIO
) -> None:
    await execute(database, "ALTER TABLE audit_events RENAME TO elsewhere")
    sealing = AuditSealer(database, keyring, every=timedelta(milliseconds=10), registry=CollectorRegistry())
    loop = asyncio.ensure_future(sealing.run())
    try:
        await eventually(lambda: "can't be sealed" in output.getvalue(), "the failure is logged")
        await execute(database, "ALTER TABLE elsewhere RENAME TO audit_events")
        await add_events(database, 1)
        async with asyncio.timeout(10):
            while not await sealed_counts(database):  # noqa: ASYNC110 - inside PostgreSQL
                await asyncio.sleep(0.01)
    finally:
        loop.cancel()
