"""The five changes of a key that have to reach the bridge, and what is heard of them however the bridge is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from tests.services.convergence.stage import Stage
from tests.support.key_service import key_request, new_credentials

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

PUSHES = ("add", "rotate", "reinitialize")
REMOVALS = ("delete", "disable")
CHANGES = (*PUSHES, *REMOVALS)
PERMANENT = ("CREDENTIALS_REJECTED", "CREDENTIALS_INCOMPLETE", "EXCHANGE_UNSUPPORTED")


@dataclass(frozen=True, slots=True)
class Said:
    """What a caller hears of a key, or its row says, on its way to the bridge."""

    configured: bool
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer to a change: it is one, and never an error."""

    key: ApiKey
    warning: str

    @property
    def said(self) -> Said:
        now = self.key.bridge_status
        assert self.key.trading_bridge_configured == now.configured
        reason = status.BridgeReason.Name(now.reason).removeprefix("BRIDGE_REASON_")
        return Said(
            now.configured,
            status.BridgeState.Name(now.state).removeprefix("BRIDGE_STATE_"),
            "" if reason == "UNSPECIFIED" else reason,
        )


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row of the table of API keys."""

    said: Said
    is_sealed: bool
    is_deleted: bool
    disabled: bool


def expected(change: str, reason: str) -> Said:
    """What is to be said of a change that came through (no ``reason``), or did not."""
    if change in REMOVALS:
        return Said(configured=False, state="REMOVING" if reason else "REMOVED", reason=reason)
    if not reason:
        return Said(configured=True, state="CONFIGURED")
    return Said(configured=False, state="FAILED" if reason in PERMANENT else "PENDING", reason=reason)


def advice(change: str, reason: str) -> tuple[str, ...]:
    """What the warning has to have in it: what happened, what is so until it succeeds, and what to do."""
    if not reason:
        return ()
    if change in REMOVALS:
        return (
            f"({reason})",
            "the bridge may still hold the key",
            "revoke it on the exchange",
            "It will be retried at",
        )
    if reason in PERMANENT:
        return (
            f"({reason})",
            "The key is saved",
            "RotateApiKey" if "CREDENTIALS" in reason else "Reinitialize",
        )
    return (f"({reason})", "The key is saved and will be retried at", "use ReinitializeApiKey to retry now")


@dataclass
class Subjects:
    """A client with a key for each change, all of them on the bridge; the one that is to be added is not there."""

    stub: "KeyServiceAsyncStub"
    client: Client
    keys: dict[str, ApiKey] = field(default_factory=dict)

    @classmethod
    async def prepare(cls, stub: "KeyServiceAsyncStub") -> "Subjects":
        client = (await stub.CreateClient(pb.CreateClientRequest(name="a client"))).client
        subjects = cls(stub, client)
        others = [change for change in CHANGES if change != "add"]
        answers = await asyncio.gather(*(stub.AddApiKey(subjects._request(change)) for change in others))
        assert all(answer.trading_bridge_configured for answer in answers), answers
        subjects.keys = {name: answer.api_key for name, answer in zip(others, answers, strict=True)}
        return subjects

    @property
    def account(self) -> str:
        return self.client.account_name

    async def change_all(self) -> dict[str, Heard]:
        """All changes at once, each of its own key, and what their callers hear."""
        heard = await asyncio.gather(*(getattr(self, f"_{change}")() for change in CHANGES))
        return dict(zip(CHANGES, heard, strict=True))

    async def require_kept(self, stage: Stage, reasons: Sequence[str]) -> None:
        """Each row is there with its credentials, and says what its caller heard, or that the next attempt is under
        way."""
        rows = await self._rows(stage)
        assert rows.keys() == set(CHANGES)
        for change, row in rows.items():
            assert row.is_sealed
            assert (row.is_deleted, row.disabled) == (change == "delete", change == "disable")
            under_way = Said(configured=False, state="REMOVING" if change in REMOVALS else "PENDING")
            assert row.said in (*(expected(change, reason) for reason in reasons), under_way)

    async def _rows(self, stage: Stage) -> dict[str, KeyRow]:
        """The rows of this client's keys, by what was changed."""
        found = await stage.sql(
            "SELECT label, bridge_state, bridge_reason, api_key IS NOT NULL AND api_secret IS NOT NULL, is_deleted,"
            " disabled FROM exchange_api_keys WHERE 'client_' || client_id = :account",
            account=self.account,
        )
        return {
            label: KeyRow(Said(state == "configured", state.upper(), (reason or "").upper()), *rest)
            for label, state, reason, *rest in found
        }

    def _request(self, label: str) -> pb.AddApiKeyRequest:
        return key_request(self.client, label=label)

    async def _add(self) -> Heard:
        answer = await self.stub.AddApiKey(self._request("add"))
        assert answer.message == "API key added successfully"
        self.keys["add"] = answer.api_key
        return _heard(answer)

    async def _rotate(self) -> Heard:
        request = pb.RotateApiKeyRequest(api_key_id=self.keys["rotate"].id, credentials=new_credentials())
        return _heard(await self.stub.RotateApiKey(request))

    async def _reinitialize(self) -> Heard:
        request = pb.ReinitializeApiKeyRequest(api_key_id=self.keys["reinitialize"].id)
        return _heard(await self.stub.ReinitializeApiKey(request))

    async def _delete(self) -> Heard:
        answer = await self.stub.DeleteApiKey(pb.DeleteApiKeyRequest(api_key_id=self.keys["delete"].id))
        return Heard(answer.api_key, answer.api_key.bridge_status.warning)

    async def _disable(self) -> Heard:
        wanted = ApiKey(id=self.keys["disable"].id, disabled=True)
        request = pb.UpdateApiKeyRequest(api_key=wanted, update_mask=FieldMask(paths=["disabled"]))
        answer = await self.stub.UpdateApiKey(request)
        return Heard(answer.api_key, answer.api_key.bridge_status.warning)


def _heard(
    answer: pb.AddApiKeyResponse | pb.RotateApiKeyResponse | pb.ReinitializeApiKeyResponse,
) -> Heard:
    assert answer.trading_bridge_configured == answer.api_key.trading_bridge_configured
    return Heard(answer.api_key, answer.trading_bridge_warning)
