"""What must be true of keys after all that callers were told: the model that a fault run is held against.

An answer says how a key is at a revision, and the highest one counts. A change without an answer may have come about or
not; once all is quiet, the row tells.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.v1.api_key_pb2 import ApiKey
from tests.evidence.crash_findings import columns_of
from tests.evidence.fault_steps import Slot


@dataclass(frozen=True, slots=True)
class State:
    """A key at one revision."""

    revision: int
    deleted: bool
    disabled: bool
    contents: Credentials | None = field(default=None, repr=False)
    """None for ``paper``, which has none."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was asked for; None leaves a thing as it is."""

    deleted: bool | None = None
    disabled: bool | None = None
    contents: Credentials | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A key as the database has it."""

    key_id: str
    slot: Slot
    revision: int
    deleted: bool
    disabled: bool
    opened: dict[str, bytes] = field(repr=False)


@dataclass(slots=True)
class Key:
    """A key that somebody was told of."""

    key_id: str
    slot: Slot
    state: State
    unknown: list[Change] = field(default_factory=list)
    """Changes that were sent, with an outcome that nobody knows."""


@dataclass
class Model:
    """All keys, and what is wrong with what was heard and seen of them."""

    keys: dict[str, Key] = field(default_factory=dict)
    unknown_additions: list[tuple[Slot, Credentials | None]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    resolved: int = 0
    """How many unknown outcomes a row has told."""
    _by_hint: dict[str, Credentials] = field(default_factory=dict)

    def of(self, slot: Slot) -> list[Key]:
        """The keys that are or were there, the latest change first."""
        keys = [key for key in self.keys.values() if key.slot == slot]
        return sorted(keys, key=lambda key: key.state.revision, reverse=True)

    def live(self, slot: Slot) -> Key | None:
        return next((key for key in self.of(slot) if not key.state.deleted), None)

    def is_certain(self, slot: Slot) -> bool:
        """Whether nothing about it is unknown."""
        return not any(key.unknown for key in self.of(slot)) and slot not in dict(self.unknown_additions)

    def is_new(self, contents: Credentials) -> bool:
        """Whether it can be told by its hint from all others; it is remembered by it."""
        hint = contents.api_key[-4:]
        return self._by_hint.setdefault(hint, contents) is contents

    def hear(self, slot: Slot, key: ApiKey) -> None:
        """An answer told of a key."""
        heard = State(
            revision=key.revision,
            deleted=key.HasField("delete_time"),
            disabled=key.disabled,
            contents=self._by_hint.get(key.key_hint),
        )
        known = self.keys.setdefault(key.id, Key(key.id, slot, heard))
        if heard.revision == known.state.revision and heard != known.state:
            self.findings.append(f"two answers differ on revision {heard.revision} of {_name(slot)}")
        if heard.revision > known.state.revision:
            known.state = heard

    def resolve(self, rows: Iterable[Row]) -> None:
        """Hold the rows against what was heard, now that nothing is under way; then nothing is unknown any more."""
        found = {row.key_id: row for row in rows}
        for key in self.keys.values():
            row = found.pop(key.key_id, None)
            if row is None:
                self.findings.append(f"the key {key.key_id} of {_name(key.slot)} is lost")
            else:
                self._compare(key, row)
        for row in found.values():
            self._take_in(row)
        self.unknown_additions.clear()

    def _compare(self, key: Key, row: Row) -> None:
        known, name = key.state, f"{_name(key.slot)} at {row.revision}"
        # A later revision may also have been drawn to overrule what the bridge remembered.
        changes = key.unknown if row.revision > known.revision else []
        if row.revision < known.revision:
            self.findings.append(f"{name} had revision {known.revision} already")
        if row.deleted != known.deleted and row.deleted not in [change.deleted for change in changes]:
            self.findings.append(f"{name} is {'deleted' if row.deleted else 'live'}, which nobody asked for")
        if row.disabled != known.disabled and row.disabled not in [change.disabled for change in changes]:
            self.findings.append(
                f"{name} is {'disabled' if row.disabled else 'enabled'}, which nobody asked for"
            )
        candidates = [known.contents, *(change.contents for change in changes if change.contents)]
        contents = self._contents(row, candidates)
        self.resolved += len(key.unknown)
        key.state = State(row.revision, row.deleted, row.disabled, contents)
        key.unknown = []

    def _take_in(self, row: Row) -> None:
        """A row that nobody was told of has to come from an addition with an unknown outcome."""
        for addition in self.unknown_additions:
            slot, contents = addition
            if slot == row.slot and row.opened == _opened(contents):
                self.unknown_additions.remove(addition)
                self.resolved += 1
                state = State(row.revision, row.deleted, row.disabled, contents)
                self.keys[row.key_id] = Key(row.key_id, slot, state)
                return
        self.findings.append(f"{_name(row.slot)} at {row.revision} is a key that nobody added")

    def _contents(self, row: Row, candidates: list[Credentials | None]) -> Credentials | None:
        for contents in candidates:
            if row.opened == _opened(contents):
                return contents
        self.findings.append(f"{_name(row.slot)} at {row.revision} has credentials that it should not have")
        return candidates[0]


def _opened(contents: Credentials | None) -> dict[str, bytes]:
    return {} if contents is None else columns_of(contents)


def _name(slot: Slot) -> str:
    return f"{slot.client}/{slot.connector_name}"
