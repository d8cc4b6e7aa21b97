"""A book of orders in memory, and an exchange's faults towards whoever places and cancels on it.

Whatever the fault, the book is the truth: what is on it has been placed.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, auto

from bridgeservice.enums import OrderState
from bridgeservice.exchanges.orders import (
    ExchangeOrder,
    ExchangeTrade,
    Position,
    Reference,
    Refusal,
    Ticket,
)
from servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    KeybridgeError,
    NotFound,
    Unavailable,
)


class Fault(Enum):
    """What goes wrong with the next request of a kind."""

    BEFORE = auto()
    """It fails, and nothing was done."""
    AFTER = auto()
    """It is done, and then it fails."""
    HANG = auto()
    """It is done, and then there is no answer, until the book's ``gate`` is opened."""
    REFUSE = auto()
    """The exchange says no."""
    STUMBLE = auto()
    """It is done, and then something is raised that nobody foresaw."""


@dataclass(eq=False)
class FakeBook:
    """All orders of one account on one exchange."""

    placed: dict[str, ExchangeOrder] = field(default_factory=dict)
    fills: list[ExchangeTrade] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By the name of the method."""
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    takes_client_ids: bool = True
    tells_by_client_id: bool = True
    """Whether an order can be asked for by the id that it went with."""
    tells_orders_of_fills: bool = True
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    hidden: bool = False
    """Whether questions are answered as if there were no orders, as happens right after they were placed."""
    fills_at_once: bool = False
    refusal: KeybridgeError = field(
        default_factory=lambda: FailedPrecondition(
            "There is too little for this.", reason="INSUFFICIENT_FUNDS"
        )
    )
    """What the exchange says where it says no."""
    tells_single_orders: bool = True
    """Whether an order can be asked for by the exchange's id."""
    wants_market: KeybridgeError | None = None
    """What questions about all markets at once are refused with."""
    tells_all_trades: bool = False
    """Whether those about trades are not, all the same."""
    separate: set[str] = field(default_factory=set)
    """Markets that are told of only when they are named."""
    ended_markets: set[str] = field(default_factory=set)
    """Markets that there are no more."""
    asked_trades: list[tuple[str | None, datetime]] = field(default_factory=list)
    """For which market trades were asked for, and from when on."""
    positions: Sequence[Position] = ()
    armed: list[timedelta] = field(default_factory=list)
    """What the dead man's switch was set to."""
    has_switch: bool = True
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def fail(self, method: str, *faults: Fault) -> None:
        """What the next requests of this kind meet, one after the other."""
        self.faults.setdefault(method, []).extend(faults)

    async def meet(self, method: str, act: Callable[[], None] = lambda: None) -> KeybridgeError | None:
        """Do it, or not, and fail or not, as was asked for; a refusal is returned."""
        self.asked.append(method)
        waiting = self.faults.get(method)
        fault = waiting.pop(0) if waiting else None
        if fault is Fault.REFUSE:
            return self.refusal
        if fault is Fault.BEFORE:
            raise Unavailable("It cannot be reached now.", reason="EXCHANGE_UNAVAILABLE")
        act()
        if fault is Fault.AFTER:
            raise DeadlineExceeded("It did not answer in time.", reason="EXCHANGE_TIMEOUT")
        if fault is Fault.HANG:
            await self.gate.wait()
        if fault is Fault.STUMBLE:
            raise LookupError(method)
        return None

    async def answer(self, method: str) -> None:
        """What a question meets that changes nothing."""
        if refused := await self.meet(method):
            raise refused

    def add(self, ticket: Ticket) -> ExchangeOrder:
        """Place an order, whoever does: also one that was made elsewhere."""
        order = ExchangeOrder(
            id=str(next(self._numbers)),
            symbol=ticket.symbol,
            state=OrderState.OPEN,
            client_order_id=ticket.client_order_id,
            side=ticket.side,
            type=ticket.type,
            time_in_force=ticket.time_in_force,
            amount=ticket.amount,
            price=ticket.price,
            filled="0",
            time=self.clock(),
        )
        self.placed[order.id] = order
        if self.fills_at_once:
            self.fill(order.id)
        return self.placed[order.id]

    def fill(self, order_id: str, price: str = "100") -> None:
        """Somebody takes all of it."""
        order = self.placed[order_id]
        assert order.side is not None
        cost = str(Decimal(order.amount) * Decimal(order.price or price))
        self.placed[order_id] = replace(
            order, state=OrderState.FILLED, filled=order.amount, average_price=order.price or price, cost=cost
        )
        self.fills.append(
            ExchangeTrade(
                f"t{order_id}", order_id, order.symbol, order.side, order.amount, order.price or price, cost,
                self.clock(),
            )
        )  # fmt: skip

    def fill_some(self, order_id: str, amount: str) -> None:
        """Somebody takes a part of it."""
        order = self.placed[order_id]
        assert order.side is not None
        filled = Decimal(order.filled or "0") + Decimal(amount)
        state = OrderState.FILLED if filled == Decimal(order.amount) else order.state
        self.placed[order_id] = replace(order, filled=str(filled), state=state)
        cost = str(Decimal(amount) * Decimal(order.price))
        number = f"t{order_id}-{len(self.fills)}"
        self.fills.append(
            ExchangeTrade(number, order_id, order.symbol, order.side, amount, order.price, cost, self.clock())
        )

    def end(self, order_id: str) -> None:
        self.placed[order_id] = replace(self.placed[order_id], state=OrderState.CANCELED)

    def find(self, wanted: Reference) -> ExchangeOrder | None:
        if self.hidden:
            return None
        if wanted.id and self.tells_single_orders:
            return self.placed.get(wanted.id)
        if not (wanted.client_order_id and self.takes_client_ids and self.tells_by_client_id):
            raise FailedPrecondition("It can't be asked so.", reason="NOT_SUPPORTED")
        found = [each for each in self.placed.values() if each.client_order_id == wanted.client_order_id]
        return found[0] if found else None

    def is_told(self, symbol: str, wanted: str | None) -> bool:
        """Whether a question about a market, or about all, is answered with what is on this one."""
        return wanted == symbol or (wanted is None and symbol not in self.separate | self.ended_markets)

    def refuse(self, wanted: str | None, *, all_at_once: bool = False) -> None:
        """What a question about a market, or about all, may be told instead."""
        if wanted is None and self.wants_market is not None and not all_at_once:
            raise self.wants_market
        if wanted in self.ended_markets:
            raise InvalidArgument("There is no such market.", reason="UNKNOWN_SYMBOL")

    @property
    def open(self) -> list[ExchangeOrder]:
        return [each for each in self.placed.values() if each.state is OrderState.OPEN]


class FakeTrading:
    """What a session has to do with orders."""

    book: FakeBook

    async def place(self, ticket: Ticket) -> ExchangeOrder | Refusal:
        made: list[ExchangeOrder] = []
        refused = await self.book.meet("place", lambda: made.append(self.book.add(ticket)))
        return Refusal(refused) if refused else self.book.placed[made[0].id]

    async def cancel(self, order: Reference) -> None:
        def act() -> None:
            book = self.book
            found = book.placed.get(order.id) if order.id and not book.hidden else book.find(order)
            if found is None:
                raise NotFound("There is no such order.", reason="ORDER_NOT_FOUND")
            if found.state is not OrderState.OPEN:
                raise FailedPrecondition("It is not open.", reason="ORDER_NOT_OPEN")
            self.book.end(found.id)

        if refused := await self.book.meet("cancel", act):
            raise refused

    async def order(self, order: Reference) -> ExchangeOrder | None:
        await self.book.answer("order")
        self.book.refuse(order.symbol)
        return self.book.find(order)

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeOrder]:
        await self.book.answer("open_orders")
        book = self.book
        book.refuse(symbol)
        return [] if book.hidden else [each for each in book.open if book.is_told(each.symbol, symbol)]

    async def trades(self, symbol: str | None, since: datetime, limit: int) -> Sequence[ExchangeTrade]:
        book = self.book
        book.asked_trades.append((symbol, since))
        await book.answer("trades")
        book.refuse(symbol, all_at_once=book.tells_all_trades)
        found = [each for each in book.fills if book.is_told(each.symbol, symbol) and each.time >= since]
        if not book.tells_orders_of_fills:
            found = [replace(each, order_id="") for each in found]
        return [] if book.hidden else found[:limit]

    async def positions(self) -> Sequence[Position]:
        await self.book.answer("positions")
        return self.book.positions

    async def cancel_all_after(self, pause: timedelta) -> None:
        await self.book.answer("cancel_all_after")
        if not self.book.has_switch:
            raise FailedPrecondition("There is no such switch.", reason="NOT_SUPPORTED")
        self.book.armed.append(pause)
