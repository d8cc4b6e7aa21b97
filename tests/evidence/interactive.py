"""Interactive calls at a steady pace, whether or not the ones before were answered: what users do meanwhile.

A call's time counts from when it was due. So what makes the service late for one call is not hidden by the next
one's being sent later.
"""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import grpc

from bridgeservice.v1.portfolio_pb2 import CONNECTOR_STATUS_OK
from keyservice.v1 import key_service_pb2 as pb
from tests.evidence.crash_clients import Line
from tests.support.key_service import new_credentials

DEADLINE = 5.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One call: when it was due and when it was over, on the monotonic clock, and how it ended."""

    method: str
    due: float
    over: float
    code: grpc.StatusCode

    @property
    def seconds(self) -> float:
        return self.over - self.due


@dataclass
class Interactive:
    """AddApiKey, GetApiKey and GetBalances for ever different clients."""

    line: Line
    client_ids: list[str]
    key_ids: list[str]
    rate: float
    """Calls a second."""
    answered: list[Answered] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    """What the answers said of the bridge."""

    @property
    def misled(self) -> int:
        """How many answers had unknown balances look as if they were none, or did not say why they are unknown."""
        return self.told["READ AS EMPTY"] + self.told["NOT READ"]

    async def work(self, stopping: asyncio.Event) -> None:
        """Until it is stopped; then what is under way comes to its end."""
        methods: list[Callable[[Any], Awaitable[None]]] = [self._add, self._get, self._read]
        begun = monotonic()
        number = 0
        async with asyncio.TaskGroup() as calls:
            while not stopping.is_set():
                due = begun + number / self.rate
                await asyncio.sleep(max(0.0, due - monotonic()))
                calls.create_task(self._call(methods[number % len(methods)], due))
                number += 1

    async def _call(self, method: Callable[[Any], Awaitable[None]], due: float) -> None:
        code = grpc.StatusCode.OK
        try:
            await method(await self.line.stub())
        except grpc.aio.AioRpcError as error:
            code = error.code()
        self.answered.append(Answered(method.__name__.strip("_"), due, monotonic(), code))

    async def _add(self, stub: Any) -> None:
        request = addition(random.choice(self.client_ids), "kraken")  # noqa: S311 - any will do
        answer = await stub.AddApiKey(request, timeout=DEADLINE)
        self.told[
            "added and configured" if answer.trading_bridge_configured else "added, and told why not"
        ] += 1

    async def _get(self, stub: Any) -> None:
        request = pb.GetApiKeyRequest(api_key_id=random.choice(self.key_ids))  # noqa: S311 - the same
        await stub.GetApiKey(request, timeout=DEADLINE)

    async def _read(self, stub: Any) -> None:
        """Of ``paper`` only, as what an exchange takes is not what is measured."""
        request = pb.GetBalancesRequest(client_id=random.choice(self.client_ids), exchange="paper")  # noqa: S311
        answer = await stub.GetBalances(request, timeout=DEADLINE)
        for key in answer.keys:
            if key.status == CONNECTOR_STATUS_OK:
                self.told["read" if key.balances else "READ AS EMPTY"] += 1
            else:
                self.told["not read, and told why" if key.warning and not key.balances else "NOT READ"] += 1


def addition(client_id: str, exchange: str) -> pb.AddApiKeyRequest:
    """A key that nobody has."""
    given = None if exchange == "paper" else new_credentials(passphrase=secrets.token_hex(8))
    return pb.AddApiKeyRequest(
        client_id=client_id, exchange=exchange, label=secrets.token_hex(8), credentials=given
    )
