"""KeyService's tables, as whoever inserts into them with plain SQL finds them."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import Enum
from sqlalchemy import insert as insert_into

from keyservice import models
from keyservice.conflicts import CONFLICTS
from servicekit.database.engine import Database
from servicekit.database.models import Base
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Internal
from tests.support.key_service import KeyService
from tests.support.old_database import plain_connection

KEY: dict[str, object] = {"exchange": "kraken", "connector_name": "kraken"}

PLAIN: dict[str, dict[str, object]] = {
    "clients": {"name": "a client"},
    "encryption_keys": {"key_id": "k", "check_value": "c", "index_key": "i"},
    "exchange_api_keys": KEY,
    "requests": {
        "principal": "p",
        "method": "m",
        "request_id": uuid4(),
        "body_hmac": b"h",
        "result_id": uuid4(),
    },
    "audit_events": {"principal": "p", "action": "a"},
}


async def insert(url: DatabaseUrl, table: str, **values: object) -> dict[str, Any]:
    """As someone at psql would, who names no more columns than he must."""
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    async with plain_connection(url) as connection:
        row = await connection.fetchrow(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) RETURNING *",  # noqa: S608 - ours
            *values.values(),
        )
    return dict(row)


@pytest.fixture
async def client_id(database_url: DatabaseUrl) -> UUID:
    row = await insert(database_url, "clients", name="a client")
    return UUID(str(row["id"]))


@pytest.mark.parametrize("table", PLAIN)
async def test_a_plain_insert_that_leaves_out_what_has_a_default_has_it(
    database_url: DatabaseUrl, client_id: UUID, table: str
) -> None:
    values = PLAIN[table] | ({"client_id": client_id} if table == "exchange_api_keys" else {})
    row = await insert(database_url, table, **values)
    for column in Base.metadata.tables[table].columns:
        if not column.nullable:
            assert row[column.name] is not None, column.name
    if "updated_at" in row:
        assert row["updated_at"] == row["created_at"]


async def test_no_time_of_a_client_or_a_key_can_become_infinite(
    database_url: DatabaseUrl, client_id: UUID
) -> None:
    await insert(database_url, "exchange_api_keys", **KEY, client_id=client_id)
    async with plain_connection(database_url) as connection:
        for table in ("clients", "exchange_api_keys"):
            for change in ("created_at = 'infinity'", "updated_at = '-infinity'"):
                with pytest.raises(asyncpg.CheckViolationError, match=f"ck_{table}_times_finite"):
                    await connection.execute(f"UPDATE {table} SET {change}")  # noqa: S608 - ours


async def test_no_time_of_any_row_can_become_null(database_url: DatabaseUrl, client_id: UUID) -> None:
    async with plain_connection(database_url) as connection:
        for column in ("created_at", "updated_at"):
            with pytest.raises(Exception, match="null value in column"):
                await connection.execute(f"UPDATE clients SET {column} = NULL")  # noqa: S608 - ours


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("revision_positive", {"revision": 0}),
        ("secret_version_positive", {"secret_version": 0}),
        ("attempt_count_not_negative", {"attempt_count": -1}),
        ("is_deleted_exactly_when_deleted_at", {"is_deleted": True}),
        ("deleted_with_client_means_deleted", {"deleted_with_client": True}),
        ("environment", {"environment": "LIVE"}),
        ("environment", {"environment": "demo"}),
        ("bridge_state", {"bridge_state": "PENDING"}),
        ("bridge_reason", {"bridge_reason": "nothing"}),
        ("can_read", {"can_read": "perhaps"}),
        ("can_trade", {"can_trade": ""}),
        ("can_withdraw", {"can_withdraw": "YES"}),
    ],
)
async def test_a_row_that_contradicts_itself_is_refused(
    database_url: DatabaseUrl, client_id: UUID, constraint: str, values: dict[str, object]
) -> None:
    with pytest.raises(Exception, match=f"ck_exchange_api_keys_{constraint}"):
        await insert(database_url, "exchange_api_keys", client_id=client_id, **KEY, **values)


async def test_a_time_of_deletion_without_deletion_is_refused(
    database_url: DatabaseUrl, client_id: UUID
) -> None:
    async with plain_connection(database_url) as connection:
        with pytest.raises(Exception, match="is_deleted_exactly_when_deleted_at"):
            await connection.execute("UPDATE clients SET deleted_at = now()")


async def test_what_is_marked_erased_holds_nothing_and_is_deleted(
    service: KeyService, database_url: DatabaseUrl
) -> None:
    await service.add_key(await service.add_client())
    async with plain_connection(database_url) as connection:
        for change in (
            "erased_at = now()",
            "erased_at = now(), is_deleted = true, deleted_at = now()",
            "erased_at = now(), api_key = NULL, api_secret = NULL, key_id = NULL",
        ):
            with pytest.raises(Exception, match="erased_means_erased"):
                await connection.execute(f"UPDATE exchange_api_keys SET {change}")  # noqa: S608 - ours


async def test_a_client_with_keys_and_a_master_key_in_use_are_not_removed(
    service: KeyService, database_url: DatabaseUrl
) -> None:
    await service.add_key(await service.add_client())
    async with plain_connection(database_url) as connection:
        for table in ("clients", "encryption_keys"):
            with pytest.raises(Exception, match=r"violates (RESTRICT|foreign key)"):
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - ours


async def test_enums_are_stored_by_their_values(service: KeyService) -> None:
    key = await service.add_key(await service.add_client())
    row = await service.row(key)
    assert (row.environment, row.bridge_state) == ("live", "pending")
    for column in models.ExchangeApiKey.__table__.columns:
        if isinstance(column.type, Enum):
            assert column.type.enum_class is not None
            assert column.type.enums == [member.value for member in column.type.enum_class]


async def test_an_enum_is_refused_by_name(database_url: DatabaseUrl, client_id: UUID) -> None:
    database = Database(DatabaseOptions(url=database_url, pool_size=1))
    statement = insert_into(models.ExchangeApiKey).values(client_id=client_id, **KEY, environment="LIVE")
    with pytest.raises(Internal):
        async with database.transaction() as connection:
            await connection.execute(statement)
    await database.close()


def test_every_unique_index_over_live_rows_and_a_retired_master_key_have_words_for_who_hits_them() -> None:
    known = {
        str(index.name)
        for table in (models.Client.__table__, models.ExchangeApiKey.__table__)
        for index in table.indexes  # type: ignore[attr-defined]  # SQLAlchemy types it as FromClause
        if index.unique
    }
    [key_id] = models.ExchangeApiKey.__table__.c.key_id.foreign_keys
    assert key_id.constraint is not None
    known.add(str(key_id.constraint.name))
    assert known == set(CONFLICTS)
    assert all(conflict.reason.isupper() for conflict in CONFLICTS.values())
