"""Holds the database against what the clients were told, and counts what should be nought."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice import models
from keyservice.keyring import Keyring, KeyUnreadable
from keyservice.store.audit import RELEASE
from servicekit.database.engine import Database
from tests.evidence.crash_journal import Journal, Key
from tests.support.sealed import Row, read_rows


@dataclass
class Findings:
    """What is wrong, by kind. All are nought where custody keeps its promise."""

    acknowledged_keys_lost: int = 0
    keys_doubled: int = 0
    keys_unreadable: int = 0
    contents_wrong: int = 0
    """A row opens to credentials that are neither the acknowledged ones nor any that were sent after them."""
    rotations_counted_wrong: int = 0
    """A row's secret version is not one more than the number of rotations that the requests tell of."""
    audit_events_missing: int = 0
    audit_events_surplus: int = 0
    refusals: int = 0
    unforeseen_errors_logged: int = 0

    def wrong(self) -> dict[str, int]:
        return {name: count for name, count in asdict(self).items() if count}


@dataclass
class Stored:
    """What the tables hold after a run."""

    rows: dict[str, Row]
    labels: dict[str, list[str]]
    """Ids of rows by label."""
    requests: dict[str, Counter[str]]
    """Ids of rows by method: how many requests had it as their result."""
    events: dict[tuple[str, str], Counter[str]]
    """Request ids by action and key: how many events name them."""
    request_ids: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """The request ids by method and key."""


async def read(database: Database) -> Stored:
    table, request, event = models.ExchangeApiKey, models.Request, models.AuditEvent
    stored = Stored({}, {}, {}, {})
    stored.rows = {str(row_id): row for row_id, row in (await read_rows(database)).items()}
    async with database.autocommit() as connection:
        for row_id, label in await connection.execute(select(table.id, table.label)):
            stored.labels.setdefault(label, []).append(str(row_id))
        for row in await connection.execute(select(request.method, request.request_id, request.result_id)):
            stored.requests.setdefault(row.method, Counter())[str(row.result_id)] += 1
            stored.request_ids.setdefault((row.method, str(row.result_id)), set()).add(str(row.request_id))
        for action, key_id, request_id in await connection.execute(
            select(event.action, event.api_key_id, event.request_id).where(event.action != RELEASE)
        ):
            if key_id is not None:
                stored.events.setdefault((action, str(key_id)), Counter())[request_id] += 1
    return stored


def compare(journal: Journal, stored: Stored, keyring: Keyring, said: Iterable[str] = ()) -> Findings:
    """``said`` is what the services logged."""
    found = Findings(refusals=journal.refused.total())
    for key in journal.keys.values():
        ids = stored.labels.get(key.label, [])
        found.acknowledged_keys_lost += bool(key.id) and key.id not in stored.rows
        found.keys_doubled += len(ids) > 1 or len(key.answers) > 1
        for row_id in ids:
            _compare_content(found, key, stored.rows[row_id], keyring)
    for row_id, row in stored.rows.items():
        made = stored.requests.get("AddApiKey", Counter())[row_id]
        found.keys_doubled += made != 1
        rotations = stored.requests.get("RotateApiKey", Counter())[row_id]
        found.rotations_counted_wrong += row.secret_version != rotations + 1
    _compare_events(found, stored)
    found.unforeseen_errors_logged = sum("unforeseen" in line for line in said)
    return found


def _compare_content(found: Findings, key: Key, row: Row, keyring: Keyring) -> None:
    try:
        values = row.open(keyring)
    except KeyUnreadable:
        found.keys_unreadable += 1
        return
    found.contents_wrong += values not in [columns_of(each) for each in key.contents]


def columns_of(credentials: Credentials) -> dict[str, bytes]:
    values: dict[str, Any] = {
        "api_key": credentials.api_key.encode(),
        "api_secret": credentials.api_secret.encode(),
        "extra": json.dumps(dict(credentials.extra), sort_keys=True).encode() if credentials.extra else b"",
    }
    return {name: value for name, value in values.items() if value}


def _compare_events(found: Findings, stored: Stored) -> None:
    """One event for each request that changed something, and none for anything else."""
    for place in stored.request_ids.keys() | stored.events.keys():
        wanted = Counter(stored.request_ids.get(place, ()))
        told = stored.events.get(place, Counter())
        found.audit_events_missing += (wanted - told).total()
        found.audit_events_surplus += (told - wanted).total()
