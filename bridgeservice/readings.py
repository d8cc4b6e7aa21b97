"""Reading what one connector holds: anew, or from memory where the caller allows it, and once for all who ask."""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic

from bridgeservice.amounts import is_plain
from bridgeservice.exchange_calls import late
from bridgeservice.exchanges.exchange import NOT_SUPPORTED, Balance
from bridgeservice.records import Connector, Holding, Reading, ReadStatus
from bridgeservice.sessions import Sessions
from bridgeservice.single_flight import SingleFlight
from servicekit.errors import DeadlineExceeded, Internal, KeybridgeError, ResourceExhausted, Unavailable

_STATUS_BY_REASON = {
    "CREDENTIALS_REJECTED": ReadStatus.CREDENTIALS_REJECTED,
    "EXCHANGE_UNSUPPORTED": ReadStatus.EXCHANGE_UNSUPPORTED,
    NOT_SUPPORTED: ReadStatus.EXCHANGE_UNSUPPORTED,
}
_STATUS_BY_CLASS = {
    ResourceExhausted: ReadStatus.RATE_LIMITED,
    DeadlineExceeded: ReadStatus.TIMEOUT,
    Unavailable: ReadStatus.EXCHANGE_UNAVAILABLE,
}


class Readings:
    """Balances of connectors, each with the moment at which the exchange was asked."""

    def __init__(self, sessions: Sessions, flights: SingleFlight) -> None:
        self._sessions = sessions
        self._flights = flights

    async def of(self, connector: Connector, *, max_age: float, within: float | None) -> Reading:
        """What it holds; what is known is good enough if it is no older than ``max_age`` seconds."""
        known = connector.reading
        if known is not None and monotonic() - known.clock <= max_age:
            return known
        try:
            return await self._flights.do(
                ("balances", connector), lambda: self._read(connector), within=within
            )
        except TimeoutError:
            raise late(connector.exchange, within) from None

    async def _read(self, connector: Connector) -> Reading:
        async with self._sessions.of(connector) as session:
            asked_at, clock = datetime.now(UTC), monotonic()
            balances = await session.balances()
            _check(connector.exchange, balances)
            reading = Reading(balances, asked_at, clock)
            connector.reading = reading
        return reading


def _check(exchange: str, balances: Sequence[Balance]) -> None:
    """A plug-in that does not keep to the protocol fails here, and not in the answer about all connectors."""
    if not all(_is_as_promised(each) for each in balances):
        raise Internal(f"{exchange} gave a balance that is not written as balances are here.")


def _is_as_promised(balance: object) -> bool:
    if not isinstance(balance, Balance):
        return False
    asset: object = balance.asset
    amounts: tuple[object, ...] = (balance.free, balance.used, balance.total)
    return isinstance(asset, str) and all(
        isinstance(amount, str) and (not amount or is_plain(amount)) for amount in amounts
    )


def failed(connector: Connector, error: KeybridgeError) -> Holding:
    """A connector that could not be read, in the words of the contract."""
    by_class = next(
        (_STATUS_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _STATUS_BY_CLASS), ReadStatus.ERROR
    )
    status = _STATUS_BY_REASON.get(error.reason, by_class)
    return Holding(connector.name, connector.exchange, status, error.message)
