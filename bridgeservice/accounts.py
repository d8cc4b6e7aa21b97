"""The registry: which accounts and connectors this run of the bridge holds. In memory, and nowhere else.

Nothing in here waits, so that every change is made as a whole before anybody else sees the registry.

Of a connector that is gone its revision is remembered for a while: a push that was late, or was repeated,
must not bring it back. After a removal only a higher revision makes it again. After the deletion of its
account, or when it was forgotten, the same revision does too: KeyService restores with it what is missing.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection
from datetime import timedelta
from time import monotonic

from bridgeservice.records import Account, Connector, Page, page_of_names
from bridgeservice.sessions import Sessions
from bridgeservice.tombstones import Tombstones
from servicekit.errors import Aborted, AlreadyExists, NotFound


class Accounts:
    """All accounts by name, and the tombstones of connectors."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        keep_tombstones: timedelta,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._sessions = sessions
        self._accounts: dict[str, Account] = {}
        self._names: list[str] = []
        self._tombstones = Tombstones(keep_tombstones, clock)
        self._clock = clock
        self._listeners: list[Callable[[Connector], None]] = []
        self.connector_count = 0

    def tell(self, listener: Callable[[Connector], None]) -> None:
        """From now on the listener hears of each connector that the bridge comes to hold, a later revision too."""
        self._listeners.append(listener)

    @property
    def account_count(self) -> int:
        return len(self._accounts)

    def create(self, name: str) -> Account:
        """The account of that name, made if there is none."""
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(name)
            insort(self._names, name)
        account.confirmed_at = self._clock()
        return account

    def get(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            raise no_such_account(name)
        return account

    def page(self, after: str | None, size: int, only: Collection[str] | None = None) -> Page[Account]:
        """Accounts by name: those of these names, if any are given."""
        names = page_of_names(self._names if only is None else self._present(only), after, size)
        return Page([self._accounts[name] for name in names.rows], names.next)

    def count(self, only: Collection[str] | None = None) -> tuple[int, int]:
        """How many accounts and connectors there are, of those names if any are given."""
        if only is None:
            return self.account_count, self.connector_count
        accounts = [self._accounts[name] for name in self._present(only)]
        return len(accounts), sum(len(each.connectors) for each in accounts)

    def delete(self, name: str) -> None:
        """Forget an account and its credentials; nothing, where there is none."""
        account = self._accounts.get(name)
        if account is None:
            return
        for connector in account.sorted():
            self._drop(account, connector)
            self._tombstones.put(name, connector.name, connector.revision)
        self._forget_account(account)

    def connector(self, account_name: str, name: str, revision: int | None = None) -> Connector:
        """The connector of that name; with a revision, only if it has this one."""
        connector = self.get(account_name).connectors.get(name)
        if connector is None or revision not in (None, connector.revision):
            raise NotFound(
                "There is no such connector in this account.",
                reason="CONNECTOR_NOT_FOUND",
                metadata={"account": account_name, "connector": name},
            )
        return connector

    def names_of_connectors(self, account_name: str) -> list[str]:
        """Which connectors of an account are held here; none, where there is no such account."""
        account = self._accounts.get(account_name)
        return sorted(account.connectors) if account else []

    def connectors(self, account_name: str, after: str | None, size: int) -> Page[Connector]:
        """Connectors of an account by name. That they were asked for says that they are wanted."""
        account = self.get(account_name)
        account.confirmed_at = self._clock()
        names = page_of_names(sorted(account.connectors), after, size)
        found = [account.connectors[name] for name in names.rows]
        for connector in found:
            self.confirm(connector)
        return Page(found, names.next)

    def confirm(self, connector: Connector) -> None:
        """KeyService has said that it is still wanted."""
        connector.confirmed_at = self._clock()

    def check(self, pushed: Connector) -> Connector | None:
        """Refuse what ``add`` would refuse; the connector that is there already, if it is the same."""
        account = self._accounts.get(pushed.account_name)
        present = account.connectors.get(pushed.name) if account else None
        if present is None:
            if pushed.revision < self._tombstones.least(pushed.account_name, pushed.name):
                raise _stale("A later revision of this connector has been removed.")
            return None
        if pushed.revision < present.revision:
            raise _stale(f"The connector has revision {present.revision} already.")
        if pushed.revision > present.revision:
            return None
        if not _same(pushed, present):
            raise AlreadyExists(
                "The connector has this revision already, with other content: a change needs a higher revision.",
                reason="REVISION_REUSED",
            )
        return present

    def add(self, pushed: Connector) -> Connector:
        """Hold a connector, in place of one with a lower revision; what the bridge then holds."""
        present = self.check(pushed)
        if present is not None:
            self.confirm(present)
            return present
        account = self.create(pushed.account_name)
        replaced = account.connectors.get(pushed.name)
        if replaced is None:
            self._tombstones.lift(pushed.account_name, pushed.name)
            self.connector_count += 1
        else:
            pushed.created_at = replaced.created_at
        pushed.account_name = account.name  # one string for all of its connectors
        account.connectors[pushed.name] = pushed
        self.confirm(pushed)
        if replaced is not None:
            self._sessions.retire(replaced)
        for listener in self._listeners:
            listener(pushed)
        return pushed

    def remove(self, account_name: str, name: str, revision: int) -> None:
        """Forget a connector. Where there is none, its push may still be on its way, and will be refused."""
        account = self._accounts.get(account_name)
        present = account.connectors.get(name) if account else None
        if account is not None and present is not None:
            if revision < present.revision:
                raise _stale(f"The connector has revision {present.revision} already.")
            self._drop(account, present)
            account.confirmed_at = self._clock()
        self._tombstones.put(account_name, name, revision + 1)

    def forget_unconfirmed(self, ttl: timedelta) -> int:
        """Forget the connectors that KeyService has not confirmed for so long; says how many.

        An account without any goes with the last of them, or when KeyService has not spoken of it for so long.
        """
        until = self._clock() - ttl.total_seconds()
        forgotten = 0
        for account in list(self._accounts.values()):
            stale = [each for each in account.connectors.values() if each.confirmed_at <= until]
            for connector in stale:
                self._drop(account, connector)
                self._tombstones.put(account.name, connector.name, connector.revision)
                forgotten += 1
            if not account.connectors and (stale or account.confirmed_at <= until):
                self._forget_account(account)
        self._tombstones.expire()
        return forgotten

    def _present(self, names: Collection[str]) -> list[str]:
        return sorted(name for name in names if name in self._accounts)

    def _drop(self, account: Account, connector: Connector) -> None:
        del account.connectors[connector.name]
        self.connector_count -= 1
        self._sessions.retire(connector)

    def _forget_account(self, account: Account) -> None:
        del self._accounts[account.name]
        del self._names[bisect_left(self._names, account.name)]


def no_such_account(name: str) -> NotFound:
    """What is said of an account that is not there, and of one that its caller is not to know of."""
    return NotFound(
        "There is no such account on this bridge.", reason="ACCOUNT_NOT_FOUND", metadata={"account": name}
    )


def _same(one: Connector, other: Connector) -> bool:
    return (one.exchange, one.environment, dict(one.credentials.named())) == (
        other.exchange,
        other.environment,
        dict(other.credentials.named()),
    )


def _stale(sentence: str) -> Aborted:
    return Aborted(f"{sentence} A push or a removal needs a higher revision.", reason="STALE_REVISION")
