"""GetBalances, with KeyService and the bridge each behind a socket of its own."""

import asyncio
import io
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from bridgeservice.v1 import credentials_pb2
from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from bridgeservice.v1.portfolio_pb2 import ConnectorStatus
from keyservice.records import ApiKey, Caller
from keyservice.v1 import key_balances_pb2
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import ResourceExhausted, Unavailable
from servicekit.rpc.call import Call
from tests.support import key_service
from tests.support.bridges import RunningBridge, aborts, hangs, running_bridge
from tests.support.key_service import KeyService, refusal, violations
from tests.support.probe import eventually

TIME = timedelta(seconds=20)
KIND = key_balances_pb2.FundsKind


@dataclass
class House:
    """Both services, and what takes a key from the one to the other when balances find it missing."""

    keys: KeyService
    bridge: RunningBridge
    repairs: list[ApiKey] = field(default_factory=list)
    mends: bool = True
    fails_with: Exception | None = None

    async def converge(self, caller: Caller, key: ApiKey, *, timeout: timedelta) -> ApiKey | None:  # noqa: ASYNC109 - Converge's signature
        """What convergence does, unless a test wants it otherwise."""
        self.repairs.append(key)
        if self.fails_with is not None:
            raise self.fails_with
        return await self.keys.convergence.repair(caller, key, timeout=timeout) if self.mends else key

    async def add(self, client: Client, exchange: str = "kraken", **fields: Any) -> str:
        """A key that the bridge holds."""
        added = await self.keys.add_key(client, exchange=exchange, **fields)
        assert added.trading_bridge_configured
        return added.id

    async def add_waiting(self, client: Client, **fields: Any) -> str:
        """A key of which nobody has told the bridge yet, as far as its row says."""
        key_id = await self.add(client, **fields)
        await self.keys.sql(
            "UPDATE exchange_api_keys SET bridge_state = 'pending', configured_at = NULL,"
            " configured_instance = NULL, next_attempt_at = now() WHERE id = :id",
            id=UUID(key_id),
        )
        return key_id

    async def add_under_way(self, client: Client, **fields: Any) -> str:
        """A key that another replica is taking to the bridge."""
        key_id = await self.add_waiting(client, **fields)
        await self.keys.sql(
            "UPDATE exchange_api_keys SET attempt_count = 1, last_attempt_at = now(),"
            " next_attempt_at = now() + interval '1 hour' WHERE id = :id",
            id=UUID(key_id),
        )
        return key_id

    async def balances(self, client: Client, *, seconds: float = 20, **fields: Any) -> pb.GetBalancesResponse:
        request = pb.GetBalancesRequest(client_id=client.id, **fields)
        return await self.keys.stub.GetBalances(request, timeout=seconds)


def complete() -> credentials_pb2.Credentials:
    """Credentials that every exchange of these tests finds complete."""
    return key_service.new_credentials(passphrase=secrets.token_hex(8))


def status(entry: key_balances_pb2.KeyBalances) -> str:
    return ConnectorStatus.Name(entry.status).removeprefix("CONNECTOR_STATUS_")


@pytest.fixture
async def house(database_url: DatabaseUrl, output: io.StringIO) -> AsyncIterator[House]:
    async with running_bridge() as bridge:
        made: list[House] = []

        async def converge(caller: Caller, key: ApiKey, *, timeout: timedelta) -> ApiKey | None:  # noqa: ASYNC109 - Converge's signature
            return await made[0].converge(caller, key, timeout=timeout)

        async with key_service.running(
            database_url, bridge_target=bridge.target, bridge_wait=timedelta(seconds=1), converge=converge
        ) as keys:
            made.append(House(keys, bridge))
            yield made[0]


@pytest.fixture
async def owner(house: House) -> Client:
    return await house.keys.add_client()


async def test_all_keys_of_a_client_are_read_in_one_question(house: House, owner: Client) -> None:
    ids = [await house.add(owner), await house.add(owner, "okx", credentials=complete())]
    answer = await house.balances(owner)
    assert [entry.api_key_id for entry in answer.keys] == ids
    assert [status(entry) for entry in answer.keys] == ["OK", "OK"]
    assert all(entry.configured and entry.balances and entry.HasField("as_of_time") for entry in answer.keys)
    assert not any(entry.warning for entry in answer.keys)
    assert answer.complete
    [request] = house.bridge.faults.requests("GetPortfolio")
    assert sorted(request.connector_names) == ["kraken", "okx"]


async def test_totals_never_mix_sorts_of_funds(house: House, owner: Client) -> None:
    await house.add(owner, label="one")
    await house.add(owner, label="two")
    await house.add(owner, "binance", environment="ENVIRONMENT_SANDBOX")
    await house.add(owner, "paper")
    answer = await house.balances(owner)
    assert [(KIND.Name(each.kind), each.asset, each.total) for each in answer.totals] == [
        ("FUNDS_KIND_LIVE", "BTC", "4.00"),
        ("FUNDS_KIND_SANDBOX", "BTC", "2.00"),
        ("FUNDS_KIND_PAPER", "BTC", "2.00"),
    ]


async def test_a_bridge_that_is_down_is_an_answer_with_the_reason_for_every_key_and_a_fast_one(
    house: House, owner: Client
) -> None:
    await house.add(owner, label="one")
    await house.add(owner, label="two")
    await house.add_waiting(owner, label="never pushed")
    await house.bridge.stop()
    begun = monotonic()
    for _ in range(20):
        answer = await house.balances(owner)
        assert [status(entry) for entry in answer.keys] == [
            "BRIDGE_UNAVAILABLE", "BRIDGE_UNAVAILABLE", "NOT_CONFIGURED",
        ]  # fmt: skip
        assert not any(entry.configured or entry.balances for entry in answer.keys)
        assert all(entry.warning for entry in answer.keys)
        assert not answer.complete
        assert not answer.totals
    assert monotonic() - begun < 3
    assert not house.repairs


async def test_a_bridge_that_hangs_is_told_within_the_wait_and_the_deadline(
    house: House, owner: Client
) -> None:
    await house.add(owner)
    house.bridge.faults.before["GetPortfolio"] = hangs
    for seconds in (20, 0.5):
        begun = monotonic()
        answer = await house.balances(owner, seconds=seconds)
        assert monotonic() - begun < 2
        assert [status(entry) for entry in answer.keys] == ["BRIDGE_TIMEOUT"]
        assert not answer.keys[0].configured
        assert not answer.complete
    assert not house.keys.bridge.is_away(owner.account_name)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unavailable("It is down.", reason="EXCHANGE_UNAVAILABLE"), "EXCHANGE_UNAVAILABLE"),
        (ResourceExhausted("Wait.", reason="RATE_LIMITED"), "RATE_LIMITED"),
    ],
)
async def test_an_exchange_in_trouble_spoils_neither_the_other_keys_nor_the_name_of_the_bridge(
    house: House, owner: Client, error: Exception, expected: str
) -> None:
    await house.add(owner)
    await house.add(owner, "okx", credentials=complete())
    house.bridge.running.exchanges["okx"].error = error
    answer = await house.balances(owner)
    assert [status(entry) for entry in answer.keys] == ["OK", expected]
    assert answer.keys[1].configured
    assert answer.keys[1].warning
    assert not answer.keys[1].balances
    assert [each.total for each in answer.totals] == ["2.00"]
    assert not answer.complete
    assert not house.keys.bridge.is_away(owner.account_name)


async def test_what_a_new_run_of_the_bridge_does_not_hold_is_repaired_and_read(
    house: House, owner: Client
) -> None:
    await house.add(owner, label="one")
    await house.add(owner, label="two")
    await house.bridge.restart()
    while status((await house.balances(owner)).keys[0]) == "BRIDGE_UNAVAILABLE":
        pass
    assert {str(key.label) for key in house.repairs} == {"one", "two"}
    house.repairs.clear()
    answer = await house.balances(owner)
    assert answer.complete
    assert not house.repairs


async def test_only_the_key_that_is_missing_is_repaired(house: House, owner: Client) -> None:
    await house.add(owner, label="one")
    await house.add(owner, label="two")
    await house.bridge.running.remove("kraken:two", 1000, account_name=f"client_{owner.id}")
    await house.keys.sql("UPDATE exchange_api_keys SET revision = 2000 WHERE label = 'two'")
    answer = await house.balances(owner)
    assert answer.complete
    assert [key.label for key in house.repairs] == ["two"]
    assert [list(each.connector_names) for each in house.bridge.faults.requests("GetPortfolio")] == [
        ["kraken:one", "kraken:two"], ["kraken:two"],
    ]  # fmt: skip


async def test_a_key_that_is_missing_for_good_is_never_an_empty_balance(house: House, owner: Client) -> None:
    await house.add(owner)
    await house.bridge.running.stub.DeleteAccount(
        bridge_pb.DeleteAccountRequest(account_name=f"client_{owner.id}")
    )
    house.mends = False
    answer = await house.balances(owner)
    assert [status(entry) for entry in answer.keys] == ["NOT_FOUND"]
    assert not answer.keys[0].configured
    assert "ReinitializeApiKey" in answer.keys[0].warning
    assert not answer.complete
    assert len(house.repairs) == 1


async def test_a_key_that_waits_is_pushed_and_read(house: House, owner: Client) -> None:
    await house.add_waiting(owner)
    answer = await house.balances(owner)
    assert answer.complete
    assert [key.exchange for key in house.repairs] == ["kraken"]


async def test_keys_that_somebody_else_is_taking_to_the_bridge_keep_no_other_key_from_being_read(
    house: House, owner: Client
) -> None:
    for number in range(20):
        await house.add_under_way(owner, label=str(number))
    await house.add_waiting(owner, label="waiting")
    answer = await house.balances(owner)
    assert {status(entry) for entry in answer.keys[:-1]} == {"NOT_CONFIGURED"}
    assert all("has not answered yet" in entry.warning for entry in answer.keys[:-1])
    assert status(answer.keys[-1]) == "OK"
    assert [each.total for each in answer.totals] == ["2.00"]


async def test_a_push_that_hangs_keeps_no_other_key_from_being_read(house: House, owner: Client) -> None:
    for label in ("hangs", "goes"):
        await house.add_waiting(owner, label=label)

    async def hangs_for_one(request: bridge_pb.AddConnectorRequest, call: Call) -> None:
        if request.connector_name == "kraken:hangs":
            await hangs(request, call)

    house.bridge.faults.before["AddConnector"] = hangs_for_one
    answer = await house.balances(owner)
    hung, read = answer.keys
    assert status(read) == "OK"
    assert hung.warning
    assert not hung.configured
    assert not answer.complete


async def test_what_somebody_else_has_taken_to_the_bridge_meanwhile_is_read(
    house: House, owner: Client
) -> None:
    await house.add_under_way(owner)
    reading = asyncio.ensure_future(house.balances(owner))
    await eventually(lambda: bool(house.repairs), "the read finds that it is under way")
    await house.keys.sql(
        "UPDATE exchange_api_keys SET bridge_state = 'configured', configured_at = now(),"
        " configured_instance = :run, next_attempt_at = NULL, attempt_count = 0",
        run=house.bridge.instance_id,
    )
    assert (await reading).complete


@pytest.mark.parametrize(
    ("state", "reason", "advice"),
    [
        ("failed", "credentials_rejected", "RotateApiKey"),
        ("pending", "rate_limited", "will be retried at"),
    ],
)
async def test_a_key_that_needs_someone_to_act_or_was_told_to_wait_is_neither_asked_nor_pushed(
    house: House, owner: Client, state: str, reason: str, advice: str
) -> None:
    await house.add(owner)
    await house.keys.sql(
        "UPDATE exchange_api_keys SET bridge_state = :state, bridge_reason = :reason,"
        " next_attempt_at = now() + interval '1 hour'",
        state=state,
        reason=reason,
    )
    answer = await house.balances(owner)
    assert [status(entry) for entry in answer.keys] == [reason.upper()]
    assert advice in answer.keys[0].warning
    assert not house.repairs
    assert not house.bridge.faults.requests("GetPortfolio")


async def test_a_repair_that_meets_an_error_of_ours_leaves_the_other_keys_alone(
    house: House, owner: Client
) -> None:
    await house.add(owner, label="one")
    await house.add_waiting(owner, label="two")
    house.fails_with = Unavailable("The database is away.")
    answer = await house.balances(owner)
    assert [status(entry) for entry in answer.keys] == ["OK", "NOT_CONFIGURED"]
    assert not answer.complete


async def test_an_answer_of_something_in_between_is_not_taken_for_balances(
    house: House, owner: Client
) -> None:
    await house.add(owner)
    house.bridge.faults.before["GetPortfolio"] = aborts(grpc.StatusCode.PERMISSION_DENIED)
    answer = await house.balances(owner)
    assert [status(entry) for entry in answer.keys] == ["ERROR"]
    assert not answer.keys[0].configured


async def test_only_live_and_enabled_keys_of_the_asked_exchange_are_read(house: House, owner: Client) -> None:
    kraken = await house.add(owner)
    await house.add(owner, "okx", credentials=complete())
    gone = await house.keys.add_key(owner, label="gone")
    await house.keys.delete_key(gone)
    off = await house.keys.add_key(owner, label="off")
    off.disabled = True
    await house.keys.stub.UpdateApiKey(
        pb.UpdateApiKeyRequest(api_key=off, update_mask={"paths": ["disabled"]})
    )
    answer = await house.balances(owner, exchange="Kraken")
    assert [entry.api_key_id for entry in answer.keys] == [kraken]
    assert answer.complete


async def test_max_age_goes_to_the_bridge_as_it_came(house: House, owner: Client) -> None:
    await house.add(owner)
    await house.balances(owner, max_age=Duration(seconds=7, nanos=500_000_000))
    [request] = house.bridge.faults.requests("GetPortfolio")
    assert request.max_age == Duration(seconds=7, nanos=500_000_000)
    longest = Duration(seconds=2**62)
    assert (await house.balances(owner, max_age=longest)).complete


async def test_requests_that_cannot_be_are_refused(house: House, owner: Client) -> None:
    request = pb.GetBalancesRequest(client_id="me", max_age=Duration(seconds=-1))
    told = await refusal(house.keys.stub.GetBalances(request))
    assert violations(told).keys() == {"client_id", "max_age"}
    nobody = pb.GetBalancesRequest(client_id="6ad1a36a-1c5e-4a4f-9a5e-1d5c8b6f7a10")
    assert (await refusal(house.keys.stub.GetBalances(nobody))).reason == "CLIENT_NOT_FOUND"
    answer = await house.balances(owner)
    assert not answer.keys
    assert answer.complete
