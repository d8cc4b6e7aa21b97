"""A database at head for the services that the tests of one file share."""

import secrets
from collections.abc import Iterator

import pytest

from tests.support.postgres import ThrowAwayPostgres


@pytest.fixture(scope="module")
def shared_url(postgres_server: ThrowAwayPostgres, migrated_template: str) -> Iterator[str]:
    name = f"convergence_{secrets.token_hex(6)}"
    postgres_server.sql(f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY file_copy")
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")
