"""A key's credentials as they are stored: whoever claims the key gets them with the claim, and reads them nowhere else.

Who read them later would have to wait for a connection, and his claim might be over by then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.orm import InstrumentedAttribute

from keyservice import models
from keyservice.credentials import FIELDS
from keyservice.records import ApiKey

_table = models.ExchangeApiKey
SEALED: Final[tuple[InstrumentedAttribute[Any], ...]] = (
    _table.key_id,
    *(getattr(_table, name) for name in FIELDS),
)


@dataclass(frozen=True, slots=True)
class Seals:
    """A key's credentials as they are stored."""

    key_id: str | None
    by_column: Mapping[str, str | None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A key whose present revision is the holder's to take to the bridge, until its ``next_attempt_at``."""

    key: ApiKey
    seals: Seals


def seals(row: Sequence[Any]) -> Seals:
    """From a row of ``SEALED``."""
    key_id, *sealed = row
    return Seals(key_id, dict(zip(FIELDS, sealed, strict=True)))
