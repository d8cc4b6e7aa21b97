"""Which database the settings name: the URL, the components, or nothing."""

import secrets
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from servicekit import config
from servicekit.config import Address, ServiceSettings
from servicekit.database.named import database_url, names_database
from servicekit.errors import SettingsError


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_")

    listen: Address = Address("127.0.0.1", 0)
    """The address that the example answers on."""


def settings(**environ: str) -> Settings:
    return config.load(Settings, environ)


def test_the_url_wins_over_the_components() -> None:
    url = database_url(settings(DATABASE_URL="postgres://me@one/keys", DB_HOST="two", DB_NAME="other"))
    assert (url.host, url.user, url.database) == ("one", "me", "keys")


@pytest.mark.parametrize("variable", ["EXAMPLE_DATABASE_URL", "DATABASE_URL"])
def test_a_malformed_url_is_named_by_the_variable_that_it_came_from(variable: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} has to look like"):
        database_url(settings(**{variable: "no url"}))
    (tmp_path / "url").write_text("no url")
    with pytest.raises(SettingsError, match=f"^{variable}_FILE has to look like"):
        database_url(settings(**{f"{variable}_FILE": str(tmp_path / "url")}))


def test_a_url_that_no_variable_gave_is_named_by_the_service_s_own() -> None:
    with pytest.raises(SettingsError, match=r"^EXAMPLE_DATABASE_URL has to look like"):
        database_url(Settings(database_url=SecretStr("no url")))


def test_the_components_make_a_url() -> None:
    loaded = settings(
        DB_HOST="db.example",
        DB_PORT="6000",
        DB_USER="me",
        DB_PASSWORD=secrets.token_hex(),
        DB_NAME="keys",
        DB_SSLMODE="require",
    )
    url = database_url(loaded)
    assert (url.where, url.user, url.database, url.sslmode) == ("db.example:6000", "me", "keys", "require")
    assert url.password is not None


def test_with_nothing_said_the_database_is_a_local_one() -> None:
    url = database_url(settings())
    assert (url.where, url.user, url.database) == ("localhost:5432", "keybridge", "keybridge")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgres://me@one/keys"),
        ("EXAMPLE_DATABASE_URL", "postgres://me@one/keys"),
        ("DB_HOST", "one"),
        ("DB_PORT", "5432"),
        ("DB_USER", "me"),
        ("DB_PASSWORD", secrets.token_hex()),
        ("DB_NAME", "keys"),
        ("DB_SSLMODE", "require"),
    ],
    ids=lambda each: each if each.isupper() else "",
)
def test_any_setting_of_the_database_names_one(variable: str, value: str) -> None:
    assert names_database(settings(**{variable: value}))


def test_a_pool_is_no_database() -> None:
    assert not names_database(settings(EXAMPLE_DB_POOL_SIZE="3"))


def test_production_takes_no_local_default() -> None:
    with pytest.raises(SettingsError, match="does not use local defaults: set DB_HOST, DB_USER, DB_NAME"):
        database_url(settings(KEYBRIDGE_ENV="production"))
    remote = {"DATABASE_URL": "postgres://me@db.example/keys?sslmode=verify-full"}
    assert database_url(settings(KEYBRIDGE_ENV="production", **remote)).host == "db.example"
