"""The report of an adoption. It is kept in the audit record, so each run tells the whole story again."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keyservice.store import adoption_events, waiting_rows
from keyservice.store.adoption_events import ADOPT, MIGRATION, POSTPONE, SUPERSEDE, Event
from servicekit.database.engine import Connection
from servicekit.wording import counted

_RENAME: Final = "RenameExchange"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the old database, by the migration and by all runs of the adoption."""

    counts: Mapping[str, int]
    """By action, of what was done."""
    notable: Sequence[Event]
    """What somebody may have to look at, in the order in which it happened."""
    waiting: int
    """Keys that still have a token of the old database's."""
    nothing_left: bool = False
    """Whether the run of the adoption that this reports on found nothing to do."""
    under_old_key: bool = False
    """Whether that run sealed under the very key that it opened the old database with."""

    def lines(self) -> Iterator[str]:
        """For people to read; no line holds a secret."""
        keys, clients = self.counts.get("TakeOverApiKey", 0), self.counts.get("TakeOverClient", 0)
        yield f"The migration took over {counted(keys, 'API key')} and {counted(clients, 'client')}."
        yield f"{counted(self.counts.get(ADOPT, 0), 'API key')} sealed anew."
        yield from _renamings(self.notable)
        for event in self.notable:
            if event.action in _SENTENCES:
                yield _SENTENCES[event.action](event)
        if postponed := self.counts.get(POSTPONE, 0):
            yield _postponed(postponed)
        if self.waiting:
            yield f"{counted(self.waiting, 'API key')} still waiting for the key that opens them."
        if self.under_old_key:
            yield (
                "The new seals are under the old database's own key, which others may still have: put a new key"
                " before it in KEYSERVICE_ENCRYPTION_KEYS, and run `keybridge secrets rotate`."
            )
        if self.nothing_left:
            yield "There is nothing left to do."


async def kept_report(connection: Connection) -> Report:
    """The report as the record has it: also for whoever wants to see what a migration did before adopting."""
    return Report(
        counts=await adoption_events.counts(connection),
        notable=await adoption_events.notable(connection),
        waiting=await waiting_rows.count(connection),
    )


def _made(event: Event) -> str:
    whose = f"client {event.details['old_id']!r}" if event.details["old_id"] else "no client"
    return f"Client {event.client_id} was made, for keys of {whose}, which the old database did not have."


def _renamings(events: Sequence[Event]) -> Iterator[str]:
    """Together, since there is one for each key of a renamed exchange, and nothing to be done about any."""
    renamed = Counter(
        (event.details.get("from", ""), event.details["to"]) for event in events if event.action == _RENAME
    )
    for (before, now), number in sorted(renamed.items()):
        yield f"The exchange {before!r} of {counted(number, 'API key')} is called {now!r} now."


def _superseded(event: Event) -> str:
    same = "client, exchange and label" if event.principal == MIGRATION else "API key"
    return (
        f"API key {event.api_key_id} is deleted, because {event.details['superseded_by']} is newer"
        f" and has the same {same}; until it is erased it can be undeleted."
    )


def _deleted_with_client(event: Event) -> str:
    return (
        f"API key {event.api_key_id} is deleted, as its client {event.client_id} is, and comes back with it."
    )


def _lost_external_id(event: Event) -> str:
    return (
        f"Client {event.client_id} has no external id, because client {event.details['belongs_to']} has the"
        f" same one, {event.details['external_id']!r}."
    )


def _put_away(event: Event) -> str:
    left_out, not_read = event.details["left_out"], event.details["not_read"]
    without = f", without its {_columns(left_out)}" if left_out else ""
    says = "says was" if len(not_read) == 1 else "say was"
    kept = f"The old table is kept as {event.details['table']}{without}."
    return f"{kept} What its {_columns(not_read)} {says} not taken over." if not_read else kept


def _postponed(number: int) -> str:
    counts, their = ("counts", "its") if number == 1 else ("count", "their")
    return (
        f"{counted(number, 'API key')} that the old system had deleted {counts} as deleted since the takeover:"
        f" KEYSERVICE_ERASE_AFTER from then {their} credentials are erased for good."
    )


def _adopted(event: Event) -> str:
    if event.outcome != "OK":
        return (
            f"API key {event.api_key_id} of client {event.client_id} does not open with the old key;"
            " it is kept, and needs its credentials again (RotateApiKey), or the key that it was sealed with."
        )
    names = " and ".join(event.details["white_space"])
    return (
        f"API key {event.api_key_id} of client {event.client_id} has white space around its {names};"
        " it is kept as it is, but the exchange will probably refuse it."
    )


_SENTENCES: Final[Mapping[str, Callable[[Event], str]]] = {
    "MakeClient": _made,
    SUPERSEDE: _superseded,
    "DeleteApiKeyWithClient": _deleted_with_client,
    "DropExternalId": _lost_external_id,
    "PutAwayOldTable": _put_away,
    ADOPT: _adopted,
}


def _columns(names: Sequence[str]) -> str:
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"column{'' if len(names) == 1 else 's'} {listed}"
