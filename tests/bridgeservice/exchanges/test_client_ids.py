"""Client order ids go out in the form that each exchange takes, and no two orders have the same."""

import re
from uuid import UUID

import ccxt
import pytest
from hypothesis import given
from hypothesis import strategies as some

from bridgeservice.exchanges import client_ids
from bridgeservice.exchanges.client_ids import TABLE

# What the exchanges' documents say.
FORMS = {
    "binance": r"[\.A-Za-z:/0-9_-]{1,36}",
    "bybit": r"[A-Za-z0-9_-]{1,36}",
    "gate": r"t-[A-Za-z0-9_.-]{1,28}",
    "kraken": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "kucoin": r"[A-Za-z0-9_-]{1,40}",
    "okx": r"[A-Za-z0-9]{1,32}",
}


def test_every_form_is_tested() -> None:
    assert TABLE.keys() == FORMS.keys()


@pytest.mark.parametrize("exchange_id", TABLE)
@given(some.uuids(), some.uuids())
def test_one_is_of_the_exchanges_form_and_of_one_order(exchange_id: str, one: UUID, other: UUID) -> None:
    form = TABLE[exchange_id].form
    assert re.fullmatch(FORMS[exchange_id], form(one))
    assert (form(one) == form(other)) is (one == other)
    assert len(form(one)) <= 28 or exchange_id != "gate"  # ccxt counts the t- in


@pytest.mark.parametrize(
    ("exchange_id", "family"),
    [("okxus", "okx"), ("binanceusdm", "binance"), ("gateeu", "gate"), ("coinbase", None)],
)
def test_exchanges_that_are_derived_from_another_do_as_it_does(exchange_id: str, family: str | None) -> None:
    assert client_ids.of(getattr(ccxt, exchange_id)) == (None if family is None else TABLE[family])
