"""The rule by which two rows hold the same API key."""

from keyservice.credentials import from_columns
from keyservice.fingerprints import fingerprint_of
from keyservice.keyring import Keyring
from keyservice.sealing import MasterKey
from servicekit.credentials import Credentials
from tests.support.sealed import new_key, new_values

KEYRING = Keyring([MasterKey(new_key().get_secret_value())], bytes(32))


def given() -> Credentials:
    return from_columns(new_values())


def test_the_same_api_key_of_an_exchange_has_the_same_fingerprint_whatever_its_secret_is() -> None:
    one = given()
    other = Credentials(api_key=one.api_key, api_secret=given().api_secret)
    assert fingerprint_of(KEYRING, "kraken", one) == fingerprint_of(KEYRING, "kraken", other)
    assert fingerprint_of(KEYRING, "kraken", one) != fingerprint_of(KEYRING, "binance", one)
    assert fingerprint_of(KEYRING, "kraken", one) != fingerprint_of(KEYRING, "kraken", given())


def test_paper_keys_have_none_even_with_credentials() -> None:
    assert fingerprint_of(KEYRING, "paper", given()) is None


def test_no_credentials_have_none() -> None:
    assert fingerprint_of(KEYRING, "kraken", Credentials()) is None
