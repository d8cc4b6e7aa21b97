"""Records what was done to each old row and table: an event for each thing that no longer shows in the rows."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from migrations.takeover.columns import OldColumns
from migrations.takeover.survey import ARCHIVE, KEYS, SECRETS

_RECORD: Final = """
INSERT INTO audit_events (principal, action, client_id, api_key_id, details)
SELECT 'migration', '{action}', {client_id}, {api_key_id}, jsonb_strip_nulls(jsonb_build_object({details}))
FROM {source}
"""

_OLD_ID: Final = "'old_id', old_id"
_OF_CLIENTS: Final = (
    ("TakeOverClient", "old_clients WHERE NOT made", _OLD_ID),
    ("MakeClient", "old_clients WHERE made", _OLD_ID),
    (
        "DropExternalId",
        "old_clients WHERE external_id_of IS NOT NULL",
        "'external_id', external_id, 'belongs_to', external_id_of",
    ),
)
_OF_KEYS: Final = (
    ("TakeOverApiKey", "old_keys", f"{_OLD_ID}, 'old_client_id', old_client_id"),
    (
        "RenameExchange",
        "old_keys WHERE exchange IS DISTINCT FROM old_exchange",
        "'from', old_exchange, 'to', exchange",
    ),
    ("SupersedeApiKey", "old_keys WHERE superseded_by IS NOT NULL", "'superseded_by', superseded_by"),
    ("DeleteApiKeyWithClient", "old_keys WHERE deleted_with_client", _OLD_ID),
    (
        "PostponeErasure",
        "old_keys WHERE deleted AND NOT deleted_with_client AND superseded_by IS NULL",
        "'deleted_at', old_deleted_at",
    ),
)

_PUT_AWAY = sa.text("""
    INSERT INTO audit_events (principal, action, details) VALUES ('migration', 'PutAwayOldTable', :details)
""").bindparams(sa.bindparam("details", type_=JSONB))


def record(connection: sa.Connection, columns: Mapping[str, OldColumns]) -> None:
    for action, source, details in _OF_CLIENTS:
        _insert_events(connection, action, source, details, client_id="id")
    for action, source, details in _OF_KEYS:
        _insert_events(connection, action, source, details, client_id="client_id", api_key_id="id")
    for table, column in columns.items():
        event = {
            "table": f"{ARCHIVE}.{table}",
            "left_out": [name for name in SECRETS if table == KEYS and name in column],
            "not_read": column.not_read,
        }
        connection.execute(_PUT_AWAY, {"details": event})


def _insert_events(
    connection: sa.Connection,
    action: str,
    source: str,
    details: str,
    *,
    client_id: str,
    api_key_id: str = "NULL::uuid",
) -> None:
    connection.exec_driver_sql(
        _RECORD.format(
            action=action, source=source, details=details, client_id=client_id, api_key_id=api_key_id
        )
    )
