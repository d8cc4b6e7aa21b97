"""KeyService's own settings."""

from datetime import timedelta
from pathlib import Path

import pytest

from keyservice.sealing import MasterKey
from keyservice.settings import KeyServiceSettings
from servicekit import config
from servicekit.errors import SettingsError


def load(**environ: str) -> KeyServiceSettings:
    return config.load(KeyServiceSettings, environ)


def keys(settings: KeyServiceSettings) -> list[str]:
    return [key.get_secret_value() for key in settings.master_keys]


def test_the_defaults_are_those_of_the_documents() -> None:
    settings = load()
    assert str(settings.listen) == "127.0.0.1:50051"
    assert settings.erase_after == timedelta(days=30)
    assert keys(settings) == []


def test_master_keys_are_a_list_in_its_order_and_a_single_key_is_read_too() -> None:
    one, other = MasterKey.generate(), MasterKey.generate()
    assert keys(load(KEYSERVICE_ENCRYPTION_KEYS=f"{one},{other}")) == [one, other]
    assert keys(load(ENCRYPTION_KEY=one)) == [one]
    assert keys(load(KEYSERVICE_ENCRYPTION_KEYS=other, ENCRYPTION_KEY=one)) == [other]


def test_master_keys_can_lie_in_a_file(tmp_path: Path) -> None:
    one = MasterKey.generate()
    (tmp_path / "keys").write_text(one + "\n")
    assert keys(load(KEYSERVICE_ENCRYPTION_KEYS_FILE=str(tmp_path / "keys"))) == [one]


def test_no_master_key_is_ever_printed() -> None:
    one, other = MasterKey.generate(), MasterKey.generate()
    settings = load(KEYSERVICE_ENCRYPTION_KEYS=one, ENCRYPTION_KEY=other)
    for text in (repr(settings), str(settings), repr(settings.master_keys)):
        assert one not in text
        assert other not in text


@pytest.mark.parametrize(
    ("given", "meant"), [("0", timedelta(0)), ("24h", timedelta(days=1)), ("90s", timedelta(seconds=90))]
)
def test_the_time_to_keep_deleted_credentials_is_a_duration(given: str, meant: timedelta) -> None:
    assert load(KEYSERVICE_ERASE_AFTER=given).erase_after == meant


@pytest.mark.parametrize("given", ["soon", "-1s", "36501d", "999999d"])
def test_another_time_is_one_sentence(given: str) -> None:
    with pytest.raises(SettingsError, match="KEYSERVICE_ERASE_AFTER"):
        load(KEYSERVICE_ERASE_AFTER=given)


def test_the_bridge_is_on_this_machine_unless_somebody_says_where_and_in_production_somebody_must() -> None:
    assert load().bridge_address == "127.0.0.1:50052"
    assert load(KEYSERVICE_BRIDGE_TARGET="localhost:1").bridge_address == "localhost:1"
    with pytest.raises(SettingsError, match="KEYSERVICE_BRIDGE_TARGET is not set"):
        _ = load(KEYBRIDGE_ENV="production").bridge_address


@pytest.mark.parametrize("target", ["localhost:1", "[::1]:1", "dns:///127.0.0.1:1", "unix:/run/bridge.sock"])
def test_what_stays_on_this_machine_needs_no_tls(target: str) -> None:
    assert load(KEYSERVICE_BRIDGE_TARGET=target).bridge_tls_ca_file is None


@pytest.mark.parametrize(
    "target", ["bridge.example:50052", "dns:///bridge.example:1", "10.0.0.1:1", "nowhere"]
)
def test_credentials_never_leave_this_machine_in_the_clear(target: str) -> None:
    with pytest.raises(SettingsError, match="KEYSERVICE_BRIDGE_TLS_CA_FILE is required"):
        load(KEYSERVICE_BRIDGE_TARGET=target)
    assert load(KEYSERVICE_BRIDGE_TARGET=target, KEYSERVICE_BRIDGE_TLS_CA_FILE="/ca.pem").bridge_tls_ca_file


def test_half_of_a_certificate_is_one_sentence() -> None:
    half = {"KEYSERVICE_BRIDGE_TLS_CERT_FILE": "/c.pem"}
    with pytest.raises(SettingsError, match="is set without KEYSERVICE_BRIDGE_TLS_KEY_FILE"):
        load(**half)
    whole = half | {"KEYSERVICE_BRIDGE_TLS_KEY_FILE": "/k.pem"}
    with pytest.raises(SettingsError, match="is set without KEYSERVICE_BRIDGE_TLS_CA_FILE"):
        load(**whole)
