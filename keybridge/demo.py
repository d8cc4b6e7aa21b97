"""What ``keybridge up`` has to show: a demo client with a key for ``paper``, what that holds, and what to type next.

The client is known by its external id, so that each run finds the one that the first run made, and of two that make it
at once one does.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from keybridge.client import Access, key_service
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.errors import AlreadyExists, KeybridgeError

if TYPE_CHECKING:
    # Known to the stubs only.
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

Answer = TypeVar("Answer")

EXTERNAL_ID = "keybridge-demo"
_EXCHANGE = "paper"
_PAGE = 1000
_PATIENCE = 10.0
_PATIENCE_WITH_THE_BRIDGE = 3.0
_LOOK_EVERY = 0.05
_COLUMNS = ("asset", "free", "used", "total")


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo client as it was found, or made."""

    client_id: str
    labels: frozenset[str]
    """Those that its keys have already."""
    held: pb.GetBalancesResponse

    @property
    def free_label(self) -> str:
        """One that another key could have."""
        return next(label for number in count(2) if (label := f"number-{number}") not in self.labels)


async def show(address: str, grpcurl: str, token_file: Path) -> tuple[str, list[str]]:
    """What to see and what to type, of KeyService at this address; one sentence where there is no demo client."""
    try:
        access = Access.with_token(token_file)
        async with asyncio.timeout(_PATIENCE), key_service(address, access) as keys:
            demo = await demonstrate(keys)
    except TimeoutError:
        return _without_demo("no answer in time"), []
    except KeybridgeError as error:
        return _without_demo(error.reason), []
    except OSError as error:
        return _without_demo(error.strerror or "a file can't be read"), []
    return f"\n{told(demo)}\n", commands(demo, grpcurl, address)


def _without_demo(reason: str) -> str:
    return f"\nThe demo client could not be made ({reason}); the services serve all the same.\n"


async def demonstrate(keys: "KeyServiceAsyncStub") -> Demo:
    """Find the client and its key, or make them, and read what it holds."""
    client = await _client(keys)
    there = await _keys(keys, client)
    if not there:
        await _add_key(keys, client)
        there = await _keys(keys, client)
    return Demo(client.id, frozenset(each.label for each in there), await _held(keys, client))


def told(demo: Demo) -> str:
    """The client and what it holds; where that is not known, why."""
    reasons = [f"  {each.warning}" for each in demo.held.keys if each.warning]
    rows = [_COLUMNS, *((each.asset, each.free, each.used, each.total) for each in demo.held.totals)]
    table = list(_aligned(rows)) if demo.held.totals else []
    return "\n".join([f"Demo client {demo.client_id}, on the exchange paper:", *table, *reasons])


def commands(demo: Demo, grpcurl: str, key_address: str) -> list[str]:
    """What can be typed as it stands, now and once."""
    service = f"{key_address} keyservice.v1.KeyService"
    client = {"client_id": demo.client_id}
    another_key = {**client, "exchange": _EXCHANGE, "label": demo.free_label}
    return [
        f"{grpcurl} -d '{json.dumps(client)}' {service}/GetBalances",
        f"{grpcurl} -d '{json.dumps(another_key)}' {service}/AddApiKey",
    ]


async def _client(keys: "KeyServiceAsyncStub") -> Client:
    if (found := await _found(keys)) is not None:
        return found
    request = pb.CreateClientRequest(name="Demo client", external_id=EXTERNAL_ID, request_id=str(uuid4()))
    try:
        return (await keys.CreateClient(request)).client
    except AlreadyExists:
        # Somebody else has made it since.
        if (found := await _found(keys)) is None:
            raise
        return found


async def _found(keys: "KeyServiceAsyncStub") -> Client | None:
    token = ""
    while True:
        page = await keys.ListClients(pb.ListClientsRequest(page_size=_PAGE, page_token=token))
        for client in page.clients:
            if client.external_id == EXTERNAL_ID:
                return client
        token = page.next_page_token
        if not token:
            return None


async def _keys(keys: "KeyServiceAsyncStub", client: Client) -> Sequence[ApiKey]:
    request = pb.ListApiKeysRequest(client_id=client.id, exchange=_EXCHANGE, page_size=_PAGE)
    return (await keys.ListApiKeys(request)).api_keys


async def _add_key(keys: "KeyServiceAsyncStub", client: Client) -> None:
    # KeyService may serve before the bridge does, and looks for it again and again.
    await _patiently(
        lambda: keys.GetBridgeHealth(pb.GetBridgeHealthRequest()), lambda answer: answer.reachable
    )
    request = pb.AddApiKeyRequest(client_id=client.id, exchange=_EXCHANGE, request_id=str(uuid4()))
    with suppress(AlreadyExists):
        await keys.AddApiKey(request)


async def _held(keys: "KeyServiceAsyncStub", client: Client) -> pb.GetBalancesResponse:
    """What the client holds, as soon as it is known: a bridge that has just started is still being handed its keys."""
    request = pb.GetBalancesRequest(client_id=client.id, exchange=_EXCHANGE)
    return await _patiently(lambda: keys.GetBalances(request), lambda answer: answer.complete)


async def _patiently(ask: Callable[[], Awaitable[Answer]], enough: Callable[[Answer], bool]) -> Answer:
    """The answer, asked for again and again for a moment while it is not enough."""
    until = monotonic() + _PATIENCE_WITH_THE_BRIDGE
    while not enough(answer := await ask()) and monotonic() < until:  # noqa: ASYNC110 - it happens over there
        await asyncio.sleep(_LOOK_EVERY)
    return answer


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for asset, *numbers in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        yield "  " + "   ".join([asset.ljust(widths[0]), *cells])
