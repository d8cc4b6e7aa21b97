"""The rolling check: account by account, what the bridge says it holds against what it should.

A look at the bridge shows which run of it is there, and never what it lost of an account, or has too much. These
questions take the same way as the keys did, by account, so each reaches the bridge that should hold it. They also
confirm to the bridge that its connectors are still wanted.
"""

import asyncio
from datetime import timedelta
from typing import Never
from uuid import UUID, uuid4

from keyservice.bridge import Bridge
from keyservice.bridge_records import Connector, Held, Outcome
from keyservice.convergence import Convergence
from keyservice.enums import BridgeState, Environment
from keyservice.records import account_name_of
from keyservice.store import rolling_check as store
from keyservice.store.rolling_check import Expected
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError

_BATCH = 500
_PATIENCE = timedelta(seconds=10)
# Before all that are ever drawn.
_FIRST = UUID(int=0)
# So that a round in a large house is no burst either.
_LEAST_PAUSE = timedelta(milliseconds=5)

_log = logs.get(__name__)


class RollingCheck:
    """Any number of replicas may run it at once: what one has mended the next one finds mended."""

    def __init__(
        self, database: Database, bridge: Bridge, convergence: Convergence, *, every: timedelta
    ) -> None:
        self._database = database
        self._bridge = bridge
        self._convergence = convergence
        self._every = every
        # No two starts begin with the same account, so that none is left out where a round is never finished.
        self._after: UUID = uuid4()
        """The account that was checked last."""

    async def run(self) -> Never:
        """Until cancelled: a round takes as long as is set, spread evenly over the accounts."""
        while True:
            try:
                count = await store.count_clients(self._database.reads)
                pause = max(_LEAST_PAUSE, self._every / max(1, count))
                await asyncio.sleep(pause.total_seconds())
                await self.round(pause)
            except KeybridgeError as error:
                _log.warning("the rolling check stopped, and begins again later", reason=error.reason)
                await asyncio.sleep(_PATIENCE.total_seconds())

    async def round(self, pause: timedelta) -> int:
        """Check every client that has keys, once; says how many keys and connectors were put right.

        It begins after the one that was checked last, so a round that an error ended is gone on with.
        """
        begun_after = self._after
        mended = await self._on_to(None, pause)
        self._after = _FIRST
        return mended + await self._on_to(begun_after, pause)

    async def _on_to(self, last: UUID | None, pause: timedelta) -> int:
        """Go on to this client at most; None is to the end."""
        mended = 0
        while clients := await store.clients_with_keys(
            self._database.reads, after=self._after, last=last, size=_BATCH
        ):
            for client_id in clients:
                self._after = client_id
                mended += await self.check(client_id)
                await asyncio.sleep(pause.total_seconds())
        return mended

    async def check(self, client_id: UUID) -> int:
        """Put right what one account lacks, and what it has too much; a bridge that is away is asked another time."""
        account_name = account_name_of(client_id)
        answer = await self._bridge.connectors(account_name, timeout=_PATIENCE)
        if isinstance(answer, Outcome):
            return 0
        # Read after the bridge was: a connector is there only once its row is.
        expected = await store.expected(self._database.reads, client_id)
        held = {each.connector_name: each for each in answer}
        lost = [key for key in expected if _is_lost(key, held.get(key.connector_name))]
        async with self._database.autocommit() as connection:
            due = await store.make_due(connection, lost) if lost else []
            moved = [(key, held[key.connector_name].instance_id) for key in expected if _has_moved(key, held)]
            if moved:
                await store.note_instances(connection, moved)
        wanted = {key.connector_name: key for key in expected}
        extra = [each for each in answer if _is_extra(each, wanted.get(each.connector_name))]
        for each in extra:
            await self._remove(account_name, each)
        if due or extra:
            _log.warning(
                "an account on the bridge was put right",
                account=account_name,
                missing=len(due),
                extra=len(extra),
            )
            self._convergence.leave_to_the_loop(due)
        return len(due) + len(extra)

    async def _remove(self, account_name: str, held: Held) -> None:
        """By the revision that it has, so that a key which was pushed since stays."""
        connector = Connector(
            account_name,
            held.connector_name,
            exchange="",
            environment=Environment.LIVE,
            revision=held.revision,
        )
        await self._bridge.remove(connector, timeout=_PATIENCE)


def _is_lost(key: Expected, held: Held | None) -> bool:
    """Whether the bridge once acknowledged the key, and holds it no more, or another version of it."""
    return key.configured and (held is None or held.revision != key.revision)


def _is_extra(held: Held, key: Expected | None) -> bool:
    """Whether nobody wants it, or it is what a key was before it got the credentials that were refused."""
    return key is None or (key.state is BridgeState.FAILED and held.revision < key.revision)


def _has_moved(key: Expected, held: dict[str, Held]) -> bool:
    """Whether another run holds the very revision by now."""
    found = held.get(key.connector_name)
    return (
        key.configured
        and found is not None
        and found.revision == key.revision
        and found.instance_id != key.instance_id
    )
