"""Answers that are too large, or that break off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from ccxt.base.errors import BadResponse

from bridgeservice.exchanges.http import largest_answer, open_session
from tests.support.exchanges import QUICK


@asynccontextmanager
async def server(*, says: int, sends: int) -> AsyncIterator[str]:
    """Answers with this many bytes, after it said how many there would be."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % says + b"7" * sends)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


async def read(url: str) -> str:
    largest_answer.set(1000)
    async with open_session(QUICK) as session, session.get(url) as response:
        text = await response.text()
        assert await response.text() == text
        return text


async def test_an_answer_within_the_bound_is_read() -> None:
    async with server(says=1000, sends=1000) as url:
        assert await read(url) == "7" * 1000


async def test_no_more_is_read_than_the_bound_allows() -> None:
    async with server(says=10**9, sends=200_000) as url:
        with pytest.raises(BadResponse, match="more than 1000 bytes"):
            await read(url)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_an_answer_that_points_elsewhere_is_not_followed(status: int, method: str) -> None:
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
        head = f"HTTP/1.1 {status} Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/here"
        async with open_session(QUICK) as session:
            with pytest.raises(BadResponse, match="elsewhere"):
                await session.request(method, url)

    assert asked == ["/here"]


async def test_an_answer_that_breaks_off_is_not_taken_for_a_refusal() -> None:
    async with server(says=1000, sends=10) as url:
        with pytest.raises(BadResponse, match="broke off"):
            await read(url)
