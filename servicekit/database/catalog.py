"""Reads from pg_catalog what a table really is: facts that two tables can be compared by.

Everyone may read the catalog, whatever his rights on the tables. Expressions are as PostgreSQL prints them,
so both sides of a comparison have to come from the same server.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

_TABLES = text("""
    SELECT c.oid, c.relname, c.relkind::text, c.relpersistence::text, c.relrowsecurity,
           EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgisinternal AND t.tgenabled <> 'O')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = ANY(CAST(:names AS text[])) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.oid = CASE WHEN :temporary THEN pg_my_temp_schema() ELSE n.oid END
      AND (:temporary OR n.nspname = coalesce(CAST(:schema AS text), current_schema()))
""")

_COLUMNS = text("""
    SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text,
           CASE WHEN a.attcollation <> t.typcollation THEN l.collname END
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY(CAST(:oids AS oid[])) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
""")

# A foreign key is spelt out, because its definition would name the other table with or without its schema
# depending on the search path; here the schema is named exactly where it is not the table's own.
_CONSTRAINTS = text("""
    SELECT c.conrelid, c.conname, c.contype::text, c.convalidated,
           CASE WHEN c.contype = 'f' THEN concat_ws(' ', 'FOREIGN KEY',
               (SELECT string_agg(a.attname, ', ' ORDER BY k.n)
                FROM unnest(c.conkey) WITH ORDINALITY k(num, n)
                JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
               'REFERENCES',
               concat(CASE WHEN r.relnamespace <> t.relnamespace THEN n.nspname || '.' END, r.relname),
               (SELECT string_agg(a.attname, ', ' ORDER BY k.n)
                FROM unnest(c.confkey) WITH ORDINALITY k(num, n)
                JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num),
               substring(pg_get_constraintdef(c.oid)
                         FROM ' ((MATCH|ON UPDATE|ON DELETE|DEFERRABLE|NOT ENFORCED).*)$'))
           ELSE pg_get_constraintdef(c.oid) END
    FROM pg_constraint c
    JOIN pg_class t ON t.oid = c.conrelid
    LEFT JOIN pg_class r ON r.oid = c.confrelid
    LEFT JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE c.conrelid = ANY(CAST(:oids AS oid[])) AND c.contype IN ('p', 'u', 'f', 'c', 'x', 'n')
    ORDER BY c.conrelid, c.conname
""")

_INDEXES = text("""
    SELECT i.indrelid, c.relname, pg_get_indexdef(i.indexrelid),
           i.indisvalid AND i.indisready AND i.indislive,
           EXISTS (SELECT FROM pg_constraint k
                   WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY(CAST(:oids AS oid[]))
    ORDER BY i.indrelid, c.relname
""")

_ON_TABLE = re.compile(r" ON (?:ONLY )?(?:[^ ]+) USING ")


@dataclass(frozen=True, slots=True)
class Column:
    type: str
    not_null: bool
    default: str | None
    identity: str
    generated: str
    collation: str | None


@dataclass(frozen=True, slots=True)
class Constraint:
    kind: str
    """One letter of pg_constraint: p(rimary), u(nique), f(oreign), c(heck), x (exclusion), n(ot null, since
    18)."""

    definition: str
    valid: bool


@dataclass(frozen=True, slots=True)
class Index:
    definition: str
    valid: bool
    of_constraint: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What is compared of one table."""

    kind: str
    persistence: str
    row_security: bool
    triggers_off: bool
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: dict[str, Constraint] = field(default_factory=dict)
    indexes: dict[str, Index] = field(default_factory=dict)


def read_tables(
    connection: Connection, schema: str | None, names: Sequence[str], *, temporary: bool = False
) -> Mapping[str, TableFacts]:
    """The facts of those of the tables that are there; no schema is the one that tables are made in by
    default."""
    facts: dict[int, TableFacts] = {}
    found: dict[str, TableFacts] = {}
    wanted = {"schema": schema, "names": list(names), "temporary": temporary}
    for oid, name, kind, persistence, row_security, triggers_off in connection.execute(_TABLES, wanted):
        facts[oid] = found[name] = TableFacts(kind, persistence, row_security, triggers_off)
    oids = {"oids": list(facts)}
    for oid, name, *column in connection.execute(_COLUMNS, oids):
        facts[oid].columns[name] = Column(*column)
    for oid, name, kind, valid, definition in connection.execute(_CONSTRAINTS, oids):
        facts[oid].constraints[name] = Constraint(kind, definition.removesuffix(" NOT VALID"), valid)
    for oid, name, definition, valid, of_constraint in connection.execute(_INDEXES, oids):
        facts[oid].indexes[name] = Index(_ON_TABLE.sub(" USING ", definition, count=1), valid, of_constraint)
    return found
