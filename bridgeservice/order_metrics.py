"""Orders as operators see them: a counter by what became of them, and a line for each of which that is not known."""

from prometheus_client import CollectorRegistry, Counter

from bridgeservice.enums import OrderState
from bridgeservice.order_records import Order
from servicekit import logs

_log = logs.get(__name__)


class OrderMetrics:
    """Counts them. Never with anything of an order but its id and where it is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._placed = Counter(
            "bridgeservice_orders",
            "Orders that were asked for, by what was known of them when they had been sent.",
            ["exchange", "state", "reason"],
            registry=registry,
        )
        self._resolved = Counter(
            "bridgeservice_orders_resolved",
            "Orders that were unknown, by what became of them.",
            ["exchange", "state", "reason"],
            registry=registry,
        )

    def placed(self, order: Order) -> None:
        """Sent, or refused before."""
        self._placed.labels(order.exchange, order.state.value, order.reason or "").inc()
        if order.state is OrderState.UNKNOWN:
            _log.warning("it is not known what became of an order", **_facts(order))

    def resolved(self, order: Order) -> None:
        self._resolved.labels(order.exchange, order.state.value, order.reason or "").inc()
        _log.info("found out what became of an order", state=order.state.value, **_facts(order))


def _facts(order: Order) -> dict[str, str]:
    return {
        "order_id": str(order.id),
        "exchange": order.exchange,
        "account": order.account_name,
        "connector": order.connector_name,
        "reason": order.reason or "",
    }
