"""The log as it would be written, and the logging configuration as it was, for tests of what is logged."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from servicekit import logs


def unconfigured() -> None:
    """As structlog is by itself, but for tracebacks: its own, drawn with boxes and variables, take half a second."""
    structlog.reset_defaults()
    structlog.configure(
        processors=[
            *structlog.get_config()["processors"][:-1],
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )


def pytest_configure() -> None:
    unconfigured()


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Whatever a test configures is undone after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    unconfigured()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def output(logging_restored: None) -> io.StringIO:
    """What is logged from now on, as JSON lines from INFO up."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged, parsed."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]
