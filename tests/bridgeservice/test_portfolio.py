"""What has no value is named as such, whatever the reason."""

import io
from collections.abc import Sequence
from typing import Never

import pytest

from bridgeservice.exchanges.exchange import Balance
from tests.support.bridge_service import Bridge


@pytest.mark.parametrize("total", ["", "1" + "0" * 45])
@pytest.mark.parametrize("asset", ["BTC", "USDT"])
async def test_an_amount_that_cannot_be_valued_is_named_as_unpriced(
    bridge: Bridge, asset: str, total: str
) -> None:
    await bridge.add("kraken")
    bridge.exchanges["kraken"].balances = (Balance(asset, "1", "", total), Balance("ETH", "1", "0", "1"))
    answer = await bridge.portfolio(quote_asset="USDT")
    assert sorted(answer.unpriced_assets) == sorted([asset, "ETH"])
    assert [each.value for each in answer.connectors[0].balances] == ["", ""]


async def test_a_plug_in_that_fails_at_tickers_costs_the_others_neither_balances_nor_values(
    bridge: Bridge, output: io.StringIO
) -> None:
    async def stumble(symbols: Sequence[str]) -> Never:
        raise KeyError(str(symbols))

    await bridge.add("kraken")
    await bridge.add("gate")
    bridge.exchanges["gate"].tickers = stumble  # type: ignore[method-assign]  # a fault
    answer = await bridge.portfolio(quote_asset="USDT")
    assert answer.complete
    assert [each.balances[0].value for each in answer.connectors] == ["", "200"]
    assert list(answer.unpriced_assets) == ["BTC"]
    assert "unforeseen error in valuing holdings" in output.getvalue()
