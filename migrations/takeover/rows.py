"""Copies the rows of the old tables into the new ones, and records what was done to each.

Two temporary tables hold the old rows in the new form, with all that has been decided about them; what
follows from the decisions is inserted from there, in bulk.
"""

from typing import Final

import sqlalchemy as sa

from migrations.takeover.columns import OldColumns
from migrations.takeover.survey import ARCHIVE, CLIENTS, HOLDING, KEYS, OldTables

RENAMED: Final = {
    "bitcoincom": "fmfwio",
    "bitfinex2": "bitfinex",
    "bitpanda": "onetrading",
    "bitstamp1": "bitstamp",
    "coinbaseadvanced": "coinbase",
    "coinbaseprime": "coinbaseexchange",
    "coinbasepro": "coinbaseexchange",
    "gateio": "gate",
    "hitbtc3": "hitbtc",
    "huobi": "htx",
    "huobijp": "bittrade",
    "huobipro": "htx",
    "lbank2": "lbank",
    "mexc3": "mexc",
    "okex": "okx",
    "okex5": "okx",
}
"""Old names of exchanges and present ones, as of this revision; a later renaming is for a later revision."""

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

_CLIENTS: Final = """
CREATE TEMPORARY TABLE old_clients ON COMMIT DROP AS
SELECT {id} AS old_id, pg_temp.new_id('client', {id}) AS id, {name} AS name,
       nullif({external_id}, '') AS given_external_id, {created_at} AS created_at, {updated_at} AS updated_at,
       {deleted_at} AS deleted_at, false AS made
FROM {table} o
"""

_NO_CLIENTS: Final = """
CREATE TEMPORARY TABLE old_clients (
    old_id text, id uuid, name text, given_external_id text, created_at timestamptz, updated_at timestamptz,
    deleted_at timestamptz, made boolean
) ON COMMIT DROP
"""

# A key without a client at all gets the one whose old id is empty. Where there was no table of clients, none
# was missing from it.
_MISSING_CLIENTS: Final = """
INSERT INTO old_clients (old_id, id, made)
SELECT DISTINCT old_client_id, pg_temp.new_id('client', old_client_id), {missing} FROM old_keys k
WHERE NOT EXISTS (SELECT FROM old_clients c WHERE c.old_id = k.old_client_id)
"""

_KEYS: Final = """
CREATE TEMPORARY TABLE old_keys ON COMMIT DROP AS
SELECT {id} AS old_id, pg_temp.new_id('api key', {id}) AS id, coalesce({client_id}, '') AS old_client_id,
       {exchange} AS old_exchange, coalesce(nullif(lower(btrim({exchange})), ''), 'unknown') AS exchange,
       coalesce({label}, '') AS label,
       CASE WHEN {sandbox} THEN 'sandbox' ELSE 'live' END AS environment,
       {api_key} AS api_key, {api_secret} AS api_secret, {passphrase} AS passphrase,
       NOT {active} AS disabled,
       {created_at} AS created_at, {updated_at} AS updated_at, {deleted_at} AS deleted_at,
       NULL::uuid AS client_id, NULL::uuid AS superseded_by, false AS client_deleted
FROM {table} o
"""

_RENAME: Final = """
UPDATE old_keys SET exchange = new_name
FROM unnest(CAST(:old_names AS text[]), CAST(:new_names AS text[])) AS renamed (old_name, new_name)
WHERE exchange = old_name
"""

# A live key of a deleted client is deleted, as it would be here; now, so that it is not erased at once.
_FIND_CLIENTS: Final = """
UPDATE old_keys k
SET client_id = c.id, client_deleted = k.deleted_at IS NULL AND c.deleted_at IS NOT NULL,
    deleted_at = CASE WHEN c.deleted_at IS NULL THEN k.deleted_at ELSE coalesce(k.deleted_at, now()) END
FROM old_clients c WHERE c.old_id = k.old_client_id
"""

# The newest is the one that was made last, and of those that were made at once, or nobody knows when, the one
# that has the last id, be it a number or not.
_FIND_DUPLICATES: Final = """
UPDATE old_keys k SET superseded_by = d.newest, deleted_at = now()
FROM (SELECT id, first_value(id) OVER (
                 PARTITION BY client_id, exchange, label
                 ORDER BY coalesce(created_at, updated_at) DESC NULLS LAST, length(old_id) DESC, old_id DESC
             ) AS newest
      FROM old_keys WHERE deleted_at IS NULL) d
WHERE d.id = k.id AND d.id <> d.newest
"""

# The old id is what others know the client by, so it becomes the external id where that is free.
_COPY_CLIENTS: Final = """
INSERT INTO clients (id, name, external_id, created_at, updated_at, is_deleted, deleted_at)
SELECT id, coalesce(nullif(btrim(name), ''), 'Client ' || nullif(old_id, ''), 'Client of keys without one'),
       CASE WHEN deleted_at IS NOT NULL OR claim = 1 THEN external_id END, coalesce(created_at, now()),
       coalesce(updated_at, created_at, now()), deleted_at IS NOT NULL, deleted_at
FROM (SELECT *, row_number() OVER (
                    PARTITION BY external_id, deleted_at IS NULL
                    ORDER BY given_external_id IS NULL, created_at DESC NULLS LAST, old_id
                ) AS claim
      FROM (SELECT *, coalesce(given_external_id, CASE WHEN old_id NOT IN ('', id::text) THEN old_id END)
                          AS external_id
            FROM old_clients) named) claiming
ORDER BY created_at, id
"""

_COPY_KEYS: Final = """
INSERT INTO exchange_api_keys (id, client_id, exchange, label, connector_name, environment,
    api_key, api_secret, passphrase, disabled, bridge_state, created_at, updated_at, is_deleted, deleted_at)
SELECT id, client_id, exchange, label, concat_ws(':', exchange, nullif(label, '')), environment,
       api_key, api_secret, passphrase, disabled,
       CASE WHEN disabled OR deleted_at IS NOT NULL THEN 'removed' ELSE 'pending' END,
       coalesce(created_at, now()), coalesce(updated_at, created_at, now()),
       deleted_at IS NOT NULL, deleted_at
FROM old_keys ORDER BY created_at, id
"""

_RECORD: Final = """
INSERT INTO audit_events (principal, action, client_id, api_key_id, details)
SELECT 'migration', '{action}', {client_id}, {api_key_id}, jsonb_strip_nulls(jsonb_build_object({details}))
FROM {source}
"""


def copy_rows(connection: sa.Connection, old: OldTables) -> None:
    """Every row, into tables that are new and empty."""
    connection.exec_driver_sql(_NEW_ID)
    _read_clients(connection, old)
    _read_keys(connection, old)
    connection.exec_driver_sql(_MISSING_CLIENTS.format(missing=CLIENTS in old.columns))
    renamed = {"old_names": list(RENAMED), "new_names": list(RENAMED.values())}
    connection.execute(sa.text(_RENAME), renamed)
    for step in (_FIND_CLIENTS, _FIND_DUPLICATES, _COPY_CLIENTS, _COPY_KEYS):
        connection.exec_driver_sql(step)
    _record(connection, old)


def _read_clients(connection: sa.Connection, old: OldTables) -> None:
    if CLIENTS not in old.columns:
        connection.exec_driver_sql(_NO_CLIENTS)
        return
    column = OldColumns(old.columns[CLIENTS])
    statement = _CLIENTS.format(
        table=f"{HOLDING}.{CLIENTS}",
        id=column.text("id"),
        name=column.text("name"),
        external_id=column.text("external_id"),
        created_at=column.time("created_at"),
        updated_at=column.time("updated_at"),
        deleted_at=column.deleted_at(),
    )
    connection.exec_driver_sql(statement)


def _read_keys(connection: sa.Connection, old: OldTables) -> None:
    column = OldColumns(old.columns[KEYS])
    statement = _KEYS.format(
        table=f"{HOLDING}.{KEYS}",
        id=column.text("id"),
        client_id=column.text("client_id"),
        exchange=column.text("exchange"),
        label=column.text("label", "name"),
        sandbox=column.flag("is_sandbox", "sandbox", "is_testnet", "testnet"),
        api_key=column.token("api_key"),
        api_secret=column.token("api_secret"),
        passphrase=column.token("passphrase"),
        active=column.flag("is_active", default=True),
        created_at=column.time("created_at"),
        updated_at=column.time("updated_at"),
        deleted_at=column.deleted_at(),
    )
    connection.exec_driver_sql(statement)


def _record(connection: sa.Connection, old: OldTables) -> None:
    """An event for each thing that was done, which says what no longer shows in the rows."""
    ids = "'old_id', old_id"
    for action, source, details in (
        ("TakeOverClient", "old_clients WHERE NOT made", ids),
        ("MakeClient", "old_clients WHERE made", ids),
    ):
        _insert_events(connection, action, source, details, client_id="id")
    for action, source, details in (
        ("TakeOverApiKey", "old_keys", f"{ids}, 'old_client_id', old_client_id"),
        (
            "RenameExchange",
            "old_keys WHERE exchange IS DISTINCT FROM old_exchange",
            "'from', old_exchange, 'to', exchange",
        ),
        ("SupersedeApiKey", "old_keys WHERE superseded_by IS NOT NULL", "'superseded_by', superseded_by"),
        ("DeleteApiKeyWithClient", "old_keys WHERE client_deleted", ids),
    ):
        _insert_events(connection, action, source, details, client_id="client_id", api_key_id="id")
    for table in old.names:
        _insert_events(connection, "PutAwayOldTable", "(SELECT) nothing", f"'table', '{ARCHIVE}.{table}'")


def _insert_events(
    connection: sa.Connection,
    action: str,
    source: str,
    details: str,
    *,
    client_id: str = "NULL::uuid",
    api_key_id: str = "NULL::uuid",
) -> None:
    connection.exec_driver_sql(
        _RECORD.format(
            action=action, source=source, details=details, client_id=client_id, api_key_id=api_key_id
        )
    )
