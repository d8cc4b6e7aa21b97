"""Who may do what in the database: what the roles of the two services are granted, and no more.

``keybridge db grants`` makes the roles, and from then on every migration grants anew, in its own transaction: so a
new table has its privileges as soon as it is there. A database without them is used by one account for everything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from servicekit.database.revisions import VERSION_TABLE

BRIDGE: Final = "bridge"
"""The schema of TradingBridge's tables; KeyService's are in the one that tables are made in by default."""

# Without a position and a time, which are not for who writes an event to say; and it is never changed.
_EVENT: Final = "id, principal, action, client_id, api_key_id, request_id, outcome, details"
KEYSERVICE: Final[Mapping[str, str]] = {
    "clients": "SELECT, INSERT, UPDATE",
    "exchange_api_keys": "SELECT, INSERT, UPDATE",
    "encryption_keys": "SELECT, INSERT, UPDATE, DELETE",
    "requests": "SELECT, INSERT, DELETE",
    "audit_events": f"SELECT, INSERT ({_EVENT})",
    "audit_seals": "SELECT, INSERT",
}
"""KeyService's tables, and what it may do with each. A test holds them against the models."""
KEYSERVICE_SEQUENCES: Final = ("key_revisions", "audit_positions")

_IN_USE = sa.text(f"""
    SELECT has_database_privilege(r.oid, current_database(), 'CREATE')
           AND coalesce((SELECT relowner = r.oid FROM pg_class WHERE oid = to_regclass('{VERSION_TABLE}')), true),
           pg_has_role(r.oid, 'MEMBER')
    FROM pg_roles r WHERE rolname = :name
""")  # noqa: S608 - ours
_HERE = sa.text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY(:names)
""")


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the roles. Nobody logs in by them: accounts that do are members."""

    keyservice: str
    bridgeservice: str
    migrations: str

    @classmethod
    def named(cls, prefix: str) -> "Roles":
        return cls(f"{prefix}_keyservice", f"{prefix}_bridgeservice", f"{prefix}_migrations")


def act_as_owner(connection: sa.Connection, roles: Roles) -> None:
    """What is made from here on belongs to the role of migrations, where this database has one."""
    _, mine = _use(connection, roles)
    if mine:
        connection.exec_driver_sql(f"SET ROLE {quoted(connection, roles.migrations)}")


def grant_again(connection: sa.Connection, roles: Roles) -> None:
    """After a migration: the same as ``grant``, where this database has roles."""
    used, _ = _use(connection, roles)
    if used:
        grant(connection, roles)


def grant(connection: sa.Connection, roles: Roles) -> None:
    """Take from the services' roles what they have on our tables, and give them what they need."""
    for statement in _statements(connection, roles):
        connection.exec_driver_sql(statement)


def _statements(connection: sa.Connection, roles: Roles) -> Iterator[str]:
    key, bridge = (quoted(connection, name) for name in (roles.keyservice, roles.bridgeservice))
    names = [*KEYSERVICE, *KEYSERVICE_SEQUENCES, VERSION_TABLE]
    here = set(connection.execute(_HERE, {"names": names}).scalars())
    for table in (name for name in (*KEYSERVICE, VERSION_TABLE) if name in here):
        yield f"REVOKE ALL ON TABLE {table} FROM PUBLIC, {key}, {bridge}"
    for table, verbs in KEYSERVICE.items():
        if table in here:
            yield f"GRANT {verbs} ON TABLE {table} TO {key}"
    for sequence in (name for name in KEYSERVICE_SEQUENCES if name in here):
        yield f"REVOKE ALL ON SEQUENCE {sequence} FROM PUBLIC, {key}, {bridge}"
        yield f"GRANT USAGE ON SEQUENCE {sequence} TO {key}"
    if VERSION_TABLE in here:
        yield f"GRANT SELECT ON TABLE {VERSION_TABLE} TO {key}, {bridge}"
    if connection.dialect.has_schema(connection, BRIDGE):
        yield f"REVOKE ALL ON SCHEMA {BRIDGE} FROM PUBLIC, {key}, {bridge}"
        yield f"GRANT USAGE ON SCHEMA {BRIDGE} TO {bridge}"
        yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {BRIDGE} FROM PUBLIC, {key}, {bridge}"
        yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {BRIDGE} TO {bridge}"
        yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {BRIDGE} FROM PUBLIC, {key}, {bridge}"
        yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {BRIDGE} TO {bridge}"


def _use(connection: sa.Connection, roles: Roles) -> tuple[bool, bool]:
    """Whether the roles are this database's, and not only another one's beside it; and whether I own what is theirs."""
    row = connection.execute(_IN_USE, {"name": roles.migrations}).one_or_none()
    return (False, False) if row is None else (row[0], row[0] and row[1])


def quoted(connection: sa.Connection, name: str) -> str:
    """A name as SQL has it."""
    return connection.dialect.identifier_preparer.quote_identifier(name)
