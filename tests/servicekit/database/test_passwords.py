"""Passwords of database accounts: PostgreSQL lets in who has the password, and was never told it."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest
from pydantic import SecretStr

from servicekit.database.options import DatabaseOptions
from servicekit.database.passwords import verifier
from servicekit.database.reach import open_once
from servicekit.database.url import DatabaseUrl, parse_url
from servicekit.errors import SettingsError
from tests.support.postgres import ThrowAwayPostgres


@pytest.fixture(scope="module")
def asking_server() -> Iterator[ThrowAwayPostgres]:
    """A server that asks everybody but its owner for a password."""
    server = ThrowAwayPostgres(
        {"log_statement": "all"}, hba="local all postgres trust\nlocal all all scram-sha-256\n"
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def logs_in(url: DatabaseUrl, password: str) -> bool:
    try:
        await open_once(DatabaseOptions(url=replace(url, password=SecretStr(password))))
    except asyncpg.InvalidPasswordError:
        return False
    return True


@pytest.mark.parametrize("extra", ["", " with spaces and 'quotes' \\ $1 %s"])
async def test_who_has_the_password_logs_in_and_no_log_of_the_server_has_it(
    asking_server: ThrowAwayPostgres, extra: str
) -> None:
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_urlsafe(24) + extra
    kept = verifier(password)
    asking_server.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{kept}'")
    url = replace(parse_url(asking_server.url()), user=name)
    assert await logs_in(url, password)
    assert not await logs_in(url, f"{password}x")
    assert not await logs_in(url, kept)
    log = asking_server.log.read_text()
    assert name in log
    assert password not in log


def test_what_is_kept_of_one_password_is_different_each_time() -> None:
    password = secrets.token_urlsafe()
    assert verifier(password) != verifier(password)


@pytest.mark.parametrize("password", ["", "pässword", "two\nlines", "tab\t"])
def test_a_password_that_would_have_to_be_normalised_is_refused_without_being_shown(password: str) -> None:
    with pytest.raises(SettingsError, match="printable ASCII") as refusal:
        verifier(password)
    assert not password or password not in str(refusal.value)
