"""Proving the audit record: every seal in its order, and under each the very events that it was made of.

Seals and events are read side by side, a page of each at a time, so that the length of the record does not matter.
A seal that is missing or not genuine says nothing of its events: they are passed over, up to those of the next one.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hmac import compare_digest
from typing import Final

from keyservice.audit_chain import BEGINNING, ENCODING, NOWHERE, Batch, Digester, Event, Seal
from keyservice.keyring import Keyring
from keyservice.store import audit_seals
from servicekit.database.reads import Executor
from servicekit.errors import FailedPrecondition
from servicekit.wording import counted

SEAL_WITHIN: Final = timedelta(minutes=10)
"""An event that is older should have its seal: until then it can be changed unseen."""

_SEALS_AT_A_TIME: Final = 500
_EVENTS_AT_A_TIME: Final = 2000
_MOST_TOLD: Final = 50


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The end of the chain as it once was, kept where whoever changes the database can't."""

    number: int
    mac: bytes


@dataclass(slots=True)
class Proof:
    """What was found, so far."""

    seals: int = 0
    events: int = 0
    """Those under the seals; what a missing seal stood for is not among them."""
    findings: int = 0
    told: list[str] = field(default_factory=list)
    """A sentence for each finding, but for very many."""
    head: Checkpoint | None = None
    """Where the chain ends."""
    unsealed: int = 0
    unsealed_since: str = ""
    unsealed_too_long: bool = False

    def find(self, sentence: str) -> None:
        self.findings += 1
        if self.findings <= _MOST_TOLD:
            self.told.append(sentence)


def _silent(_proof: Proof) -> None:
    """For callers that show no progress."""


async def verify(
    connection: Executor,
    keyring: Keyring,
    checkpoint: Checkpoint | None = None,
    *,
    only_since: bool = False,
    seal_within: timedelta = SEAL_WITHIN,
    progress: Callable[[Proof], None] = _silent,
) -> Proof:
    """Prove the record, from its beginning or ``only_since`` the checkpoint, whose seal has to be there."""
    run = _Run(connection, keyring, checkpoint)
    if only_since and checkpoint is not None:
        await run.begin_behind(checkpoint)
    while seals := await audit_seals.page(connection, after=run.number, size=_SEALS_AT_A_TIME):
        for seal in seals:
            await run.prove(seal)
        progress(run.proof)
    return await run.end(seal_within)


class _Run:
    """One walk along the chain."""

    def __init__(self, connection: Executor, keyring: Keyring, checkpoint: Checkpoint | None) -> None:
        self.proof = Proof()
        self.number = 0
        """Of the last seal that was met."""
        self._connection = connection
        self._keyring = keyring
        self._checkpoint = checkpoint
        self._mac = BEGINNING
        self._whole = True
        """Whether the last seal is known to be what it was, so that the next one can be held against it."""
        self._events = _Events(connection)

    async def begin_behind(self, checkpoint: Checkpoint) -> None:
        """Believe what was proved before; where the checkpoint's seal is not there, nothing is believed."""
        seal = await audit_seals.get(self._connection, checkpoint.number)
        if seal is not None and seal.is_genuine(self._keyring) and compare_digest(seal.mac, checkpoint.mac):
            self.number, self._mac = seal.number, seal.mac
            self.proof.head = checkpoint
            self._events = _Events(self._connection, after=seal.batch.last_position)

    async def prove(self, seal: Seal) -> None:
        self._find_missing(seal)
        self._hold_against_checkpoint(seal)
        self.number = seal.number
        self.proof.seals += 1
        self.proof.head = Checkpoint(seal.number, seal.mac)
        if not seal.is_genuine(self._keyring):
            self.proof.find(f"Seal {seal.number} was changed, or was not made by keybridge.")
            self._whole = False
            return
        if seal.encoding != ENCODING:
            raise FailedPrecondition(
                f"Seal {seal.number} was made by a later release, which is needed to verify it.",
                reason="AUDIT_ENCODING_UNKNOWN",
            )
        if self._whole and not compare_digest(seal.previous_mac, self._mac):
            self.proof.find(f"Seal {seal.number} was not made behind the one that lies before it.")
        if not self._whole:
            await self._events.pass_over(seal.batch.first_position - 1)
        self._whole = True
        self._mac = seal.mac
        await self._prove_events(seal)

    async def end(self, seal_within: timedelta) -> Proof:
        """What there is behind the last seal, and whether that is where the chain may end."""
        proof, expected = self.proof, self._checkpoint
        if expected is not None and expected.number > self.number:
            proof.find(
                f"The record was cut off: the checkpoint names seal {expected.number}, and it ends with"
                f" {f'seal {self.number}' if self.number else 'none at all'}."
            )
        proof.unsealed, proof.unsealed_since, proof.unsealed_too_long = await audit_seals.count_events(
            self._connection, after=self._events.position, patience=seal_within
        )
        return proof

    def _find_missing(self, seal: Seal) -> None:
        first, last = self.number + 1, seal.number - 1
        if first <= last:
            what = f"Seal {first} is" if first == last else f"Seals {first} to {last} are"
            self.proof.find(f"{what} missing.")
            self._whole = False

    def _hold_against_checkpoint(self, seal: Seal) -> None:
        expected = self._checkpoint
        if expected is None or expected.number != seal.number:
            return
        if not compare_digest(expected.mac, seal.mac):
            self.proof.find(f"Seal {seal.number} is another one than the checkpoint's.")

    async def _prove_events(self, seal: Seal) -> None:
        digester = Digester()
        async for events in self._events.up_to(seal.batch.last_position):
            digester.add(events)
        found = digester.batch()
        self.proof.events += found.event_count if found else 0
        if found != seal.batch:
            self.proof.find(_difference(seal, found))


class _Events:
    """The record in its order, a page of it in memory."""

    def __init__(self, connection: Executor, *, after: int = NOWHERE) -> None:
        self.position = after
        """Up to where it was given out."""
        self._connection = connection
        self._page: Sequence[Event] = ()
        self._next = 0

    async def up_to(self, last: int) -> AsyncIterator[Sequence[Event]]:
        """The next events, as far as they do not lie behind ``last``, in parts."""
        while True:
            if self._next == len(self._page):
                after = self._page[-1].position if self._page else self.position
                self._page = await audit_seals.events(self._connection, after=after, size=_EVENTS_AT_A_TIME)
                self._next = 0
            end = bisect_right(self._page, last, lo=self._next, key=lambda event: event.position)
            part = self._page[self._next : end]
            self._next = end
            if part:
                yield part
            if not part or end < len(self._page):
                break
        self.position = max(self.position, last)

    async def pass_over(self, last: int) -> None:
        async for _ in self.up_to(last):
            pass


def _difference(seal: Seal, found: Batch | None) -> str:
    sealed = seal.batch
    where = (
        f"under seal {seal.number} (positions {sealed.first_position} to {sealed.last_position},"
        f" sealed at {seal.made_at})"
    )
    surplus = (found.event_count if found else 0) - sealed.event_count
    if surplus < 0:
        return f"Missing {where}: {-surplus} of {counted(sealed.event_count, 'event')}."
    if surplus > 0:
        return f"Too many {where}: {counted(surplus, 'event')}."
    return f"Not what it was {where}: at least one of {counted(sealed.event_count, 'event')}."
