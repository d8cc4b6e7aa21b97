"""What an account, or one of its connectors, may do: rules, and the decision about one order. Nothing here waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from bridgeservice.enums import RiskAction, RiskRuleKind

WHOLE_ACCOUNT: Final = ""
"""In the place of a connector's name: all connectors of the account together."""

NOTIONALS: Final = frozenset({RiskRuleKind.MAX_ORDER_NOTIONAL, RiskRuleKind.MAX_DAILY_NOTIONAL})
COUNTS: Final = frozenset({RiskRuleKind.MAX_OPEN_ORDERS, RiskRuleKind.MAX_ORDERS_PER_MINUTE})

_REASONS: Final[Mapping[RiskRuleKind, str]] = {
    RiskRuleKind.ALLOWED_SYMBOLS: "SYMBOL_NOT_ALLOWED",
    RiskRuleKind.MAX_ORDER_NOTIONAL: "ORDER_NOTIONAL_EXCEEDED",
    RiskRuleKind.MAX_DAILY_NOTIONAL: "DAILY_NOTIONAL_EXCEEDED",
    RiskRuleKind.MAX_OPEN_ORDERS: "TOO_MANY_OPEN_ORDERS",
    RiskRuleKind.MAX_ORDERS_PER_MINUTE: "TOO_MANY_ORDERS_PER_MINUTE",
    RiskRuleKind.READ_ONLY: "READ_ONLY",
    RiskRuleKind.KILL_SWITCH: "KILL_SWITCH_ENGAGED",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A bound, of an account or of one of its connectors."""

    kind: RiskRuleKind
    action: RiskAction = RiskAction.REFUSE
    bound: Decimal | None = None
    """A number of orders, or an amount of ``quote_asset``."""
    quote_asset: str = ""
    symbols: Sequence[str] = ()
    connector_name: str = WHOLE_ACCOUNT

    @property
    def reason(self) -> str:
        """What breaking it is called."""
        return _REASONS[self.kind]


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """One that is engaged."""

    account_name: str
    connector_name: str
    reason: str
    cancels_open_orders: bool
    engaged_at: datetime


@dataclass(frozen=True, slots=True)
class Traded:
    """What was ordered before, within the reach of a rule."""

    open_orders: int = 0
    orders_of_the_last_minute: int = 0
    notionals_of_today: Mapping[str, Decimal] | None = None
    """By asset."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """An order that is about to be journalled."""

    connector_name: str
    symbol: str
    notionals: Mapping[str, Decimal]
    """What it is worth, by asset, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of an order."""

    refused_by: Rule | None = None
    warned_by: Sequence[Rule] = ()
    cancels: Sequence[str] = ()
    """The connectors whose open orders are to be cancelled; the empty name stands for all."""


def decide(order: Proposed, rules: Sequence[tuple[Rule, Traded]]) -> Verdict:
    """Each rule beside what was ordered within its reach. All are looked at, so that each breach is told."""
    broken = [rule for rule, traded in rules if _is_broken(rule, order, traded)]
    refusing = [rule for rule in broken if rule.action is not RiskAction.WARN]
    return Verdict(
        # A kill switch says more than whatever else is broken too.
        refused_by=min(refusing, key=lambda rule: rule.kind is not RiskRuleKind.KILL_SWITCH, default=None),
        warned_by=[rule for rule in broken if rule.action is RiskAction.WARN],
        cancels=[rule.connector_name for rule in broken if rule.action is RiskAction.REFUSE_AND_CANCEL],
    )


def _is_broken(rule: Rule, order: Proposed, traded: Traded) -> bool:
    bound = Decimal(0) if rule.bound is None else rule.bound
    match rule.kind:
        case RiskRuleKind.ALLOWED_SYMBOLS:
            return order.symbol not in rule.symbols
        case RiskRuleKind.MAX_ORDER_NOTIONAL:
            worth = order.notionals.get(rule.quote_asset)
            return worth is None or worth > bound
        case RiskRuleKind.MAX_DAILY_NOTIONAL:
            worth = order.notionals.get(rule.quote_asset)
            before = (traded.notionals_of_today or {}).get(rule.quote_asset, Decimal(0))
            return worth is None or before + worth > bound
        case RiskRuleKind.MAX_OPEN_ORDERS:
            return traded.open_orders + 1 > bound
        case RiskRuleKind.MAX_ORDERS_PER_MINUTE:
            return traded.orders_of_the_last_minute + 1 > bound
        case RiskRuleKind.READ_ONLY | RiskRuleKind.KILL_SWITCH:
            return True
