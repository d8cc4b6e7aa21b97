"""What the sealing of the audit record costs: how fast it is verified, and what AddApiKey loses by it.

``python -m benchmarks.audit [PAIRS]`` exits with 1 when an aim is missed: 10,000 events verified in under two seconds,
and at most 10 % fewer additions a second with sealing than without, as the median over pairs. Each of the two services
has a database of its own, on one PostgreSQL; the one without seals once a day. A pair is four loads, of which the first
and the last are on the same service, so that a machine that grows faster or slower meanwhile favours neither.
"""

import statistics
import sys
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import grpc
import uvloop
from pydantic import SecretStr

from benchmarks.custody import DEADLINE, add_request, load, private_postgres, running
from keyservice.audit_verification import verify
from keyservice.keyring import open_keyring
from keyservice.sealing import MasterKey
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit import logs
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from servicekit.embedded_postgres import EmbeddedPostgres
from tests.support.audit import add_events, sealer

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

EVENTS: Final = 10_000
SECONDS: Final = 2.0
LEAST_RATIO: Final = 0.9
PAIRS: Final = 10
# So that a turn of the sealer, which has one every second, is in each.
SECONDS_EACH: Final = 2.0


@dataclass(frozen=True)
class Adder:
    """A KeyService, and a client in it to which keys are added."""

    stub: "KeyServiceAsyncStub"
    client_id: str

    async def rate(self) -> float:
        begun = time.perf_counter()
        calls = await load(self._add, SECONDS_EACH)
        return calls / (time.perf_counter() - begun)

    def _add(self) -> Awaitable[object]:
        added: Awaitable[object] = self.stub.AddApiKey(add_request(self.client_id), timeout=DEADLINE)
        return added


async def migrated(postgres: EmbeddedPostgres, name: str) -> str:
    postgres.ensure_database(name)
    url = postgres.url(name)
    await migrate.upgrade(parse_url(url))
    return url


async def seconds_to_verify(url: str, batch: int) -> float:
    """For so many events, with ``batch`` of them under each seal."""
    database = Database(DatabaseOptions(url=parse_url(url)))
    keyring = await open_keyring(database, [SecretStr(MasterKey.generate())])
    await add_events(database, EVENTS)
    await sealer(database, keyring, batch=batch).once()
    begun = time.perf_counter()
    proof = await verify(database.reads, keyring)
    took = time.perf_counter() - begun
    await database.close()
    assert (proof.told, proof.events, proof.unsealed) == ([], EVENTS, 0)
    print(f"{EVENTS} events under {proof.seals} seals verified in {took:.2f} s; aim: under {SECONDS:.0f} s")
    return took


async def ratio(place: Path, postgres: EmbeddedPostgres, pairs: int) -> float:
    """Additions a second with sealing, divided by those without."""
    async with AsyncExitStack() as stack:
        adders = []
        for interval in ("1s", "1d"):
            settings = {
                "DATABASE_URL": await migrated(postgres, f"every_{interval}"),
                "KEYSERVICE_LISTEN": "127.0.0.1:0",
                "KEYSERVICE_ENCRYPTION_KEYS": MasterKey.generate(),
                "KEYSERVICE_LOG_LEVEL": "warning",
                "KEYSERVICE_AUDIT_SEAL_INTERVAL": interval,
            }
            server = stack.enter_context(running("keyservice", log=place / "log", **settings))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.addresses[0]))
            stub = KeyServiceStub(channel)
            client = (await stub.CreateClient(pb.CreateClientRequest(name="a client"))).client
            adders.append(Adder(stub, client.id))
        sealing, without = adders
        ratios = []
        for number in range(pairs + 1):
            one, other = (sealing, without) if number % 2 else (without, sealing)
            rates = {id(one): 0.0, id(other): 0.0}
            for each in (one, other, other, one):
                before = await count_seals(postgres, "every_1s")
                rates[id(each)] += await each.rate()
                sealed = await count_seals(postgres, "every_1s") - before
                if each is sealing and number and not sealed:
                    sys.exit("Nothing was sealed while it should have been.")
            ratios.append(rates[id(sealing)] / rates[id(without)])
        ratios = ratios[1:]  # but for the warming up
        if await count_seals(postgres, "every_1d") > 1:
            sys.exit("What should not be sealed was sealed.")
    median = statistics.median(ratios)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(
        f"AddApiKey with sealing does {median:.1%} of what it does without, in {pairs} pairs ({spread});"
        f" aim: at least {LEAST_RATIO:.0%}"
    )
    return median


async def count_seals(postgres: EmbeddedPostgres, name: str) -> int:
    connection = await asyncpg.connect(postgres.url(name))
    count: int = await connection.fetchval("SELECT count(*) FROM audit_seals")
    await connection.close()
    return count


async def measure(place: Path, postgres: EmbeddedPostgres, pairs: int) -> bool:
    """Whether the aims were met."""
    slowest = max(
        [await seconds_to_verify(await migrated(postgres, f"by_{batch}"), batch) for batch in (1000, 10)]
    )
    return slowest < SECONDS and await ratio(place, postgres, pairs) >= LEAST_RATIO


def main() -> None:
    logs.configure("warning")
    pairs = int(sys.argv[1]) if sys.argv[1:] else PAIRS
    with private_postgres() as (place, postgres):
        met = uvloop.run(measure(place, postgres, pairs))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
