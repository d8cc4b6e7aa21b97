"""Which exchanges there are, and what each of them can do."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bridgeservice.exchanges.exchange import Exchanges
from bridgeservice.records import Page, page_of_names
from servicekit import catalogue
from servicekit.errors import DeadlineExceeded, Unavailable


@dataclass(frozen=True, slots=True)
class Entry:
    """An exchange of the catalogue, with what ccxt or its plug-in says that it can do."""

    exchange: catalogue.Exchange
    capabilities: Sequence[str]


class Directory:
    """The exchanges by id."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._capabilities: dict[str, Sequence[str]] = {}

    async def page(self, after: str | None, size: int, *, within: float | None) -> Page[Entry]:
        by_id = {exchange.id: exchange for exchange in self._exchanges.catalogue.exchanges}
        ids = page_of_names(sorted(by_id), after, size)
        try:
            async with asyncio.timeout(within):
                found = [await self._known(each) for each in ids.rows]
        except TimeoutError:
            if self._capabilities:
                raise DeadlineExceeded(
                    "There was too little time to look up what so many exchanges can do."
                ) from None
            raise Unavailable(
                "The bridge has just started and has not loaded its exchanges yet. Try again in a moment.",
                reason="STARTING",
            ) from None
        return Page([Entry(by_id[each], can) for each, can in zip(ids.rows, found, strict=True)], ids.next)

    async def _known(self, exchange_id: str) -> Sequence[str]:
        """What an exchange can do, which is asked once: ccxt takes milliseconds to tell, and it never changes."""
        if exchange_id not in self._capabilities:
            self._capabilities[exchange_id] = await self._exchanges.capabilities(exchange_id)
            await asyncio.sleep(0)  # so that others get their turn between two exchanges
        return self._capabilities[exchange_id]
