"""``keybridge db grants``: makes the database's roles and accounts for them, and never shows a password."""

import asyncio
import os
import pty
import secrets
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from keybridge import database, grants
from servicekit.database.url import DatabaseUrl
from tests.keybridge.conftest import Done, Here, Start
from tests.support.old_database import plain_connection
from tests.support.postgres import ThrowAwayPostgres
from tests.support.roles import new_prefix

NOTHING: dict[str, Any] = {"login": None, "purpose": None, "password": None, "password_file": None}


def command(**options: Any) -> Any:
    return partial(grants.grants, **(NOTHING | options))


@pytest.fixture
def variables(database_url: DatabaseUrl) -> dict[str, str]:
    return {"DATABASE_URL": str(database_url), "KEYBRIDGE_DB_ROLE_PREFIX": new_prefix()}


def require_one_sentence(done: Done, status: int, told: str) -> None:
    assert done.status == status
    assert done.said.startswith("keybridge: ")
    assert told in done.said
    assert done.said.count("\n") == 1


async def kept_password(url: DatabaseUrl, name: str) -> str | None:
    async with plain_connection(url) as connection:
        kept: str | None = await connection.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = $1", name
        )
    return kept


async def test_it_makes_the_roles_and_says_so_and_can_be_run_again(
    keybridge: Start, here: Here, variables: dict[str, str]
) -> None:
    prefix = variables["KEYBRIDGE_DB_ROLE_PREFIX"]
    first = await keybridge("db", "grants", measured=True, **variables)
    assert await first.ends() == 0
    assert f"The roles {prefix}_keyservice, {prefix}_bridgeservice and {prefix}_migrations have" in first.said
    second = await here(command(), **variables)
    assert (second.status, second.said) == (0, first.said)


async def test_an_account_with_a_password_from_a_file_can_do_what_its_purpose_needs(
    keybridge: Start, here: Here, variables: dict[str, str], database_url: DatabaseUrl, tmp_path: Path
) -> None:
    name, password = new_prefix(), secrets.token_urlsafe()
    (tmp_path / "password").write_text(f"{password}\n")
    arguments = ("--login", name, "--for", "keyservice", "--password-file", str(tmp_path / "password"))
    running = await keybridge("db", "grants", *arguments, measured=True, **variables)
    assert await running.ends() == 0
    assert f"{name} is a member of {variables['KEYBRIDGE_DB_ROLE_PREFIX']}_keyservice" in running.said
    assert password not in running.said
    kept = await kept_password(database_url, name)
    assert kept is not None
    assert kept.startswith("SCRAM-SHA-256$")
    as_account = variables | {"DATABASE_URL": str(replace(database_url, user=name))}
    assert (await here(database.check, **as_account)).status == 0
    refused = await here(command(), **as_account)
    require_one_sentence(refused, 1, "may not change it; migrations and grants are for the owner")


async def test_without_a_file_the_password_is_asked_for_on_the_terminal_and_not_shown(
    variables: dict[str, str], database_url: DatabaseUrl
) -> None:
    name, password = new_prefix(), secrets.token_urlsafe()
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "keybridge", "db", "grants", "--login", name, "--for", "bridgeservice"),
            env={"PATH": os.environ["PATH"], **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        said = await asyncio.wait_for(asyncio.to_thread(_converse, ours, [f"{password}\n"] * 2), 30)
        assert await asyncio.wait_for(process.wait(), 30) == 0, said
    finally:
        os.close(theirs)
        os.close(ours)
    assert password not in said
    assert (await kept_password(database_url, name) or "").startswith("SCRAM-SHA-256$")


def _converse(terminal: int, answers: list[str]) -> str:
    """Answer each question that ends with a colon; what was to be read meanwhile.

    The space behind the colon is written once the terminal shows nothing more: what was typed before that
    is thrown away.
    """
    said = ""
    while answers or "is a member of" not in said:
        said += os.read(terminal, 4096).decode()
        if answers and said.endswith(": "):
            os.write(terminal, answers.pop(0).encode())
            said += "\n"
    return said


async def test_an_account_without_a_password_keeps_what_it_has(
    keybridge: Start, here: Here, variables: dict[str, str], database_url: DatabaseUrl
) -> None:
    name = new_prefix()
    options: dict[str, Any] = {"login": name, "purpose": "migrations"}
    password = SecretStr(secrets.token_urlsafe())
    assert (await here(command(**options, password=password), **variables)).status == 0
    kept = await kept_password(database_url, name)
    running = await keybridge(
        "db", "grants", "--login", name, "--for", "migrations", "--no-password", **variables
    )
    assert await running.ends() == 0
    assert await kept_password(database_url, name) == kept is not None


async def test_an_account_for_the_migrations_migrates(here: Here, empty_database_url: DatabaseUrl) -> None:
    name = new_prefix()
    variables = {"DATABASE_URL": str(empty_database_url), "KEYBRIDGE_DB_ROLE_PREFIX": new_prefix()}
    assert (await here(command(login=name, purpose="migrations"), **variables)).status == 0
    as_account = variables | {"DATABASE_URL": str(replace(empty_database_url, user=name))}
    done = await here(partial(database.upgrade, revision="head"), **as_account)
    assert done.status == 0, done.said
    async with plain_connection(empty_database_url) as connection:
        owner = await connection.fetchval(
            "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'audit_seals'"
        )
    assert owner == f"{variables['KEYBRIDGE_DB_ROLE_PREFIX']}_migrations"


async def test_what_is_wrong_with_the_options_is_one_sentence_and_nothing_is_made(
    here: Here, variables: dict[str, str], database_url: DatabaseUrl, tmp_path: Path
) -> None:
    name = new_prefix()
    (tmp_path / "empty").touch()
    for options, told in (
        ({"login": name}, "--login and --for belong together"),
        ({"purpose": "keyservice"}, "--login and --for belong together"),
        (
            {"login": name, "purpose": "keyservice", "password_file": tmp_path / "none"},
            "of --password-file can't be",
        ),
        (
            {"login": name, "purpose": "keyservice", "password_file": tmp_path / "empty"},
            "The password is empty",
        ),
    ):
        require_one_sentence(await here(command(**options), **variables), 2, told)
    prefix = {"KEYBRIDGE_DB_ROLE_PREFIX": 'kb"; DROP'}
    require_one_sentence(await here(command(), **(variables | prefix)), 2, "KEYBRIDGE_DB_ROLE_PREFIX")
    async with plain_connection(database_url) as connection:
        assert not await connection.fetchval(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE $1", f"{name}%"
        )


async def test_an_account_whose_name_has_to_be_quoted_is_quoted(
    here: Here, variables: dict[str, str], database_url: DatabaseUrl, postgres_server: ThrowAwayPostgres
) -> None:
    name = f'{new_prefix()} "x"; --'
    done = await here(command(login=name, purpose="keyservice"), **variables)
    assert done.status == 0, done.said
    async with plain_connection(database_url) as connection:
        assert await connection.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", name)
