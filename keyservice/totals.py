"""Sums of balances: exact, by sort of funds, and only of what was really read."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import Enum

from keyservice.bridge_records import Balance
from keyservice.enums import Environment
from keyservice.records import ApiKey

# More digits than any two amounts of one asset span; a sum that needs still more is not known.
_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])


class FundsKind(Enum):
    """What sort of funds a sum is made of; the names are those of the contract."""

    LIVE = 1
    SANDBOX = 2
    PAPER = 3

    @classmethod
    def of(cls, key: ApiKey) -> "FundsKind":
        if key.exchange == "paper":
            return cls.PAPER
        return cls.SANDBOX if key.environment is Environment.SANDBOX else cls.LIVE


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of one asset; a figure is empty when it is not known of every part."""

    kind: FundsKind
    asset: str
    free: str
    used: str
    total: str


def totals(read: Iterable[tuple[FundsKind, Balance]]) -> list[Total]:
    """One sum for each sort of funds and asset, in the order of both."""
    parts: dict[tuple[FundsKind, str], list[Balance]] = {}
    for kind, balance in read:
        parts.setdefault((kind, balance.asset), []).append(balance)
    return [
        Total(
            kind,
            asset,
            free=_sum(each.free for each in balances),
            used=_sum(each.used for each in balances),
            total=_sum(each.total for each in balances),
        )
        for (kind, asset), balances in sorted(parts.items(), key=lambda item: (item[0][0].value, item[0][1]))
    ]


def _sum(figures: Iterable[str]) -> str:
    result = Decimal(0)
    try:
        for figure in figures:
            result = _EXACT.add(result, Decimal(figure))
    except (InvalidOperation, Inexact):
        # One that is absent, or no number: what is not known of a part is not known of the whole.
        return ""
    return format(result, "f") if result.is_finite() else ""
