"""A caller's request id, by which a repetition is known: what use cases need to turn it into a claim."""

from dataclasses import dataclass, field
from uuid import UUID

from keyservice.keyring import Keyring
from keyservice.records import Caller
from keyservice.store.requests import Claim


@dataclass(frozen=True, slots=True)
class Repetition:
    """The id, and the whole request under it, but for the id."""

    method: str
    request_id: UUID
    body: bytes = field(repr=False)
    """Holds secrets: it is never stored, only its HMAC."""


def claim(keyring: Keyring, caller: Caller, repetition: Repetition | None) -> Claim | None:
    """What is stored of a request id. Ids of two callers, or of two methods, have nothing to do with one another."""
    if repetition is None:
        return None
    request_id = repetition.request_id.bytes
    body_hmac = keyring.mac("request body", repetition.method.encode(), request_id, repetition.body)
    return Claim(caller.name, repetition.method, repetition.request_id, body_hmac)
