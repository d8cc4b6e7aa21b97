"""The chain that seals the audit record: how events are written down for a digest, and what a seal vouches for.

A seal is a MAC over a batch's digest, its bounds and the MAC of the seal before. Its key is made from the index key,
so it is the same under every master key, and whoever has the database alone can't make a seal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from keyservice.keyring import Keyring

ENCODING: Final = 1
"""The way in which events are written down here: all columns, in the order in which the store reads them."""
BEGINNING: Final = bytes(32)
"""What stands for the MAC before the first seal."""

NOWHERE: Final = -(2**63)
"""A position before all others."""

_PURPOSE: Final = "audit seal"
_NULL: Final = (-1).to_bytes(4, "big", signed=True)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's

Columns = Sequence[bytes | None]
"""The columns of an event, each in PostgreSQL's own binary form: whatever was written there can be read."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is sealed."""

    position: int
    columns: Columns


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sealed together: which events, and their digest."""

    first_position: int
    last_position: int
    event_count: int
    digest: bytes


class Digester:
    """Takes the events of a batch in their order, and can forget them at once."""

    def __init__(self) -> None:
        self._digest = sha256()
        self._first: int | None = None
        self._last = 0
        self._count = 0

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self._digest.update(_encoded(event.columns))
            self._first = event.position if self._first is None else self._first
            self._last = event.position
            self._count += 1

    def batch(self) -> Batch | None:
        """None where there was no event."""
        if self._first is None:
            return None
        return Batch(self._first, self._last, self._count, self._digest.digest())


@dataclass(frozen=True, slots=True)
class Seal:
    """A link of the chain."""

    number: int
    encoding: int
    batch: Batch
    previous_mac: bytes
    mac: bytes
    time: bytes
    """In PostgreSQL's binary form, as the columns of an event are."""

    @property
    def made_at(self) -> str:
        """The time for people."""
        microseconds = int.from_bytes(self.time, "big", signed=True)
        try:
            return f"{_EPOCH + timedelta(microseconds=microseconds):%Y-%m-%d %H:%M:%S} UTC"
        except OverflowError:
            return "a time that there never was"

    def is_genuine(self, keyring: Keyring) -> bool:
        """Whether a holder of the key made it, just as it is."""
        return compare_digest(_mac(keyring, self), self.mac)


def next_seal(keyring: Keyring, head: Seal | None, batch: Batch, time: bytes) -> Seal:
    """The seal of a batch, behind the last one."""
    number, previous_mac = (head.number + 1, head.mac) if head else (1, BEGINNING)
    draft = Seal(number, ENCODING, batch, previous_mac, b"", time)
    return Seal(number, ENCODING, batch, previous_mac, _mac(keyring, draft), time)


def _mac(keyring: Keyring, seal: Seal) -> bytes:
    batch = seal.batch
    numbers = (seal.number, seal.encoding, batch.first_position, batch.last_position, batch.event_count)
    parts = (each.to_bytes(8, "big", signed=True) for each in numbers)
    return keyring.mac(_PURPOSE, *parts, batch.digest, seal.previous_mac, seal.time)


def _encoded(columns: Columns) -> bytes:
    """Each column behind its length, so that no two events are written down alike; NULL has one of its own."""
    return b"".join([_NULL if each is None else len(each).to_bytes(4, "big") + each for each in columns])
