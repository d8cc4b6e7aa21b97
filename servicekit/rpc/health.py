"""grpc.health.v1: whether each service, and the server as a whole, takes calls now.

The messages are the library's. Its servicer is not used, because a watcher there keeps a graceful stop
waiting for the whole grace, and one that does not read keeps every change of status waiting for it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeAlias

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from servicekit.errors import NotFound
from servicekit.rpc.binding import Service
from servicekit.rpc.call import Call
from servicekit.rpc.policy import Policy

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
Status: TypeAlias = "HealthCheckResponse.ServingStatus"


class Health:
    """Serves Check, List and Watch. All services change together; the name "" stands for the server."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names) | {""}
        self._status: Status = HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Event()
        self._ended = False

    def set_serving(self) -> None:
        """From now on calls are welcome."""
        if not self._ended:
            self._change(HealthCheckResponse.SERVING)

    def set_not_serving(self) -> None:
        """For the time being they are not."""
        self._change(HealthCheckResponse.NOT_SERVING)

    def end(self) -> None:
        """From now on they are not, for good; watchers hear that as their last word."""
        self._ended = True
        self._change(HealthCheckResponse.NOT_SERVING)

    def _change(self, status: Status) -> None:
        self._status = status
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    async def Check(self, request: HealthCheckRequest, call: Call) -> HealthCheckResponse:  # noqa: N802, ARG002
        if request.service not in self._names:
            raise NotFound("No service of that name is served here.", reason="UNKNOWN_SERVICE")
        return HealthCheckResponse(status=self._status)

    async def List(self, request: HealthListRequest, call: Call) -> HealthListResponse:  # noqa: N802, ARG002
        return HealthListResponse(
            statuses={name: HealthCheckResponse(status=self._status) for name in self._names}
        )

    async def Watch(self, request: HealthCheckRequest, call: Call) -> AsyncIterator[HealthCheckResponse]:  # noqa: N802, ARG002
        told: Status | None = None
        while True:
            changed, ended = self._changed, self._ended
            status = self._status if request.service in self._names else HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                yield HealthCheckResponse(status=status)
                told = status
            if ended:
                return
            await changed.wait()


def health_service(health: Health, policy: Policy) -> Service:
    """The health contract, which states no policy itself, bound to its servicer."""
    return Service(HEALTH, health, policy=policy)
