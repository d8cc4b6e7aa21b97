"""Risk rules and kill switches: setting them, and measuring an order by them before it is journalled."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter

from bridgeservice.exchanges.exchange import Market
from bridgeservice.exchanges.orders import Ticket
from bridgeservice.needs import required
from bridgeservice.records import Connector
from bridgeservice.risk_rules import KillSwitch, Proposed, Rule, Verdict, decide
from bridgeservice.rules import Judge, Ruling
from bridgeservice.store import accounts as account_store
from bridgeservice.store import order_claims
from bridgeservice.store import risk as store
from bridgeservice.worth import Worth
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

    def __init__(self, database: Database | None, worth: Worth, breaches: Breaches) -> None:
        self._database = database
        self._worth = worth
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
        """From the moment this returns, no order of the account is journalled that the switch stops, and what it is to
        cancel is remembered.
        """
        async with required(self._database, _KEPT).transaction() as connection:
            account_id = await account_store.hold(connection, switch.account_name)
            engaged = await store.engage(connection, account_id, switch)
            if switch.cancels_open_orders:
                await order_claims.request_cancels(connection, account_id, switch.connector_name)
        _log.warning(
            "a kill switch was engaged", account=switch.account_name, connector=switch.connector_name
        )
        return engaged

    async def release(self, account_name: str, connector_name: str) -> None:
        async with required(self._database, _KEPT).transaction() as connection:
            await account_store.hold(connection, account_name)
            await store.release(connection, account_name, connector_name)
        _log.warning("a kill switch was released", account=account_name, connector=connector_name)

    async def judge(self, connector: Connector, ticket: Ticket, market: Market) -> Judge:
        """Who decides on this order, in the transaction that journals it; what it is worth is asked before that."""
        reads = required(self._database, _KEPT).reads
        assets = await store.quote_assets(reads, connector.account_name, connector.name)
        place = (connector.exchange, connector.environment)
        notionals = await self._worth.of(place, ticket, market, assets)
        order = Proposed(
            connector.name, ticket.symbol, {asset: Decimal(worth) for asset, worth in notionals.items()}
        )

        async def decide_now(connection: Connection, account_id: UUID) -> Ruling:
            rules = await store.rules_for(connection, account_id, connector.name)
            verdict = decide(order, await store.traded(connection, account_id, rules))
            self._tell(verdict, connector)
            refused = verdict.refused_by.reason if verdict.refused_by else ""
            return Ruling(refused, notionals, verdict.cancels)

        return decide_now

    def _tell(self, verdict: Verdict, connector: Connector) -> None:
        refusing = [verdict.refused_by] if verdict.refused_by else []
        for rule in (*refusing, *verdict.warned_by):
            self._breaches.note(rule)
            _log.warning(
                "an order breaks a risk rule",
                rule=rule.kind.value,
                action=rule.action.value,
                account=connector.account_name,
                connector=connector.name,
            )
