"""The wire between KeyService and a bridge: TCP on loopback, which a test can hold in either direction, and cut.

What is held is neither lost nor delivered. So a bridge can be made to die before a request has reached it, or after it
acted and before anybody has heard of it.
"""

import asyncio
import contextlib
from typing import Self


class Wire:
    """Listens on a port of its own, and leads to whatever port it is told."""

    def __init__(self) -> None:
        self.port = 0
        self.leads_to = 0
        """The port that new connections go to; with 0 they are refused, as where nobody listens."""
        self._sessions: set[asyncio.Task[None]] = set()
        self._requests_pass = asyncio.Event()
        self._answers_pass = asyncio.Event()
        self.release()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()

    def hold_requests(self) -> None:
        """From now on nothing reaches the bridge."""
        self._requests_pass.clear()

    def hold_answers(self) -> None:
        """From now on nothing is heard of the bridge, which goes on."""
        self._answers_pass.clear()

    def release(self) -> None:
        """What was held goes on, and nothing is held any more."""
        self._requests_pass.set()
        self._answers_pass.set()

    async def cut(self) -> None:
        """Break every connection; what was held is gone."""
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._connect(reader, writer)
        finally:
            self._sessions.discard(session)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bridge_reader, bridge_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_carry(reader, bridge_writer, self._requests_pass))
                group.create_task(_carry(bridge_reader, writer, self._answers_pass))
        except* OSError:
            pass
        finally:
            bridge_writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event) -> None:
    while data := await reader.read(65536):
        await passes.wait()
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError  # one side is gone: end the other as well
