"""A connector in use to an exchange that ccxt knows: its ccxt object is made at the first call."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar

import ccxt.async_support as ccxt

from bridgeservice.exchanges import ccxt_lists, ccxt_orders, convert, convert_orders, permissions, templates
from bridgeservice.exchanges.ccxt_orders import Sending
from bridgeservice.exchanges.convert import understood
from bridgeservice.exchanges.exchange import NOT_SUPPORTED, Balance, Permissions
from bridgeservice.exchanges.guarded import Attempt
from bridgeservice.exchanges.orders import (
    ExchangeOrder,
    ExchangeTrade,
    Position,
    Reference,
    Refusal,
    Ticket,
)
from servicekit.credentials import Credentials
from servicekit.errors import FailedPrecondition, InvalidArgument, KeybridgeError, Unavailable

if TYPE_CHECKING:
    from bridgeservice.exchanges.ccxt_exchange import CcxtExchange

T = TypeVar("T")

# What errors are called that say that a request or its answer is not as it should be.
STUMBLED = frozenset({"BAD_REQUEST", "EXCHANGE_BAD_RESPONSE", "EXCHANGE_ERROR"})


async def _prepare_gate(connector: Any) -> None:
    """As ccxt does it on the way, but for taking every failure for an account of the older kind."""
    try:
        answer = await connector.privateAccountGetDetail()
        is_unified = connector.safe_integer(answer["key"], "mode") == 2
    except (ccxt.PermissionDenied, ccxt.NotSupported, ccxt.BadRequest):
        is_unified = False
    connector.options["unifiedAccount"] = is_unified


async def _prepare_kucoin(connector: Any) -> None:
    """ccxt learns this while it loads markets with credentials. Ours are loaded without any, and without this the
    balances of most accounts would seem empty.
    """
    await connector.load_migration_status()
    await connector.is_uta_enabled()


# What has to be known of an account before it is first asked for anything, so that nothing but an order is sent when
# one is placed.
_PREPARATIONS: Mapping[str, Callable[[Any], Awaitable[None]]] = {
    "gate": _prepare_gate,
    "gateeu": _prepare_gate,
    "kucoin": _prepare_kucoin,
    "kucoinfutures": _prepare_kucoin,
}


class CcxtSession:
    """One connector in use."""

    def __init__(self, exchange: "CcxtExchange", credentials: Credentials) -> None:
        self._exchange = exchange
        self._credentials: Credentials | None = credentials
        self._connector: Any = None  # ccxt ships no types
        self._is_prepared = False

    async def balances(self) -> Sequence[Balance]:
        answer = await self._ask(methodcaller("fetch_balance"))
        with understood(self._exchange.id):
            return convert.balances(self._exchange.id, answer)

    async def permissions(self) -> Permissions:
        return await self._ask(permissions.ask)

    async def place(self, ticket: Ticket) -> ExchangeOrder | Refusal:
        sending = Sending(ticket)
        try:
            market = await self._exchange.market(ticket.symbol)
            connector = await self._prepared()
            with self._exchange.boundary():
                ccxt_orders.refuse_unsendable(connector, market, ticket)
        except KeybridgeError as error:
            return Refusal(error)  # the order itself was not on its way yet
        try:
            answer = await self._exchange.call(connector, sending.send, sending.attempt)
            if refusal := ccxt_orders.rejected(self._exchange.id, answer):
                return Refusal(refusal)
            with understood(self._exchange.id):
                return convert_orders.placed(ticket, answer)
        except KeybridgeError as error:
            if not sending.is_surely_not_placed:
                raise
            return Refusal(sending.explained(error, self._exchange.id))

    async def cancel(self, order: Reference) -> None:
        await self._exchange.market(order.symbol)
        try:
            await self._call(lambda connector: ccxt_orders.cancel(connector, order))
        except (FailedPrecondition, InvalidArgument) as error:
            if error.reason == "CANCEL_PENDING":
                return
            if error.reason != "INVALID_ORDER":
                raise
            raise FailedPrecondition(
                f"{self._exchange.id} says that this order is over.",
                reason="ORDER_NOT_OPEN",
                metadata=error.metadata,
            ) from None

    async def order(self, order: Reference) -> ExchangeOrder | None:
        await self._exchange.market(order.symbol)
        answer = await self._call(lambda connector: ccxt_orders.find(connector, order))
        if answer is None:
            return None
        with understood(self._exchange.id):
            return convert_orders.order(answer)

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeOrder]:
        if symbol is not None:
            await self._exchange.market(symbol)
        answer = await self._call(lambda connector: ccxt_lists.open_orders(connector, symbol))
        with understood(self._exchange.id):
            return [convert_orders.order(each) for each in answer]

    async def trades(self, symbol: str | None, since: datetime, limit: int) -> Sequence[ExchangeTrade]:
        if symbol is not None:
            await self._exchange.market(symbol)
        answer = await self._call(lambda connector: ccxt_lists.trades(connector, symbol, since, limit))
        with understood(self._exchange.id):
            return [convert_orders.trade(each) for each in answer]

    async def positions(self) -> Sequence[Position]:
        if not self._exchange.has.get("fetchPositions"):
            return ()
        answer = await self._call(methodcaller("fetch_positions"))
        with understood(self._exchange.id):
            return convert_orders.positions(answer)

    async def cancel_all_after(self, pause: timedelta) -> None:
        if not self._exchange.has.get("cancelAllOrdersAfter"):
            raise FailedPrecondition(
                f"{self._exchange.id} has no switch that cancels orders later.",
                reason=NOT_SUPPORTED,
                metadata={"exchange": self._exchange.id},
            )
        await self._call(methodcaller("cancel_all_orders_after", round(pause.total_seconds() * 1000)))

    async def close(self) -> None:
        self._credentials = None
        self._connector = None

    async def _ask(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        """A call that proves the credentials, as it needs nothing else."""
        attempt = Attempt()
        try:
            return await self._call(ask, attempt)
        except (Unavailable, InvalidArgument, FailedPrecondition) as error:
            if attempt.sent or error.reason not in STUMBLED:
                raise
            # Nothing was sent, so that what ccxt stumbled over can only be the credentials.
            raise _malformed(self._exchange.id) from None

    async def _call(self, ask: Callable[[Any], Awaitable[T]], attempt: Attempt | None = None) -> T:
        return await self._exchange.call(await self._prepared(), ask, attempt)

    async def _prepared(self) -> Any:
        connector = await self._in_use()
        if (prepare := _PREPARATIONS.get(self._exchange.id)) and not self._is_prepared:
            await self._exchange.call(connector, prepare)
            self._is_prepared = True
        return connector

    async def _in_use(self) -> Any:
        loaded = await self._exchange.loaded()
        if self._credentials is None:
            raise Unavailable("This connector was closed.", reason="CONNECTOR_CLOSED")
        if self._connector is None:
            _refuse_unsendable(self._exchange.id, self._credentials)
            self._connector = templates.connect(loaded.template, self._credentials)
        elif self._connector.markets is not loaded.template.markets:
            templates.share_markets(loaded.template, self._connector)
        return self._connector


def _refuse_unsendable(exchange_id: str, credentials: Credentials) -> None:
    # These two travel in headers, which can hold neither.
    for value in (credentials.api_key, credentials.passphrase):
        if not value.isascii() or not (value.isprintable() or not value):
            raise _malformed(exchange_id)


def _malformed(exchange_id: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"These credentials are not of the form that {exchange_id} gives out; nothing was sent to it.",
        reason="CREDENTIALS_REJECTED",
        metadata={"exchange": exchange_id},
    )
