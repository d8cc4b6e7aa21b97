"""What is longer than anything may be is refused before a handler sees it, by its name and never by its content."""

import secrets
from typing import Any

import grpc
import pytest

from servicekit.rpc.sizes import LONGEST, MOST
from servicekit.rpc.status import RpcFailure, from_rpc_error
from tests.support.probe import Echo, Probe, ProbeStub, plain_channel, serving


async def told(request: Any, method: str = "GetEcho") -> RpcFailure | None:
    """The refusal of a request; None when it reached its handler."""
    probe = Probe()
    async with serving(probe) as server, plain_channel(server.port) as channel:
        stub = ProbeStub(channel)
        try:
            if method == "SendEchoes":
                await stub.SendEchoes(iter([Echo(text="short"), request]))
            else:
                await stub.GetEcho(request)
        except grpc.aio.AioRpcError as error:
            assert probe.seen == []
            return from_rpc_error(error)
        assert len(probe.seen) == 1
        return None


def violations(refused: RpcFailure | None) -> dict[str, str]:
    assert refused is not None
    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    return {each.field: each.description for each in refused.violations}


async def test_what_is_as_long_as_it_may_be_reaches_its_handler() -> None:
    assert await told(Echo(text="\U0001f511" * (LONGEST // 4))) is None
    assert await told(Echo(data=b"x" * LONGEST)) is None
    assert await told(Echo(children=[Echo()] * MOST)) is None


async def test_what_is_longer_is_refused_by_its_name() -> None:
    assert violations(await told(Echo(text="x" * (LONGEST + 1)))) == {
        "text": f"is {LONGEST + 1} characters long; at most {LONGEST} are allowed"
    }
    assert violations(await told(Echo(data=b"x" * (LONGEST + 1)))) == {
        "data": f"is {LONGEST + 1} bytes long; at most {LONGEST} are allowed"
    }
    assert violations(await told(Echo(children=[Echo()] * (MOST + 1)))) == {
        "children": f"has {MOST + 1} entries; at most {MOST} are allowed"
    }


async def test_it_is_found_at_any_depth_and_in_every_message_of_a_stream() -> None:
    deep = Echo(children=[Echo(), Echo(children=[Echo(text="x" * (LONGEST + 1))])])
    for method in ("GetEcho", "SendEchoes"):
        assert list(violations(await told(deep, method))) == ["children[1].children[0].text"]


@pytest.mark.parametrize("field", ["text", "data"])
async def test_its_content_is_not_told(field: str) -> None:
    secret = secrets.token_hex(16)
    value = (secret * LONGEST)[: LONGEST + 1]
    refused = await told(Echo(**{field: value.encode() if field == "data" else value}))
    assert secret[:8] not in repr(refused)
