"""What may be written to a log: plain values as they are, everything else by the name of its type.

An allow-list, because what prints a secret is endless: a protobuf message and its containers,
an exchange's exception, a driver's error with its parameters, a dataclass that holds any of these.
"""

import os
import traceback
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from math import isfinite
from pathlib import PurePath
from types import TracebackType
from uuid import UUID

from pydantic import SecretBytes, SecretStr

from servicekit.errors import KeybridgeError, StartupError
from servicekit.values import Address

_MASK = "**********"
_DEEPEST = 6
# Exactly these, and most of what is logged: a subclass may bring a __str__ of its own.
_PLAIN = frozenset({str, int, bool, type(None)})
_WRITTEN_BY_STR = (UUID, Decimal, PurePath, Address, IPv4Address, IPv6Address, timedelta)

# The secret fields of the contracts, and the settings and headers that carry one.
_SECRET_NAMES = frozenset(
    (
        *("api_key", "api_secret", "passphrase", "extra", "credentials"),
        *("accountid", "login", "privatekey", "secret", "token", "twofa"),
        *("authorization", "database_url", "password", "private_key"),
    )
)

# Their texts name attributes and modules, never a value. Exactly these: a subclass may say anything.
_HARMLESS = (AttributeError, ImportError, ModuleNotFoundError, NameError, UnboundLocalError, RecursionError)


def printable(value: object, depth: int = 0) -> object:
    """Make a value one that can be written: a container by its contents, an unknown object by its type."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str | int | float | Enum):
        return _scalar(value)
    if isinstance(value, SecretStr | SecretBytes):
        return _MASK
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, _WRITTEN_BY_STR):
        return str(value)
    if isinstance(value, BaseException):
        return describe(value)
    if isinstance(value, type):
        return value.__name__
    return _container(value, depth)


def printable_fields(fields: Mapping[str, object], depth: int = 0) -> dict[str, object]:
    """The same for named values, where some names alone say that the value is nobody's business."""
    return {
        name: _MASK if name.lower() in _SECRET_NAMES and value else printable(value, depth)
        for name, value in fields.items()
    }


def describe(error: BaseException) -> str:
    """Name an exception, with its text only where that is ours or cannot hold a value."""
    name = _type_name(error)
    if isinstance(error, KeybridgeError | StartupError) or type(error) in _HARMLESS:
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: {os.strerror(error.errno)}"
    return name


def format_exception(error: BaseException) -> str:
    """Write an exception with its causes and frames, without local variables and without foreign texts."""
    return "\n".join(_lines(error, set()))


def _scalar(value: str | float | Enum) -> object:
    # A subclass may bring a __str__ of its own; the plain value is what is wanted.
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    return float(value) if isfinite(value) else str(float(value))


def _container(value: object, depth: int) -> object:
    # Exact types: a subclass, or a protobuf container that claims to be a sequence, may hold messages.
    if depth >= _DEEPEST:
        return "…"
    if type(value) is dict:
        return printable_fields(
            {str(printable(key, depth + 1)): each for key, each in value.items()}, depth + 1
        )
    if type(value) is list or type(value) is tuple or type(value) is set or type(value) is frozenset:
        return [printable(each, depth + 1) for each in value]
    return f"<{_type_name(value)}>"


def _type_name(value: object) -> str:
    kind = type(value)
    descriptor = getattr(kind, "DESCRIPTOR", None)
    full_name = getattr(descriptor, "full_name", None)
    if isinstance(full_name, str):
        return full_name
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _lines(error: BaseException, seen: set[int]) -> list[str]:
    if id(error) in seen:
        return [f"{describe(error)} (shown above)"]
    seen.add(id(error))
    lines = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines += _lines(cause, seen)
        lines.append("which led to:" if error.__cause__ is None else "which was the cause of:")
    lines.append(describe(error))
    lines += _frames(error.__traceback__)
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions, 1):
            lines.append(f"  {number} of {len(error.exceptions)} in this group:")
            lines += [f"    {line}" for line in _lines(inner, seen)]
    return lines


def _frames(tb: TracebackType | None) -> list[str]:
    summary = traceback.StackSummary.extract(traceback.walk_tb(tb), capture_locals=False)
    return [line for frame in summary.format() for line in frame.rstrip("\n").split("\n")]
