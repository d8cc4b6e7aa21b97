"""An address that cannot be had is found out before anybody listens, and said in one sentence."""

import socket
from collections.abc import Iterator

import pytest

from servicekit import ports
from servicekit.errors import StartupError
from servicekit.values import Address


@pytest.fixture
def taken() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield Address("127.0.0.1", other.getsockname()[1])


@pytest.fixture
def shared() -> Iterator[Address]:
    with ports.reserved(Address("127.0.0.1", 0)) as address:
        yield address


def sentence(address: Address) -> str:
    with pytest.raises(StartupError) as caught:
        ports.require_free(address)
    return str(caught.value)


def test_a_free_address_is_free() -> None:
    ports.require_free(Address("127.0.0.1", 0))
    assert not ports.in_use(Address("127.0.0.1", 0))


def test_an_address_in_use_is_named(taken: Address) -> None:
    assert sentence(taken) == f"Cannot listen on {taken}: address already in use."
    assert ports.in_use(taken)


def test_a_name_is_in_use_when_one_of_its_addresses_is(taken: Address) -> None:
    name = Address("localhost", taken.port)
    assert sentence(name) == f"Cannot listen on {name}: address already in use."
    assert ports.in_use(name)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (Address("no-such-host.invalid", 5000), "no-such-host.invalid:5000: there is no such host"),
        (Address("203.0.113.7", 5000), "203.0.113.7:5000: cannot assign requested address"),
        (Address("2001:db8::7", 5000), "[2001:db8::7]:5000: cannot assign requested address"),
    ],
)
def test_an_address_that_is_not_ours_is_named_and_in_nobody_s_use(address: Address, reason: str) -> None:
    assert sentence(address) == f"Cannot listen on {reason}."
    assert not ports.in_use(address)
    with pytest.raises(StartupError), ports.reserved(address):
        pytest.fail("it was reserved")


def test_a_reserved_port_is_free_for_those_who_share_it_only(shared: Address) -> None:
    assert shared.port > 0
    ports.require_free(shared, shared=True)
    assert ports.in_use(shared)


def test_an_address_lost_at_the_last_moment_is_named(taken: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "require_free", lambda _address: None)
    with (
        pytest.raises(StartupError, match=f"^Cannot listen on {taken}: address already in use.$"),
        ports.reserved(taken),
    ):
        pytest.fail("it was reserved")


def test_a_port_that_the_system_may_choose_is_chosen_once_and_a_given_one_is_kept() -> None:
    chosen = ports.chosen(Address("127.0.0.1", 0))
    assert chosen.port
    assert ports.chosen(chosen) == chosen
