"""Who is not admitted as a service's account, because he could do more than its role: each is told how to mend it."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from migrations.roles import Login, admit, establish
from servicekit.database import migrate
from servicekit.database.url import DatabaseUrl
from servicekit.errors import StartupError
from tests.migrations.test_privileges import granted, refused, run
from tests.support.old_database import plain_connection
from tests.support.roles import Accounts, new_prefix

Admit = Callable[[str], Coroutine[Any, Any, None]]


@pytest.fixture
async def account(accounts: Accounts) -> str:
    """One that somebody made for something else before."""
    name = new_prefix()
    await run(accounts.superuser, f"CREATE ROLE {name} LOGIN")
    return name


@pytest.fixture
def admitted(accounts: Accounts, account: str) -> Admit:
    """That account, as `keybridge db grants` admits it for the purpose."""

    async def run_it(purpose: str) -> None:
        login = Login(account, getattr(accounts.roles, purpose))

        def work(connection: Any) -> None:
            establish(connection, accounts.roles)
            admit(connection, accounts.roles, login)

        await migrate.exclusively(accounts.superuser, work)

    return run_it


async def memberships(url: DatabaseUrl, account: str) -> list[str]:
    async with plain_connection(url) as connection:
        query = "SELECT roleid::regrole::text AS role FROM pg_auth_members WHERE member = $1::text::regrole"
        return [row["role"] for row in await connection.fetch(query, account)]


async def test_an_account_that_has_nothing_else_is_admitted_and_can_do_what_its_role_can(
    accounts: Accounts, account: str, admitted: Admit
) -> None:
    for _ in range(2):
        await admitted("keyservice")
    assert await granted(replace(accounts.superuser, user=account), "audit_events") == {"SELECT"}


@pytest.mark.parametrize("attribute", ["CREATEROLE", "CREATEDB", "BYPASSRLS", "REPLICATION"])
async def test_an_account_with_a_right_over_the_server_is_refused_for_a_service(
    accounts: Accounts, account: str, admitted: Admit, attribute: str
) -> None:
    await run(accounts.superuser, f"ALTER ROLE {account} {attribute}")
    with pytest.raises(StartupError, match=rf"{account} has {attribute}, .* ALTER ROLE \S+ NO{attribute}\."):
        await admitted("bridgeservice")
    assert await memberships(accounts.superuser, account) == []
    await run(accounts.superuser, f"ALTER ROLE {account} NO{attribute}")
    await admitted("bridgeservice")
    # Whoever has the role can act as it.
    role = accounts.roles.bridgeservice
    await run(accounts.superuser, f"ALTER ROLE {role} {attribute}")
    with pytest.raises(StartupError, match=f"ALTER ROLE {role} NO{attribute}"):
        await admitted("bridgeservice")


@pytest.mark.parametrize("purpose", ["keyservice", "bridgeservice", "migrations"])
async def test_a_member_of_another_role_is_refused_whosever_it_is(
    accounts: Accounts, account: str, admitted: Admit, purpose: str
) -> None:
    url = accounts.superuser
    await run(url, f"GRANT pg_write_all_data TO {account}")
    with pytest.raises(StartupError, match=f"or run REVOKE pg_write_all_data FROM {account}"):
        await admitted(purpose)
    await run(url, f"REVOKE pg_write_all_data FROM {account}")
    # Neither by the role that it is to have.
    role = getattr(accounts.roles, purpose)
    await run(url, f"GRANT pg_read_all_data TO {role}")
    with pytest.raises(StartupError, match=f"or run REVOKE pg_read_all_data FROM {role}"):
        await admitted(purpose)


async def test_the_owner_of_the_database_is_refused_for_a_service_and_not_for_migrations(
    accounts: Accounts, account: str, admitted: Admit
) -> None:
    await run(accounts.superuser, f"ALTER DATABASE {accounts.superuser.database} OWNER TO {account}")
    with pytest.raises(StartupError, match=rf"{account} owns what .* \(database \w+, schema public\)"):
        await admitted("keyservice")
    await admitted("migrations")


async def test_the_owner_of_a_schema_is_refused_for_a_service(
    accounts: Accounts, account: str, admitted: Admit
) -> None:
    await run(accounts.superuser, f"ALTER SCHEMA public OWNER TO {account}")
    with pytest.raises(StartupError, match=r"\(schema public\)"):
        await admitted("keyservice")


async def test_what_was_granted_on_our_tables_before_is_named_with_the_statements_that_take_it_back(
    accounts: Accounts, account: str, admitted: Admit
) -> None:
    url = accounts.superuser
    for statement in (
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {account}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {account}",
        f"GRANT UPDATE (action) ON audit_events TO {account}",
        f"GRANT SELECT ON bridge.orders TO {account}",
        f"GRANT ALL ON SCHEMA public TO {account}",
        f"GRANT ALL ON DATABASE {url.database} TO {account}",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
    ):
        await run(url, statement)
    with pytest.raises(StartupError, match=f"{account} could do more than") as not_admitted:
        await admitted("keyservice")
    told = str(not_admitted.value)
    assert "DELETE, INSERT," in told
    assert "TRUNCATE, UPDATE on table audit_events," in told
    assert "CREATE on schema public as everybody" in told
    assert await memberships(url, account) == []
    statements = told.partition(". Run ")[2].rstrip(".").split("; ")
    assert f"REVOKE ALL ON TABLE audit_events FROM {account}" in statements
    assert f"REVOKE CREATE ON DATABASE {url.database} FROM {account}" in statements
    await run(url, *statements)
    await admitted("keyservice")
    as_account = replace(url, user=account)
    assert await granted(as_account, "audit_events") == {"SELECT"}
    for statement in (
        "UPDATE audit_events SET action = 'x'",
        "SELECT FROM bridge.orders",
        "CREATE TABLE public.mine (n int)",
        "CREATE SCHEMA mine",
    ):
        assert await refused(as_account, statement), statement


async def test_what_somebody_passed_on_to_the_role_itself_is_taken_back_by_him_only(
    accounts: Accounts, account: str, admitted: Admit
) -> None:
    url, role, other = accounts.superuser, accounts.roles.keyservice, new_prefix()
    await run(url, f"CREATE ROLE {other}", f"GRANT DELETE ON audit_events TO {other} WITH GRANT OPTION")
    await run(url, f"SET ROLE {other}", f"GRANT DELETE ON audit_events TO {role}")
    mend = f"Run REVOKE ALL ON TABLE audit_events FROM {role} as {other}"
    with pytest.raises(StartupError, match=mend):
        await admitted("keyservice")


async def test_what_was_put_away_of_an_older_system_counts_too(
    accounts: Accounts, account: str, admitted: Admit
) -> None:
    url = accounts.superuser
    await run(url, "CREATE SCHEMA keybridge_legacy", "CREATE TABLE keybridge_legacy.clients (n int)")
    await run(url, "GRANT SELECT ON keybridge_legacy.clients TO PUBLIC")
    mend = "SELECT on table keybridge_legacy.clients as everybody. Run REVOKE ALL ON TABLE keybridge_legacy.clients"
    with pytest.raises(StartupError, match=f"{mend} FROM PUBLIC"):
        await admitted("keyservice")
