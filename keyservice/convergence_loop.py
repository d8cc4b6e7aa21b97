"""The loop that takes what is due to the bridge, whoever made it due and whoever began it and died.

Any number of replicas may run it: each claims what the others have not, and no more than it can take at once. That
bound is also the pace of a bridge's restart: interactive calls go on beside it. What a replica can't send it leaves to
the others, who may reach a bridge that it does not.
"""

from datetime import timedelta
from time import monotonic
from typing import Final, Never

from keyservice.bridge_records import Outcome
from keyservice.claims import LEASE
from keyservice.convergence import Convergence
from keyservice.enums import BridgeReason
from keyservice.errands import Errand
from keyservice.places import Places
from keyservice.records import ApiKey
from keyservice.store import audit
from keyservice.store.due_claims import BEGINNING, CONVERGENCE, claim_due, claim_stretch
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError
from servicekit.turns import take_turns

# What becomes due by the clock, or in another replica, is noticed so soon.
_POLL = timedelta(seconds=0.5)
_TRY_EVERY = timedelta(seconds=1)
_UNANSWERED: Final = Outcome(BridgeReason.BRIDGE_TIMEOUT, code="NOT_SENT", asked=False)

_log = logs.get(__name__)


class ConvergenceLoop:
    """Claims, and converges what it has claimed."""

    def __init__(self, database: Database, convergence: Convergence, *, at_once: int) -> None:
        self._database = database
        self._convergence = convergence
        self._places = Places(at_once, moment=convergence.inline_wait, freed=convergence.due.set)
        self._tried_at = monotonic()
        """When something was last sent whatever is known of the bridge."""
        self._seen_to = BEGINNING
        """How far what is due was looked through for what can be sent, while the bridge is away for some."""

    async def run(self) -> Never:
        """Until cancelled. A database that is away is tried again at the next turn."""

        def failed(error: KeybridgeError) -> None:
            _log.warning("keys that are due can't be claimed, and are later", reason=error.reason)

        await take_turns(self.once, wake=self._convergence.due, pause=_POLL, failed=failed)

    async def once(self) -> int:
        """Begin with what is due and has room; says how much that was."""
        room = self._places.room
        if not room:
            return 0
        # While nobody is there, what is not sent need not be on record each time. One is sent all the same now and
        # then: the bridge that the looks meet may be away alone.
        absence = self._convergence.absence
        now = monotonic()
        if absence is not None and now - self._tried_at >= _TRY_EVERY.total_seconds():
            absence, room = None, 1
        if absence is None:
            self._tried_at = now
        if absence is None and (self._convergence.away_for_some or self._places.unanswered):
            errands = await self._claim_each(room)
        else:
            errands = await self._claim(room, absence)
        self._places.begin(len(errands), of=room)
        for errand in errands:
            self._convergence.work.start(self._take(errand))
        return len(errands)

    async def _claim_each(self, room: int) -> list[Errand]:
        """Where the bridge is away for some accounts only, what is sent of the others alone is on record."""
        async with self._database.transaction() as connection:
            away_for = [*self._convergence.away_for, *self._places.unanswered]
            stretch = await claim_stretch(
                connection, limit=room, lease=LEASE, away_for=away_for, after=self._seen_to
            )
            errands = [
                Errand(each.key, each.seals, urgent=False, absence=self._absence_for(each.key))
                for each in stretch.claimed
            ]
            if sent := [errand.key for errand in errands if errand.absence is None]:
                await audit.record_releases(connection, CONVERGENCE, sent)
        self._seen_to = stretch.next
        return errands

    def _absence_for(self, key: ApiKey) -> Outcome | None:
        """Removals release nothing, and find out for themselves what the breaker says."""
        if key.client_id in self._places.unanswered:
            return _UNANSWERED
        return self._convergence.absence_for(key.client_id) if key.wanted else None

    async def _claim(self, room: int, absence: Outcome | None) -> list[Errand]:
        """All of it to be sent, or nothing."""
        away = absence is not None
        async with self._database.autocommit() as connection:
            claimed = await claim_due(connection, limit=room, lease=LEASE, releases=not away, afresh=away)
        return [Errand(each.key, each.seals, urgent=False, absence=absence) for each in claimed]

    async def _take(self, errand: Errand) -> None:
        wait = self._convergence.bridge_timeout
        if self._places.crowded:
            wait = min(wait, self._convergence.inline_wait)
        try:
            await self._convergence.converge(errand, wait, self._places.one(errand.key.client_id))
        except KeybridgeError as error:
            # Its claim expires, and then it is due again.
            _log.warning(
                "the outcome of an attempt was lost", api_key_id=str(errand.key.id), reason=error.reason
            )
        finally:
            self._places.end()
