"""The fixtures that every test may ask for."""

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
    "tests.support.service_process",
]
