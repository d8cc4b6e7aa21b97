"""The journal of orders as units of work. A bridge without a database has none, and every use of it says so."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from hmac import compare_digest
from uuid import UUID

from bridgeservice.needs import required
from bridgeservice.order_records import (
    Claimed,
    Draft,
    Due,
    Filter,
    Order,
    OrderWish,
    Outcome,
    Repetition,
    Twin,
)
from bridgeservice.records import Place
from bridgeservice.rules import Judge, Ruling
from bridgeservice.store import accounts, risk, trades
from bridgeservice.store import order_claims as claims
from bridgeservice.store import orders as store
from servicekit.database.engine import Connection, Database
from servicekit.errors import AlreadyExists, NotFound
from servicekit.paging import Page, Position


class Journal:
    """Adds orders, reads them, and writes what is learnt of them."""

    def __init__(self, database: Database | None) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        return required(self._database, "Orders are kept")

    async def repeated(self, wish: OrderWish) -> Order | None:
        """The order that this very wish has made before; refuses another one's request id."""
        database = self.database
        if wish.repetition is None:
            return None
        return _the_same(
            await store.by_request(database.reads, wish.account_name, wish.repetition.request_id),
            wish.repetition,
        )

    async def add(self, draft: Draft, judge: Judge, *, lease: timedelta) -> tuple[Order, Ruling]:
        """The order, committed, and what the rules said: it may be sent if it is PENDING and has the draft's id.

        It is REJECTED where a rule says so, and another one where somebody was faster under the same request id.
        """
        name = draft.connector.account_name

        async def work(connection: Connection) -> tuple[Order | None, Ruling]:
            account_id = await accounts.hold(connection, name)
            ruling = await judge(connection, account_id)
            for connector_name in ruling.cancels:
                await claims.request_cancels(connection, account_id, connector_name)
            return await store.add(connection, account_id, draft, ruling, lease=lease), ruling

        added, ruling = await self.database.run(work)
        if added is None and draft.repetition is not None:
            first = await store.by_request(self.database.reads, name, draft.repetition.request_id)
            added, ruling = _the_same(first, draft.repetition), Ruling()
        return _there(added), ruling

    async def get(self, account_name: str, order_id: UUID) -> Order:
        return _there(await store.get(self.database.reads, account_name, order_id))

    async def page(self, wanted: Filter, *, after: Position | None, size: int) -> Page[Order]:
        """The newest first."""
        reads = self.database.reads
        account_id = await accounts.find(reads, wanted.account_name)
        if account_id is None:
            return Page([], None)
        return await store.page(reads, account_id, wanted, after=after, size=size)

    async def all_open(self, wanted: Filter) -> list[Order]:
        """Those that have not ended, the oldest first."""
        return await store.all_open(self.database.reads, wanted)

    async def knows(self, account_name: str) -> bool:
        """Whether anything was ever ordered in the account."""
        return await accounts.find(self.database.reads, account_name) is not None

    async def write(self, order: Order, outcome: Outcome) -> Order:
        """The order with what was learnt of it, or as it is where somebody has learnt more."""
        async with self.database.transaction() as connection:
            written = await _write(connection, order, outcome)
        return written or await self.get(order.account_name, order.id)

    async def take_back(self, order: Order, outcome: Outcome, account_id: UUID) -> None:
        """One that was given up has turned up after all. Under a kill switch that leaves nothing open it is to go, and
        that is remembered with it, or nobody would ask for its end.
        """
        async with self.database.transaction() as connection:
            await accounts.hold(connection, order.account_name)
            await _write(connection, order, outcome)
            if await risk.cancels(connection, account_id, order.connector_name):
                await claims.request_cancels(connection, account_id, order.connector_name)

    async def adopt(self, order_ids: Sequence[UUID]) -> None:
        """Give orders the trades that were read before it was known whose they were."""
        async with self.database.transaction() as connection:
            await trades.adopt(connection, order_ids)

    async def due(self) -> list[Due]:
        """Of each connector with orders about which somebody has to ask, one."""
        return await claims.due(self.database.reads)

    async def interrupt(self) -> int:
        """Orders whose sender did not say in time what came of them are unknown; says how many there were."""
        async with self.database.autocommit() as connection:
            return await claims.interrupt(connection)

    async def claim(self, ids: Sequence[UUID], lease: timedelta) -> list[Claimed]:
        """Those of the orders that are due, and that nobody else has."""
        async with self.database.autocommit() as connection:
            return await claims.claim(connection, ids, lease)

    async def request_cancel(self, order: Order, lease: timedelta) -> Claimed | None:
        """Remember that somebody wants it gone; None when it has ended."""
        async with self.database.autocommit() as connection:
            return await claims.request_cancel(connection, order.id, lease)

    async def leave_open(self, order: Order) -> None:
        """The exchange will never end it, or says no more of it, and is not asked any more."""
        async with self.database.autocommit() as connection:
            await claims.leave_open(connection, order)

    async def postpone(self, order: Order, pause: timedelta) -> None:
        """Nothing was learnt of it."""
        async with self.database.autocommit() as connection:
            await claims.postpone(connection, order.id, pause)

    async def hurry(self, places: Sequence[Place]) -> int:
        """Make due what waits of these connectors."""
        async with self.database.autocommit() as connection:
            return await claims.hurry(connection, places)

    async def rivals(
        self, order: Order, ids: Collection[str], overdue_after: timedelta
    ) -> tuple[list[Twin], set[str]]:
        """Our orders that look like this one, and those of the exchange's ids that are known."""
        return await claims.rivals(self.database.reads, order, ids, overdue_after)


async def _write(connection: Connection, order: Order, outcome: Outcome) -> Order | None:
    """The order as it is then; None where it has to be read anew for that."""
    written = await store.write(connection, order.id, outcome)
    if written is not None and order.exchange_order_id is None and written.exchange_order_id:
        # Its trades may have been read before it was known whose they were.
        await trades.adopt(connection, [order.id])
        return None
    return written


def _the_same(found: Order | None, repetition: Repetition) -> Order | None:
    if found is not None and not compare_digest(found.body_hash or b"", repetition.body_hash):
        raise AlreadyExists(
            "This request_id was used for another order of this account before; use a new one for each order.",
            reason="REQUEST_ID_REUSED",
        )
    return found


def _there(found: Order | None) -> Order:
    if found is None:
        raise NotFound("There is no such order in this account.", reason="ORDER_NOT_FOUND")
    return found
