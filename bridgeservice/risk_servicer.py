"""TradingBridge's RPCs about risk rules and kill switches."""

from collections.abc import Sequence
from datetime import UTC, datetime

from bridgeservice import order_conversion, risk_conversion
from bridgeservice.cancellation import Cancellation
from bridgeservice.exchange_calls import time_to_answer
from bridgeservice.order_records import Filter, Order
from bridgeservice.risk import Risk
from bridgeservice.risk_rules import KillSwitch
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.validation import Checks
from servicekit.rpc.call import Call

LONGEST_REASON = 500


class RiskServicer:
    """The part of ``BridgeServicer`` that serves what bounds trading."""

    _risk: Risk
    _cancellation: Cancellation

    async def SetRiskRules(self, request: pb.SetRiskRulesRequest, _call: Call) -> pb.SetRiskRulesResponse:
        check = Checks()
        account_name, connector_name = _place(check, request)
        rules = risk_conversion.rules(check, request.rules)
        check.refuse()
        held = await self._risk.set_rules(account_name, connector_name, rules)
        return pb.SetRiskRulesResponse(rules=[risk_conversion.rule(each) for each in held.rules])

    async def GetRiskRules(self, request: pb.GetRiskRulesRequest, _call: Call) -> pb.GetRiskRulesResponse:
        check = Checks()
        account_name, connector_name = _place(check, request)
        check.refuse()
        held = await self._risk.in_force(account_name, connector_name)
        return pb.GetRiskRulesResponse(
            rules=[risk_conversion.rule(each) for each in held.rules],
            kill_switches=[risk_conversion.kill_switch(each) for each in held.kill_switches],
        )

    async def EngageKillSwitch(
        self, request: pb.EngageKillSwitchRequest, call: Call
    ) -> pb.EngageKillSwitchResponse:
        check = Checks()
        account_name, connector_name = _place(check, request)
        reason = check.text("reason", request.reason, longest=LONGEST_REASON)
        check.refuse()
        engaged = await self._risk.engage(
            KillSwitch(account_name, connector_name, reason, request.cancel_open_orders, datetime.now(UTC))
        )
        orders: Sequence[Order] = ()
        if request.cancel_open_orders:
            # That it is engaged is the answer, also where the exchange does not let an order be cancelled.
            orders, _ = await self._cancellation.try_all(
                Filter(account_name, connector_name), within=time_to_answer(call.time_remaining())
            )
        return pb.EngageKillSwitchResponse(
            kill_switch=risk_conversion.kill_switch(engaged),
            orders=[order_conversion.order(each) for each in orders],
        )

    async def ReleaseKillSwitch(
        self, request: pb.ReleaseKillSwitchRequest, _call: Call
    ) -> pb.ReleaseKillSwitchResponse:
        check = Checks()
        account_name, connector_name = _place(check, request)
        check.refuse()
        await self._risk.release(account_name, connector_name)
        return pb.ReleaseKillSwitchResponse()


def _place(
    check: Checks,
    request: pb.SetRiskRulesRequest
    | pb.GetRiskRulesRequest
    | pb.EngageKillSwitchRequest
    | pb.ReleaseKillSwitchRequest,
) -> tuple[str, str]:
    """The account, and its connector or none."""
    return check.name("account_name", request.account_name), check.optional_name(
        "connector_name", request.connector_name
    )
