"""TradingBridge's RPCs: check, convert, call one use case, convert back. Those for orders, and for
what bounds and remembers them, have files of their own.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from bridgeservice import conversion, tenancy
from bridgeservice.accounts import Accounts
from bridgeservice.cancellation import Cancellation
from bridgeservice.directory import Directory
from bridgeservice.exchange_calls import time_to_answer
from bridgeservice.history import History
from bridgeservice.ledger_servicer import LedgerServicer
from bridgeservice.market_data import CandleWish, MarketData
from bridgeservice.order_servicer import OrderServicer
from bridgeservice.orders import Orders
from bridgeservice.portfolio import Portfolios, Wish
from bridgeservice.positions import Positions
from bridgeservice.records import Connector
from bridgeservice.risk import Risk
from bridgeservice.risk_servicer import RiskServicer
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.validation import Checks
from bridgeservice.validation import account_name as _account_name
from bridgeservice.verification import Verification, warning
from servicekit.catalogue import Catalogue
from servicekit.paging import PageTokens
from servicekit.rpc.call import Call


@dataclass(frozen=True, slots=True)
class Identity:
    """Which run of the bridge this is."""

    instance_id: str
    start_time: datetime
    version: str
    egress_address: str


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the servicer calls."""

    accounts: Accounts
    verification: Verification
    portfolios: Portfolios
    market_data: MarketData
    directory: Directory
    orders: Orders
    risk: Risk
    history: History
    cancellation: Cancellation
    positions: Positions


class BridgeServicer(OrderServicer, LedgerServicer, RiskServicer):
    """Serves ``bridgeservice.v1.TradingBridge``; a method that is not here answers UNIMPLEMENTED."""

    def __init__(
        self,
        identity: Identity,
        use_cases: UseCases,
        catalogue: Catalogue,
        tokens: PageTokens,
        *,
        order_params: Collection[str] = (),
    ) -> None:
        self._identity = identity
        self._accounts = use_cases.accounts
        self._verification = use_cases.verification
        self._portfolios = use_cases.portfolios
        self._market_data = use_cases.market_data
        self._directory = use_cases.directory
        self._orders = use_cases.orders
        self._risk = use_cases.risk
        self._history = use_cases.history
        self._cancellation = use_cases.cancellation
        self._positions = use_cases.positions
        self._order_params = order_params
        self._catalogue = catalogue
        self._tokens = tokens

    async def GetBridgeInfo(self, _request: pb.GetBridgeInfoRequest, call: Call) -> pb.GetBridgeInfoResponse:
        account_count, connector_count = self._accounts.count(tenancy.accounts_of(call))
        return pb.GetBridgeInfoResponse(
            instance_id=self._identity.instance_id,
            start_time=self._identity.start_time,
            version=self._identity.version,
            account_count=account_count,
            connector_count=connector_count,
            egress_address=self._identity.egress_address,
        )

    async def ListExchanges(self, request: pb.ListExchangesRequest, call: Call) -> pb.ListExchangesResponse:
        check = Checks()
        size = check.page_size(request.page_size)
        listing, after = self._name(check, request, request.page_token)
        check.refuse()
        page = await self._directory.page(after, size, within=_time(call))
        return pb.ListExchangesResponse(
            exchanges=[conversion.exchange(each) for each in page.rows],
            next_page_token=self._next(page.next, listing),
        )

    async def CreateAccount(self, request: pb.CreateAccountRequest, _call: Call) -> pb.CreateAccountResponse:
        account = self._accounts.create(_account_name(request.account_name))
        return pb.CreateAccountResponse(account=conversion.account(account, self._identity.instance_id))

    async def GetAccount(self, request: pb.GetAccountRequest, _call: Call) -> pb.GetAccountResponse:
        account = self._accounts.get(_account_name(request.account_name))
        return pb.GetAccountResponse(account=conversion.account(account, self._identity.instance_id))

    async def ListAccounts(self, request: pb.ListAccountsRequest, call: Call) -> pb.ListAccountsResponse:
        check = Checks()
        size = check.page_size(request.page_size)
        listing, after = self._name(check, request, request.page_token)
        check.refuse()
        page = self._accounts.page(after, size, tenancy.accounts_of(call))
        return pb.ListAccountsResponse(
            accounts=[conversion.account(each, self._identity.instance_id) for each in page.rows],
            next_page_token=self._next(page.next, listing),
        )

    async def DeleteAccount(self, request: pb.DeleteAccountRequest, _call: Call) -> pb.DeleteAccountResponse:
        self._accounts.delete(_account_name(request.account_name))
        return pb.DeleteAccountResponse()

    async def AddConnector(self, request: pb.AddConnectorRequest, call: Call) -> pb.AddConnectorResponse:
        check = Checks()
        exchange = check.served(request.exchange, self._catalogue)
        environment = conversion.environment(check, request.environment)
        credentials = conversion.credentials(request.credentials)
        check.credentials("credentials", credentials)
        check.complete("credentials", credentials, exchange)
        pushed = Connector(
            account_name=check.name("account_name", request.account_name),
            name=check.name("connector_name", request.connector_name),
            exchange=exchange.id if exchange else "",
            environment=check.environment("environment", environment, exchange),
            credentials=credentials,
            revision=check.revision(request.revision),
        )
        check.refuse()
        if not request.verify:
            held = self._accounts.add(pushed)
            return pb.AddConnectorResponse(connector=conversion.connector(held, self._identity.instance_id))
        held, permissions = await self._verification.add(pushed, within=_time(call))
        return pb.AddConnectorResponse(
            connector=conversion.connector(held, self._identity.instance_id),
            permissions=conversion.permissions(permissions),
            warning=warning(permissions),
        )

    async def GetConnector(self, request: pb.GetConnectorRequest, _call: Call) -> pb.GetConnectorResponse:
        found = self._connector(request)
        self._accounts.confirm(found)
        return pb.GetConnectorResponse(
            connector=conversion.connector(found, self._identity.instance_id),
            permissions=conversion.permissions(found.permissions),
        )

    async def VerifyConnector(
        self, request: pb.VerifyConnectorRequest, call: Call
    ) -> pb.VerifyConnectorResponse:
        found = self._connector(request, request.revision)
        permissions = await self._verification.verify(found, within=_time(call))
        return pb.VerifyConnectorResponse(
            connector=conversion.connector(found, self._identity.instance_id),
            permissions=conversion.permissions(permissions),
            warning=warning(permissions),
        )

    async def RemoveConnector(
        self, request: pb.RemoveConnectorRequest, _call: Call
    ) -> pb.RemoveConnectorResponse:
        check = Checks()
        account_name = check.name("account_name", request.account_name)
        name = check.name("connector_name", request.connector_name)
        revision = check.revision(request.revision)
        check.refuse()
        self._accounts.remove(account_name, name, revision)
        return pb.RemoveConnectorResponse()

    async def ListConnectors(
        self, request: pb.ListConnectorsRequest, _call: Call
    ) -> pb.ListConnectorsResponse:
        check = Checks()
        account_name = check.name("account_name", request.account_name)
        size = check.page_size(request.page_size)
        listing, after = self._name(check, request, request.page_token)
        check.refuse()
        page = self._accounts.connectors(account_name, after, size)
        return pb.ListConnectorsResponse(
            connectors=[conversion.connector(each, self._identity.instance_id) for each in page.rows],
            next_page_token=self._next(page.next, listing),
        )

    async def GetPortfolio(self, request: pb.GetPortfolioRequest, call: Call) -> pb.GetPortfolioResponse:
        check = Checks()
        wish = Wish(
            account_name=check.name("account_name", request.account_name),
            connector_names=check.names("connector_names", list(request.connector_names)),
            revisions=check.revisions("revisions", dict(request.revisions), request.connector_names),
            quote_asset=check.asset("quote_asset", request.quote_asset),
            max_age=conversion.max_age(check, request.max_age),
            within=_time(call),
        )
        check.refuse()
        portfolio = await self._portfolios.get(wish)
        return pb.GetPortfolioResponse(
            connectors=[conversion.holding(each) for each in portfolio.holdings],
            unpriced_assets=portfolio.unpriced_assets,
            complete=portfolio.complete,
        )

    async def GetTicker(self, request: pb.GetTickerRequest, call: Call) -> pb.GetTickerResponse:
        check = Checks()
        exchange_id = self._exchange(check, request.exchange)
        symbol = check.symbol("symbol", request.symbol)
        check.refuse()
        ticker = await self._market_data.ticker(exchange_id, symbol, within=_time(call))
        return pb.GetTickerResponse(ticker=conversion.ticker(ticker, exchange_id))

    async def ListTickers(self, request: pb.ListTickersRequest, call: Call) -> pb.ListTickersResponse:
        check = Checks()
        exchange_id = self._exchange(check, request.exchange)
        named = check.symbols(list(request.symbols))
        size = check.page_size(request.page_size)
        listing, after = self._name(check, request, request.page_token)
        check.refuse()
        page = await self._market_data.tickers(exchange_id, named, after=after, size=size, within=_time(call))
        return pb.ListTickersResponse(
            tickers=[conversion.ticker(each, exchange_id) for each in page.rows],
            next_page_token=self._next(page.next, listing),
        )

    async def GetOrderBook(self, request: pb.GetOrderBookRequest, call: Call) -> pb.GetOrderBookResponse:
        check = Checks()
        exchange_id = self._exchange(check, request.exchange)
        symbol = check.symbol("symbol", request.symbol)
        depth = check.depth(request.depth)
        check.refuse()
        book = await self._market_data.order_book(exchange_id, symbol, depth=depth, within=_time(call))
        return pb.GetOrderBookResponse(order_book=conversion.order_book(book, exchange_id))

    async def ListCandles(self, request: pb.ListCandlesRequest, call: Call) -> pb.ListCandlesResponse:
        check = Checks()
        exchange_id = self._exchange(check, request.exchange)
        listing, place = self._place(check, request, request.page_token)
        start = request.start_time if request.HasField("start_time") else None
        wish = CandleWish(
            symbol=check.symbol("symbol", request.symbol),
            timeframe=check.timeframe(request.timeframe),
            start=conversion.moment(check, "start_time", start) if start else None,
            after=conversion.time_of_place(place),
            size=check.page_size(request.page_size),
        )
        check.refuse()
        page = await self._market_data.candles(exchange_id, wish, within=_time(call))
        return pb.ListCandlesResponse(
            candles=[conversion.candle(each) for each in page.rows],
            next_page_token=self._tokens.write(conversion.place_of_time(page.next), listing),
        )

    async def ListMarkets(self, request: pb.ListMarketsRequest, call: Call) -> pb.ListMarketsResponse:
        check = Checks()
        exchange_id = self._exchange(check, request.exchange)
        named = check.symbols(list(request.symbols))
        size = check.page_size(request.page_size)
        listing, after = self._name(check, request, request.page_token)
        check.refuse()
        page = await self._market_data.markets(exchange_id, named, after=after, size=size, within=_time(call))
        return pb.ListMarketsResponse(
            markets=[conversion.market(each, exchange_id) for each in page.rows],
            next_page_token=self._next(page.next, listing),
        )

    def _exchange(self, check: Checks, name: str) -> str:
        """The id of an exchange that is asked for by any of its names."""
        found = check.served(name, self._catalogue)
        return found.id if found else ""

    def _connector(
        self, request: pb.GetConnectorRequest | pb.VerifyConnectorRequest, revision: int = 0
    ) -> Connector:
        check = Checks()
        if revision < 0:
            check.add("revision", "is not negative")
        account_name = check.name("account_name", request.account_name)
        name = check.name("connector_name", request.connector_name)
        check.refuse()
        return self._accounts.connector(account_name, name, revision or None)


def _time(call: Call) -> float | None:
    return time_to_answer(call.time_remaining())
