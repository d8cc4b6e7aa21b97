"""Structured logs: one chain for our own lines and for those of the libraries, and nothing secret in either.

``configure`` is called once, in ``__main__``; ``get`` may be called at import. A line is JSON where no
terminal reads it. What is bound with ``structlog.contextvars`` (the request id) is on every line meanwhile.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import MutableMapping
from typing import Any, ClassVar, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from servicekit import redaction

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["auto", "json", "console"]

_LEVELS = [
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
]

# What a client sends may land in a line; on a terminal it must neither begin another line nor colour.
_CONTROLS = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}


class Logger(structlog.BoundLoggerBase):
    """Writes an event, with fields by name, or with positional arguments as in the standard library."""

    threshold: ClassVar[int] = logging.INFO

    def debug(self, event: str, *args: object, **fields: object) -> None:
        """Something that only a developer wants to know."""
        self.log(logging.DEBUG, event, *args, **fields)

    def info(self, event: str, *args: object, **fields: object) -> None:
        """Something that happened as it should."""
        self.log(logging.INFO, event, *args, **fields)

    def warning(self, event: str, *args: object, **fields: object) -> None:
        """Something that was mended or will be tried again."""
        self.log(logging.WARNING, event, *args, **fields)

    def error(self, event: str, *args: object, **fields: object) -> None:
        """Something that failed."""
        self.log(logging.ERROR, event, *args, **fields)

    def critical(self, event: str, *args: object, **fields: object) -> None:
        """Something that ends the process."""
        self.log(logging.CRITICAL, event, *args, **fields)

    def exception(self, event: str, *args: object, **fields: object) -> None:
        """Something that failed, with the exception that is being handled."""
        self.log(logging.ERROR, event, *args, **{"exc_info": True, **fields})

    def is_enabled_for(self, level: int) -> bool:
        """Whether a line of this level would be written; for fields that are dear to find out."""
        return level >= self.threshold

    def log(self, level: int, event: str, *args: object, **fields: object) -> None:
        """Write at a numeric level; one between two names counts as the lower."""
        if level < self.threshold:
            return
        # Arguments become part of the text here, so they are made printable before, not by a processor after.
        self._proxy_to_logger(_level_name(level), _interpolate(event, args) if args else event, **fields)


def configure(
    level: Level = "info",
    format: Format = "auto",  # noqa: A002 - the word that the setting has
    stream: TextIO | None = None,
) -> None:
    """Decide once how this process logs: the least level, the looks, and where to (standard error)."""
    output = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    terminal = output.isatty()
    console = format == "console" or (format == "auto" and terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_name,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _write_exception,
            _redact,
            *(_console(colours=terminal) if console else [structlog.processors.JSONRenderer()]),
        ],
        wrapper_class=type("Logger", (Logger,), {"threshold": threshold}),
        logger_factory=lambda name="": _Output(output, name),
        cache_logger_on_first_use=False,  # loggers made at import follow a later configure
    )
    _route_the_libraries(threshold)


def get(name: str) -> Logger:
    """The logger of a module; the name is on every line of its."""
    return cast(Logger, structlog.get_logger(name))


def log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task's owner took; the loop's own handler would print exceptions with their texts."""
    del loop
    get("asyncio").error(str(context.get("message")), exc_info=context.get("exception"))


class _Output:
    """Writes lines. A log that nobody can read any more must not stop the service, so its errors end here."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self.name = name

    def write(self, line: str) -> None:
        try:
            with _LOCK:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):  # a closed pipe, a closed file
            return

    debug = info = warning = error = critical = write


class _FromStandardLibrary(logging.Handler):
    """Takes the lines of libraries (grpc, sqlalchemy, alembic, asyncio) into the same chain."""

    def emit(self, record: logging.LogRecord) -> None:
        event = record.msg if isinstance(record.msg, str) else str(redaction.printable(record.msg))
        args = record.args if isinstance(record.args, tuple) else (record.args,)
        get(record.name).log(record.levelno, event, *(args if record.args else ()), exc_info=record.exc_info)


_LOCK = threading.Lock()


def _route_the_libraries(threshold: int) -> None:
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _FromStandardLibrary)]:
        root.removeHandler(handler)
    root.addHandler(_FromStandardLibrary())
    # Below WARNING, libraries write what they work on: statements, parameters, headers.
    root.setLevel(max(threshold, logging.WARNING))


def _level_name(level: int) -> str:
    return next((name for threshold, name in _LEVELS if level >= threshold), "debug")


def _interpolate(event: str, args: tuple[object, ...]) -> str:
    values = [redaction.printable(each) for each in args]
    try:
        return event % (values[0] if len(values) == 1 and isinstance(values[0], dict) else tuple(values))
    except (TypeError, ValueError, KeyError):
        return f"{event} {values}"  # a placeholder that does not fit what stands for the value


def _add_name(logger: _Output, method: str, event: EventDict) -> EventDict:
    del method
    event["logger"] = logger.name
    return event


def _write_exception(logger: object, method: str, event: EventDict) -> EventDict:
    del logger, method
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    elif given is True:
        given = sys.exc_info()[1]
    if isinstance(given, BaseException):
        event["exception"] = redaction.format_exception(given)
    return event


def _redact(logger: object, method: str, event: EventDict) -> EventDict:
    del logger, method
    return redaction.printable_fields(event)


def _escape_controls(logger: object, method: str, event: EventDict) -> MutableMapping[str, Any]:
    del logger, method
    for name, value in event.items():
        if isinstance(value, str):
            lines = value.split("\n") if name == "exception" else [value]
            event[name] = "\n".join(line.translate(_CONTROLS) for line in lines)
    return event


def _console(*, colours: bool) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colours, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )
    return [_escape_controls, renderer]
