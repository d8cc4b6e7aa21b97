"""Settings: where they are read from, what stops the start, and that secrets never show."""

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from servicekit import config
from servicekit.config import Address, Duration, SecretList, ServiceSettings, StringMap, load
from servicekit.errors import SettingsError


def _refuse_and_quote(key: SecretStr) -> SecretStr:
    raise ValueError(f"should be a good key, and {key.get_secret_value()} is none")


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_")

    listen: Address = Address("127.0.0.1", 50051)
    """Where it answers."""

    bridge_timeout: Duration = timedelta(seconds=30)
    """How long the bridge
    may take."""

    keys: SecretList = ()
    """The keys."""

    picky: Annotated[SecretStr, AfterValidator(_refuse_and_quote)] | None = None
    """A key that is never good enough."""

    urls: StringMap = Field(default_factory=dict)
    """Some addresses."""


class Demanding(Settings):
    token: SecretStr
    """Something that has no default."""


def refusal(environ: dict[str, str], settings_type: type[ServiceSettings] = Settings) -> str:
    with pytest.raises(SettingsError) as caught:
        load(settings_type, environ)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_without_any_variable_the_defaults_hold() -> None:
    settings = load(Settings, {})
    assert str(settings.listen) == "127.0.0.1:50051"
    assert (settings.db_pool_size, settings.db_max_overflow, settings.db_pool_pre_ping) == (20, 0, True)
    assert settings.db_pool_recycle == timedelta(minutes=30)
    assert settings.database_url is None
    assert settings.urls == {}


def test_the_process_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("LISTEN", "127.0.0.1:2")
    assert load(Settings, {}).listen.port == 50051
    assert Settings().listen.port == 50051


def test_every_kind_of_value_is_read() -> None:
    settings = load(
        Settings,
        {
            "EXAMPLE_LISTEN": "[::1]:0",
            "EXAMPLE_METRICS_LISTEN": "127.0.0.1:9090",
            "EXAMPLE_BRIDGE_TIMEOUT": "500ms",
            "EXAMPLE_DB_POOL_PRE_PING": "off",
            "EXAMPLE_URLS": '{"binance": "http://127.0.0.1:1"}',
            "KEYBRIDGE_ENV": "production",
            "KEYBRIDGE_HOME": "/somewhere",
            "DB_HOST": "db",
            "DB_PORT": "5433",
            "DB_SSLMODE": "verify-full",
            "EXAMPLE_LOG_LEVEL": "",
        },
    )
    assert settings.listen == Address("::1", 0)
    assert settings.metrics_listen == Address("127.0.0.1", 9090)
    assert settings.bridge_timeout == timedelta(milliseconds=500)
    assert settings.db_pool_pre_ping is False
    assert settings.urls == {"binance": "http://127.0.0.1:1"}
    assert (settings.environment, settings.home) == ("production", Path("/somewhere"))
    assert (settings.db_host, settings.db_port, settings.db_sslmode) == ("db", 5433, "verify-full")
    assert settings.log_level == "info", "a variable that is set to nothing counts as not set"


def test_the_services_own_database_url_wins_over_the_shared_one() -> None:
    own, shared = secrets.token_hex(), secrets.token_hex()
    both = load(Settings, {"EXAMPLE_DATABASE_URL": own, "DATABASE_URL": shared})
    assert both.database_url is not None
    assert both.database_url.get_secret_value() == own
    one = load(Settings, {"DATABASE_URL": shared})
    assert one.database_url is not None
    assert one.database_url.get_secret_value() == shared


@pytest.mark.parametrize(
    ("ending", "kept"), [("", ""), ("\n", ""), ("\r\n", ""), ("\n\n", "\n"), (" \n", " ")]
)
def test_a_secret_is_read_from_its_file_without_one_last_newline(
    tmp_path: Path, ending: str, kept: str
) -> None:
    secret = secrets.token_hex()
    (tmp_path / "secret").write_bytes((secret + ending).encode())
    settings = load(Settings, {"DB_PASSWORD_FILE": str(tmp_path / "secret")})
    assert settings.db_password is not None
    assert settings.db_password.get_secret_value() == secret + kept


def test_a_list_of_secrets_has_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("one,two\n")
    keys = load(Settings, {"EXAMPLE_KEYS_FILE": str(tmp_path / "keys")}).keys
    assert [key.get_secret_value() for key in keys] == ["one", "two"]


def test_a_secret_and_its_file_at_once_are_refused(tmp_path: Path) -> None:
    secret = secrets.token_hex()
    (tmp_path / "secret").write_text("other")
    sentence = refusal({"DB_PASSWORD": secret, "DB_PASSWORD_FILE": str(tmp_path / "secret")})
    assert sentence == "DB_PASSWORD and DB_PASSWORD_FILE are both set; only one of them may be"


def test_a_secret_file_that_is_missing_empty_or_not_text_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refusal({"EXAMPLE_KEYS_FILE": str(missing)}) == (
        f"EXAMPLE_KEYS_FILE names a file that cannot be read ({missing}: No such file or directory)"
    )
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert (
        refusal({"EXAMPLE_TOKEN_FILE": str(empty)}, Demanding)
        == f"EXAMPLE_TOKEN_FILE names a file that is empty ({empty})"
    )
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "EXAMPLE_KEYS_FILE names a file that is not text" in refusal(
        {"EXAMPLE_KEYS_FILE": str(tmp_path / "binary")}
    )


def test_a_field_that_is_no_secret_has_no_file() -> None:
    assert "EXAMPLE_LISTEN_FILE is not a known setting" in refusal({"EXAMPLE_LISTEN_FILE": "/x"})


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("EXAMPLE_LISTN", "EXAMPLE_LISTEN"),
        ("KEYBRIDGE_HOMES", "KEYBRIDGE_HOME"),
        ("EXAMPLE_DB_POOLSIZE", "EXAMPLE_DB_POOL_SIZE"),
    ],
)
def test_an_unknown_variable_stops_the_start_and_the_nearest_is_named(variable: str, nearest: str) -> None:
    assert (
        refusal({variable: "1"}) == f"{variable} is not a known setting (the nearest known one is {nearest})"
    )


def test_variables_of_others_and_of_our_own_plumbing_are_passed_over() -> None:
    load(
        Settings,
        {"PATH": "/bin", "OTHERSERVICE_LISTEN": "x", "KEYBRIDGE_LIFELINE_FD": "7", "KEYBRIDGE_READY_FD": "8"},
    )


def test_what_kubernetes_says_about_a_service_of_the_same_name_is_passed_over() -> None:
    announced = {
        "EXAMPLE_SERVICE_HOST": "10.0.0.7",
        "EXAMPLE_SERVICE_PORT_GRPC": "50051",
        "EXAMPLE_PORT": "tcp://10.0.0.7:50051",
        "EXAMPLE_PORT_50051_TCP_ADDR": "10.0.0.7",
    }
    load(Settings, announced)
    assert "EXAMPLE_PORT is not a known setting" in refusal({"EXAMPLE_PORT": "50051"})


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "EXAMPLE_LISTEN",
            "50051",
            "should be host:port, such as 127.0.0.1:50051 or [::1]:50051, not '50051'",
        ),
        ("EXAMPLE_BRIDGE_TIMEOUT", "soon", "should be a duration, such as 500ms, 3s, 2m or 24h, not 'soon'"),
        ("EXAMPLE_DEFAULT_DEADLINE", "0", "should be longer than nothing, not '0'"),
        ("EXAMPLE_DB_STATEMENT_TIMEOUT", "0.1ms", "should be 0 or at least 1ms, not '0.1ms'"),
        ("EXAMPLE_DB_STATEMENT_TIMEOUT", "999999d", "should be less than or equal to 1 day, not '999999d'"),
        ("EXAMPLE_DB_POOL_SIZE", "many", "should be a whole number, not 'many'"),
        ("EXAMPLE_DB_POOL_SIZE", "0", "should be greater than or equal to 1, not '0'"),
        ("EXAMPLE_REFLECTION", "maybe", "should be true or false, not 'maybe'"),
        ("EXAMPLE_URLS", "{", 'should be a JSON object, such as {"name": "value"}, not \'{\''),
        ("EXAMPLE_URLS", "[]", "should be a JSON object, not '[]'"),
        ("KEYBRIDGE_ENV", "test", "should be 'development' or 'production', not 'test'"),
        ("DB_PORT", "99999", "should be less than or equal to 65535, not '99999'"),
        (
            "EXAMPLE_MAX_CONCURRENT_RPCS",
            "2147483648",
            "should be less than or equal to 2147483647, not '2147483648'",
        ),
        (
            "EXAMPLE_MAX_CONCURRENT_STREAMS",
            "2147483648",
            "should be less than or equal to 2147483647, not '2147483648'",
        ),
        (
            "EXAMPLE_MAX_MESSAGE_BYTES",
            "2147483648",
            "should be less than or equal to 2147483647, not '2147483648'",
        ),
        (
            "EXAMPLE_MAX_METADATA_BYTES",
            "2147483648",
            "should be less than or equal to 2147483647, not '2147483648'",
        ),
        ("EXAMPLE_DB_POOL_SIZE", "262144", "should be less than or equal to 262143, not '262144'"),
        ("EXAMPLE_DB_MAX_OVERFLOW", "262144", "should be less than or equal to 262143, not '262144'"),
        ("EXAMPLE_DB_STATEMENT_TIMEOUT", "25d", "should be less than or equal to 1 day, not '25d'"),
    ],
)
def test_a_malformed_value_is_named_with_what_was_expected(variable: str, value: str, sentence: str) -> None:
    assert refusal({variable: value}) == f"{variable} {sentence}"


def test_no_duration_of_both_services_is_without_bounds() -> None:
    fields = ServiceSettings.model_fields
    durations = [Settings.variable(name) for name, info in fields.items() if info.annotation is timedelta]
    assert len(durations) >= 10
    sentence = refusal(dict.fromkeys(durations, "8d"))
    for variable in durations:
        assert f"{variable} should be less than or equal to " in sentence


def test_several_mistakes_are_one_sentence() -> None:
    sentence = refusal({"EXAMPLE_LISTN": "x", "EXAMPLE_DB_POOL_SIZE": "many"}, Demanding)
    assert sentence.split("; ") == [
        "EXAMPLE_LISTN is not a known setting (the nearest known one is EXAMPLE_LISTEN)",
        "EXAMPLE_DB_POOL_SIZE should be a whole number, not 'many'",
        "EXAMPLE_TOKEN is required and is not set",
    ]


def test_a_secret_is_never_shown() -> None:
    secret = secrets.token_hex()
    environ = {
        "EXAMPLE_DATABASE_URL": f"postgresql://u:{secret}@h/d",
        "EXAMPLE_KEYS": f"{secret},b",
        "DB_PASSWORD": secret,
    }
    settings = load(Settings, environ)
    assert secret not in f"{settings!r} {settings} {settings.model_dump()} {config.describe(Settings)}"
    assert refusal({"EXAMPLE_PICKY": secret}) == "EXAMPLE_PICKY should be a good key, and … is none"
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"keys": 1, "db_password": [secret], "listen": secret})
    assert secret not in f"{caught.value} {caught.value!r}"


def test_a_certificate_needs_its_key_and_the_other_way_round() -> None:
    assert (
        refusal({"EXAMPLE_TLS_CERT_FILE": "/c"})
        == "EXAMPLE_TLS_CERT_FILE is set without EXAMPLE_TLS_KEY_FILE"
    )
    assert (
        refusal({"EXAMPLE_TLS_KEY_FILE": "/k"}) == "EXAMPLE_TLS_KEY_FILE is set without EXAMPLE_TLS_CERT_FILE"
    )
    assert refusal({"EXAMPLE_TLS_CLIENT_CA_FILE": "/a"}) == (
        "EXAMPLE_TLS_CLIENT_CA_FILE is set without EXAMPLE_TLS_CERT_FILE and EXAMPLE_TLS_KEY_FILE"
    )


def test_tls_is_required_where_others_can_reach_the_service() -> None:
    assert refusal({"EXAMPLE_LISTEN": "0.0.0.0:50051"}) == (
        "EXAMPLE_TLS_CERT_FILE and EXAMPLE_TLS_KEY_FILE are required, because EXAMPLE_LISTEN (0.0.0.0:50051) "
        "is not a loopback address"
    )
    pair = {"EXAMPLE_TLS_CERT_FILE": "/c", "EXAMPLE_TLS_KEY_FILE": "/k", "EXAMPLE_JWKS_FILE": "/j"}
    assert load(Settings, {"EXAMPLE_LISTEN": "0.0.0.0:50051", **pair}).tls_cert_file == Path("/c")


def test_callers_say_who_they_are_wherever_others_can_reach_the_service() -> None:
    tls = {"EXAMPLE_TLS_CERT_FILE": "/c", "EXAMPLE_TLS_KEY_FILE": "/k"}
    ways = "EXAMPLE_JWKS_FILE or EXAMPLE_PRINCIPALS_FILE is required, because"
    assert refusal({"EXAMPLE_LISTEN": "0.0.0.0:1", **tls}) == (
        f"{ways} EXAMPLE_LISTEN (0.0.0.0:1) is not a loopback address"
    )
    authority = {**tls, "EXAMPLE_TLS_CLIENT_CA_FILE": "/a"}
    assert refusal(authority) == f"{ways} EXAMPLE_TLS_CLIENT_CA_FILE alone does not say who a client is"
    assert load(Settings, {**authority, "EXAMPLE_PRINCIPALS_FILE": "/p"}).authenticates
    assert load(Settings, {"EXAMPLE_JWKS_FILE": "/j"}).authenticates
    assert not load(Settings, {}).authenticates


def test_what_belongs_to_a_way_of_authentication_is_not_passed_over_without_it() -> None:
    assert refusal({"EXAMPLE_PRINCIPALS_FILE": "/p"}) == (
        "EXAMPLE_PRINCIPALS_FILE is set without EXAMPLE_TLS_CLIENT_CA_FILE"
    )
    assert refusal({"EXAMPLE_DENY_LIST_FILE": "/d"}) == (
        "EXAMPLE_DENY_LIST_FILE is set without EXAMPLE_JWKS_FILE"
    )


def test_a_service_s_tokens_are_for_it_alone_unless_somebody_says_otherwise() -> None:
    assert load(Settings, {}).audience == "example"
    assert load(Settings, {"EXAMPLE_TOKEN_AUDIENCE": "other"}).audience == "other"


def test_reflection_is_on_for_loopback_only_unless_asked_for() -> None:
    pair = {"EXAMPLE_TLS_CERT_FILE": "/c", "EXAMPLE_TLS_KEY_FILE": "/k", "EXAMPLE_LISTEN": "[::]:1"}
    pair["EXAMPLE_JWKS_FILE"] = "/j"
    assert load(Settings, {}).reflection_enabled
    assert not load(Settings, pair).reflection_enabled
    assert load(Settings, {**pair, "EXAMPLE_REFLECTION": "true"}).reflection_enabled
    assert not load(Settings, {"EXAMPLE_REFLECTION": "false"}).reflection_enabled


def test_settings_do_not_change_once_they_are_loaded() -> None:
    with pytest.raises(ValidationError):
        load(Settings, {}).db_pool_size = 3  # type: ignore[misc] # that is the promise


def test_every_setting_is_described_with_its_variable_default_and_meaning() -> None:
    described = {each.name: each for each in config.describe(Demanding)}
    assert described["EXAMPLE_BRIDGE_TIMEOUT"] == (
        "EXAMPLE_BRIDGE_TIMEOUT",
        "30s",
        "How long the bridge may take.",
    )
    assert described["EXAMPLE_TOKEN"].default == "required"
    assert described["EXAMPLE_DB_POOL_PRE_PING"].default == "true"
    assert described["EXAMPLE_KEYS"].default == ""
    assert described["EXAMPLE_DB_STATEMENT_TIMEOUT"].default == "30s"
    assert described["KEYBRIDGE_HOME"].default == ""
    assert described["EXAMPLE_LISTEN"].default == "127.0.0.1:50051"
    assert all(each.doc.endswith(".") for each in described.values())
