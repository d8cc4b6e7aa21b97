"""The table of risk rules, and what of the journal they count.

Whoever journals an order and whoever changes rules take the account's row first. So what a rule counts does not
change before the order is journalled, and once a kill switch is committed no order passes it.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Numeric, Row, Select, and_, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models
from bridgeservice.enums import OrderState, RiskAction, RiskRuleKind
from bridgeservice.risk_rules import COUNTS, NOTIONALS, WHOLE_ACCOUNT, KillSwitch, Rule, Traded
from servicekit.database.reads import Executor

_table = models.RiskRule
_accounts = models.Account
_orders = models.Order
_OPEN: Final = (OrderState.PENDING, OrderState.UNKNOWN, OrderState.OPEN)
_MINUTE: Final = timedelta(minutes=1)


async def rules_for(executor: Executor, account_id: UUID, connector_name: str) -> list[Rule]:
    """What an order through this connector is measured by, engaged kill switches among it."""
    statement = select(_table).where(
        _table.account_id == account_id, _table.connector_name.in_((WHOLE_ACCOUNT, connector_name))
    )
    return [
        _rule(row) for row in await executor.execute(statement.order_by(_table.kind, _table.connector_name))
    ]


async def quote_assets(executor: Executor, account_name: str, connector_name: str) -> list[str]:
    """The assets in which the rules for a connector count what orders are worth."""
    statement = select(_table.quote_asset).distinct().join(_accounts, _accounts.id == _table.account_id)
    rows = await executor.execute(
        statement.where(
            _accounts.account_name == account_name,
            _table.connector_name.in_((WHOLE_ACCOUNT, connector_name)),
            _table.quote_asset.is_not(None),
        )
    )
    return list(rows.scalars())


async def traded(executor: Executor, account_id: UUID, rules: Sequence[Rule]) -> list[tuple[Rule, Traded]]:
    """Each rule beside what it counts; the journal is asked only where one does."""
    found: dict[str, Traded] = {}
    for connector_name in {rule.connector_name for rule in rules if rule.kind in COUNTS | NOTIONALS}:
        assets = {rule.quote_asset for rule in rules if rule.kind is RiskRuleKind.MAX_DAILY_NOTIONAL}
        found[connector_name] = await _traded(executor, account_id, connector_name, sorted(assets))
    return [(rule, found.get(rule.connector_name, Traded())) for rule in rules]


async def replace(
    connection: AsyncConnection, account_id: UUID, connector_name: str, rules: Sequence[Rule]
) -> None:
    """These rules, and no others; an engaged kill switch stays so."""
    await connection.execute(
        delete(_table).where(
            _table.account_id == account_id,
            _table.connector_name == connector_name,
            _table.kind != RiskRuleKind.KILL_SWITCH,
        )
    )
    if rules:
        await connection.execute(
            insert(_table).values(
                [
                    {
                        "account_id": account_id,
                        "connector_name": connector_name,
                        "kind": rule.kind,
                        "action": rule.action,
                        "bound": rule.bound,
                        "quote_asset": rule.quote_asset or None,
                        "symbols": list(rule.symbols) if rule.kind is RiskRuleKind.ALLOWED_SYMBOLS else None,
                    }
                    for rule in rules
                ]
            )
        )


async def rules_of(executor: Executor, account_name: str, connector_name: str) -> list[Rule]:
    """The rules that were set for an account, or for one of its connectors, by kind."""
    statement = _of_account(account_name).where(
        _table.connector_name == connector_name, _table.kind != RiskRuleKind.KILL_SWITCH
    )
    return [_rule(row) for row in await executor.execute(statement)]


async def engage(connection: AsyncConnection, account_id: UUID, switch: KillSwitch) -> KillSwitch:
    """Engage a kill switch. One that is engaged already keeps its time."""
    statement = insert(_table).values(
        account_id=account_id,
        connector_name=switch.connector_name,
        kind=RiskRuleKind.KILL_SWITCH,
        action=RiskAction.REFUSE,
        reason=switch.reason,
        cancels_open_orders=switch.cancels_open_orders,
        # And not the transaction's, which may have begun before that of an order that it waited for.
        created_at=func.clock_timestamp(),
    )
    statement = statement.on_conflict_do_update(
        constraint="uq_risk_rules_account_id_connector_name_kind",
        set_={
            "reason": statement.excluded.reason,
            "cancels_open_orders": or_(_table.cancels_open_orders, statement.excluded.cancels_open_orders),
        },
    )
    row = (await connection.execute(statement.returning(_table))).one()
    return _kill_switch(row, switch.account_name)


async def release(connection: AsyncConnection, account_name: str, connector_name: str) -> None:
    account = select(_accounts.id).where(_accounts.account_name == account_name).scalar_subquery()
    await connection.execute(
        delete(_table).where(
            _table.account_id == account,
            _table.connector_name == connector_name,
            _table.kind == RiskRuleKind.KILL_SWITCH,
        )
    )


async def engaged(executor: Executor, account_name: str, connector_name: str) -> list[KillSwitch]:
    """The kill switches that stop a connector, or for the whole account all that are engaged in it."""
    statement = _of_account(account_name).where(_table.kind == RiskRuleKind.KILL_SWITCH)
    if connector_name != WHOLE_ACCOUNT:
        statement = statement.where(_table.connector_name.in_((WHOLE_ACCOUNT, connector_name)))
    return [_kill_switch(row, account_name) for row in await executor.execute(statement)]


async def cancels(executor: Executor, account_id: UUID, connector_name: str) -> bool:
    """Whether a kill switch is engaged that leaves nothing open on this connector."""
    statement = select(_table.id).where(
        _table.account_id == account_id,
        _table.connector_name.in_((WHOLE_ACCOUNT, connector_name)),
        _table.kind == RiskRuleKind.KILL_SWITCH,
        _table.cancels_open_orders,
    )
    return (await executor.execute(statement)).first() is not None


async def _traded(executor: Executor, account_id: UUID, connector_name: str, assets: Sequence[str]) -> Traded:
    """Counted by two indexes: of what is open, and of an account's orders by their time."""
    within: ColumnElement[bool] = _orders.account_id == account_id
    if connector_name != WHOLE_ACCOUNT:
        within = and_(within, _orders.connector_name == connector_name)
    opened = select(func.count()).where(within, _orders.state.in_(_OPEN)).scalar_subquery()
    ours = and_(within, ~_orders.external, _orders.state != OrderState.REJECTED, ~_orders.is_deleted)
    last_minute = (
        select(func.count()).where(ours, _orders.created_at > func.now() - _MINUTE).scalar_subquery()
    )
    today = func.date_trunc("day", func.now(), "UTC")
    sums = [
        select(func.coalesce(func.sum(_orders.notionals[asset].astext.cast(Numeric)), 0))
        .where(ours, _orders.created_at >= today)
        .scalar_subquery()
        for asset in assets
    ]
    row = (await executor.execute(select(opened, last_minute, *sums))).one()
    return Traded(row[0], row[1], dict(zip(assets, row[2:], strict=True)))


def _of_account(account_name: str) -> Select[Any]:
    return (
        select(_table)
        .join(_accounts, _accounts.id == _table.account_id)
        .where(_accounts.account_name == account_name)
        .order_by(_table.connector_name, _table.kind)
    )


def _rule(row: Row[*tuple[Any, ...]]) -> Rule:
    return Rule(
        RiskRuleKind(row.kind),
        RiskAction(row.action),
        row.bound,
        row.quote_asset or "",
        tuple(row.symbols or ()),
        row.connector_name,
    )


def _kill_switch(row: Row[*tuple[Any, ...]], account_name: str) -> KillSwitch:
    return KillSwitch(
        account_name, row.connector_name, row.reason or "", row.cancels_open_orders, row.created_at
    )
