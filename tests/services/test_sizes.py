"""No field of any request is without a bound: found out from the contracts, method by method and field by field."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from bridgeservice.v1 import trading_bridge_pb2
from keyservice.v1 import key_service_pb2
from servicekit.rpc import sizes
from servicekit.rpc.status import RpcFailure, from_rpc_error
from tests.support.bridge_service import Bridge
from tests.support.key_service import KeyService
from tests.support.oversized import Oversized, long_lists, long_texts
from tests.support.probe import failure

HUGE = 64 * 1024 + 1
# More than a credential may have, and still little enough to reach a service's own checks.
LONG = 8 * 1024
CONTRACTS: dict[str, ServiceDescriptor] = {
    "KeyService": key_service_pb2.DESCRIPTOR.services_by_name["KeyService"],
    "TradingBridge": trading_bridge_pb2.DESCRIPTOR.services_by_name["TradingBridge"],
}

# What these methods do not read of the resource that they are given: its other fields are the server's to fill.
UNREAD = {
    "UpdateClient": {"client.account_name", "client.name", "client.external_id"},
    "UpdateApiKey": {
        *("api_key.client_id", "api_key.exchange", "api_key.connector_name", "api_key.key_hint"),
        *("api_key.bridge_status.warning", "api_key.label"),
    },
}
"""The texts that can be changed are read only when the mask names them."""


@pytest.fixture(params=list(CONTRACTS))
def stub(request: pytest.FixtureRequest, service: KeyService, bridge: Bridge) -> Any:
    return {"KeyService": service.stub, "TradingBridge": bridge.stub}[request.param]


@pytest.fixture
def contract(request: pytest.FixtureRequest, stub: Any) -> ServiceDescriptor:
    return CONTRACTS[request.node.callspec.params["stub"]]


async def refusal(stub: Any, oversized: Oversized) -> RpcFailure:
    call = getattr(stub, oversized.method.name)(oversized.request, timeout=60)
    error = await failure(call.read() if oversized.method.server_streaming else call)
    return from_rpc_error(error)


async def unnamed(
    stub: Any,
    contract: ServiceDescriptor,
    make: Callable[[MethodDescriptor], Iterator[Oversized]],
    unread: dict[str, set[str]],
) -> tuple[int, list[tuple[str, str, str]]]:
    """How many requests were tried, and which of them were not refused for the field that is too long."""
    tried, wrong = 0, []
    for method in contract.methods:
        for oversized in make(method):
            if oversized.field in unread.get(method.name, ()):
                continue
            told = await refusal(stub, oversized)
            if told.code is grpc.StatusCode.UNIMPLEMENTED:
                break
            tried += 1
            # What is wrong with a mask is told of the mask as a whole.
            named = {violation.field for violation in told.violations}
            right = {oversized.field, oversized.field.removesuffix(".paths[0]")}
            if told.code is not grpc.StatusCode.INVALID_ARGUMENT or not named & right:
                wrong.append((method.name, oversized.field, f"{told.code.name} {sorted(named)}"))
    return tried, wrong


async def test_no_text_may_be_huge(stub: Any, contract: ServiceDescriptor) -> None:
    tried, wrong = await unnamed(stub, contract, lambda method: long_texts(method, HUGE), {})
    assert tried > len(contract.methods)
    assert wrong == []


async def test_no_list_and_no_map_may_be_huge(stub: Any, contract: ServiceDescriptor) -> None:
    tried, wrong = await unnamed(stub, contract, lambda method: long_lists(method, sizes.MOST + 1), {})
    assert tried >= 3
    assert wrong == []


async def test_every_text_that_is_read_has_a_limit_of_its_own_too(
    stub: Any, contract: ServiceDescriptor
) -> None:
    tried, wrong = await unnamed(stub, contract, lambda method: long_texts(method, LONG), UNREAD)
    assert tried > len(contract.methods)
    assert wrong == []
