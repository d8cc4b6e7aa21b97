"""TradingBridge's RPCs that read what is remembered of an account."""

from datetime import UTC, datetime, timedelta

from bridgeservice import conversion
from bridgeservice.history import History
from bridgeservice.list_servicer import ListServicer
from bridgeservice.records import TradeFilter
from bridgeservice.store.snapshots import Range
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.validation import Checks
from servicekit import paging
from servicekit.rpc.call import Call

MOST_POINTS = 1000
_A_DAY = timedelta(days=1)
_USUAL_RANGE = timedelta(days=30)
_SHORTEST_INTERVAL = timedelta(minutes=1)


class LedgerServicer(ListServicer):
    """The part of ``BridgeServicer`` that serves what is remembered."""

    _history: History

    async def ListTrades(self, request: pb.ListTradesRequest, _call: Call) -> pb.ListTradesResponse:
        check = Checks()
        account_name = check.name("account_name", request.account_name)
        start = request.start_time if request.HasField("start_time") else None
        wanted = TradeFilter(
            connector_name=check.optional_name("connector_name", request.connector_name),
            symbol=check.symbol("symbol", request.symbol) if request.symbol else "",
            since=conversion.moment(check, "start_time", start) if start else None,
        )
        size = check.page_size(request.page_size)
        listing, place = self._place(check, request, request.page_token)
        check.refuse()
        page = await self._history.trades(account_name, wanted, after=paging.unpacked(place), size=size)
        return pb.ListTradesResponse(
            trades=[conversion.trade(each) for each in page.rows],
            next_page_token=self._tokens.write(paging.packed(page.next), listing),
        )

    async def GetPortfolioHistory(
        self, request: pb.GetPortfolioHistoryRequest, _call: Call
    ) -> pb.GetPortfolioHistoryResponse:
        check = Checks()
        account_name = check.name("account_name", request.account_name)
        wanted = _range(check, request)
        check.refuse()
        points = await self._history.points(account_name, wanted)
        return pb.GetPortfolioHistoryResponse(points=[conversion.point(each) for each in points])


def _range(check: Checks, request: pb.GetPortfolioHistoryRequest) -> Range:
    end = datetime.now(UTC)
    if request.HasField("end_time"):
        end = conversion.moment(check, "end_time", request.end_time)
    start = None
    if request.HasField("start_time"):
        start = conversion.moment(check, "start_time", request.start_time)
    interval = conversion.span(check, "interval", request.interval) or _A_DAY
    wanted = Range(start or _before(end, _USUAL_RANGE), end, interval)
    if interval < _SHORTEST_INTERVAL:
        check.add("interval", "is shorter than a minute; 0 means one day")
    elif wanted.end <= wanted.start:
        check.add("end_time", "is not after start_time")
    elif wanted.end - wanted.start > interval * MOST_POINTS:
        check.add(
            "interval", f"would make more than {MOST_POINTS} points: take a longer one, or a shorter range"
        )
    return wanted


def _before(time: datetime, span: timedelta) -> datetime:
    """So much earlier, as far as there are times."""
    first = datetime.min.replace(tzinfo=UTC)
    return max(first + span, time) - span
