"""The fixtures that every test may ask for."""

import gc
import os

# Root's PostgreSQL is forked into another account, where gRPC's fork handlers now and then crash for want of the
# threads that they ask. gRPC reads this when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

pytest_plugins = [
    "tests.support.bridge_service",
    "tests.support.key_service",
    "tests.support.logged",
    "tests.support.places",
    "tests.support.postgres",
    "tests.support.roles",
    "tests.support.service_process",
]


def pytest_collection_finish() -> None:
    # What was imported stays to the end: looking through it again and again is a good part of a short test's time.
    gc.collect()
    gc.freeze()
