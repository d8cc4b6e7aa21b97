"""Addresses and durations: what is read, what is refused, and how they are written again."""

from datetime import timedelta

import pytest
from pydantic import BaseModel, ValidationError

from servicekit.values import Address, Duration, PositiveDuration, SecretList, format_duration, parse_duration


class Model(BaseModel):
    address: Address = Address("127.0.0.1", 1)
    duration: Duration = timedelta(0)
    wait: PositiveDuration = timedelta(1)
    keys: SecretList = ()


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051, True),
        ("127.3.2.1:0", "127.3.2.1", 0, True),
        ("[::1]:50051", "::1", 50051, True),
        ("LOCALHOST:1", "LOCALHOST", 1, True),
        ("10.1.2.3:50051", "10.1.2.3", 50051, False),
        ("[::]:50051", "::", 50051, False),
        ("keys.example:65535", "keys.example", 65535, False),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int, loopback: bool) -> None:
    address = Model.model_validate({"address": text}).address
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "50051", ":50051", "host:", "host:65536", "::1:50051", "[::1]", "[1.2]:3", "a b:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should"):
        Address.parse(text)


def test_an_address_takes_an_address_and_nothing_else() -> None:
    assert Model(address=Address("::1", 0)).address.with_port(7) == Address("::1", 7)
    assert Model(address=Address("::1", 5)).model_dump(mode="json")["address"] == "[::1]:5"
    with pytest.raises(ValidationError):
        Model.model_validate({"address": 50051})


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("3s", 3),
        ("500ms", 0.5),
        ("2m", 120),
        ("24h", 86400),
        ("7d", 604800),
        ("1.5", 1.5),
        (30, 30),
        (" 1s ", 1),
        ("1ms", 0.001),
        ("0.001", 0.001),
        ("0ms", 0),
    ],
)
def test_a_duration_is_read_in_its_unit(given: object, seconds: float) -> None:
    assert Model.model_validate({"duration": given}).duration == timedelta(seconds=seconds)


@pytest.mark.parametrize("given", ["", "soon", "-3s", "3 weeks", "nan", "inf", "1e3", "9" * 30 + "d", None])
def test_what_is_no_duration_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="should be a duration"):
        parse_duration(given)


@pytest.mark.parametrize("given", ["0.1ms", "0.0001", "0.0000000001d"])
def test_a_duration_that_would_become_nothing_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="should be 0 or at least 1ms"):
        Model.model_validate({"duration": given})


def test_a_wait_must_be_longer_than_nothing() -> None:
    with pytest.raises(ValidationError, match="should be longer than nothing"):
        Model.model_validate({"wait": "0s"})


@pytest.mark.parametrize("text", ["0s", "500ms", "3s", "90s", "2m", "24h", "30h", "7d"])
def test_a_duration_is_written_as_one_would_set_it(text: str) -> None:
    duration = Model.model_validate({"duration": text}).duration
    written = format_duration(duration)
    assert Model.model_validate({"duration": written}).duration == duration
    assert written == {"24h": "1d"}.get(text, text)


def test_a_list_of_secrets_is_split_at_commas_and_a_list_passes() -> None:
    keys = Model.model_validate({"keys": "one, two,"}).keys
    assert [key.get_secret_value() for key in keys] == ["one", "two"]
    assert Model.model_validate({"keys": ["a,b"]}).keys[0].get_secret_value() == "a,b"
