"""The one error tree of both services.

Use cases raise these; nothing here knows gRPC. ``servicekit.rpc.status`` maps each class to its status code,
always with a ``google.rpc.ErrorInfo`` whose reason is the error's ``reason`` and whose domain is "keybridge".
Foreign exceptions (SQLAlchemy, ccxt, grpc) are translated into these at one boundary each.

A message is for the person who calls: our own words, never an exchange's or a driver's, never a secret.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

DOMAIN = "keybridge"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request: which field, and what to do about it."""

    field: str
    description: str


class KeybridgeError(Exception):
    """The root: what went wrong (``reason``, UPPER_SNAKE), in a sentence, with facts for programs."""

    default_reason: ClassVar[str]

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class InvalidArgument(KeybridgeError):
    """The request itself is wrong, whatever the state of the system. Carries every violation at once."""

    default_reason = "INVALID_ARGUMENT"

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[Violation] = (),
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = tuple(violations)


class NotFound(KeybridgeError):
    """There is no such thing, or it is not the caller's: the two look exactly alike."""

    default_reason = "NOT_FOUND"


class AlreadyExists(KeybridgeError):
    """A constraint says that it is there already, or that its request id was used for something else."""

    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(KeybridgeError):
    """The state of the system forbids it; the same call may succeed once that has changed."""

    default_reason = "FAILED_PRECONDITION"


class Aborted(KeybridgeError):
    """Someone else was faster: read again and decide anew."""

    default_reason = "ABORTED"


class Unauthenticated(KeybridgeError):
    """The caller did not prove who he is."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(KeybridgeError):
    """The caller is known and may not do this."""

    default_reason = "PERMISSION_DENIED"


class ResourceExhausted(KeybridgeError):
    """A limit was reached, ours or an exchange's; ``retry_after`` says when to come again, if known."""

    default_reason = "RESOURCE_EXHAUSTED"


class Unavailable(KeybridgeError):
    """Something that we need does not answer now."""

    default_reason = "UNAVAILABLE"


class DeadlineExceeded(KeybridgeError):
    """The time was up before there was an answer; whether a write happened is unknown."""

    default_reason = "DEADLINE_EXCEEDED"


class Unimplemented(KeybridgeError):
    """The contract names it, this build does not serve it."""

    default_reason = "UNIMPLEMENTED"


class Internal(KeybridgeError):
    """What nobody foresaw. Its message never leaves the process: the caller gets the request id only."""

    default_reason = "INTERNAL"


class StartupError(Exception):
    """The service can't start, for one sentence's reason. Not part of the tree: it never crosses the wire."""

    exit_status: ClassVar[int] = 1


class SettingsError(StartupError):
    """A setting is unknown, missing or malformed; the sentence names it."""

    exit_status = 2
