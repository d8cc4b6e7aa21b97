"""Supervises workers on EXAMPLE_LISTEN; at the end it says whether grpc was imported here."""

import os
import sys
from datetime import timedelta
from pathlib import Path

from servicekit import logs, workers
from servicekit.values import Address, parse_duration

logs.configure("info", "json")
grace = parse_duration(os.environ.get("EXAMPLE_GRACE", "10s"))
assert isinstance(grace, timedelta)
metrics = os.environ.get("EXAMPLE_METRICS_LISTEN")
status = workers.supervise(
    [sys.executable, os.environ.get("EXAMPLE_WORKER", str(Path(__file__).parent / "worker.py"))],
    int(sys.argv[1]),
    Address.parse(os.environ["EXAMPLE_LISTEN"]),
    program="example",
    listen_variable="EXAMPLE_LISTEN",
    environ=os.environ,
    grace=grace,
    metrics_listen=Address.parse(metrics) if metrics else None,
)
sys.stderr.write(f"grpc imported: {'grpc' in sys.modules}\n")
sys.exit(status)
