"""The markets that the simulated exchanges have: a few by name, and as many made-up ones as a benchmark wants."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Market:
    """One market. ``price`` is where its book starts.

    A perpetual contract, settled in its quote asset, has a ``contract_size``: how much of the base one contract is.
    Its amounts are contracts.
    """

    base: str
    quote: str
    price: Decimal
    price_places: int
    amount_places: int
    contract_size: Decimal | None = None

    @property
    def symbol(self) -> str:
        spot = f"{self.base}/{self.quote}"
        return spot if self.contract_size is None else f"{spot}:{self.quote}"

    def cost(self, amount: Decimal, price: Decimal) -> Decimal:
        """What so much of it is worth at that price."""
        return amount * price * (1 if self.contract_size is None else self.contract_size)

    @property
    def price_step(self) -> Decimal:
        return Decimal(1).scaleb(-self.price_places)

    @property
    def amount_step(self) -> Decimal:
        return Decimal(1).scaleb(-self.amount_places)


NAMED = (
    Market("BTC", "USDT", Decimal(60000), 2, 8),
    Market("ETH", "USDT", Decimal(3000), 2, 6),
    Market("ETH", "BTC", Decimal("0.05"), 6, 6),
    Market("SOL", "USDT", Decimal(150), 2, 4),
    Market("XRP", "USDT", Decimal("0.5"), 5, 2),
    Market("SHARP", "USDT", Decimal("1.25"), 4, 2),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an exchange takes on all of its markets, beside their steps; the least amount and price is one step."""

    least_cost: Decimal = Decimal(0)
    most_cost: Decimal = Decimal("Infinity")
    most_amount: Decimal = Decimal("Infinity")
    most_price: Decimal = Decimal("Infinity")


def markets(count: int = len(NAMED)) -> list[Market]:
    """So many markets; those beyond the named ones are called COIN0001/USDT and so on."""
    made_up = (
        Market(f"COIN{number:04}", "USDT", Decimal(number), 4, 4)
        for number in range(1, count - len(NAMED) + 1)
    )
    return [*NAMED[:count], *made_up]


def plain(number: Decimal) -> str:
    """Every digit, and no exponent."""
    return format(number, "f")
