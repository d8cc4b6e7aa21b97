"""The same API key in several rows of one client: the newest stays, the older ones are superseded."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from keyservice.store import waiting_rows
from keyservice.store.waiting_rows import AdoptedRow, Holder
from servicekit.database.engine import Connection


@dataclass(frozen=True, slots=True)
class Superseded:
    """A live key that has to go, and the one that stays in its stead."""

    id: UUID
    client_id: UUID
    by: UUID


async def superseded(connection: Connection, adopted: Sequence[AdoptedRow]) -> list[Superseded]:
    """Among rows about to be adopted, and live keys that have their fingerprints already."""
    claims = [
        Holder(each.row.id, each.row.client_id, each.fingerprint, each.row.created_at)
        for each in adopted
        if each.row.live and each.fingerprint is not None
    ]
    wanted = {(claim.client_id, claim.fingerprint) for claim in claims}
    present = await waiting_rows.holders(connection, wanted)
    same: defaultdict[tuple[UUID, bytes], list[Holder]] = defaultdict(list)
    for holder in (*claims, *present):
        same[holder.client_id, holder.fingerprint].append(holder)
    found = []
    for holders in same.values():
        newest = max(holders, key=lambda holder: (holder.created_at, holder.id))
        older = [holder for holder in holders if holder is not newest]
        found += [Superseded(holder.id, holder.client_id, newest.id) for holder in older]
    return found
