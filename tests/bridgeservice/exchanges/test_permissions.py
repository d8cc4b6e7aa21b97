"""How answers about permissions read, in the forms that exchanges document."""

from collections.abc import Mapping
from typing import Any

import pytest

from bridgeservice.exchanges.exchange import Permission, Permissions
from bridgeservice.exchanges.permissions import QUESTIONS

YES, NO = Permission.YES, Permission.NO


@pytest.mark.parametrize(
    ("exchange_id", "answer", "expected"),
    [
        (
            "binance",
            {"enableReading": True, "enableFutures": True, "enableWithdrawals": False},
            Permissions(YES, YES, NO),
        ),
        ("okx", {"data": [{"perm": "read_only,withdraw"}]}, Permissions(YES, NO, YES)),
        (
            "bybit",
            {"result": {"readOnly": 0, "permissions": {"Spot": ["SpotTrade"], "Wallet": ["Withdraw"]}}},
            Permissions(YES, YES, YES),
        ),
        (
            "bybit",
            {"result": {"readOnly": 1, "permissions": {"Spot": ["SpotTrade"], "Wallet": ["Withdraw"]}}},
            Permissions(YES, NO, NO),
        ),
        ("kucoin", {"data": {"permission": "General,Spot"}}, Permissions(YES, YES, NO)),
        ("kucoin", {"data": {"permission": "General, Withdrawal"}}, Permissions(YES, NO, YES)),
        (
            "kraken",
            {"result": {"permissions": ["query-funds", "withdraw-funds"]}},
            Permissions(YES, NO, YES),
        ),
    ],
)
def test_an_answer_is_read_as_the_exchange_means_it(
    exchange_id: str, answer: Mapping[str, Any], expected: Permissions
) -> None:
    assert QUESTIONS[exchange_id].read(answer) == expected
