"""Decides what becomes of the rows that were read, and copies them into the new tables."""

from typing import Final

import sqlalchemy as sa

from migrations.takeover.survey import CLIENTS, OldTables

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

# A key without a client at all gets the one whose old id is empty. Where there was no table of clients, none
# was missing from it.
_MISSING_CLIENTS: Final = """
INSERT INTO old_clients (old_id, id, made)
SELECT DISTINCT old_client_id, pg_temp.new_id('client', old_client_id), {missing} FROM old_keys k
WHERE NOT EXISTS (SELECT FROM old_clients c WHERE c.old_id = k.old_client_id)
"""

# The old id is what others know the client by, so it becomes the external id where that is free: where it was
# given to nobody, and of those to whom it was given, to the newest. Among deleted clients it need not be free.
_FIND_EXTERNAL_IDS: Final = """
UPDATE old_clients c
SET external_id = wanted, external_id_of = CASE WHEN NOT c.deleted THEN nullif(holder, c.id) END
FROM (SELECT id, wanted, first_value(id) OVER (
                 PARTITION BY wanted, deleted
                 ORDER BY given_external_id IS NULL, created_at DESC NULLS LAST, old_id
             ) AS holder
      FROM (SELECT *, coalesce(given_external_id, CASE WHEN old_id NOT IN ('', id::text) THEN old_id END)
                          AS wanted
            FROM old_clients) named
      WHERE wanted IS NOT NULL) claims
WHERE claims.id = c.id
"""

_RENAME: Final = """
UPDATE old_keys SET exchange = new_name
FROM unnest(CAST(:old_names AS text[]), CAST(:new_names AS text[])) AS renamed (old_name, new_name)
WHERE exchange = old_name
"""

# A live key of a deleted client is deleted with it, as it would be here.
_FIND_CLIENTS: Final = """
UPDATE old_keys k
SET client_id = c.id, connector_name = concat_ws(':', exchange, nullif(label, '')),
    deleted = k.deleted OR c.deleted, deleted_with_client = c.deleted AND NOT k.deleted
FROM old_clients c WHERE c.old_id = k.old_client_id
"""

# Keys of one exchange and label have one connector name. The newest is the one that was made last, and of those
# that were made at once, or nobody knows when, the one that has the last id, be it a number or not. Keys that
# would come back with their client are as good as live.
_FIND_DUPLICATES: Final = """
UPDATE old_keys k SET superseded_by = d.newest, deleted = true, deleted_with_client = false
FROM (SELECT id, first_value(id) OVER (
                 PARTITION BY client_id, connector_name
                 ORDER BY coalesce(created_at, updated_at) DESC NULLS LAST, length(old_id) DESC, old_id DESC
             ) AS newest
      FROM old_keys WHERE NOT deleted OR deleted_with_client) d
WHERE d.id = k.id AND d.id <> d.newest
"""

_COPY_CLIENTS: Final = """
INSERT INTO clients (id, name, external_id, created_at, updated_at, is_deleted, deleted_at)
SELECT id, coalesce(nullif(btrim(name), ''), 'Client ' || nullif(old_id, ''), 'Client of keys without one'),
       CASE WHEN external_id_of IS NULL THEN external_id END, coalesce(created_at, now()),
       coalesce(updated_at, created_at, now()), deleted, CASE WHEN deleted THEN coalesce(deleted_at, now()) END
FROM old_clients ORDER BY created_at, id
"""

# Whenever a key was deleted, the time until it is erased begins now: its tokens are to be there for the adoption.
_COPY_KEYS: Final = """
INSERT INTO exchange_api_keys (id, client_id, exchange, label, connector_name, environment,
    api_key, api_secret, passphrase, disabled, bridge_state, next_attempt_at, created_at, updated_at,
    is_deleted, deleted_at, deleted_with_client)
SELECT id, client_id, exchange, label, connector_name, environment,
       api_key, api_secret, passphrase, disabled,
       CASE WHEN disabled OR deleted THEN 'removed' ELSE 'pending' END,
       -- Those with tokens are due when the adoption has sealed them.
       CASE WHEN NOT (disabled OR deleted) AND coalesce(api_key, api_secret, passphrase) IS NULL THEN now() END,
       coalesce(created_at, now()), coalesce(updated_at, created_at, now()),
       deleted, CASE WHEN deleted THEN now() END, deleted_with_client
FROM old_keys ORDER BY created_at, id
"""


def copy_rows(connection: sa.Connection, old: OldTables) -> None:
    """Every row that was read, into tables that are new and empty."""
    connection.exec_driver_sql(_MISSING_CLIENTS.format(missing=CLIENTS in old.columns))
    renamed = {"old_names": list(RENAMED), "new_names": list(RENAMED.values())}
    connection.execute(sa.text(_RENAME), renamed)
    for step in (_FIND_EXTERNAL_IDS, _FIND_CLIENTS, _FIND_DUPLICATES, _COPY_CLIENTS, _COPY_KEYS):
        connection.exec_driver_sql(step)
