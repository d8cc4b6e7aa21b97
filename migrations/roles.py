"""Making the roles of the two services and of migrations, and accounts that log in for them.

It needs a superuser, or the owner of the database with the right to make roles. All of it can be done again.
"""

from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from migrations.privileges import BRIDGE, KEYSERVICE, KEYSERVICE_SEQUENCES, Roles, grant, quoted
from migrations.surplus import require_no_other_role, require_no_surplus
from migrations.takeover.survey import ARCHIVE
from servicekit.database.revisions import VERSION_TABLE
from servicekit.errors import StartupError

_EXISTS = sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = :name")
_ME = sa.text("SELECT rolsuper, current_user FROM pg_roles WHERE rolname = current_user")
_PLACE = sa.text("SELECT current_database(), current_schema()")
# A sequence that belongs to a column goes with its table.
_OURS = sa.text("""
    SELECT c.oid::regclass::text, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (n.nspname = ANY(:schemas) OR (n.nspname = current_schema() AND c.relname = ANY(:names)))
      AND c.relkind IN ('r', 'p', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
""")
_SCHEMAS: Final = (BRIDGE, ARCHIVE)


@dataclass(frozen=True, slots=True)
class Login:
    """An account that is to log in for one of the roles."""

    name: str
    role: str
    verifier: str | None = field(default=None, repr=False)
    """What PostgreSQL keeps of its password; None leaves that as it is."""


def establish(connection: sa.Connection, roles: Roles) -> None:
    """The roles, with all that they need in this database; what we have made there belongs to that of migrations."""
    key, bridge, owner = (
        quoted(connection, name) for name in (roles.keyservice, roles.bridgeservice, roles.migrations)
    )
    for name, role in ((roles.keyservice, key), (roles.bridgeservice, bridge), (roles.migrations, owner)):
        if connection.execute(_EXISTS, {"name": name}).one_or_none() is None:
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
    superuser, me = connection.execute(_ME).one()
    if not superuser:
        # Only members may give a role what is theirs.
        connection.exec_driver_sql(f"GRANT {owner} TO {quoted(connection, me)}")
    database, schema = (quoted(connection, name) for name in connection.execute(_PLACE).one())
    for statement in (
        f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {key}, {bridge}, {owner}",
        f"GRANT CREATE ON DATABASE {database} TO {owner}",
        f"GRANT USAGE ON SCHEMA {schema} TO {key}, {bridge}, {owner}",
        f"GRANT CREATE ON SCHEMA {schema} TO {owner}",
    ):
        connection.exec_driver_sql(statement)
    _hand_over(connection, owner)
    grant(connection, roles)


def admit(connection: sa.Connection, roles: Roles, login: Login) -> None:
    """An account, which is made where there is none, as a member of one role and of no other one.

    One of a service must have nothing beside that. That of migrations owns everything in any case.
    """
    name, role = quoted(connection, login.name), quoted(connection, login.role)
    found = connection.execute(_EXISTS, {"name": login.name}).one_or_none()
    if found is None:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
    elif found.rolsuper:
        raise StartupError(
            f"{login.name} is a superuser, for whom no privilege counts: name another account."
        )
    require_no_other_role(connection, login.name, login.role)
    if login.verifier is not None:
        connection.exec_driver_sql(f"ALTER ROLE {name} LOGIN PASSWORD '{login.verifier}'")
    connection.exec_driver_sql(f"GRANT {role} TO {name}")
    if login.role != roles.migrations:
        require_no_surplus(connection, login.name, login.role)


def _hand_over(connection: sa.Connection, owner: str) -> None:
    names = [*KEYSERVICE, *KEYSERVICE_SEQUENCES, VERSION_TABLE]
    for schema in _SCHEMAS:
        if connection.dialect.has_schema(connection, schema):
            connection.exec_driver_sql(f"ALTER SCHEMA {schema} OWNER TO {owner}")
    for relation, kind in connection.execute(_OURS, {"schemas": list(_SCHEMAS), "names": names}).all():
        connection.exec_driver_sql(f"ALTER {kind} {relation} OWNER TO {owner}")
