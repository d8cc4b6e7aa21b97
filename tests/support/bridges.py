"""The bridge for tests of KeyService: the real one behind a real socket, with faults that a test asks for.

A fault stands before or after what the real servicer does, so that a bridge can hang, refuse, or act and then
not say so. It can go away and come back on its port as another run that holds nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Never

import grpc

from bridgeservice.records import Connector
from keyservice.bridge import Bridge, connect_bridge
from keyservice.settings import KeyServiceSettings
from servicekit.rpc.call import Call
from servicekit.values import Address
from tests.support import bridge_service
from tests.support.service_process import free_port

Fault = Callable[[Any, Call], Awaitable[None]]


@dataclass
class Faults:
    """What a test wants to happen, by the name of the method, and what was seen."""

    before: dict[str, Fault] = field(default_factory=dict)
    after: dict[str, Fault] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    """What is answered in place of what the real bridge would say."""
    seen: list[tuple[str, Any, Call]] = field(default_factory=list)

    def requests(self, method: str) -> list[Any]:
        """The requests of one method, in the order in which they came."""
        return [request for name, request, _ in self.seen if name == method]

    def clear(self) -> None:
        self.before.clear()
        self.after.clear()
        self.answers.clear()

    async def act(self, method: str, real: Callable[..., Awaitable[Any]], request: Any, call: Call) -> Any:
        self.seen.append((method, request, call))
        if method in self.before:
            await self.before[method](request, call)
        answer = self.answers[method] if method in self.answers else await real(request, call)
        if method in self.after:
            await self.after[method](request, call)
        return answer


class Faulty:
    """A servicer that does what another one does, once the faults have had their say."""

    def __init__(self, servicer: object, faults: Faults) -> None:
        self._servicer = servicer
        self._faults = faults

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._servicer, method)

        async def serve(request: Any, call: Call) -> Any:
            return await self._faults.act(method, real, request, call)

        return serve


class RunningBridge:
    """One address at which a bridge is, or is not."""

    def __init__(self, **options: Any) -> None:
        """``options`` are those of its server."""
        self.port = free_port()
        self._options = options
        self.faults = Faults()
        self._stack: AsyncExitStack | None = None
        self._running: bridge_service.Bridge | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bridge_service.Bridge:
        assert self._running is not None, "the bridge is stopped"
        return self._running

    @property
    def instance_id(self) -> str:
        return self.running.identity.instance_id

    def held(self) -> dict[tuple[str, str], Connector]:
        """The connectors that it holds, by account and name."""
        accounts = self.running.accounts.page(None, 1_000_000).rows
        return {
            (account.name, connector.name): connector
            for account in accounts
            for connector in account.sorted()
        }

    async def start(self) -> None:
        """Serve, as a new run that holds nothing."""
        stack = AsyncExitStack()
        self._running = await stack.enter_async_context(
            bridge_service.running(
                around=lambda servicer: Faulty(servicer, self.faults),
                listen=Address("127.0.0.1", self.port),
                shutdown_grace=timedelta(0),
                **self._options,
            )
        )
        self._stack = stack

    async def stop(self) -> None:
        """Go away, and break off what is under way."""
        if self._stack is not None:
            stack, self._stack, self._running = self._stack, None, None
            await stack.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()


@asynccontextmanager
async def running_bridge(**options: Any) -> AsyncIterator[RunningBridge]:
    """A bridge on a port of its own, which it keeps over restarts."""
    bridge = RunningBridge(**options)
    await bridge.start()
    try:
        yield bridge
    finally:
        await bridge.stop()


@asynccontextmanager
async def bridge_client(target: str, **settings: Any) -> AsyncIterator[Bridge]:
    """KeyService's client of the bridge at this address."""
    async with connect_bridge(KeyServiceSettings(bridge_target=target, **settings)) as channel:
        yield Bridge(channel)


def refuses(error: BaseException) -> Fault:
    """The bridge refuses, in its own words."""

    async def fault(_request: Any, _call: Call) -> None:
        raise error

    return fault


def refuses_once(error: BaseException) -> Fault:
    """The bridge refuses the first call, and takes those after it."""
    left = [error]

    async def fault(_request: Any, _call: Call) -> None:
        if left:
            raise left.pop()

    return fault


def aborts(code: grpc.StatusCode) -> Fault:
    """A status without our ErrorInfo, as the transport or something in between makes it."""

    async def fault(_request: Any, call: Call) -> Never:
        await call.context.abort(code, "made by a test")

    return fault


async def hangs(_request: Any, _call: Call) -> None:
    """The bridge never answers."""
    await asyncio.Event().wait()


def waits_for(released: asyncio.Event) -> Fault:
    """The bridge is slow, until the test lets it go on."""

    async def fault(_request: Any, _call: Call) -> None:
        await released.wait()

    return fault
