"""Holds the journal against the exchanges' books and what traders were told, and counts what should be nought."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, text

from servicekit.database.engine import Database
from tests.evidence.order_traders import Trader
from tests.simulator.accounts import Order
from tests.simulator.simulator import Simulator

JOURNAL = """
SELECT account_name, request_id::text AS request_id, o.id::text AS id, exchange_order_id, state, reason, amount, price,
       filled
  FROM bridge.orders o JOIN bridge.accounts a ON a.id = o.account_id
"""


@dataclass
class Findings:
    """What is wrong, by kind. All are nought where an order is never sent twice and never forgotten."""

    orders_doubled: int = 0
    """More orders are on a book than were asked for, of one look or under one client order id."""
    orders_lost: int = 0
    """On a book, and in no row of the journal."""
    orders_imagined: int = 0
    """In the journal as placed, and on no book."""
    orders_told_wrongly: int = 0
    """In another state, or filled otherwise, than on the book."""
    orders_unsettled: int = 0
    """Nobody knows in the end what became of them."""
    answers_lost: int = 0
    """A trader was told of an order that is not in the journal, or there with another id of the exchange."""
    answers_doubled: int = 0
    """Answers to one request id named several orders."""
    refusals: int = 0
    unforeseen_errors_logged: int = 0

    def wrong(self) -> dict[str, int]:
        return {name: count for name, count in asdict(self).items() if count}


async def compare(
    simulator: Simulator, traders: Sequence[Trader], database: Database, said: Sequence[str] = ()
) -> Findings:
    """``said`` is what the services logged."""
    async with database.autocommit() as connection:
        rows = (await connection.execute(text(JOURNAL))).all()
    found = Findings(unforeseen_errors_logged=sum("unforeseen" in line for line in said))
    for trader in traders:
        book = simulator.account(trader.keys).orders
        _compare(found, trader, book, [row for row in rows if row.account_name == trader.account])
    return found


def _compare(found: Findings, trader: Trader, book: dict[str, Order], rows: Sequence[Row[Any]]) -> None:
    found.refusals += trader.refused.total()
    wanted = Counter(intent.looks for intent in trader.intents.values())
    placed = Counter(_looks(order) for order in book.values())
    found.orders_doubled += (placed - wanted).total()
    named = Counter(order.client_id for order in book.values() if order.client_id)
    found.orders_doubled += sum(count - 1 for count in named.values())
    known = {row.exchange_order_id: row for row in rows if row.exchange_order_id}
    found.orders_lost += len(book.keys() - known.keys())
    found.orders_imagined += len(known.keys() - book.keys())
    found.orders_imagined += sum(row.state == "open" and not row.exchange_order_id for row in rows)
    for order_id in known.keys() & book.keys():
        row, order = known[order_id], book[order_id]
        told = (row.state, row.filled, row.amount, row.price)
        found.orders_told_wrongly += told != (order.status.value, order.filled, order.amount, order.price)
    found.orders_unsettled += sum(row.state in ("pending", "unknown") for row in rows)
    _compare_answers(found, trader, {row.request_id: row for row in rows})


def _compare_answers(found: Findings, trader: Trader, rows: dict[str, Row[Any]]) -> None:
    for request_id, intent in trader.intents.items():
        found.answers_doubled += len(intent.answers) > 1
        row = rows.get(request_id)
        ids, exchange_ids = ({row.id}, {row.exchange_order_id}) if row else (set(), set())
        found.answers_lost += not (intent.answers <= ids and intent.exchange_ids <= exchange_ids)


def _looks(order: Order) -> str:
    amount: Decimal = order.amount
    return f"{amount.normalize():f} at {'market' if order.price is None else f'{order.price:.2f}'}"
