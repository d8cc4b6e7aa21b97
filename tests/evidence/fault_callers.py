"""The callers of a fault run: they do what the steps say, and tell the model what they heard."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from bridgeservice.v1.credentials_pb2 import Credentials
from bridgeservice.v1.portfolio_pb2 import CONNECTOR_STATUS_OK
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from servicekit.rpc.status import from_rpc_error
from tests.evidence.crash_clients import Line
from tests.evidence.crash_journal import AWAY
from tests.evidence.fault_model import Change, Key, Model
from tests.evidence.fault_steps import CLIENTS, Slot, Step, What
from tests.simulator.simulator import Simulator
from tests.support.service_process import PATIENCE

CALL_SECONDS = 8.0
MARK = "SHARP"
"""Of this each account at an exchange has an amount of its own, so that balances tell whose they are."""

_TAKEN = {"LABEL_TAKEN", "CONNECTOR_NAME_TAKEN"}
# What may be said where it is not certain how the key is, or where two things are done to it at once.
_POSSIBLE = _TAKEN | {"API_KEY_DELETED", "API_KEY_DISABLED"}


@dataclass(frozen=True, slots=True)
class _Turn:
    """A step while it is done."""

    step: Step
    entry: int | None
    """How many were at the slot so far, this one included; None where others are still at it."""


class Callers:
    """Some clients, each with several keys."""

    def __init__(self, lines: Sequence[Line], simulator: Simulator, model: Model) -> None:
        self._lines = lines
        self._simulator = simulator
        self._model = model
        self._turns: defaultdict[Slot, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._entered: Counter[Slot] = Counter()
        self._busy: Counter[Slot] = Counter()
        self.client_ids: list[str] = []
        self.marks: dict[str, str] = {}
        """The amount of the account behind an api key."""
        self.outcomes: Counter[str] = Counter()
        self.told: list[str] = []
        """What came of each step, in the order in which it came."""

    async def prepare(self) -> None:
        stub = await self._lines[0].stub()
        for number in range(CLIENTS):
            request = pb.CreateClientRequest(name=f"client {number}")
            self.client_ids.append((await stub.CreateClient(request, timeout=CALL_SECONDS)).client.id)

    async def do(self, step: Step) -> None:
        async with self._turn(step) as turn:
            key = self._model.live(step.slot)
            match step.what:
                case What.READ | What.REINITIALIZE_ALL:
                    await self._look(turn)
                case What.UNDELETE if gone := self._model.of(step.slot):
                    if key is not None:
                        await self._change(turn, key, Change(deleted=True))
                    await self._change(turn, key or gone[0], Change(deleted=False))
                case What.ADD if key is not None:
                    # One key after the other under one name.
                    await self._change(turn, key, Change(deleted=True))
                    await self._add(turn)
                case _ if key is None:
                    await self._add(turn)
                case What.ROTATE if step.slot.exchange != "paper":
                    await self._change(turn, key, Change(contents=self._credentials(step.slot)))
                case What.DELETE:
                    await self._change(turn, key, Change(deleted=True))
                case What.DISABLE:
                    await self._change(turn, key, Change(disabled=True))
                case What.ENABLE:
                    await self._change(turn, key, Change(disabled=False))
                case _:
                    await self._change(turn, key, Change())

    async def balances(self, client: int) -> pb.GetBalancesResponse:
        """All that a client has."""
        stub = await self._lines[0].stub()
        request = pb.GetBalancesRequest(client_id=self.client_ids[client])
        answer: pb.GetBalancesResponse = await stub.GetBalances(request, timeout=CALL_SECONDS)
        return answer

    @asynccontextmanager
    async def _turn(self, step: Step) -> AsyncIterator[_Turn]:
        slot = step.slot
        self._entered[slot] += 1
        self._busy[slot] += 1
        try:
            async with self._turns[slot] if step.alone else nullcontext():
                others = self._busy[slot] > 1 or not self._model.is_certain(slot)
                yield _Turn(step, None if others else self._entered[slot])
        finally:
            self._busy[slot] -= 1

    def _is_certain(self, turn: _Turn) -> bool:
        """Whether it is known how the slot is: there was nothing unknown about it, and nobody else is at it since."""
        return turn.entry == self._entered[turn.step.slot] and self._model.is_certain(turn.step.slot)

    async def _add(self, turn: _Turn) -> None:
        slot = turn.step.slot
        contents = None if slot.exchange == "paper" else self._credentials(slot)
        request = pb.AddApiKeyRequest(
            client_id=self.client_ids[slot.client],
            exchange=slot.exchange,
            label=slot.label,
            credentials=contents,
            verify=turn.step.verify,
            request_id=str(uuid4()),
        )
        answer = await self._call(turn, "AddApiKey", request)
        if answer is None:
            self._model.unknown_additions.append((slot, contents))
        elif isinstance(answer, pb.AddApiKeyResponse):
            self._hear(turn.step, answer.api_key, answer.trading_bridge_warning)

    async def _change(self, turn: _Turn, key: Key, change: Change) -> None:
        """Ask for it; what comes of it is unknown where there is no answer."""
        method, request = _request(key, change, turn.step)
        is_off = method == "ReinitializeApiKey" and key.state.disabled
        answer = await self._call(turn, method, request, {"API_KEY_DISABLED"} if is_off else frozenset())
        if answer is None:
            key.unknown.append(change)
        elif not isinstance(answer, str):
            told = getattr(answer, "trading_bridge_warning", answer.api_key.bridge_status.warning)
            self._hear(turn.step, answer.api_key, told)
            if self._is_certain(turn) and not _shows(answer.api_key, change):
                self._model.findings.append(f"the answer does not show what was asked for: {turn.step}")

    async def _look(self, turn: _Turn) -> None:
        """What changes no key."""
        client_id = self.client_ids[turn.step.slot.client]
        if turn.step.what is What.REINITIALIZE_ALL:
            await self._call(turn, "ReinitializeApiKeys", pb.ReinitializeApiKeysRequest(client_id=client_id))
            return
        answer = await self._call(turn, "GetBalances", pb.GetBalancesRequest(client_id=client_id))
        if isinstance(answer, pb.GetBalancesResponse) and not _is_honest(answer):
            self._model.findings.append(f"balances that are none: {turn.step}")

    async def _call(self, turn: _Turn, method: str, request: Any, expected: Set[str] = frozenset()) -> Any:
        """The answer; the reason where it was refused; None where there was no answer."""
        step = turn.step
        async with asyncio.timeout(2 * PATIENCE):  # a KeyService that was killed is started again meanwhile
            stub = await self._lines[step.replica].stub()
        try:
            call = getattr(stub, method)(request, timeout=CALL_SECONDS)
            answer = [each async for each in call] if method == "ReinitializeApiKeys" else await call
        except grpc.aio.AioRpcError as error:
            if error.code() in AWAY:
                self._note(step, method, f"no answer ({error.code().name})")
                return None
            reason = from_rpc_error(error).reason or error.code().name
            self._note(step, method, reason)
            if reason not in (expected if self._is_certain(turn) else _POSSIBLE):
                self._model.findings.append(f"{method} was refused with {reason}: {step}")
            return reason
        self._note(step, method, "OK")
        return answer

    def _note(self, step: Step, method: str, outcome: str) -> None:
        self.outcomes[f"{method}: {outcome}"] += 1
        self.told.append(f"{step} → {method}: {outcome}")

    def _hear(self, step: Step, key: ApiKey, warning: str) -> None:
        self._model.hear(step.slot, key)
        wanted = not key.disabled and not key.HasField("delete_time")
        configured = key.trading_bridge_configured
        self.outcomes[
            "configured" if configured else "told why not" if warning else "not to be configured"
        ] += 1
        if configured == bool(warning) and (wanted or configured):
            self._model.findings.append(f"configured is {configured}, and the warning {warning!r}: {step}")

    def _credentials(self, slot: Slot) -> Credentials:
        """An account of its own at the exchange, with an amount that no other one has."""
        while True:
            amount = str(len(self.marks) + 1)
            keys = self._simulator.add_account(slot.exchange, balances={MARK: amount})
            contents = Credentials(api_key=keys.api_key, api_secret=keys.secret, passphrase=keys.passphrase)
            if self._model.is_new(contents):
                self.marks[contents.api_key] = amount
                return contents


def _request(key: Key, change: Change, step: Step) -> tuple[str, Any]:
    """How a change is asked for; one of nothing is a reinitialization."""
    if change.contents is not None:
        return "RotateApiKey", pb.RotateApiKeyRequest(
            api_key_id=key.key_id, credentials=change.contents, verify=step.verify, request_id=str(uuid4())
        )
    if change.deleted is not None:
        name = "DeleteApiKey" if change.deleted else "UndeleteApiKey"
        return name, getattr(pb, f"{name}Request")(api_key_id=key.key_id)
    if change.disabled is not None:
        wanted = ApiKey(id=key.key_id, disabled=change.disabled)
        mask = FieldMask(paths=["disabled"])
        return "UpdateApiKey", pb.UpdateApiKeyRequest(api_key=wanted, update_mask=mask)
    return "ReinitializeApiKey", pb.ReinitializeApiKeyRequest(api_key_id=key.key_id)


def _shows(key: ApiKey, change: Change) -> bool:
    """Whether a key is as a change wanted it to be."""
    return (
        change.deleted in (None, key.HasField("delete_time"))
        and change.disabled in (None, key.disabled)
        and (change.contents is None or change.contents.api_key.endswith(key.key_hint))
    )


def _is_honest(answer: pb.GetBalancesResponse) -> bool:
    """Whether each key has its balances or a reason, and never an empty list in place of what is not known."""
    read = [each.status == CONNECTOR_STATUS_OK for each in answer.keys]
    told = [bool(each.balances) != bool(each.warning) for each in answer.keys]
    matching = [ok == bool(each.balances) for ok, each in zip(read, answer.keys, strict=True)]
    return all(told) and all(matching) and answer.complete == all(read)
