"""What Prometheus can read: RPCs by service, method and code, latencies, those in flight, and the pools.

One process serves its own numbers. Where several workers share a port, each writes its numbers to files (the
library does, when PROMETHEUS_MULTIPROC_DIR is set before it is imported) and the supervisor serves the sum.
"""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.values import ValueClass

from servicekit import logs
from servicekit.errors import StartupError
from servicekit.values import Address

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# From a read that is served from memory to a call that waited for a slow exchange.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SAMPLE_EVERY = timedelta(seconds=1)


class Pool(Protocol):
    """What a connection pool tells of itself; SQLAlchemy's queue pools do."""

    def size(self) -> int: ...
    def checkedin(self) -> int: ...
    def checkedout(self) -> int: ...
    def overflow(self) -> int: ...


class Closeable(Protocol):
    """Something that serves until it is closed."""

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...


class Metrics:
    """The numbers of one process. The names of the RPC ones are those that gRPC dashboards expect."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        method = ["grpc_service", "grpc_method"]
        self._started = Counter("grpc_server_started", "Calls that began.", method, registry=self.registry)
        self._handled = Counter(
            "grpc_server_handled",
            "Calls that ended, by status.",
            [*method, "grpc_code"],
            registry=self.registry,
        )
        self._refused = Counter(
            "keybridge_rpc_refused",
            "Calls that were refused, by the reason that the caller was told.",
            [*method, "reason"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "How long calls took.",
            method,
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._in_flight = self._gauge("grpc_server_in_flight", "Calls that are under way.", method)
        self._pool_gauges = {
            state: self._gauge(
                f"keybridge_database_pool_{state}", f"Database connections: {state}.", ["pool"]
            )
            for state in ("size", "idle", "checked_out", "overflow", "waiting")
        }
        self._pools: dict[str, tuple[Pool, Callable[[], int] | None]] = {}
        if not works_in_files():
            ProcessCollector(registry=self.registry)

    def rpc_started(self, method: str) -> None:
        """Count a call of "/package.Service/Method" that began."""
        labels = _split(method)
        self._started.labels(*labels).inc()
        self._in_flight.labels(*labels).inc()

    def rpc_finished(self, method: str, code: str, seconds: float) -> None:
        """Count its end, with the name of its status code."""
        labels = _split(method)
        self._in_flight.labels(*labels).dec()
        self._handled.labels(*labels, code).inc()
        self._seconds.labels(*labels).observe(seconds)

    def rpc_refused(self, method: str, reason: str) -> None:
        """Count why it was refused, where it was."""
        self._refused.labels(*_split(method), reason).inc()

    def watch_pool(self, name: str, pool: Pool, waiting: Callable[[], int] | None = None) -> None:
        """Show a pool's use, and how many wait for a connection where somebody counts them."""
        self._pools[name] = (pool, waiting)

    def sample(self) -> None:
        """Ask the pools how they are."""
        for name, (pool, waiting) in list(self._pools.items()):
            numbers = {
                "size": pool.size(),
                "idle": pool.checkedin(),
                "checked_out": pool.checkedout(),
                "overflow": max(0, pool.overflow()),  # negative while the pool is not yet full
            }
            if waiting is not None:
                numbers["waiting"] = waiting()
            for state, number in numbers.items():
                self._pool_gauges[state].labels(name).set(number)

    def serve(self, address: Address) -> Closeable:
        """Serve these numbers; in a worker, keep those of the pools fresh for the supervisor."""
        if works_in_files():
            return _Sampler(self)
        inner = make_wsgi_app(self.registry)

        def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            self.sample()
            page: Iterable[bytes] = inner(environ, start_response)
            return page

        return MetricsServer(address, app)

    def _gauge(self, name: str, documentation: str, labels: list[str]) -> Gauge:
        return Gauge(name, documentation, labels, registry=self.registry, multiprocess_mode="livesum")


def works_in_files() -> bool:
    """Whether this process is a worker whose numbers a supervisor serves."""
    return bool(getattr(ValueClass, "_multiprocess", False))


def serve_workers(address: Address, directory: Path) -> "MetricsServer":
    """Serve the sum of what workers wrote to ``directory``; for the supervisor."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call] # the library's
    return MetricsServer(address, make_wsgi_app(registry))


def forget_worker(directory: Path, pid: int) -> None:
    """Drop what a worker that ended had in flight; its counts stay."""
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call] # the library's


class MetricsServer:
    """A small HTTP server on a thread of its own."""

    def __init__(self, address: Address, app: "WSGIApplication") -> None:
        self._server = _listen(address)
        self._server.set_app(app)
        self.address = address.with_port(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop to listen."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Sampler:
    """Samples now and then, because nobody asks a worker for its numbers."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self) -> None:
        self._metrics.sample()
        while not self._closed.wait(_SAMPLE_EVERY.total_seconds()):
            self._metrics.sample()


class _Handler(WSGIRequestHandler):
    timeout = 10  # a client that asks nothing must not hold a thread

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
        """Say nothing: a scrape every few seconds is no news."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the name server for a name, which takes long where there is none.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, *_: object) -> None:
        """Keep a broken scrape out of standard error's prose."""
        logs.get(__name__).debug("a scrape failed", exc_info=True)


def _listen(address: Address) -> _Server:
    try:
        family, _, _, _, found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        kind = type("_Server", (_Server,), {"address_family": family})
        server: _Server = kind((found[0], found[1]), _Handler)
    except OSError as error:
        raise StartupError(f"the metrics cannot be served on {address}: {error.strerror}") from error
    return server


def _split(method: str) -> tuple[str, str]:
    service, _, name = method.lstrip("/").partition("/")
    return service, name
