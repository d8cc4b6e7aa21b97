"""What a plug-in answers is checked before it is taken into the answer about all connectors."""

import io

import pytest

from bridgeservice.exchanges.exchange import Balance
from bridgeservice.v1.portfolio_pb2 import ConnectorStatus
from tests.support.bridge_service import Bridge


@pytest.mark.parametrize("amount", [1.5, None, "1e-8", "-0.0", "NaN", " 1"])
async def test_a_balance_of_another_form_is_an_error_of_its_connector_alone(
    bridge: Bridge, output: io.StringIO, amount: object
) -> None:
    await bridge.add("kraken")
    await bridge.add("gate")
    bridge.exchanges["kraken"].balances = (Balance("BTC", "1", "", amount),)  # type: ignore[arg-type]  # on purpose
    gate, kraken = (await bridge.portfolio()).connectors
    assert ConnectorStatus.Name(gate.status) == "CONNECTOR_STATUS_OK"
    assert ConnectorStatus.Name(kraken.status) == "CONNECTOR_STATUS_ERROR"
    assert not kraken.balances
    assert "unforeseen error in reading a connector" in output.getvalue()
