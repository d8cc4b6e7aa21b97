"""All exchanges that this bridge can talk to: ccxt's, our own, and those that plug in.

ccxt takes seconds to import, so that begins in a thread when the bridge starts, and only who needs ccxt waits.
Nothing here imports it.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TypeVar

from bridgeservice.exchanges import plugins
from bridgeservice.exchanges.exchange import Environment, Exchange
from bridgeservice.exchanges.instruments import Instruments
from bridgeservice.exchanges.options import Options
from bridgeservice.exchanges.plugins import Plugin, Provider
from servicekit.catalogue import Catalogue
from servicekit.errors import FailedPrecondition, Unavailable

T = TypeVar("T")


class Registry:
    """Makes each exchange once, when it is first asked for."""

    def __init__(
        self,
        catalogue: Catalogue,
        options: Options,
        *,
        built_in: Mapping[str, Provider],
        plugged_in: Sequence[Plugin] = (),
        instruments: Instruments | None = None,
    ) -> None:
        self._catalogue = plugins.extended(catalogue, plugged_in)
        self._options = options
        self._instruments = instruments
        self._providers = dict(built_in) | {each.exchange.id: each.provider for each in plugged_in}
        self._exchanges: dict[tuple[str, Environment], Exchange] = {}
        self._ccxt: asyncio.Future[ModuleType] | None = None
        self._closed = False

    @property
    def catalogue(self) -> Catalogue:
        return self._catalogue

    def start(self) -> asyncio.Future[ModuleType]:
        """Begin to import ccxt, once. Without this it begins with the first exchange that needs it."""
        if self._ccxt is None:
            self._ccxt = _in_a_thread_of_its_own(_import_ccxt)
        return self._ccxt

    async def capabilities(self, exchange_id: str) -> Sequence[str]:
        found = self._served(exchange_id)
        if provider := self._providers.get(found):
            return sorted(provider.capabilities)
        capabilities: Sequence[str] = (await self._ccxt_exchange()).capabilities(found)
        return capabilities

    async def get(self, exchange_id: str, environment: Environment) -> Exchange:
        found = self._served(exchange_id)
        if environment is Environment.SANDBOX:
            self._refuse_without_sandbox(found)
        if (known := self._exchanges.get((found, environment))) is not None:
            return known
        make = await self._maker(found)
        # From here on nothing is awaited, so that whoever waited for ccxt together gets the same exchange.
        if self._closed:
            raise Unavailable("The bridge is closing.", reason="SHUTTING_DOWN")
        if (known := self._exchanges.get((found, environment))) is None:
            known = self._exchanges[found, environment] = make(environment)
        return known

    async def _maker(self, exchange_id: str) -> Callable[[Environment], Exchange]:
        if provider := self._providers.get(exchange_id):
            return provider.open
        module = await self._ccxt_exchange()
        return lambda environment: module.CcxtExchange(
            exchange_id, environment, self._options, self._instruments
        )

    async def close(self) -> None:
        """Close every exchange that was made."""
        self._closed = True
        if self._ccxt is not None:
            self._ccxt.cancel()
        exchanges = list(self._exchanges.values())
        self._exchanges.clear()
        await asyncio.gather(*(exchange.close() for exchange in exchanges))

    async def _ccxt_exchange(self) -> ModuleType:
        return await asyncio.shield(self.start())

    def _served(self, name: str) -> str:
        if (exchange := self._catalogue.find(name)) is not None:
            return exchange.id
        retired = self._catalogue.retired_name(name)
        nearest = self._catalogue.nearest(name)
        what = f"{retired} is no longer served" if retired else "There is no exchange of this name"
        hint = f" Names that look like it: {', '.join(nearest)}." if nearest and not retired else ""
        raise FailedPrecondition(
            f"{what}.{hint}",
            reason="EXCHANGE_UNSUPPORTED",
            metadata={"nearest": ",".join(nearest)} if nearest else {},
        )

    def _refuse_without_sandbox(self, exchange_id: str) -> None:
        exchange = self._catalogue.find(exchange_id)
        if exchange is None or not exchange.has_sandbox:
            raise FailedPrecondition(
                f"{exchange_id} has no sandbox.",
                reason="SANDBOX_UNSUPPORTED",
                metadata={"exchange": exchange_id},
            )


def _in_a_thread_of_its_own(work: Callable[[], T]) -> asyncio.Future[T]:
    """Like ``asyncio.to_thread``, but a process that has to stop does not wait for it."""
    done: concurrent.futures.Future[T] = concurrent.futures.Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001 - the boundary of the thread: who waits for it is told
            done.set_exception(error)

    threading.Thread(target=run, name="ccxt", daemon=True).start()
    return asyncio.wrap_future(done)


def _import_ccxt() -> ModuleType:
    from bridgeservice.exchanges import ccxt_exchange  # takes seconds, and is done in a thread

    return ccxt_exchange
