"""What an account could do in the database beside what its role is granted: by what it is, owns, or was given before.

A service's role can only add to the audit record. An account of it that owns the database, or was once granted all on
its tables, could take the record away all the same. So it is refused, with the statement that mends it.
"""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from migrations.privileges import BRIDGE, KEYSERVICE, KEYSERVICE_SEQUENCES
from migrations.takeover.survey import ARCHIVE
from servicekit.database.revisions import VERSION_TABLE
from servicekit.errors import StartupError

_EVERYBODY: Final = "PUBLIC"
# What its role is and has is the account's too.
_ATTRIBUTES: Final = sa.text("""
    SELECT quote_ident(rolname) AS name, rolsuper AS "SUPERUSER", rolcreaterole AS "CREATEROLE",
           rolcreatedb AS "CREATEDB", rolbypassrls AS "BYPASSRLS", rolreplication AS "REPLICATION"
    FROM pg_roles WHERE rolname IN (:login, :role) ORDER BY 1
""")
_MEMBERSHIPS: Final = sa.text("""
    SELECT member::regrole::text, roleid::regrole::text FROM pg_auth_members
    WHERE member IN (quote_ident(:login)::regrole, quote_ident(:role)::regrole)
      AND roleid <> quote_ident(:role)::regrole
    ORDER BY 1, 2
""")
# A column's privileges are taken back with its table's.
_OBJECTS: Final = """
    WITH relations AS (
        SELECT c.oid, c.oid::regclass::text AS name, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
               relowner AS owner, relacl AS acl
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (nspname = ANY(:schemas) OR (nspname = current_schema() AND relname = ANY(:names)))
          AND relkind IN ('r', 'p', 'S')
    ), objects AS (
        SELECT kind, name, owner, acl FROM relations
        UNION ALL SELECT kind, name, owner, attacl FROM relations JOIN pg_attribute ON attrelid = oid
        UNION ALL SELECT 'SCHEMA', quote_ident(nspname), nspowner, nspacl FROM pg_namespace
            WHERE nspname = ANY(:schemas) OR nspname = current_schema()
        UNION ALL SELECT 'DATABASE', quote_ident(datname), datdba, datacl FROM pg_database
            WHERE datname = current_database()
    )
"""
_OWNED: Final = sa.text(f"""{_OBJECTS}
    SELECT DISTINCT kind, name FROM objects WHERE pg_has_role(:login, owner, 'MEMBER') ORDER BY kind, name
""")  # noqa: S608 - ours
# What the role has of the owner is what we have just granted it. Everybody may look into a schema and connect.
_GIVEN: Final = sa.text(f"""{_OBJECTS}
    SELECT kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee,
           CASE WHEN grantor <> owner THEN grantor::regrole::text END AS grantor,
           string_agg(DISTINCT privilege_type, ', ' ORDER BY privilege_type) AS privileges
    FROM objects, aclexplode(acl)
    WHERE (grantee IN (0, quote_ident(:login)::regrole) OR (grantee = quote_ident(:role)::regrole AND grantor <> owner))
      AND (kind IN ('TABLE', 'SEQUENCE') OR privilege_type = 'CREATE')
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
""")  # noqa: S608 - ours


def require_no_other_role(connection: sa.Connection, login: str, role: str) -> None:
    """Neither one of ours nor PostgreSQL's own, which may write everywhere."""
    for member, other in connection.execute(_MEMBERSHIPS, {"login": login, "role": role}).all():
        raise StartupError(
            f"{member} is a member of {other} already: each role needs its own account, of no other role; name"
            f" another one, or run REVOKE {other} FROM {member}."
        )


def require_no_surplus(connection: sa.Connection, login: str, role: str) -> None:
    """Nothing that would let a service's account do more than its role."""
    for who in connection.execute(_ATTRIBUTES, {"login": login, "role": role}).mappings():
        if held := [attribute for attribute, has in who.items() if has is True]:
            undone = " ".join(f"NO{attribute}" for attribute in held)
            raise StartupError(
                f"{who['name']} has {' and '.join(held)}, which no service needs: name another account, or run"
                f" ALTER ROLE {who['name']} {undone}."
            )
    ours: Mapping[str, object] = {
        "login": login,
        "role": role,
        "schemas": [BRIDGE, ARCHIVE],
        "names": [*KEYSERVICE, *KEYSERVICE_SEQUENCES, VERSION_TABLE],
    }
    if owned := connection.execute(_OWNED, ours).all():
        what = ", ".join(f"{kind.lower()} {name}" for kind, name in owned)
        raise StartupError(
            f"{login} owns what a service must not be able to take away ({what}): name another account."
        )
    if given := connection.execute(_GIVEN, ours).all():
        what = ", ".join(
            f"{privileges} on {kind.lower()} {name}{_by(grantee)}"
            for kind, name, grantee, _, privileges in given
        )
        undone = "; ".join(_revoke(*each) for each in given)
        raise StartupError(f"{login} could do more than {role} is granted: {what}. Run {undone}.")


def _by(grantee: str) -> str:
    return " as everybody" if grantee == _EVERYBODY else ""


def _revoke(kind: str, name: str, grantee: str, grantor: str | None, privileges: str) -> str:
    """What takes it back; of what the owner has not given, only who did can."""
    # A column is not told apart from its table, whose privileges are all taken back.
    what = "ALL" if kind in ("TABLE", "SEQUENCE") else privileges
    return f"REVOKE {what} ON {kind} {name} FROM {grantee}" + (f" as {grantor}" if grantor else "")
