"""What stands between a wish and the journal: rules that may refuse an order before anything is sent."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from uuid import UUID

from bridgeservice.exchanges.exchange import Market
from bridgeservice.exchanges.orders import Ticket
from bridgeservice.records import Connector
from servicekit.database.engine import Connection


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say of one order."""

    refused: str = ""
    """The reason for which it is not sent, in UPPER_SNAKE; empty when it may be."""
    notionals: Mapping[str, str] = field(default_factory=dict)
    """What it is worth, by asset, as far as rules will want to know."""
    cancels: Sequence[str] = ()
    """The connectors whose open orders are to be cancelled; the empty name stands for all of the account."""


Judge: TypeAlias = Callable[[Connection, UUID], Awaitable[Ruling]]
"""Decides on one order in the transaction that journals it and holds its account. It asks no network."""


class Sweeps(Protocol):
    """Cancels what is open, where nobody waits for it."""

    def sweep(self, account_name: str, connector_name: str) -> None:
        """All open orders of a connector; of all connectors of the account, where the name is empty."""
        ...


class Rules(Protocol):
    """The rules of all accounts."""

    async def judge(self, connector: Connector, ticket: Ticket, market: Market) -> Judge:
        """Who decides on this order. What has to be asked of an exchange for that, such as a price, is asked here."""
        ...
