"""The decision about one order, rule by rule."""

from decimal import Decimal

import pytest

from bridgeservice.enums import RiskAction, RiskRuleKind
from bridgeservice.risk_rules import Proposed, Rule, Traded, decide

ORDER = Proposed("kraken", "BTC/USDT", {"USDT": Decimal(100)})
NOTHING = Traded()


@pytest.mark.parametrize(
    ("rule", "traded", "broken"),
    [
        (Rule(RiskRuleKind.ALLOWED_SYMBOLS, symbols=("BTC/USDT",)), NOTHING, False),
        (Rule(RiskRuleKind.ALLOWED_SYMBOLS, symbols=("ETH/USDT",)), NOTHING, True),
        (Rule(RiskRuleKind.MAX_ORDER_NOTIONAL, bound=Decimal(100), quote_asset="USDT"), NOTHING, False),
        (Rule(RiskRuleKind.MAX_ORDER_NOTIONAL, bound=Decimal("99.99"), quote_asset="USDT"), NOTHING, True),
        (Rule(RiskRuleKind.MAX_ORDER_NOTIONAL, bound=Decimal(100), quote_asset="EUR"), NOTHING, True),
        (
            Rule(RiskRuleKind.MAX_DAILY_NOTIONAL, bound=Decimal(250), quote_asset="USDT"),
            Traded(notionals_of_today={"USDT": Decimal(150)}),
            False,
        ),
        (
            Rule(RiskRuleKind.MAX_DAILY_NOTIONAL, bound=Decimal(250), quote_asset="USDT"),
            Traded(notionals_of_today={"USDT": Decimal("150.01")}),
            True,
        ),
        (Rule(RiskRuleKind.MAX_DAILY_NOTIONAL, bound=Decimal(250), quote_asset="EUR"), NOTHING, True),
        (Rule(RiskRuleKind.MAX_OPEN_ORDERS, bound=Decimal(3)), Traded(open_orders=2), False),
        (Rule(RiskRuleKind.MAX_OPEN_ORDERS, bound=Decimal(3)), Traded(open_orders=3), True),
        (Rule(RiskRuleKind.MAX_OPEN_ORDERS, bound=Decimal(0)), NOTHING, True),
        (
            Rule(RiskRuleKind.MAX_ORDERS_PER_MINUTE, bound=Decimal(5)),
            Traded(orders_of_the_last_minute=4),
            False,
        ),
        (
            Rule(RiskRuleKind.MAX_ORDERS_PER_MINUTE, bound=Decimal(5)),
            Traded(orders_of_the_last_minute=5),
            True,
        ),
        (Rule(RiskRuleKind.READ_ONLY), NOTHING, True),
        (Rule(RiskRuleKind.KILL_SWITCH), NOTHING, True),
    ],
)
def test_a_rule_is_broken_just_beyond_its_bound(rule: Rule, traded: Traded, broken: bool) -> None:
    verdict = decide(ORDER, [(rule, traded)])
    assert (verdict.refused_by is rule) is broken
    assert not verdict.cancels


def test_a_warning_lets_the_order_through() -> None:
    rule = Rule(RiskRuleKind.READ_ONLY, RiskAction.WARN)
    verdict = decide(ORDER, [(rule, NOTHING)])
    assert verdict.refused_by is None
    assert list(verdict.warned_by) == [rule]


def test_a_rule_that_cancels_says_of_which_connector() -> None:
    rules = [
        Rule(RiskRuleKind.READ_ONLY, RiskAction.REFUSE_AND_CANCEL, connector_name="kraken"),
        Rule(RiskRuleKind.MAX_OPEN_ORDERS, RiskAction.REFUSE_AND_CANCEL, bound=Decimal(0)),
    ]
    verdict = decide(ORDER, [(rule, NOTHING) for rule in rules])
    assert set(verdict.cancels) == {"kraken", ""}


def test_a_kill_switch_is_the_reason_whatever_else_is_broken() -> None:
    switch = Rule(RiskRuleKind.KILL_SWITCH)
    verdict = decide(ORDER, [(Rule(RiskRuleKind.READ_ONLY), NOTHING), (switch, NOTHING)])
    assert verdict.refused_by is switch


def test_without_rules_an_order_is_let_through() -> None:
    verdict = decide(ORDER, [])
    assert (verdict.refused_by, list(verdict.warned_by), list(verdict.cancels)) == (None, [], [])


@pytest.mark.parametrize("kind", list(RiskRuleKind))
def test_breaking_a_rule_has_a_name(kind: RiskRuleKind) -> None:
    assert Rule(kind).reason.isupper()
