"""The registry: revisions order pushes and removals, nothing is half done, and rest costs little."""

import gc
import secrets
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta

import pytest

from bridgeservice.accounts import Accounts
from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from servicekit.credentials import Credentials
from servicekit.errors import Aborted, AlreadyExists, KeybridgeError, NotFound
from tests.support.clock import Clock
from tests.support.fake_exchanges import FakeExchanges

TTL = timedelta(hours=24)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(clock: Clock) -> Accounts:
    calls = ExchangeCalls(FakeExchanges(), timeout=timedelta(seconds=1), most_at_once=10)
    sessions = Sessions(calls, idle=timedelta(minutes=1))
    return Accounts(sessions, keep_tombstones=timedelta(hours=48), clock=clock)


def pushed(
    revision: int, key: str = "k", *, account: str = "a", name: str = "kraken", exchange: str = "kraken"
) -> Connector:
    credentials = Credentials(api_key=key, extra={"uid": ""})
    return Connector(account, name, exchange, Environment.LIVE, credentials, revision)


def refused(accounts: Accounts, connector: Connector) -> str:
    with pytest.raises(KeybridgeError) as caught:
        accounts.add(connector)
    return caught.value.reason


def test_a_push_makes_the_account_and_the_connector(accounts: Accounts) -> None:
    held = accounts.add(pushed(1))
    assert accounts.connector("a", "kraken") is held
    assert (accounts.account_count, accounts.connector_count) == (1, 1)


def test_the_same_push_again_changes_nothing(accounts: Accounts) -> None:
    held = accounts.add(pushed(1))
    assert accounts.add(pushed(1)) is held
    assert accounts.connector_count == 1


def test_a_higher_revision_replaces_and_a_lower_one_is_refused(accounts: Accounts) -> None:
    first = accounts.add(pushed(1, "old"))
    second = accounts.add(pushed(5, "new"))
    assert accounts.connector("a", "kraken") is second
    assert (first.retired, second.retired) == (True, False)
    assert second.created_at == first.created_at
    assert accounts.connector_count == 1
    assert refused(accounts, pushed(4, "old")) == "STALE_REVISION"
    assert accounts.connector("a", "kraken").credentials.api_key == "new"


@pytest.mark.parametrize("other", [pushed(1, "other"), pushed(1, exchange="gate")])
def test_one_revision_has_one_content(accounts: Accounts, other: Connector) -> None:
    accounts.add(pushed(1))
    with pytest.raises(AlreadyExists) as caught:
        accounts.add(other)
    assert caught.value.reason == "REVISION_REUSED"


def test_after_a_removal_only_a_higher_revision_comes_back(accounts: Accounts, clock: Clock) -> None:
    accounts.add(pushed(1))
    accounts.remove("a", "kraken", 3)
    assert accounts.connector_count == 0
    assert [refused(accounts, pushed(revision)) for revision in (1, 2, 3)] == ["STALE_REVISION"] * 3
    clock.now += 47 * 3600
    assert refused(accounts, pushed(3)) == "STALE_REVISION"
    assert accounts.add(pushed(4)).revision == 4


def test_a_removal_that_overtook_its_push_refuses_it(accounts: Accounts) -> None:
    accounts.remove("a", "kraken", 3)
    assert accounts.account_count == 0
    assert refused(accounts, pushed(2)) == "STALE_REVISION"
    accounts.remove("a", "kraken", 2)
    assert refused(accounts, pushed(3)) == "STALE_REVISION"


def test_a_late_removal_does_not_remove_what_is_newer(accounts: Accounts) -> None:
    accounts.add(pushed(5))
    with pytest.raises(Aborted) as caught:
        accounts.remove("a", "kraken", 4)
    assert caught.value.reason == "STALE_REVISION"
    assert accounts.connector("a", "kraken").revision == 5


def test_a_deleted_account_comes_back_with_the_same_revisions_and_no_lower_ones(accounts: Accounts) -> None:
    accounts.add(pushed(5))
    accounts.delete("a")
    accounts.delete("a")
    assert (accounts.account_count, accounts.connector_count) == (0, 0)
    with pytest.raises(NotFound):
        accounts.get("a")
    assert refused(accounts, pushed(4)) == "STALE_REVISION"
    assert accounts.add(pushed(5)).revision == 5


def test_a_connector_that_nobody_confirms_is_forgotten_with_its_account(
    accounts: Accounts, clock: Clock
) -> None:
    for account in ("told again", "read", "listed", "nobody"):
        accounts.add(pushed(1, account=account))
    clock.now += TTL.total_seconds() - 1
    assert accounts.forget_unconfirmed(TTL) == 0
    accounts.add(pushed(1, account="told again"))
    accounts.confirm(accounts.connector("read", "kraken"))
    accounts.connectors("listed", None, 10)
    forgotten = accounts.connector("nobody", "kraken")
    clock.now += 1
    assert accounts.forget_unconfirmed(TTL) == 1
    assert forgotten.retired
    assert [account.name for account in accounts.page(None, 10).rows] == ["listed", "read", "told again"]
    assert accounts.connector_count == 3
    # What KeyService restores has the revision that it had.
    assert accounts.add(pushed(1, account="nobody")).revision == 1


def test_an_account_that_was_emptied_is_forgotten_when_nobody_speaks_of_it(
    accounts: Accounts, clock: Clock
) -> None:
    accounts.add(pushed(1))
    accounts.create("b")
    clock.now += TTL.total_seconds() - 1
    accounts.remove("a", "kraken", 1)
    accounts.forget_unconfirmed(TTL)
    assert accounts.account_count == 2
    clock.now += 1
    accounts.forget_unconfirmed(TTL)
    assert [account.name for account in accounts.page(None, 10).rows] == ["a"]
    clock.now += TTL.total_seconds()
    assert accounts.forget_unconfirmed(TTL) == 0
    assert accounts.account_count == 0


def test_accounts_are_listed_by_name_whenever_they_were_made(accounts: Accounts) -> None:
    for name in ("b", "d", "a", "c"):
        accounts.create(name)
    page = accounts.page(None, 3)
    assert ([each.name for each in page.rows], page.next) == (["a", "b", "c"], "c")
    accounts.delete("d")
    accounts.create("e")
    page = accounts.page(page.next, 3)
    assert ([each.name for each in page.rows], page.next) == (["e"], None)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_ten_thousand_connectors_at_rest_cost_less_than_twenty_megabytes(
    accounts: Accounts, traced: None
) -> None:
    before, _ = tracemalloc.get_traced_memory()
    for number in range(10_000):
        credentials = Credentials(api_key=secrets.token_hex(32), api_secret=secrets.token_hex(32))
        name = f"client_{number:036}"
        accounts.add(Connector(name, "kraken:main", "kraken", Environment.LIVE, credentials, number + 1))
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    assert after - before < 20_000_000
