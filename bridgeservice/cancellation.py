"""Ending orders on behalf of callers. What was begun goes on when they go away; what is not known yet is remembered."""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

from bridgeservice.accounts import Accounts
from bridgeservice.deadlines import Deadline, go_by
from bridgeservice.enums import OrderState
from bridgeservice.exchange_calls import late
from bridgeservice.journal import Journal
from bridgeservice.order_records import Claimed, Filter, Order
from bridgeservice.orders import require_account
from bridgeservice.records import Connector
from bridgeservice.resolution import ORDER_NOT_OPEN, Resolution
from servicekit import logs
from servicekit.errors import FailedPrecondition, KeybridgeError, NotFound
from servicekit.work import Work

_AT_ONCE: Final = 10

_log = logs.get(__name__)


class Cancellation:
    """Cancels orders, one or all. ``within`` is in seconds."""

    def __init__(self, accounts: Accounts, journal: Journal, resolution: Resolution, work: Work) -> None:
        self._accounts = accounts
        self._journal = journal
        self._resolution = resolution
        self._work = work

    async def cancel(self, account_name: str, order_id: UUID, *, within: float | None) -> Order:
        """The order as it then is: CANCELED; or not settled yet, and to be cancelled as soon as it is found."""
        order = await self._journal.get(account_name, order_id)
        if order.ended:
            raise _not_open(order)
        task = self._work.start(self._outcome(order))
        done, _ = await asyncio.wait({task}, timeout=within)
        if not done:
            raise late(order.exchange, within)
        answer = task.result()
        if isinstance(answer, KeybridgeError):
            raise answer
        return answer

    async def cancel_all(self, wanted: Filter, *, within: float | None) -> list[Order]:
        """Every order that had not ended, as it then is; one that could not be cancelled in time too. Only where none
        could be, and all for the same reason, that is raised.
        """
        orders, failed = await self.try_all(wanted, within=within)
        if not orders:
            await require_account(self._accounts, self._journal, wanted.account_name)
        elif len(failed) == len(orders) and len({each.reason for each in failed}) == 1:
            raise failed[0]
        return orders

    async def try_all(
        self, wanted: Filter, *, within: float | None
    ) -> tuple[list[Order], list[KeybridgeError]]:
        """Every order that had not ended, as it then is, and why some of them could not be cancelled."""
        orders = await self._journal.all_open(wanted)
        if not orders:
            return [], []
        places = asyncio.Semaphore(_AT_ONCE)

        async def end(order: Order) -> Order | KeybridgeError:
            async with places:
                return await self._outcome(order)

        tasks = [self._work.start(end(order)) for order in orders]
        await asyncio.wait(tasks, timeout=within)
        answers = [task.result() if task.done() else None for task in tasks]
        failed = [
            each for each in answers if isinstance(each, KeybridgeError) and each.reason != ORDER_NOT_OPEN
        ]
        now = [
            answer if isinstance(answer, Order) else await self._journal.get(order.account_name, order.id)
            for order, answer in zip(orders, answers, strict=True)
        ]
        return now, failed

    def sweep(self, account_name: str, connector_name: str) -> None:
        """Cancel all open orders of a connector, or of the account; nobody waits for it."""
        self._work.start(self._swept(Filter(account_name, connector_name)))

    async def _swept(self, wanted: Filter) -> None:
        try:
            orders, failed = await self.try_all(wanted, within=None)
        except KeybridgeError as error:
            _log.warning("open orders could not be cancelled", reason=error.reason)
            return
        _log.info("cancelled what was open", orders=len(orders), failed=len(failed))

    async def _outcome(self, order: Order) -> Order | KeybridgeError:
        """Returned and not raised: there may be nobody left to hear it."""
        go_by(Deadline())  # and not that of whoever asked
        try:
            return await self._cancel(order)
        except KeybridgeError as error:
            return error

    async def _cancel(self, order: Order) -> Order:
        claimed = await self._journal.request_cancel(order, self._resolution.lease)
        if claimed is None:
            raise _not_open(await self._journal.get(order.account_name, order.id))
        if claimed.order.state is OrderState.PENDING:
            return claimed.order
        try:
            connector = self._accounts.connector(order.account_name, order.connector_name)
        except NotFound:
            # Whoever holds it, or comes to hold it, ends the order.
            await self._journal.postpone(claimed.order, timedelta(0))
            raise
        now = await self._settled(claimed, connector)
        if now.ended and now.state is not OrderState.CANCELED:
            raise _not_open(now)
        return now

    async def _settled(self, claimed: Claimed, connector: Connector) -> Order:
        try:
            return await self._resolution.settle(claimed, connector)
        except KeybridgeError:
            order = claimed.order
            if order.settled or (now := await self._journal.get(order.account_name, order.id)).settled:
                raise
            return now  # it is not even known whether it is there, and will be cancelled if it is


def _not_open(order: Order) -> FailedPrecondition:
    return FailedPrecondition(
        f"This order is {order.state.value}: only one that has not ended can be cancelled.",
        reason=ORDER_NOT_OPEN,
        metadata={"state": order.state.name},
    )
