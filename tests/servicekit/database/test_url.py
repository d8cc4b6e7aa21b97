"""Every way to say where the database is, and every way to say it wrong."""

import secrets
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from servicekit.database.url import (
    DatabaseUrl,
    check_production,
    parse_url,
    url_from_components,
    url_from_environment,
)
from servicekit.errors import SettingsError

PASSWORD = secrets.token_hex(8)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("postgres://u@h/d", DatabaseUrl("h", 5432, "d", "u")),
        ("postgresql://u@h:6000/d", DatabaseUrl("h", 6000, "d", "u")),
        ("postgresql+asyncpg://h/d", DatabaseUrl("h", 5432, "d")),
        ("  postgresql://h/d\n", DatabaseUrl("h", 5432, "d")),
        ("postgresql://us%40er@h/d%20b%2Fc", DatabaseUrl("h", 5432, "d b/c", "us@er")),
        ("postgresql://münchen.example./d", DatabaseUrl("münchen.example.", 5432, "d")),
        ("postgresql://[::1]:7000/d", DatabaseUrl("::1", 7000, "d")),
        ("postgresql://u@/d?host=/run/My%20Sockets&port=6543",
         DatabaseUrl("/run/My Sockets", 6543, "d", "u", sslmode="disable")),
        ("postgresql:///d?host=/run/pg", DatabaseUrl("/run/pg", 5432, "d", sslmode="disable")),
        ("postgresql://u@%2Frun%2FPg/d", DatabaseUrl("/run/Pg", 5432, "d", "u", sslmode="disable")),
        ("postgresql://h/d?sslmode=require", DatabaseUrl("h", 5432, "d", sslmode="require")),
        ("postgresql://h/d?ssl=true", DatabaseUrl("h", 5432, "d", sslmode="require")),
        ("postgresql://h/d?ssl=verify-full", DatabaseUrl("h", 5432, "d", sslmode="verify-full")),
        ("postgresql://h/d?sslmode=verify-ca&sslrootcert=/r&sslcert=/c&sslkey=/k",
         DatabaseUrl("h", 5432, "d", None, None, "verify-ca", "/r", Path("/c"), Path("/k"))),
        ("postgresql://h/d?sslmode=verify-full&sslrootcert=system",
         DatabaseUrl("h", 5432, "d", sslmode="verify-full", sslrootcert="system")),
    ],
)  # fmt: skip
def test_a_url_is_read_as_libpq_reads_it(raw: str, expected: DatabaseUrl) -> None:
    assert parse_url(raw) == expected


@pytest.mark.parametrize("password", ["plain", "a%b", "a@b:c/d?e#f", "ü ", "%2F"])
def test_a_password_survives_percent_encoding(password: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in password.encode())
    read = parse_url(f"postgresql://u:{encoded}@h/d").password
    assert read is not None
    assert read.get_secret_value() == password


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("", "MY_URL has to look like"),
        ("mysql://h/d", "MY_URL has to look like"),
        ("postgresql://h:port/d", "MY_URL has to look like"),
        ("postgresql://[h/d", "MY_URL has to look like"),
        ("postgresql://h/d#e", "MY_URL has to look like"),
        ("postgresql://h", "names no database"),
        ("postgresql://h/", "names no database"),
        ("postgresql://h/a/b", "names no database"),
        ("postgresql://u@/d", "exactly one host"),
        ("postgresql://a,b/d", "exactly one host"),
        (f"postgresql://{'h' * 64}.example/d", "each part between dots has 1 to 63 characters"),
        ("postgresql://ü..x/d", "each part between dots has 1 to 63 characters"),
        ("postgresql:///d?host=a..b", "each part between dots has 1 to 63 characters"),
        ("postgresql://h%00x/d", "has to look like"),
        ("postgresql://u%00@h/d", "has to look like"),
        ("postgresql://h/d?port=0", "number from 1 to 65535"),
        ("postgresql://h/d?port=x", "number from 1 to 65535"),
        ("postgresql://h/d?target=x", "unknown parameter 'target'"),
        ("postgresql://h/d?sslmode=maybe", "one of disable, allow"),
        ("postgresql://h/d?sslrootcert=/r", "need sslmode=require"),
        ("postgresql://h/d?sslmode=verify-ca", "needs sslrootcert"),
        ("postgresql://h/d?sslmode=require&sslrootcert=system", "needs sslmode=verify-full"),
        ("postgresql://h/d?sslmode=require&sslkey=/k", "sslkey without sslcert"),
    ],
)
def test_a_wrong_url_is_refused_with_one_sentence(raw: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as refusal:
        parse_url(raw, name="MY_URL")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "shape",
    [
        "postgresql://u:{}@h:port/d",
        "postgresql://u:{}/h/d",
        "postgresql://u:{}#@h/d",
        "{}",
        "postgresql://u:{}@h/d?nonsense=1",
        "postgresql://u:{}@[h/d",
    ],
)
def test_no_refusal_repeats_the_password(shape: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        parse_url(shape.format(PASSWORD))
    assert PASSWORD not in str(refusal.value)
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


# None of these letters stands four in a row in a sentence of ours, nor in the rest of the URLs below.
_TYPED = st.text(alphabet="qxzjQXZJ0789_@:/?#[]%&=;+,. \\\tü\uff51", max_size=40)


@pytest.mark.parametrize(
    "shape",
    [
        "postgresql://u:{}@h/d",
        "postgresql://u:{}@h:5432/d?sslmode=require",
        "postgres://u:{}@/d?host=/run/pg",
        "mysql://u:{}@h/d",
    ],
)
@example(typed="qx@jz?zjqxz")
@example(typed="qx@jz/x?zjqxz")
@example(typed="qx@jz?zjqxz=0&qqqq")
@example(typed="qx@zjqxz/zjqx")
@settings(deadline=None)
@given(typed=_TYPED)
def test_no_piece_of_a_password_that_was_not_encoded_is_repeated(shape: str, typed: str) -> None:
    try:
        url = parse_url(shape.format(typed))
    except SettingsError as refusal:
        shown = str(refusal)
    else:
        shown = f"{url} {url!r} {url.where}"
    pieces = (typed[start : start + 4] for start in range(len(typed) - 3))
    assert not [piece for piece in pieces if piece in shown]


@pytest.mark.parametrize(
    "raw", ["postgresql://h/d@e", "postgresql://h/d?host=a@b", "postgresql://h/d?Target=x"]
)
def test_what_may_be_the_rest_of_a_password_is_malformed_and_no_name(raw: str) -> None:
    with pytest.raises(SettingsError, match="has to look like"):
        parse_url(raw)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("postgres://us%40er:{}@h/d", "postgresql://us%40er:***@h:5432/d?sslmode=prefer"),
        ("postgres://[::1]/d?sslmode=disable", "postgresql://[::1]:5432/d?sslmode=disable"),
        ("postgres://u:{}@/d?host=/run/pg", "postgresql://u:***@/d?host=/run/pg&port=5432"),
    ],
)
def test_a_url_is_shown_without_its_password(raw: str, shown: str) -> None:
    url = parse_url(raw.format(PASSWORD))
    assert str(url) == shown
    assert PASSWORD not in repr(url)


def test_components_are_read_and_what_is_absent_is_remembered() -> None:
    assert url_from_components() == DatabaseUrl(
        "localhost", 5432, "keybridge", "keybridge", defaulted=("DB_HOST", "DB_USER", "DB_NAME")
    )
    secret = SecretStr(PASSWORD)
    assert url_from_components(
        host="h", port=1, user="u", password=secret, database="d", sslmode="require"
    ) == DatabaseUrl("h", 1, "d", "u", secret, "require")


def test_a_developers_tool_reads_the_environment() -> None:
    components = {"DB_HOST": "h", "DB_PORT": "1", "DB_USER": "u", "DB_NAME": "d", "DB_PASSWORD": PASSWORD}
    assert url_from_environment(components) == DatabaseUrl("h", 1, "d", "u", SecretStr(PASSWORD))
    assert url_from_environment({**components, "DATABASE_URL": "postgres://x/y"}) == DatabaseUrl(
        "x", 5432, "y"
    )
    with pytest.raises(SettingsError, match="DB_PORT"):
        url_from_environment({"DB_PORT": "99999"})
    with pytest.raises(SettingsError, match="DB_HOST names a host that can't exist"):
        url_from_environment({"DB_HOST": "a..b"})
    with pytest.raises(SettingsError, match="DB_SSLMODE"):
        url_from_environment({"DB_SSLMODE": "no"})


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (url_from_components(user="u", database="d"), "set DB_HOST, or DATABASE_URL"),
        (
            parse_url("postgres://db.example/d"),
            "sends nothing unencrypted to the database at db.example:5432",
        ),
        (parse_url("postgres://10.0.0.1/d?sslmode=allow"), "instead of allow"),
    ],
)
def test_production_refuses_local_defaults_and_an_unencrypted_network(
    url: DatabaseUrl, sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        check_production(url)


@pytest.mark.parametrize(
    "raw",
    [
        "postgres://db.example/d?sslmode=require",
        "postgres://db.example/d?sslmode=verify-full",
        "postgres://localhost/d",
        "postgres://127.0.0.1/d?sslmode=disable",
        "postgres://[::1]/d",
        "postgres:///d?host=/run/pg",
    ],
)
def test_production_takes_what_was_chosen_and_is_safe(raw: str) -> None:
    check_production(parse_url(raw))
