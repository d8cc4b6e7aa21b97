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
    # Whoever writes into them now would write past the copy.
    connection.execute(sa.text(f"LOCK TABLE {', '.join(found)} IN ACCESS EXCLUSIVE MODE"))
    old = OldTables({name: _columns(connection, name) for name in found})
    _refuse(_problems(connection, old))
    return old


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
        if (
            connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": f"{ARCHIVE}.{table}"})
            is not None
        ):
            yield f"There is a table {ARCHIVE}.{table} of an earlier takeover: drop it or rename it."
    for source, constraint, target in connection.execute(_FOREIGN_KEYS, {"names": old.names}):
        yield (
            f"The table {source} refers to {target}, whose rows move and get new ids: "
            f"drop its foreign key {constraint} first (its column and values stay)."
        )
    for source, target in connection.execute(_VIEWS, {"names": old.names}):
        yield f"The view {source} reads {target}, which is about to be replaced: drop it first."


def _columns(connection: sa.Connection, table: str) -> Mapping[str, str]:
    return {row.attname: row.type for row in connection.execute(_COLUMNS, {"name": table})}


def _names(connection: sa.Connection, query: sa.TextClause, *names: str) -> list[str]:
    return list(connection.scalars(query, {"names": list(names)}))
