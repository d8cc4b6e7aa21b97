"""``keybridge db grants``: database roles that can do no more than their service has to, and accounts for them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import SecretStr
from sqlalchemy import Connection

from keybridge.database import databases, read_secret
from keybridge.home import surroundings
from keybridge.interruption import Undo
from keyservice.settings import KeyServiceSettings
from migrations import roles as database_roles
from migrations.privileges import Roles
from migrations.roles import Login
from servicekit import config
from servicekit.database import migrate, passwords
from servicekit.errors import SettingsError

Say = Callable[[str], None]
Purpose = Literal["keyservice", "bridgeservice", "migrations"]


async def grants(
    environ: Mapping[str, str],
    say: Say,
    undo: Undo,
    *,
    login: str | None,
    purpose: Purpose | None,
    password: SecretStr | None,
    password_file: Path | None,
) -> None:
    """Make the roles in the database of each service, one for both in most cases, and let an account log in."""
    if (login is None) != (purpose is None):
        raise SettingsError("--login and --for belong together: which account, and what it is for.")
    if password_file is not None:
        password = read_secret(password_file, "--password-file")
    verifier = passwords.verifier(password.get_secret_value()) if password is not None else None
    async with surroundings(environ, undo) as home:
        roles = Roles.named(config.load(KeyServiceSettings, home.environ).db_role_prefix)
        account = Login(login, getattr(roles, purpose), verifier) if login and purpose else None

        def work(connection: Connection) -> None:
            database_roles.establish(connection, roles)
            if account is not None:
                database_roles.admit(connection, roles, account)

        for url in databases(home.environ):
            await migrate.exclusively(url, work)
            say(
                f"The roles {roles.keyservice}, {roles.bridgeservice} and {roles.migrations} have what they need"
                f" in the database at {url.where}, and no more."
            )
    if account is not None:
        say(f"{account.name} is a member of {account.role}: its privileges are those of {purpose}.")
