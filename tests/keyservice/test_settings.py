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
