"""The markets of one exchange: loaded once however many wait, renewed in the background, kept by the store."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ccxt.async_support as ccxt

from bridgeservice.deadlines import Deadline, go_by
from bridgeservice.exchanges import convert, templates
from bridgeservice.exchanges.convert import understood
from bridgeservice.exchanges.errors import exchange_errors
from bridgeservice.exchanges.exchange import NOT_SUPPORTED, Environment, Market
from bridgeservice.exchanges.http import largest_answer
from bridgeservice.exchanges.instruments import Instruments, Stored
from bridgeservice.exchanges.options import Options
from bridgeservice.single_flight import SingleFlight
from servicekit import logs
from servicekit.errors import FailedPrecondition, KeybridgeError, Unavailable

_log = logs.get(__name__)

# Options that loading may change without their being part of what was loaded.
_PASSING = frozenset({"timeDifference"})


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A template with its markets. It is never changed: the next load makes another."""

    template: Any  # ccxt ships no types
    markets: Mapping[str, Market]
    loaded_at: datetime


class Markets:
    """Answers with what was loaded last, and sees to it that it is never much older than the options say."""

    def __init__(
        self, bare: Any, environment: Environment, options: Options, instruments: Instruments | None
    ) -> None:
        self._bare = bare
        self._environment = environment
        self._options = options
        self._instruments = instruments
        self._loaded: Loaded | None = None
        self._loading = SingleFlight()
        self._background: set[asyncio.Task[None]] = set()

    async def get(self) -> Loaded:
        """What was loaded last. Only the first callers wait, and one of them who gives up leaves it to the others."""
        if self._loaded is None:
            return await self._loading.do("first", self._first)
        if self._is_old(self._loaded) and not self._background:
            self._start(self._renew())
        return self._loaded

    async def close(self) -> None:
        """End what goes on in the background."""
        await self._loading.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _first(self) -> Loaded:
        self._loaded = await self._from_store() or await self._from_exchange()
        return self._loaded

    async def _renew(self) -> None:
        go_by(Deadline())  # and not that of the call that found them old
        try:
            self._loaded = await self._from_exchange()
        except KeybridgeError as error:
            _log.warning("markets were not renewed", exchange=self._bare.id, reason=error.reason)
            await asyncio.sleep(self._options.breaker_pause.total_seconds())  # before anybody starts the next

    def _is_old(self, loaded: Loaded) -> bool:
        return datetime.now(UTC) - loaded.loaded_at > self._options.markets_max_age

    async def _from_exchange(self) -> Loaded:
        largest_answer.set(self._options.largest_markets)
        loader = templates.connect(self._bare)
        with exchange_errors(loader.id), understood(loader.id):
            await _load(loader)
        loader.markets_loading = None
        if not loader.markets:
            raise Unavailable(
                f"{loader.id} named no markets.",
                reason="EXCHANGE_BAD_RESPONSE",
                metadata={"exchange": loader.id},
            )
        loaded = await _described(loader, datetime.now(UTC))
        if self._instruments is not None and self._says_all(loader):
            self._start(self._keep(self._instruments, loader))
        return loaded

    def _says_all(self, loader: Any) -> bool:
        """Whether the markets and currencies are all that loading gave. Some exchanges also fill tables in options,
        which could not be restored; these are loaded anew at each start.
        """
        before = self._bare.options
        known = templates.SHARED_OPTIONS | _PASSING
        filled = (name for name, value in loader.options.items() if value and value != before.get(name))
        return known.issuperset(filled)

    async def _keep(self, instruments: Instruments, loader: Any) -> None:
        try:
            await instruments.save(
                loader.id, self._environment.value, loader.markets, loader.currencies or {}
            )
        except KeybridgeError as error:
            _log.warning("markets were not kept", exchange=loader.id, reason=error.reason)

    async def _from_store(self) -> Loaded | None:
        if self._instruments is None:
            return None
        try:
            stored = await self._instruments.load(self._bare.id, self._environment.value)
        except KeybridgeError as error:
            _log.warning("kept markets were not read", exchange=self._bare.id, reason=error.reason)
            return None
        if stored is None or not stored.markets:
            return None
        with understood(self._bare.id):
            template = await asyncio.to_thread(_restored, self._bare, stored)
            return await _described(template, stored.loaded_at)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _load(loader: Any) -> None:
    try:
        await loader.load_markets(True)
    except ccxt.AuthenticationError:
        # Ours are loaded without any, so that nobody's are used for others.
        raise FailedPrecondition(
            f"{loader.id} names its markets only to those who have credentials there, which the bridge does not "
            "offer: no connector of it can be used.",
            reason=NOT_SUPPORTED,
            metadata={"exchange": loader.id},
        ) from None


def _restored(bare: Any, stored: Stored) -> Any:
    template = templates.connect(bare)
    template.set_markets(list(stored.markets.values()), dict(stored.currencies))
    if "marketsByAltname" in template.options:
        template.options["marketsByAltname"] = template.index_by(stored.markets, "altname")
    return template


async def _described(template: Any, loaded_at: datetime) -> Loaded:
    with understood(template.id):
        markets = await asyncio.to_thread(convert.markets, template.markets, template.precisionMode)
    return Loaded(template, markets, loaded_at)
