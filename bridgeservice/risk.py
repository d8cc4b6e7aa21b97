"""Risk rules and kill switches: setting them, and measuring an order by them before it is journalled."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter

from bridgeservice.needs import required
from bridgeservice.risk_rules import KillSwitch, Proposed, Rule, Verdict, decide
from bridgeservice.store import accounts as account_store
from bridgeservice.store import risk as store
from servicekit import logs
from servicekit.database.engine import Connection, Database

_KEPT = "Risk rules are kept"

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds for an account, or for one of its connectors."""

    rules: Sequence[Rule]
    kill_switches: Sequence[KillSwitch]


class Breaches:
    """How often rules were broken, by rule and by what was done about it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter(
            "keybridge_risk_breaches",
            "Orders that broke a risk rule.",
            ["rule", "action"],
            registry=registry,
        )

    def note(self, rule: Rule) -> None:
        self._count.labels(rule.kind.value, rule.action.value).inc()


class Risk:
    """The rules of all accounts, in PostgreSQL: what one bridge is told holds on all of them at once."""

    def __init__(self, database: Database | None, breaches: Breaches) -> None:
        self._database = database
        self._breaches = breaches

    async def set_rules(self, account_name: str, connector_name: str, rules: Sequence[Rule]) -> InForce:
        """Put these rules in the place of those that there were."""
        async with required(self._database, _KEPT).transaction() as connection:
            account_id = await account_store.hold(connection, account_name)
            await store.replace(connection, account_id, connector_name, rules)
        _log.info("risk rules were set", account=account_name, connector=connector_name, rules=len(rules))
        return await self.in_force(account_name, connector_name)

    async def in_force(self, account_name: str, connector_name: str) -> InForce:
        reads = required(self._database, _KEPT).reads
        rules, switches = await asyncio.gather(
            store.rules_of(reads, account_name, connector_name),
            store.engaged(reads, account_name, connector_name),
        )
        return InForce(rules, switches)

    async def engage(self, switch: KillSwitch) -> KillSwitch:
        """From the moment this returns, no order of the account is journalled that the switch stops."""
        async with required(self._database, _KEPT).transaction() as connection:
            account_id = await account_store.hold(connection, switch.account_name)
            engaged = await store.engage(connection, account_id, switch)
        _log.warning(
            "a kill switch was engaged", account=switch.account_name, connector=switch.connector_name
        )
        return engaged

    async def release(self, account_name: str, connector_name: str) -> None:
        async with required(self._database, _KEPT).transaction() as connection:
            await account_store.hold(connection, account_name)
            await store.release(connection, account_name, connector_name)
        _log.warning("a kill switch was released", account=account_name, connector=connector_name)

    async def assets_to_value_in(self, account_name: str, connector_name: str) -> Collection[str]:
        """The assets in which an order has to be valued before ``measure`` is asked."""
        reads = required(self._database, _KEPT).reads
        return await store.quote_assets(reads, account_name, connector_name)

    async def measure(self, connection: Connection, account_id: UUID, order: Proposed) -> Verdict:
        """What the rules say of an order, in the transaction that journals it and holds its account."""
        rules = await store.rules_for(connection, account_id, order.connector_name)
        verdict = decide(order, await store.traded(connection, account_id, rules))
        for rule in (*verdict.warned_by, *((verdict.refused_by,) if verdict.refused_by else ())):
            self._breaches.note(rule)
            _log.warning(
                "an order breaks a risk rule",
                rule=rule.kind.value,
                action=rule.action.value,
                connector=order.connector_name,
            )
        return verdict
