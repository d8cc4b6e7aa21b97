"""Proving credentials: a private call to the exchange, which also says what they may do."""

from bridgeservice.accounts import Accounts
from bridgeservice.exchange_calls import late
from bridgeservice.exchanges.exchange import Permission, Permissions
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from bridgeservice.single_flight import SingleFlight
from servicekit import logs

CAN_WITHDRAW = (
    "These credentials allow withdrawals, which nothing here ever needs. "
    "Replace them by ones that do not, on the exchange's own site."
)

_log = logs.get(__name__)


class Verification:
    """Asks exchanges what connectors may do, and keeps what they said with the connector."""

    def __init__(self, accounts: Accounts, sessions: Sessions, flights: SingleFlight) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._flights = flights

    async def verify(self, connector: Connector, *, within: float | None) -> Permissions:
        """What the credentials may do; FailedPrecondition, CREDENTIALS_REJECTED, if they are no good."""
        try:
            return await self._flights.do(
                ("permissions", connector), lambda: self._ask(connector), within=within
            )
        except TimeoutError:
            raise late(connector.exchange, within) from None

    async def add(self, pushed: Connector, *, within: float | None) -> tuple[Connector, Permissions]:
        """Hold a connector once its credentials are proven; until then what was there before goes on."""
        proven = self._accounts.check(pushed) or pushed
        held = None
        try:
            permissions = await self.verify(proven, within=within)
            held = self._accounts.add(pushed)
            held.permissions = permissions
        finally:
            if held is not pushed:
                self._sessions.retire(pushed)
        return held, permissions

    async def _ask(self, connector: Connector) -> Permissions:
        async with self._sessions.of(connector) as session:
            permissions = await session.permissions()
        connector.permissions = permissions
        if permissions.withdraw is Permission.YES:
            _log.warning(
                "credentials allow withdrawals",
                account=connector.account_name,
                connector=connector.name,
                exchange=connector.exchange,
            )
        return permissions


def warning(permissions: Permissions) -> str:
    """What a caller should know of these permissions; empty when there is nothing."""
    return CAN_WITHDRAW if permissions.withdraw is Permission.YES else ""
