"""What an old database has, and whether it can be taken over: one sentence rather than anything broken."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from alembic.util import CommandError

KEYS: Final = "exchange_api_keys"
CLIENTS: Final = "clients"
ARCHIVE: Final = "keybridge_legacy"
"""Where what is left of the old tables is kept."""
HOLDING: Final = "keybridge_takeover"
"""Where they are between set aside and put away; it never outlives the transaction."""

SECRETS: Final = ("api_key", "api_secret", "passphrase")
"""The columns of KEYS whose values move; they alone are not kept with the old table."""

OLD_ID: Final = r"""
CREATE OR REPLACE FUNCTION pg_temp.old_id(id text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN lower(id) ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN lower(id) ELSE id END
$$
"""
"""An old id as it is compared: one that is a UUID is written in small letters, wherever it was not."""

_DATA_EXCEPTION: Final = "22"
_TIMES: Final = ("created_at", "updated_at", "deleted_at")
_WRITTEN: Final = ("text", "character varying", "character")
_NEEDED: Final = {KEYS: ("id", "client_id", "exchange", "api_key", "api_secret"), CLIENTS: ("id",)}
_OURS: Final = ("encryption_keys", "requests", "audit_events", "key_revisions")

_TAKEN_NAMES = sa.text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY(:names)
    ORDER BY relname
""")
_NOT_TABLES = sa.text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY(:names)
      AND relkind <> 'r'
    ORDER BY relname
""")
_FOREIGN_KEYS = sa.text("""
    SELECT conrelid::regclass::text AS source, conname, confrelid::regclass::text AS target
    FROM pg_constraint
    WHERE contype = 'f' AND confrelid::regclass::text = ANY(:names)
      AND conrelid::regclass::text <> ALL(:names)
    ORDER BY source, conname
""")
_VIEWS = sa.text("""
    SELECT DISTINCT r.ev_class::regclass::text AS source, d.refobjid::regclass::text AS target
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid::regclass::text = ANY(:names) AND r.ev_class <> d.refobjid
    ORDER BY source
""")
_DEPENDENTS = sa.text("""
    SELECT DISTINCT c.relname AS target, pg_describe_object(d.classid, d.objid, d.objsubid) AS dependent
    FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
    JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
                     OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray))
    WHERE c.oid = ANY(CAST(:names AS regclass[])) AND d.deptype = 'n'
      AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
    ORDER BY target, dependent
""")
# By their names, unless they hold flags, numbers or times: a key or a token of another kind is one in most cases.
_LIKE_SECRETS = sa.text("""
    SELECT attname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
    WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped
      AND attname ~* 'secret|passphrase|password|private|token|credential|key$'
      AND typcategory NOT IN ('B', 'N', 'D', 'T') AND attname <> ALL(:moved) ORDER BY attnum
""")
_ODD_IDS: Final = """
    SELECT pg_temp.old_id(id::text) AS old_id, count(*) AS number FROM {table}
    GROUP BY old_id HAVING count(*) > 1 OR pg_temp.old_id(id::text) IS NULL ORDER BY old_id NULLS FIRST
"""
_READ_TIMES: Final = "SELECT max(nullif(btrim({column}), '')::timestamptz) FROM {table}"
_FILLED: Final = (
    "SELECT EXISTS (SELECT FROM {table} WHERE {column}::text NOT IN ('', '\\x', '{{}}', '[]', 'null'))"
)
_COLUMNS = sa.text("""
    SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute
    WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
""")


@dataclass(frozen=True, slots=True)
class OldTables:
    """The types of the old tables' columns, by table and column."""

    columns: Mapping[str, Mapping[str, str]]

    @property
    def names(self) -> Sequence[str]:
        return list(self.columns)


def find_old_tables(connection: sa.Connection) -> OldTables | None:
    """The tables to take over; None in a database without any. CommandError when they can't be."""
    found = _names(connection, _TAKEN_NAMES, KEYS, CLIENTS)
    if KEYS not in found:
        _refuse(_in_the_way(connection, (*_OURS, CLIENTS)))
        return None
    _refuse(_in_the_way(connection, _OURS))
    _refuse(_not_tables(connection, found))
    _hold(connection, found)
    old = OldTables({name: _columns(connection, name) for name in found})
    _refuse(_problems(connection, old))
    return old


def _hold(connection: sa.Connection, found: Sequence[str]) -> None:
    """Whoever writes into the tables now would write past the copy, and a policy on them may hide rows from
    their very owner."""
    connection.execute(sa.text(f"LOCK TABLE {', '.join(found)} IN ACCESS EXCLUSIVE MODE"))
    for name in found:
        connection.execute(sa.text(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"))
    connection.execute(sa.text("SET LOCAL TimeZone = 'UTC'"))
    connection.exec_driver_sql(OLD_ID)


def _refuse(problems: Iterator[str]) -> None:
    for problem in problems:
        raise CommandError(f"{problem} Nothing was changed.")


def _in_the_way(connection: sa.Connection, names: Sequence[str]) -> Iterator[str]:
    for name in _names(connection, _TAKEN_NAMES, *names):
        yield (
            f"There already is something called {name} that is not keybridge's: "
            "give keybridge a database of its own, or rename the other."
        )


def _not_tables(connection: sa.Connection, names: Sequence[str]) -> Iterator[str]:
    for name in _names(connection, _NOT_TABLES, *names):
        yield f"{name} is not a plain table, and can't be taken over."


def _problems(connection: sa.Connection, old: OldTables) -> Iterator[str]:
    for table, columns in old.columns.items():
        for column in _NEEDED[table]:
            if column not in columns:
                yield f"The table {table} has no column {column}, so keybridge can't tell what its rows mean."
        archived = connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": f"{ARCHIVE}.{table}"})
        if archived is not None:
            yield f"There is a table {ARCHIVE}.{table} of an earlier takeover: drop it or rename it."
    yield from _others_need(connection, old)
    for table, columns in old.columns.items():
        yield from _odd_ids(connection, table)
        yield from _odd_times(connection, table, columns)
        yield from _more_secrets(connection, table)


def _others_need(connection: sa.Connection, old: OldTables) -> Iterator[str]:
    """What would be lost or broken with the old tables."""
    for source, constraint, target in connection.execute(_FOREIGN_KEYS, {"names": old.names}):
        yield (
            f"The table {source} refers to {target}, whose rows move and get new ids: "
            f"drop its foreign key {constraint} first (its column and values stay)."
        )
    for source, target in connection.execute(_VIEWS, {"names": old.names}):
        yield f"The view {source} reads {target}, which is about to be replaced: drop it first."
    for target, dependent in connection.execute(_DEPENDENTS, {"names": old.names}):
        yield f"{target}, which is about to be replaced, is needed by {dependent}: drop that first."


def _odd_ids(connection: sa.Connection, table: str) -> Iterator[str]:
    for old_id, number in connection.exec_driver_sql(_ODD_IDS.format(table=table)):
        if old_id is None:
            yield f"The table {table} has rows without an id: give them one first."
        yield f"The table {table} has {number} rows with the id {old_id!r}: give each an id of its own first."


def _odd_times(connection: sa.Connection, table: str, columns: Mapping[str, str]) -> Iterator[str]:
    for column in set(_TIMES) & columns.keys():
        kind = columns[column]
        if kind in _WRITTEN and not _all_times(connection, table, column):
            yield f"The column {column} of {table} has text in it that is no time: mend it first."
        if kind not in _WRITTEN and kind != "date" and not kind.startswith("timestamp"):
            yield f"The column {column} of {table} is of type {kind}, which is no time: change its type first."


def _all_times(connection: sa.Connection, table: str, column: str) -> bool:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(_READ_TIMES.format(table=table, column=column))
    except sa.exc.DBAPIError as error:
        if str(getattr(error.orig, "sqlstate", "")).startswith(_DATA_EXCEPTION):
            return False
        raise
    return True


def _more_secrets(connection: sa.Connection, table: str) -> Iterator[str]:
    """Nobody but their owner can say where they belong: not into an archive, and not into nothing."""
    moved = list(SECRETS) if table == KEYS else []
    for name in connection.scalars(_LIKE_SECRETS, {"name": table, "moved": moved}):
        column = connection.dialect.identifier_preparer.quote_identifier(name)
        if connection.exec_driver_sql(_FILLED.format(table=table, column=column)).scalar():
            yield (
                f"The column {name!r} of {table} looks as if it held secrets, which keybridge would not take"
                " over and must not leave behind: move it away, or rename it if it holds none."
            )


def _columns(connection: sa.Connection, table: str) -> Mapping[str, str]:
    return {row.attname: row.type for row in connection.execute(_COLUMNS, {"name": table})}


def _names(connection: sa.Connection, query: sa.TextClause, *names: str) -> list[str]:
    return list(connection.scalars(query, {"names": list(names)}))
