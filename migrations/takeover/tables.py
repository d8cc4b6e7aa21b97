"""What becomes of the old tables themselves: out of the way first, an archive without secrets in the end."""

from typing import Final

import sqlalchemy as sa

from migrations.takeover.survey import ARCHIVE, HOLDING, KEYS, SECRETS, OldTables

_KEEP: Final = "CREATE TABLE {archive}.{table} AS SELECT {columns} FROM {holding}.{table}"


def set_aside(connection: sa.Connection, old: OldTables) -> None:
    """With their indexes, constraints and sequences, whose names the new tables may need."""
    connection.exec_driver_sql(f"CREATE SCHEMA {HOLDING}")
    for table in old.names:
        connection.exec_driver_sql(f"ALTER TABLE {table} SET SCHEMA {HOLDING}")


def put_away(connection: sa.Connection, old: OldTables) -> None:
    """Keep all columns, also those that keybridge has no use for, but for the secrets: what is erased later
    has to be gone."""
    connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {ARCHIVE}")
    for table in old.names:
        columns = ", ".join(_kept(connection, old, table))
        connection.exec_driver_sql(
            _KEEP.format(archive=ARCHIVE, holding=HOLDING, table=table, columns=columns)
        )
    # In one statement, since they may refer to each other; without CASCADE, so that nothing else goes too.
    held = ", ".join(f"{HOLDING}.{table}" for table in old.names)
    connection.exec_driver_sql(f"DROP TABLE {held}")
    connection.exec_driver_sql(f"DROP SCHEMA {HOLDING}")


def _kept(connection: sa.Connection, old: OldTables, table: str) -> list[str]:
    quote = connection.dialect.identifier_preparer.quote
    return [quote(name) for name in old.columns[table] if table != KEYS or name not in SECRETS]
