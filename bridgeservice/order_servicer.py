"""TradingBridge's RPCs for orders: check, convert, call one use case, convert back."""

from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from bridgeservice import conversion, order_conversion
from bridgeservice.cancellation import Cancellation
from bridgeservice.exchange_calls import time_to_answer
from bridgeservice.list_servicer import ListServicer
from bridgeservice.order_records import Filter
from bridgeservice.orders import Orders
from bridgeservice.positions import Positions, PositionWish
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.validation import Checks
from servicekit import paging
from servicekit.rpc.call import Call


class OrderServicer(ListServicer):
    """The part of ``BridgeServicer`` that serves orders."""

    _orders: Orders
    _positions: Positions
    _cancellation: Cancellation
    _order_params: Collection[str]
    """What may be said of an order beyond the contract."""

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, call: Call) -> pb.PlaceOrderResponse:
        check = Checks()
        wish = order_conversion.wish(check, request, self._order_params)
        check.refuse()
        order = await self._orders.place(wish, within=time_to_answer(call.time_remaining()))
        return pb.PlaceOrderResponse(order=order_conversion.order(order))

    async def CancelOrder(self, request: pb.CancelOrderRequest, call: Call) -> pb.CancelOrderResponse:
        account_name, order_id = _order(request)
        within = time_to_answer(call.time_remaining())
        order = await self._cancellation.cancel(account_name, order_id, within=within)
        return pb.CancelOrderResponse(order=order_conversion.order(order))

    async def CancelAllOrders(
        self, request: pb.CancelAllOrdersRequest, call: Call
    ) -> pb.CancelAllOrdersResponse:
        check = Checks()
        wanted = _filter(check, request)
        check.refuse()
        within = time_to_answer(call.time_remaining())
        orders = await self._cancellation.cancel_all(wanted, within=within)
        return pb.CancelAllOrdersResponse(orders=[order_conversion.order(each) for each in orders])

    async def GetOrder(self, request: pb.GetOrderRequest, _call: Call) -> pb.GetOrderResponse:
        order = await self._orders.get(*_order(request))
        return pb.GetOrderResponse(order=order_conversion.order(order))

    async def ListOrders(self, request: pb.ListOrdersRequest, _call: Call) -> pb.ListOrdersResponse:
        check = Checks()
        wanted = replace(_filter(check, request), open_only=request.open_only)
        size = check.page_size(request.page_size)
        listing, place = self._place(check, request, request.page_token)
        check.refuse()
        page = await self._orders.page(wanted, after=paging.unpacked(place), size=size)
        return pb.ListOrdersResponse(
            orders=[order_conversion.order(each) for each in page.rows],
            next_page_token=self._tokens.write(paging.packed(page.next), listing),
        )

    async def ListPositions(self, request: pb.ListPositionsRequest, call: Call) -> pb.ListPositionsResponse:
        check = Checks()
        start = request.start_time if request.HasField("start_time") else None
        wish = PositionWish(
            account_name=check.name("account_name", request.account_name),
            connector_name=check.name("connector_name", request.connector_name),
            symbol=check.symbol("symbol", request.symbol) if request.symbol else "",
            since=conversion.moment(check, "start_time", start) if start else None,
        )
        size = check.page_size(request.page_size)
        listing, after = self._name(check, request, request.page_token)
        check.refuse()
        within = time_to_answer(call.time_remaining())
        page = await self._positions.page(wish, after=after, size=size, within=within)
        return pb.ListPositionsResponse(
            positions=[order_conversion.position(each) for each in page.rows],
            next_page_token=self._next(page.next, listing),
        )


def _order(request: pb.GetOrderRequest | pb.CancelOrderRequest) -> tuple[str, UUID]:
    """The account and the id of one order."""
    check = Checks()
    account_name = check.name("account_name", request.account_name)
    order_id = check.id("order_id", request.order_id)
    check.refuse()
    return account_name, order_id


def _filter(check: Checks, request: pb.ListOrdersRequest | pb.CancelAllOrdersRequest) -> Filter:
    return Filter(
        account_name=check.name("account_name", request.account_name),
        connector_name=check.optional_name("connector_name", request.connector_name),
        symbol=check.symbol("symbol", request.symbol) if request.symbol else "",
    )
