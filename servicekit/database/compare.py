"""Compares what a table should be with what it is, a plain sentence for each difference."""

from collections.abc import Iterator

from servicekit.database.catalog import Column, Constraint, Index, TableFacts

_KINDS = {
    "p": "primary key",
    "u": "unique constraint",
    "f": "foreign key",
    "c": "check",
    "x": "exclusion constraint",
}
_NOT_NULL = "n"


def compare_table(name: str, expected: TableFacts, real: TableFacts | None) -> Iterator[str]:
    """The sentences about one table; the model's side is temporary, so its persistence is not looked at."""
    if real is None:
        yield f"The table {name} is missing."
        return
    if real.kind != expected.kind:
        yield f"{name} is not a table."
        return
    if real.persistence == "u":
        yield f"The table {name} is UNLOGGED: a crash would empty it."
    if real.row_security:
        yield f"The table {name} has row security switched on, which hides rows."
    if real.triggers_off:
        yield f"The table {name} has its foreign keys switched off (DISABLE TRIGGER)."
    yield from _columns(name, expected.columns, real.columns)
    yield from _constraints(name, expected.constraints, real.constraints)
    yield from _indexes(name, expected.indexes, real.indexes)


def _columns(table: str, expected: dict[str, Column], real: dict[str, Column]) -> Iterator[str]:
    for name in sorted(expected.keys() - real.keys()):
        yield f"The column {table}.{name} is missing."
    for name in sorted(real.keys() - expected.keys()):
        yield f"The column {table}.{name} is not in the model."
    for name in sorted(expected.keys() & real.keys()):
        yield from _column(f"{table}.{name}", expected[name], real[name])


def _column(name: str, expected: Column, real: Column) -> Iterator[str]:
    if real.type != expected.type:
        yield f"The column {name} has type {real.type} instead of {expected.type}."
    if real.not_null != expected.not_null:
        yield f"The column {name} {'does not allow' if real.not_null else 'allows'} NULL, against the model."
    if real.collation != expected.collation:
        yield f"The column {name} has {_collation(real)} instead of {_collation(expected)}."
    if (real.identity, real.generated) != (expected.identity, expected.generated):
        yield f"The column {name} is generated differently from the model."
    elif real.default != expected.default:
        yield f"The column {name} has {_default(real)} instead of {_default(expected)}."


def _default(column: Column) -> str:
    return "no default" if column.default is None else f"the default {column.default}"


def _collation(column: Column) -> str:
    return "the usual collation" if column.collation is None else f"the collation {column.collation}"


def _constraints(table: str, expected: dict[str, Constraint], real: dict[str, Constraint]) -> Iterator[str]:
    yield from _validity(table, real)
    expected, real = _named(expected), _named(real)
    for name in sorted(expected.keys() - real.keys()):
        yield f"The {_KINDS[expected[name].kind]} {name} of {table} is missing."
    for name in sorted(real.keys() - expected.keys()):
        yield f"The {_KINDS[real[name].kind]} {name} of {table} is not in the model."
    for name in sorted(expected.keys() & real.keys()):
        if real[name].definition != expected[name].definition:
            yield (
                f"The {_KINDS[expected[name].kind]} {name} of {table} is {real[name].definition} "
                f"instead of {expected[name].definition}."
            )


def _validity(table: str, real: dict[str, Constraint]) -> Iterator[str]:
    for name, constraint in real.items():
        if not constraint.valid:
            yield f"The constraint {name} of {table} is NOT VALID: older rows may break it."


def _named(constraints: dict[str, Constraint]) -> dict[str, Constraint]:
    """Without NOT NULL, which is a constraint with a name since PostgreSQL 18 and is compared with its
    column."""
    return {name: constraint for name, constraint in constraints.items() if constraint.kind != _NOT_NULL}


def _indexes(table: str, expected: dict[str, Index], real: dict[str, Index]) -> Iterator[str]:
    for name, index in real.items():
        if not index.valid:
            yield f"The index {name} of {table} is invalid: building it failed."
    expected, real = _plain(expected), _plain(real)
    for name in sorted(expected.keys() - real.keys()):
        yield f"The index {name} of {table} is missing."
    for name in sorted(real.keys() - expected.keys()):
        yield f"The index {name} of {table} is not in the model."
    for name in sorted(expected.keys() & real.keys()):
        if real[name].definition != expected[name].definition:
            yield (
                f"The index {name} of {table} is {real[name].definition} "
                f"instead of {expected[name].definition}."
            )


def _plain(indexes: dict[str, Index]) -> dict[str, Index]:
    """Without those that stand for a constraint, which is compared itself."""
    return {name: index for name, index in indexes.items() if not index.of_constraint}
