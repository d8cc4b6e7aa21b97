"""What the clients of a crash run were told: the one thing that the database is held against afterwards."""

from collections import Counter
from dataclasses import dataclass, field

import grpc

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.v1 import key_service_pb2 as pb

# What a caller hears when a process at the other end is gone, or did not come back in time.
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}


@dataclass
class Key:
    """One AddApiKey, whatever became of it, and the rotations after it. Only one client ever changes it."""

    request: pb.AddApiKeyRequest
    answers: set[str] = field(default_factory=set)
    """The ids that answers to it named; a second one means that the key was doubled."""
    contents: list[Credentials] = field(default_factory=list)
    """The credentials that were acknowledged last, and those that were sent since with an unknown outcome."""
    rotations: dict[str, pb.RotateApiKeyRequest] = field(default_factory=dict)
    """The acknowledged ones, by request id."""

    @property
    def label(self) -> str:
        """It is the request id, so that a row tells which request made it."""
        return self.request.label

    @property
    def id(self) -> str | None:
        """None while nothing was acknowledged."""
        return next(iter(self.answers), None)


@dataclass
class Journal:
    """All keys of a run, by label, and how the calls went."""

    keys: dict[str, Key] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Refusals that nothing in a crash run accounts for; none is expected."""
    in_flight: int = 0

    @property
    def acknowledged(self) -> int:
        return self.calls["added"] + self.calls["rotated"]

    def note(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() in AWAY:
            self.calls["unknown"] += 1
        else:
            self.refused[f"{error.code().name}: {error.details()}"] += 1
