"""The simulator as a test uses it: five exchanges on one loopback port, with everything a test may turn."""

from collections.abc import Iterable, Mapping
from decimal import Decimal, localcontext
from types import TracebackType
from typing import Self

from tests.simulator.accounts import Account, AccountKeys, Order, Permission
from tests.simulator.binance import Binance
from tests.simulator.dialect import Dialect
from tests.simulator.faults import Faults
from tests.simulator.gate import Gate
from tests.simulator.kraken import Kraken
from tests.simulator.kucoin import Kucoin
from tests.simulator.markets import NAMED, Market, markets
from tests.simulator.okx import Okx
from tests.simulator.seen import Seen
from tests.simulator.server import Server
from tests.simulator.venue import DIGITS, Venue

DIALECTS: tuple[type[Dialect], ...] = (Binance, Kraken, Okx, Kucoin, Gate)
EXCHANGES = tuple(dialect.name for dialect in DIALECTS)
READ_AND_TRADE = (Permission.READ, Permission.TRADE)


class Simulator:
    """Serves while it is entered. ``market_count`` is how many markets each exchange has."""

    def __init__(self, *, port: int = 0, market_count: int = len(NAMED)) -> None:
        known = markets(market_count)
        self.dialects = {dialect.name: dialect(_venue(dialect, known)) for dialect in DIALECTS}
        self.venues = {name: dialect.venue for name, dialect in self.dialects.items()}
        self.faults = {name: Faults() for name in self.dialects}
        self.seen = Seen()
        self._server = Server(self, port)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """From now on nobody listens; what hung is let go."""
        for faults in self.faults.values():
            faults.clear()
        await self._server.stop()

    async def settled(self) -> None:
        """Wait until all that was held, and is let go, has been done, also for callers that went away."""
        await self._server.settled()

    @property
    def port(self) -> int:
        return self._server.port

    def url(self, exchange: str) -> str:
        """What stands in for scheme and host in all URLs of this exchange."""
        return f"http://127.0.0.1:{self.port}/{exchange}"

    @property
    def urls(self) -> dict[str, str]:
        """Of every exchange: what the bridge's setting for URLs wants."""
        return {exchange: self.url(exchange) for exchange in self.dialects}

    def add_account(
        self,
        exchange: str,
        *,
        balances: Mapping[str, str] | None = None,
        permissions: Iterable[Permission] = READ_AND_TRADE,
    ) -> AccountKeys:
        """A new account with these holdings, and a key to it. Amounts keep every digit."""
        return self.venues[exchange].add_account(balances or {}, permissions)

    def account(self, keys: AccountKeys) -> Account:
        """The account behind a key, revoked or not."""
        return self.venues[keys.exchange].accounts[keys.api_key]

    def revoke(self, keys: AccountKeys) -> None:
        """From now on the exchange does not know this key."""
        self.account(keys).is_revoked = True

    def fill(self, exchange: str, order_id: str, amount: str | None = None) -> None:
        """Somebody takes a resting order, or so much of it."""
        with localcontext(prec=DIGITS):
            self.venues[exchange].fill(order_id, None if amount is None else Decimal(amount))

    def place(
        self,
        keys: AccountKeys,
        symbol: str,
        side: str,
        amount: str,
        price: str | None = None,
        client_id: str = "",
    ) -> Order:
        """An order of this account that was made elsewhere: on the exchange's own site, or by another program."""
        venue = self.venues[keys.exchange]
        with localcontext(prec=DIGITS):
            return venue.place(
                self.account(keys), venue.markets[symbol], side, amount=Decimal(amount),
                price=None if price is None else Decimal(price), client_id=client_id,
            )  # fmt: skip

    def orders(self, exchange: str) -> list[Order]:
        """The book: all orders that were ever accepted, whoever made them, the earliest first."""
        venue = self.venues[exchange]
        for account in venue.accounts.values():
            venue.keep_time(account)
        found = [order for account in venue.accounts.values() for order in account.select()]
        return sorted(found, key=lambda order: order.number)

    def set_liquidity(self, exchange: str, symbol: str, amount: str | None) -> None:
        """From now on so much of each order that crosses this book is filled at once; None: all of it."""
        liquidity = self.venues[exchange].liquidity
        if amount is None:
            liquidity.pop(symbol, None)
        else:
            liquidity[symbol] = Decimal(amount)

    def set_price(self, exchange: str, symbol: str, price: str) -> None:
        """Move the book of a market. Resting orders that it crosses are filled."""
        with localcontext(prec=DIGITS):
            self.venues[exchange].set_price(symbol, Decimal(price))


def _venue(dialect: type[Dialect], known: list[Market]) -> Venue:
    return Venue(
        dialect.name,
        [*known, *dialect.contracts],
        dialect.order_id,
        fees_in_quote=dialect.fees_in_quote,
        limits=dialect.limits,
        client_ids=dialect.client_ids,
    )
