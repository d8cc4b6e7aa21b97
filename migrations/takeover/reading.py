"""Reads the old tables into two temporary ones, which hold the old rows in the new form."""

from typing import Final

import sqlalchemy as sa

from migrations.takeover.columns import OldColumns
from migrations.takeover.survey import CLIENTS, HOLDING, KEYS, OldTables

# An id that is a UUID stays what it is. Any other gives the same new one on each server and each time,
# without an extension: a UUID of version 8, made of a SHA-256 of it.
_NEW_ID: Final = r"""
CREATE OR REPLACE FUNCTION pg_temp.new_id(kind text, old_id text) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN old_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN old_id
                ELSE overlay(overlay(digest PLACING '8' FROM 13) PLACING '8' FROM 17) END::uuid
    FROM encode(sha256(convert_to(concat_ws(' ', 'keybridge', kind, old_id), 'UTF8')), 'hex') AS whole,
         left(whole, 32) AS digest
$$
"""

_MAKE: Final = """
CREATE TEMPORARY TABLE old_clients (
    old_id text, id uuid, name text, given_external_id text, created_at timestamptz, updated_at timestamptz,
    deleted boolean DEFAULT false, deleted_at timestamptz, made boolean,
    external_id text, external_id_of uuid
) ON COMMIT DROP;
CREATE TEMPORARY TABLE old_keys (
    old_id text, id uuid, old_client_id text, old_exchange text, exchange text, label text, environment text,
    api_key text, api_secret text, passphrase text, disabled boolean,
    created_at timestamptz, updated_at timestamptz, deleted boolean, old_deleted_at timestamptz,
    client_id uuid, connector_name text, deleted_with_client boolean DEFAULT false, superseded_by uuid
) ON COMMIT DROP
"""

_CLIENTS: Final = """
INSERT INTO old_clients
    (old_id, id, name, given_external_id, created_at, updated_at, deleted, deleted_at, made)
SELECT {id}, pg_temp.new_id('client', {id}), {name}, nullif({external_id}, ''), {created_at}, {updated_at},
       {deleted}, {deleted_at}, false
FROM {table} o
"""

_KEYS: Final = """
INSERT INTO old_keys (old_id, id, old_client_id, old_exchange, exchange, label, environment,
    api_key, api_secret, passphrase, disabled, created_at, updated_at, deleted, old_deleted_at)
SELECT {id}, pg_temp.new_id('api key', {id}), coalesce({client_id}, ''),
       {exchange}, coalesce(nullif(lower(btrim({exchange})), ''), 'unknown'), coalesce({label}, ''),
       CASE WHEN {sandbox} THEN 'sandbox' ELSE 'live' END,
       {api_key}, {api_secret}, {passphrase}, {disabled}, {created_at}, {updated_at}, {deleted}, {deleted_at}
FROM {table} o
"""


def read_rows(connection: sa.Connection, old: OldTables) -> dict[str, OldColumns]:
    """All of them; and the columns of each table, which know by now what they were asked for."""
    connection.exec_driver_sql(_NEW_ID)
    for table in _MAKE.split(";"):
        connection.exec_driver_sql(table)
    columns = {name: OldColumns(types) for name, types in old.columns.items()}
    if CLIENTS in columns:
        _read_clients(connection, columns[CLIENTS])
    _read_keys(connection, columns[KEYS])
    return columns


def _read_clients(connection: sa.Connection, column: OldColumns) -> None:
    statement = _CLIENTS.format(
        table=f"{HOLDING}.{CLIENTS}",
        id=_id(column, "id"),
        name=column.text("name"),
        external_id=column.text("external_id"),
        created_at=column.time("created_at"),
        updated_at=column.time("updated_at"),
        deleted=column.deleted(),
        deleted_at=column.time("deleted_at"),
    )
    connection.exec_driver_sql(statement)


def _read_keys(connection: sa.Connection, column: OldColumns) -> None:
    statement = _KEYS.format(
        table=f"{HOLDING}.{KEYS}",
        id=_id(column, "id"),
        client_id=_id(column, "client_id"),
        exchange=column.text("exchange"),
        label=column.text("label", "name"),
        sandbox=column.sandbox(),
        api_key=column.token("api_key"),
        api_secret=column.token("api_secret"),
        passphrase=column.token("passphrase"),
        disabled=column.disabled(),
        created_at=column.time("created_at"),
        updated_at=column.time("updated_at"),
        deleted=column.deleted(),
        deleted_at=column.time("deleted_at"),
    )
    connection.exec_driver_sql(statement)


def _id(column: OldColumns, name: str) -> str:
    return f"pg_temp.old_id({column.text(name)})"
