"""What custody is measured against: a gRPC echo, bare and through the chain, and asyncpg behind a bare handler.

``python -m benchmarks.custody_baselines DATABASE_URL`` serves on two free ports and announces both: the bare
server's, which echoes, reads and inserts, and that of an echo through our chain.
"""

import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc

from servicekit import logs, process
from servicekit.metrics import Metrics
from tests.support.probe import PROBE, Echo, serving

CONNECTIONS = 20  # as many as a service has
READ = (
    "SELECT id, client_id, exchange, label, connector_name, environment, key_hint, disabled, revision, bridge_state,"
    " attempt_count, created_at, updated_at, deleted_at FROM exchange_api_keys WHERE id = $1"
)
INSERT = (
    "INSERT INTO exchange_api_keys (id, client_id, exchange, label, connector_name, api_key, api_secret, key_id,"
    " key_hint, fingerprint) VALUES ($1, $2, 'kraken', $3, $3, $4, $4, $5, 'abcd', $6)"
)
# As long as a sealed key of 64 characters.
SEALED = "x" * 184

Method = Callable[[Any, Any], Awaitable[Any]]


async def echo(request: Any, _context: Any) -> Any:
    """No database at all."""
    return Echo(text=request.text)


def reader(pool: "asyncpg.Pool[Any]") -> Method:
    """Select a key by its id, which is the text."""

    async def read(request: Any, _context: Any) -> Any:
        async with pool.acquire() as connection:
            row = await connection.fetchrow(READ, UUID(request.text))
        return Echo(text=row["label"])

    return read


def inserter(pool: "asyncpg.Pool[Any]", key_id: str) -> Method:
    """Insert a key of the client whose id is the text."""

    async def insert(request: Any, _context: Any) -> Any:
        new, label = uuid4(), secrets.token_hex(8)
        async with pool.acquire() as connection:
            await connection.execute(
                INSERT, new, UUID(request.text), label, SEALED, key_id, secrets.token_bytes(32)
            )
        return Echo(text=str(new))

    return insert


def bare_server(**methods: Method) -> grpc.aio.Server:
    """gRPC with nothing of ours around the methods."""
    server = grpc.aio.server()
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(method, Echo.FromString, Echo.SerializeToString)
        for name, method in methods.items()
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(PROBE.full_name, handlers)])
    return server


async def main() -> None:
    logs.configure("warning", "json")
    async with (
        asyncpg.create_pool(sys.argv[1], min_size=CONNECTIONS, max_size=CONNECTIONS) as pool,
        serving(metrics=Metrics()) as chained,
    ):
        key_id = await pool.fetchval("SELECT key_id FROM encryption_keys")
        bare = bare_server(GetEcho=echo, GetNothing=reader(pool), AddEcho=inserter(pool, key_id))
        port = bare.add_insecure_port("127.0.0.1:0")
        await bare.start()
        with process.stop_signal() as stop:
            process.announce_ready(f"{port} {chained.port}")
            await stop.wait()
        await bare.stop(None)


if __name__ == "__main__":
    sys.exit(process.run(main, program="custody_baselines"))
