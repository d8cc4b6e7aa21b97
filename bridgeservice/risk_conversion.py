"""Between the contract's risk rules and ours."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from bridgeservice.amounts import GIVEN, LONGEST_GIVEN, plain
from bridgeservice.enums import RiskAction, RiskRuleKind
from bridgeservice.risk_rules import COUNTS, NOTIONALS, KillSwitch, Rule
from bridgeservice.v1 import risk_pb2
from bridgeservice.validation import Checks

_ACTIONS: Final = {
    risk_pb2.RISK_ACTION_UNSPECIFIED: RiskAction.REFUSE,
    risk_pb2.RISK_ACTION_REFUSE: RiskAction.REFUSE,
    risk_pb2.RISK_ACTION_REFUSE_AND_CANCEL: RiskAction.REFUSE_AND_CANCEL,
    risk_pb2.RISK_ACTION_WARN: RiskAction.WARN,
}
_KINDS: Final = {
    value: RiskRuleKind[name.removeprefix("RISK_RULE_KIND_")]
    for name, value in risk_pb2.RiskRuleKind.items()
    if value != risk_pb2.RISK_RULE_KIND_UNSPECIFIED
}
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)


def rules(check: Checks, given: Iterable[risk_pb2.RiskRule]) -> list[Rule]:
    """The rules that are asked for, at most one of a kind."""
    found: dict[RiskRuleKind, Rule] = {}
    for place, each in enumerate(given):
        rule = _rule(check, f"rules[{place}]", each)
        if rule is not None and found.setdefault(rule.kind, rule) is not rule:
            check.add(f"rules[{place}].kind", "is that of another rule too: at most one of a kind is allowed")
    return list(found.values())


def rule(found: Rule) -> risk_pb2.RiskRule:
    return risk_pb2.RiskRule(
        kind=f"RISK_RULE_KIND_{found.kind.name}",
        action=f"RISK_ACTION_{found.action.name}",
        limit=plain(found.bound),
        quote_asset=found.quote_asset,
        symbols=found.symbols,
    )


def kill_switch(found: KillSwitch) -> risk_pb2.KillSwitch:
    return risk_pb2.KillSwitch(
        account_name=found.account_name,
        connector_name=found.connector_name,
        reason=found.reason,
        cancel_open_orders=found.cancels_open_orders,
        engage_time=found.engaged_at,
    )


def _rule(check: Checks, path: str, given: risk_pb2.RiskRule) -> Rule | None:
    # Proto3 enums are open: a number of a later contract arrives as it is.
    kind, action = _KINDS.get(int(given.kind)), _ACTIONS.get(given.action)
    if action is None:
        check.add(f"{path}.action", f"{given.action} is no action; use REFUSE, REFUSE_AND_CANCEL or WARN")
    if kind is None:
        check.add(f"{path}.kind", "is required" if not given.kind else f"{given.kind} is no kind of rule")
        check.text(f"{path}.limit", given.limit, longest=LONGEST_GIVEN)
        check.asset(f"{path}.quote_asset", given.quote_asset)
        check.symbols(list(given.symbols), f"{path}.symbols")
        return None
    return Rule(
        kind,
        action or RiskAction.REFUSE,
        bound=_bound(check, f"{path}.limit", kind, given.limit),
        quote_asset=_quote_asset(check, f"{path}.quote_asset", kind, given.quote_asset),
        symbols=_symbols(check, f"{path}.symbols", kind, list(given.symbols)),
    )


def _bound(check: Checks, path: str, kind: RiskRuleKind, given: str) -> Decimal | None:
    if kind not in COUNTS | NOTIONALS:
        if given:
            check.add(path, "is not for a rule of this kind")
        return None
    if not given:
        check.add(path, "is required for a rule of this kind")
    elif kind in COUNTS and not _COUNT.fullmatch(given):
        check.add(path, "is not a whole number of orders, such as 10")
    elif not GIVEN.fullmatch(given):
        check.add(path, "is not a decimal number, such as 2500.50")
    else:
        return Decimal(given)
    return None


def _quote_asset(check: Checks, path: str, kind: RiskRuleKind, given: str) -> str:
    if kind in NOTIONALS:
        return check.required_asset(path, given)
    if given:
        check.add(path, "is not for a rule of this kind")
    return ""


def _symbols(check: Checks, path: str, kind: RiskRuleKind, given: list[str]) -> list[str]:
    if kind is not RiskRuleKind.ALLOWED_SYMBOLS:
        if given:
            check.add(path, "is not for a rule of this kind")
        return []
    if not given:
        check.add(path, "is required for a rule of this kind")
    return check.symbols(given, path)
