"""What asyncpg is told: the TLS of each mode, and nothing left for the environment to decide."""

import secrets
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from servicekit.database.options import DatabaseOptions, connect_arguments, ssl_argument
from servicekit.database.url import DatabaseUrl, parse_url
from servicekit.errors import SettingsError
from tests.support.certificates import Authority


@pytest.mark.parametrize(("mode", "argument"), [("disable", False), ("allow", "allow"), ("prefer", "prefer")])
def test_modes_that_demand_nothing_are_passed_on(mode: str, argument: object) -> None:
    assert ssl_argument(parse_url(f"postgres://h/d?sslmode={mode}")) == argument


@pytest.mark.parametrize(
    ("query", "verify", "checks_name"),
    [
        ("sslmode=require", ssl.CERT_NONE, False),
        ("sslmode=require&sslrootcert={root}", ssl.CERT_REQUIRED, False),
        ("sslmode=verify-ca&sslrootcert={root}", ssl.CERT_REQUIRED, False),
        ("sslmode=verify-full&sslrootcert={root}", ssl.CERT_REQUIRED, True),
        ("sslmode=verify-full&sslrootcert=system", ssl.CERT_REQUIRED, True),
        ("sslmode=verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_each_stricter_mode_verifies_what_it_says(
    tmp_path: Path, query: str, verify: ssl.VerifyMode, checks_name: bool
) -> None:
    root = tmp_path / "root.crt"
    Authority("root").write(root)
    context = ssl_argument(parse_url(f"postgres://h/d?{query.format(root=root)}"))
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (verify, checks_name)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("parameter", ["sslrootcert", "sslcert"])
@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_file_that_can_not_be_used_is_one_sentence(
    tmp_path: Path, parameter: str, content: str | None
) -> None:
    file = tmp_path / "file.pem"
    if content:
        file.write_text(content)
    with pytest.raises(SettingsError, match="names in the database URL can't be read") as refusal:
        ssl_argument(parse_url(f"postgres://h/d?sslmode=require&{parameter}={file}"))
    assert parameter in str(refusal.value)


def test_a_key_under_a_passphrase_is_refused_and_not_asked_about(tmp_path: Path) -> None:
    certificate, locked = tmp_path / "client.crt", tmp_path / "locked.key"
    Authority("root").issue("client").write(certificate, locked, secrets.token_hex(8))
    with pytest.raises(SettingsError, match="sslcert or sslkey"):
        ssl_argument(parse_url(f"postgres://h/d?sslmode=require&sslcert={certificate}&sslkey={locked}"))


def test_every_argument_is_explicit() -> None:
    password = SecretStr(secrets.token_hex(8))
    arguments = connect_arguments(
        DatabaseOptions(
            url=DatabaseUrl("h", 6000, "d", "u", password), statement_timeout=timedelta(seconds=2)
        )
    )
    assert (arguments["host"], arguments["port"], arguments["user"]) == ("h", 6000, "u")
    assert arguments["database"] == "d"
    assert callable(arguments["password"])
    assert arguments["password"]() == password.get_secret_value()
    assert password.get_secret_value() not in repr(arguments)
    assert arguments["command_timeout"] == 7
    assert arguments["server_settings"]["statement_timeout"] == "2000"


def test_no_time_limit_is_none_on_both_sides() -> None:
    arguments = connect_arguments(
        DatabaseOptions(url=DatabaseUrl("h", 1, "d"), statement_timeout=timedelta(0))
    )
    assert arguments["command_timeout"] is None
    assert arguments["password"] == ""
    assert arguments["server_settings"]["statement_timeout"] == "0"
