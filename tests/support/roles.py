"""Database roles for tests: those of `keybridge db grants`, under names of the test's own, and an account for each."""

import secrets
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import Connection

from migrations.privileges import Roles
from migrations.roles import Login, admit, establish
from servicekit.database import migrate
from servicekit.database.url import DatabaseUrl


@dataclass(frozen=True, slots=True)
class Accounts:
    """The database as each account reaches it."""

    prefix: str
    keyservice: DatabaseUrl
    bridgeservice: DatabaseUrl
    migrations: DatabaseUrl
    superuser: DatabaseUrl

    @property
    def roles(self) -> Roles:
        return Roles.named(self.prefix)


def new_prefix() -> str:
    """Roles are the whole server's, so that no two tests may have the same."""
    return f"r_{secrets.token_hex(5)}"


async def make_accounts(url: DatabaseUrl) -> Accounts:
    """The roles in this database, and one account for each."""
    prefix = new_prefix()
    roles = Roles.named(prefix)
    logins = {role: f"{role}_login" for role in (roles.keyservice, roles.bridgeservice, roles.migrations)}

    def work(connection: Connection) -> None:
        establish(connection, roles)
        for role, name in logins.items():
            admit(connection, roles, Login(name, role))

    await migrate.exclusively(url, work)
    key, bridge, owner = (replace(url, user=name) for name in logins.values())
    return Accounts(prefix, key, bridge, owner, url)


@pytest.fixture
async def accounts(database_url: DatabaseUrl) -> Accounts:
    """Those of a database at head."""
    return await make_accounts(database_url)
