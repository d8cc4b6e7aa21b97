"""The HTTP server of a simulator: it turns requests into calls, lets faults happen, and never leaves loopback."""

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from tests.simulator.control import Control
from tests.simulator.dialect import Answer, Call, Dialect
from tests.simulator.faults import Fault, FaultKind
from tests.simulator.refusals import InsufficientFundsError
from tests.simulator.seen import Request

if TYPE_CHECKING:
    from tests.simulator.simulator import Simulator

UPSTREAM = "upstream connect error or disconnect/reset before headers"
PAGE = "<!DOCTYPE html><html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
TEN_MEGABYTES = '{"padding":"' + "x" * 10_000_000 + '"}'


class Server:
    """One port for all exchanges; the first part of a path says which."""

    def __init__(self, simulator: "Simulator", port: int) -> None:
        self.port = port
        self._simulator = simulator
        app = web.Application()
        app.router.add_post("/_control/{action}", Control(simulator).handle)
        app.router.add_route("*", "/{exchange}/{path:.*}", self._exchange)
        self._held: set[asyncio.Task[Answer]] = set()
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self.settled()
        await self._runner.cleanup()

    async def settled(self) -> None:
        """Wait until what was held, and is let go, has been done."""
        await asyncio.gather(*self._held)

    async def _exchange(self, request: web.Request) -> web.Response:
        dialect = self._simulator.dialects.get(request.match_info["exchange"])
        if dialect is None:
            raise web.HTTPNotFound
        target = request.raw_path.removeprefix(f"/{dialect.name}")
        path, _, query = target.partition("?")
        call = Call(request.method, path, query, request.headers, await request.text())
        self._simulator.seen.record(Request(dialect.name, call.method, path))
        fault = self._simulator.faults[dialect.name].take(path)
        answer = dialect.answer(call) if fault is None else await self._troubled(dialect, call, fault)
        if answer is None:
            if request.transport:
                request.transport.abort()
            return web.Response()
        is_page = answer.text.startswith("<")
        return web.Response(
            text=answer.text,
            status=answer.status,
            headers=dict(answer.headers),
            content_type="text/html" if is_page else "application/json",
        )

    def _in_the_end(self, dialect: Dialect, call: Call) -> asyncio.Task[Answer]:
        cleared = self._simulator.faults[dialect.name].until_cleared()

        async def act() -> Answer:
            await cleared
            return dialect.answer(call)

        task = asyncio.create_task(act())
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        return task

    async def _troubled(self, dialect: Dialect, call: Call, fault: Fault) -> Answer | None:
        """What this fault makes of a call; None closes the connection."""
        match fault.kind:
            case FaultKind.SLOW:
                await asyncio.sleep(fault.seconds)
                return dialect.answer(call)
            case FaultKind.HANG:
                await self._simulator.faults[dialect.name].until_cleared()
                return None
            case FaultKind.HOLD:
                # In a task of its own, which goes on when the caller has gone.
                return await asyncio.shield(self._in_the_end(dialect, call))
            case FaultKind.HOLD_AFTER_ACTING:
                answer = dialect.answer(call)
                await self._simulator.faults[dialect.name].until_cleared()
                return answer
        return _at_once(dialect, call, fault)


def _at_once(dialect: Dialect, call: Call, fault: Fault) -> Answer | None:
    match fault.kind:
        case FaultKind.DROP:
            return None
        case FaultKind.DROP_AFTER_ACTING:
            dialect.answer(call)
            return None
        case FaultKind.TRUNCATED:
            whole = dialect.answer(call)
            return Answer(whole.text[: len(whole.text) // 2], whole.status)
        case FaultKind.RATE_LIMITED:
            return dialect.rate_limited(fault.seconds)
        case FaultKind.BANNED:
            return dialect.banned(fault.seconds)
        case FaultKind.REFUSE:
            return dialect.refusal(InsufficientFundsError())
        case FaultKind.FAIL_AFTER_ACTING:
            dialect.answer(call)
    bodies = {
        FaultKind.FAIL: UPSTREAM,
        FaultKind.FAIL_AFTER_ACTING: UPSTREAM,
        FaultKind.HTML: PAGE,
        FaultKind.HUGE: TEN_MEGABYTES,
        FaultKind.EMPTY: "",
    }
    return Answer(bodies[fault.kind], fault.status)
