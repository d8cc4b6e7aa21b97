"""The loop that finds out what became of orders, whoever sent them and died.

Any number of replicas may run it. Each asks only about orders whose connector it holds, one of a connector at a time,
and leaves the others' alone: they neither keep it busy nor stand in the way of its own.
"""

import asyncio
from datetime import timedelta
from typing import Never

from bridgeservice.accounts import Accounts
from bridgeservice.journal import Journal
from bridgeservice.order_records import Claimed, Due
from bridgeservice.records import Connector, Place
from bridgeservice.resolution import Resolution
from servicekit import logs
from servicekit.errors import Internal, KeybridgeError, NotFound
from servicekit.turns import take_turns
from servicekit.work import Work

# What becomes due by the clock, or in another replica, is noticed so soon.
_POLL = timedelta(seconds=1)
# A bridge that starts hears of thousands of connectors one after the other; a turn for each would take it all.
_GATHER = timedelta(seconds=0.05)

_log = logs.get(__name__)


class ResolutionLoop:
    """Claims what is due, and has it settled."""

    def __init__(
        self, journal: Journal, accounts: Accounts, resolution: Resolution, work: Work, *, at_once: int = 50
    ) -> None:
        self._journal = journal
        self._accounts = accounts
        self._resolution = resolution
        self._work = work
        self._at_once = at_once
        self.busy: set[Place] = set()
        """The connectors that are being asked."""
        self._fresh: set[Place] = set()
        self._wake = asyncio.Event()

    def hear(self, connector: Connector) -> None:
        """The bridge holds this connector from now on: what waits for it is asked about at once."""
        self._fresh.add(connector.place)
        self._wake.set()

    async def run(self) -> Never:
        """Until cancelled. A database that is away is tried again at the next turn."""

        def failed(error: KeybridgeError) -> None:
            _log.warning("orders that are due can't be claimed, and are later", reason=error.reason)

        await take_turns(self.once, wake=self._wake, pause=_POLL, failed=failed, gather=_GATHER)

    async def once(self) -> int:
        """Begin with what is due and has room; says how many orders that were."""
        if fresh := list(self._fresh):
            await self._journal.hurry(fresh)
            self._fresh.difference_update(fresh)
        due = await self._journal.due()
        if any(each.interrupted for each in due) and (count := await self._journal.interrupt()):
            _log.warning("whoever was sending orders did not say what came of them", orders=count)
        held = {each.order_id: connector for each in due if (connector := self._free(each)) is not None}
        ids = list(held)[: self._at_once - len(self.busy)]
        claimed = await self._journal.claim(ids, self._resolution.lease) if ids else []
        for each in claimed:
            connector = held[each.order.id]
            self.busy.add(connector.place)
            self._work.start(self._settle(each, connector))
        return len(claimed)

    def _free(self, due: Due) -> Connector | None:
        """The connector, if it is here and nobody asks it about another order now."""
        if (due.account_name, due.connector_name) in self.busy:
            return None
        try:
            return self._accounts.connector(due.account_name, due.connector_name)
        except NotFound:
            return None

    async def _settle(self, claimed: Claimed, connector: Connector) -> None:
        try:
            # Returned and not raised: an exchange of somebody else's may raise anything. The claim expires.
            [answer] = await asyncio.gather(
                self._resolution.settle(claimed, connector), return_exceptions=True
            )
        finally:
            self.busy.discard(connector.place)
            self._wake.set()  # for the next order of this connector
        order_id, exchange = str(claimed.order.id), connector.exchange
        if isinstance(answer, KeybridgeError) and not isinstance(answer, Internal):
            _log.warning(
                "an order was asked about in vain", order_id=order_id, exchange=exchange, reason=answer.reason
            )
        elif isinstance(answer, Exception):
            _log.error(
                "unforeseen error in asking about an order",
                order_id=order_id,
                exchange=exchange,
                exc_info=answer,
            )
