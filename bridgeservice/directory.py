"""Which exchanges there are, and what each of them can do."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bridgeservice.exchanges.exchange import Exchanges
from bridgeservice.records import Page, page_of_names
from servicekit import catalogue
from servicekit.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Entry:
    """An exchange of the catalogue, with what ccxt or its plug-in says that it can do."""

    exchange: catalogue.Exchange
    capabilities: Sequence[str]


class Directory:
    """The exchanges by id."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges

    async def page(self, after: str | None, size: int, *, within: float | None) -> Page[Entry]:
        by_id = {exchange.id: exchange for exchange in self._exchanges.catalogue.exchanges}
        ids = page_of_names(sorted(by_id), after, size)
        try:
            async with asyncio.timeout(within):
                found = await asyncio.gather(*map(self._exchanges.capabilities, ids.rows))
        except TimeoutError:
            raise Unavailable(
                "The bridge has just started and has not loaded its exchanges yet. Try again in a moment.",
                reason="STARTING",
            ) from None
        return Page([Entry(by_id[each], can) for each, can in zip(ids.rows, found, strict=True)], ids.next)
