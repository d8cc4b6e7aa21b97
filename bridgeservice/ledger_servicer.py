"""TradingBridge's RPCs that read what is remembered of an account."""

from datetime import UTC, datetime, timedelta

from bridgeservice import conversion
from bridgeservice.history import History
from bridgeservice.store.snapshots import Range
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.validation import Checks
from servicekit.rpc.call import Call

MOST_POINTS = 1000
_A_DAY = timedelta(days=1)
_USUAL_RANGE = timedelta(days=30)
_SHORTEST_INTERVAL = timedelta(minutes=1)


class LedgerServicer:
    """Serves, of ``bridgeservice.v1.TradingBridge``, what asks no exchange."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def GetPortfolioHistory(
        self, request: pb.GetPortfolioHistoryRequest, _call: Call
    ) -> pb.GetPortfolioHistoryResponse:
        check = Checks()
        account_name = check.name("account_name", request.account_name)
        wanted = _range(check, request)
        check.refuse()
        points = await self._history.of(account_name, wanted)
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
