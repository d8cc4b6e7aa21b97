"""What custody costs: GetApiKey and AddApiKey of KeyService beside gRPC's raw echo and raw asyncpg, by turns.

``python -m benchmarks.custody [ROUNDS]``. Every server is a process of its own, KeyService as it is deployed; the
client is this one, with as many calls under way as WORKERS says. PostgreSQL is the private one with its defaults,
so a commit is on the disk before it is acknowledged. A ratio is the median over rounds of calls a second
divided by those of the raw echo of the same round: seconds depend on the machine, ratios hardly do.

Where others use the machine meanwhile, even the ratio flatters what is slow. The processor time that the server takes
for a call does not: it is in the table too, with the raw echo's divided by it, which is what the ratio of rates comes
to where the server has a core to itself.
"""

import asyncio
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import grpc
import uvloop

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.sealing import MasterKey
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit import logs
from servicekit.database import migrate
from servicekit.database.url import parse_url
from servicekit.embedded_postgres import EmbeddedPostgres
from servicekit.process import READY_VARIABLE
from tests.support.probe import Echo, ProbeStub, plain_channel

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

WORKERS, SECONDS_EACH = 50, 0.4
DEADLINE = 20  # every caller should have one
CLIENTS, KEYS = 20, 1000
RAW = "raw echo"

Request = Callable[[], Awaitable[object]]


@dataclass
class Contender:
    """One kind of call to one server, how many a second there were in each round, and what each took of it."""

    name: str
    server: "Server"
    request: Request
    aim: float | None = None
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    async def run(self) -> None:
        before, begun = self.server.processor_time(), time.perf_counter()
        calls = await load(self.request)
        self.rates.append(calls / (time.perf_counter() - begun))
        self.costs.append((self.server.processor_time() - before) / calls)


@dataclass(frozen=True)
class Server:
    """A server in a process of its own, and the addresses with which it said that it was ready."""

    pid: int
    addresses: list[str]

    def processor_time(self) -> float:
        """What it has used so far, in seconds. Linux has a clock for each process, named like this."""
        return time.clock_gettime(~self.pid << 3 | 2)


async def load(request: Request, seconds: float = SECONDS_EACH) -> int:
    """Calls with all workers at it for a while: how many it were."""
    calls = 0
    begun = time.perf_counter()

    async def work() -> None:
        nonlocal calls
        while time.perf_counter() - begun < seconds:
            await request()
            calls += 1

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return calls


@contextmanager
def running(module: str, *argv: str, log: Path, **environ: str) -> Iterator[Server]:
    """Start a server; it is stopped again."""
    heard, ready = os.pipe()
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *argv],
            env={**os.environ, READY_VARIABLE: str(ready), **environ},
            pass_fds=(ready,),
            stderr=stderr,
        )
    os.close(ready)
    try:
        with os.fdopen(heard) as announced:
            said = announced.readline().split()
        if not said:
            sys.exit(f"{module} did not start:\n{log.read_text()}")
        yield Server(process.pid, said)
    finally:
        process.terminate()
        process.wait()


def add_request(client_id: str, *, request_id: str = "") -> pb.AddApiKeyRequest:
    """A key that nobody has."""
    credentials = Credentials(api_key=secrets.token_hex(32), api_secret=secrets.token_hex(32))
    return pb.AddApiKeyRequest(
        client_id=client_id,
        exchange="kraken",
        label=secrets.token_hex(8),
        credentials=credentials,
        request_id=request_id,
    )


def contenders(
    compared: Server, bare: ProbeStub, chained: ProbeStub, clients: list[str], keys: list[str]
) -> list[Contender]:
    """What custody is measured against."""

    def ask(method: Callable[..., Awaitable[object]], texts: list[str]) -> Request:
        return lambda: method(Echo(text=secrets.choice(texts)), timeout=DEADLINE)

    return [
        Contender(RAW, compared, ask(bare.GetEcho, keys)),
        Contender("echo through the chain", compared, ask(chained.GetEcho, keys)),
        Contender("raw asyncpg: select by id", compared, ask(bare.GetNothing, keys)),
        Contender("raw asyncpg: insert", compared, ask(bare.AddEcho, clients)),
    ]


def custody(
    server: Server, stub: "KeyServiceAsyncStub", clients: list[str], keys: list[str], *, level: str
) -> list[Contender]:
    def get() -> Awaitable[object]:
        return stub.GetApiKey(pb.GetApiKeyRequest(api_key_id=secrets.choice(keys)), timeout=DEADLINE)

    def add() -> Awaitable[object]:
        return stub.AddApiKey(add_request(secrets.choice(clients)), timeout=DEADLINE)

    def add_named() -> Awaitable[object]:
        request = add_request(secrets.choice(clients), request_id=str(uuid4()))
        return stub.AddApiKey(request, timeout=DEADLINE)

    return [
        Contender(f"GetApiKey, log at {level}", server, get, aim=0.28),
        Contender(f"AddApiKey, log at {level}", server, add, aim=0.10),
        Contender("  with a request id", server, add_named),
    ]


async def fill(stub: "KeyServiceAsyncStub") -> tuple[list[str], list[str]]:
    """Clients and keys to ask for: their ids."""
    made = [await stub.CreateClient(pb.CreateClientRequest(name="a client")) for _ in range(CLIENTS)]
    clients = [each.client.id for each in made]
    added = [await stub.AddApiKey(add_request(secrets.choice(clients))) for _ in range(KEYS)]
    return clients, [each.api_key.id for each in added]


async def compete(them: list[Contender], rounds: int) -> None:
    """Take turns, so that whatever else the machine does slows all of them."""
    for _ in range(rounds + 1):
        for contender in them:
            await contender.run()
    for contender in them:
        del contender.rates[0], contender.costs[0]  # of warming up


def report(them: list[Contender]) -> None:
    raw = next(each for each in them if each.name == RAW)
    print(f"{'':28}{'calls/s':>9}{'of the raw echo':>17}{'server':>10}{'of the raw echo':>17}{'aim':>6}")
    for each in them:
        rate, cost = statistics.median(each.rates), statistics.median(each.costs)
        ratio = statistics.median(mine / echo for mine, echo in zip(each.rates, raw.rates, strict=True))
        share = statistics.median(echo / mine for mine, echo in zip(each.costs, raw.costs, strict=True))
        aim = f"{each.aim:.0%}" if each.aim else ""
        print(f"{each.name:28}{rate:9.0f}{ratio:17.1%}{cost * 1e6:7.0f} µs{share:17.1%}{aim:>6}")


async def describe(url: str) -> None:
    connection = await asyncpg.connect(url)
    names = ("server_version", "fsync", "synchronous_commit")
    said = [f"{name} {await connection.fetchval(f'SHOW {name}')}" for name in names]
    await connection.close()
    print(f"PostgreSQL: {', '.join(said)}; {WORKERS} calls at a time, {os.cpu_count()} cores")


async def measure(place: Path, url: str, rounds: int) -> None:
    await migrate.upgrade(parse_url(url))
    settings = {
        "DATABASE_URL": url,
        "KEYSERVICE_LISTEN": "127.0.0.1:0",
        "KEYSERVICE_ENCRYPTION_KEYS": MasterKey.generate(),
        "KEYSERVICE_LOG_FORMAT": "json",
    }
    log = place / "log"
    with ExitStack() as stack:
        start = stack.enter_context
        quiet = start(running("keyservice", log=log, **settings, KEYSERVICE_LOG_LEVEL="warning"))
        talking = start(running("keyservice", log=log, **settings, KEYSERVICE_LOG_LEVEL="info"))
        compared = start(running("benchmarks.custody_baselines", url, log=log))
        bare, chained = (int(port) for port in compared.addresses)
        async with (
            plain_channel(bare) as to_bare,
            plain_channel(chained) as to_chained,
            grpc.aio.insecure_channel(quiet.addresses[0]) as to_quiet,
            grpc.aio.insecure_channel(talking.addresses[0]) as to_talking,
        ):
            stub = KeyServiceStub(to_quiet)
            clients, keys = await fill(stub)
            them = [
                *contenders(compared, ProbeStub(to_bare), ProbeStub(to_chained), clients, keys),
                *custody(quiet, stub, clients, keys, level="WARNING"),
                *custody(talking, KeyServiceStub(to_talking), clients, keys, level="INFO"),
            ]
            await describe(url)
            try:
                await compete(them, rounds)
            except grpc.aio.AioRpcError as error:
                errors = [line for line in log.read_text().splitlines() if '"error"' in line]
                sys.exit("\n".join([f"A call failed: {error.details()}", *errors]))
            report(them)


@contextmanager
def private_postgres() -> Iterator[tuple[Path, EmbeddedPostgres]]:
    """A PostgreSQL with its defaults, and the folder that it is in: both gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp"))
    place.chmod(0o711)
    try:
        with EmbeddedPostgres(place / "home") as postgres:
            yield place, postgres
    finally:
        shutil.rmtree(place)


def main() -> None:
    logs.configure("warning")
    rounds = int(sys.argv[1]) if sys.argv[1:] else 12
    with private_postgres() as (place, postgres):
        postgres.ensure_database("keybridge")
        uvloop.run(measure(place, postgres.url("keybridge"), rounds))


if __name__ == "__main__":
    main()
