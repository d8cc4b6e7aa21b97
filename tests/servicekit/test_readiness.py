"""Health follows the database, and is not upset by one lost answer."""

import asyncio
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from servicekit.readiness import followed
from tests.support.logged import lines
from tests.support.postgres import ThrowAwayPostgres
from tests.support.probe import plain_channel
from tests.support.service_process import StartService

OFTEN = timedelta(milliseconds=1)


@pytest.fixture
def own_server() -> Iterator[ThrowAwayPostgres]:
    server = ThrowAwayPostgres()
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def test_a_service_whose_database_goes_and_comes_back_says_so(
    start_service: StartService, own_server: ThrowAwayPostgres
) -> None:
    variables = {"DATABASE_URL": own_server.url(), "KEYSERVICE_MIGRATE_ON_START": "true"}
    process = start_service("keyservice", KEYSERVICE_READINESS_INTERVAL="100ms", **variables).wait_ready()
    async with plain_channel(process.port) as channel:
        health: Any = HealthStub(channel)
        name = "keyservice.v1.KeyService"
        watch = health.Watch(HealthCheckRequest(service=name), timeout=90)
        assert (await watch.read()).status == HealthCheckResponse.SERVING
        await asyncio.to_thread(own_server.halt)
        assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING
        await asyncio.to_thread(own_server.resume)
        assert (await watch.read()).status == HealthCheckResponse.SERVING
    await asyncio.to_thread(process.wait_for_line, "the database does not answer; NOT_SERVING")
    await asyncio.to_thread(process.wait_for_line, "the database answers again; SERVING")
    process.terminate()
    assert await asyncio.to_thread(process.status) == 0


class Told:
    """Hears what the health is told, and answers probes as it was told to; then it ends the test's wait."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.heard: list[str] = []
        self.over = asyncio.Event()

    async def probe(self) -> bool:
        if not self.answers:
            self.over.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def set_serving(self) -> None:
        self.heard.append("SERVING")

    async def set_not_serving(self) -> None:
        self.heard.append("NOT_SERVING")

    async def run(self) -> list[str]:
        async with asyncio.timeout(20), followed(self.probe, self, OFTEN):
            await self.over.wait()
        return self.heard


async def test_one_lost_answer_changes_nothing() -> None:
    assert await Told(True, False, True, False, True).run() == []


async def test_two_in_a_row_do_and_the_first_good_one_undoes_it_once() -> None:
    assert await Told(False, False, False, True, True).run() == ["NOT_SERVING", "SERVING"]


async def test_a_probe_that_raises_is_logged_and_counts_as_failed(output: io.StringIO) -> None:
    assert await Told(ValueError(), ValueError(), True).run() == ["NOT_SERVING", "SERVING"]
    assert [line["event"] for line in lines(output)].count("the probe of the database failed") == 2
