"""Which requests a simulator received, so that a test can assert it."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One request. What it carried is left out: there are signatures in it."""

    exchange: str
    method: str
    path: str
    monotonic: float = field(default_factory=time.monotonic)


class Seen:
    """The last hundred thousand requests, in the order in which they arrived."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque(maxlen=100_000)
        self._arrival = asyncio.Event()

    def record(self, request: Request) -> None:
        self._requests.append(request)
        self._arrival.set()
        self._arrival.clear()

    def requests(self, exchange: str, path: str = "", method: str = "") -> list[Request]:
        """Those to this exchange whose path contains ``path``."""
        return [
            request
            for request in self._requests
            if request.exchange == exchange and path in request.path and method in ("", request.method)
        ]

    def count(self, exchange: str, path: str = "", method: str = "") -> int:
        return len(self.requests(exchange, path, method))

    async def until(self, count: int, exchange: str, path: str = "", method: str = "") -> None:
        """Wait until so many have arrived."""
        while self.count(exchange, path, method) < count:
            await self._arrival.wait()

    def clear(self) -> None:
        self._requests.clear()
