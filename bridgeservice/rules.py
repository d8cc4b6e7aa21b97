"""What stands between a wish and the journal: rules that may refuse an order before anything is sent."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias
from uuid import UUID

from bridgeservice.exchanges.exchange import Market
from bridgeservice.exchanges.orders import Ticket
from bridgeservice.records import Connector
from servicekit.database.engine import Connection

Judge: TypeAlias = Callable[[Connection, UUID], Awaitable[str]]
"""Decides on one order in the transaction that journals it, with the account's row shared: the reason for which it is
not sent, in UPPER_SNAKE, or nothing. It asks no network."""


class Rules(Protocol):
    """The rules of all accounts."""

    async def judge(self, connector: Connector, ticket: Ticket, market: Market) -> Judge:
        """Who decides on this order. What has to be asked of an exchange for that, such as a price, is asked here."""
        ...


class NoRules:
    """Refuses nothing."""

    async def judge(self, connector: Connector, ticket: Ticket, market: Market) -> Judge:
        del connector, ticket, market
        return _allow


async def _allow(connection: Connection, account_id: UUID) -> str:
    del connection, account_id
    return ""
