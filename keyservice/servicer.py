"""KeyService's RPCs: check, convert, call one use case, convert back."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from keyservice import conversion
from keyservice.balances import Balances
from keyservice.bridge_health import BridgeHealth
from keyservice.clients import Clients
from keyservice.custody import ApiKeyChanges, ApiKeyOrder, Custody, Rotation
from keyservice.paging import NotAToken, PageTokens
from keyservice.records import ANYBODY, Caller
from keyservice.reinitialization import Reinitialization, Selection
from keyservice.store.api_key_lists import Filter
from keyservice.v1 import key_service_pb2 as pb
from keyservice.validation import LONGEST_EXTERNAL_ID, LONGEST_LABEL, LONGEST_NAME
from keyservice.verification import Verification
from keyservice.watching import Watching
from servicekit import paging
from servicekit.catalogue import Catalogue
from servicekit.paging import Position
from servicekit.rpc.call import Call
from servicekit.validation import Violations, required_id

_ListRequest = pb.ListClientsRequest | pb.ListApiKeysRequest | pb.ListAuditEventsRequest


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the servicer calls."""

    clients: Clients
    custody: Custody
    reinitialization: Reinitialization
    verification: Verification
    watching: Watching
    balances: Balances
    health: BridgeHealth


class KeyServicer:
    """Serves ``keyservice.v1.KeyService``."""

    def __init__(self, use_cases: UseCases, catalogue: Catalogue, tokens: PageTokens) -> None:
        self._clients = use_cases.clients
        self._custody = use_cases.custody
        self._reinitialization = use_cases.reinitialization
        self._verification = use_cases.verification
        self._watching = use_cases.watching
        self._balances = use_cases.balances
        self._health = use_cases.health
        self._catalogue = catalogue
        self._tokens = tokens

    async def CreateClient(self, request: pb.CreateClientRequest, call: Call) -> pb.CreateClientResponse:
        check = Violations()
        name = check.text("name", request.name, longest=LONGEST_NAME, required=True)
        external_id = check.text("external_id", request.external_id, longest=LONGEST_EXTERNAL_ID)
        repetition = conversion.repetition(check, "CreateClient", request, request.request_id)
        check.refuse()
        client = await self._clients.create(_caller(call), name, external_id, repetition)
        return pb.CreateClientResponse(client=conversion.client(client))

    async def GetClient(self, request: pb.GetClientRequest, call: Call) -> pb.GetClientResponse:
        client_id = required_id("client_id", request.client_id)
        client = await self._clients.get(_caller(call), client_id)
        return pb.GetClientResponse(client=conversion.client(client))

    async def ListClients(self, request: pb.ListClientsRequest, call: Call) -> pb.ListClientsResponse:
        check = Violations()
        size = check.page_size(request.page_size)
        listing, after = self._place(check, request)
        check.refuse()
        page = await self._clients.list(
            _caller(call), show_deleted=request.show_deleted, after=after, size=size
        )
        return pb.ListClientsResponse(
            clients=[conversion.client(each) for each in page.rows],
            next_page_token=self._tokens.write(page.next, listing),
        )

    async def UpdateClient(self, request: pb.UpdateClientRequest, call: Call) -> pb.UpdateClientResponse:
        check = Violations()
        client_id = check.id("client.id", request.client.id)
        given = {"name": request.client.name, "external_id": request.client.external_id}
        paths = check.mask(request.update_mask.paths, given)
        changes: dict[str, str] = {}
        if "name" in paths:
            changes["name"] = check.text(
                "client.name", request.client.name, longest=LONGEST_NAME, required=True
            )
        if "external_id" in paths:
            changes["external_id"] = check.text(
                "client.external_id", request.client.external_id, longest=LONGEST_EXTERNAL_ID
            )
        check.refuse()
        client = await self._clients.update(_caller(call), client_id, changes)
        return pb.UpdateClientResponse(client=conversion.client(client))

    async def DeleteClient(self, request: pb.DeleteClientRequest, call: Call) -> pb.DeleteClientResponse:
        client_id = required_id("client_id", request.client_id)
        client = await self._clients.delete(_caller(call), client_id)
        return pb.DeleteClientResponse(client=conversion.client(client))

    async def UndeleteClient(
        self, request: pb.UndeleteClientRequest, call: Call
    ) -> pb.UndeleteClientResponse:
        client_id = required_id("client_id", request.client_id)
        client = await self._clients.undelete(_caller(call), client_id)
        return pb.UndeleteClientResponse(client=conversion.client(client))

    async def AddApiKey(self, request: pb.AddApiKeyRequest, call: Call) -> pb.AddApiKeyResponse:
        check = Violations()
        client_id = check.id("client_id", request.client_id)
        exchange = check.exchange("exchange", request.exchange, self._catalogue)
        label = check.text("label", request.label, longest=LONGEST_LABEL)
        environment = check.environment(
            "environment", conversion.environment(check, request.environment), exchange
        )
        credentials = conversion.credentials(request.credentials)
        check.credentials("credentials", credentials)
        check.complete("credentials", credentials, exchange)
        repetition = conversion.repetition(check, "AddApiKey", request, request.request_id)
        check.refuse()
        name = exchange.id if exchange else ""
        order = ApiKeyOrder(client_id, name, label, environment, credentials, verify=request.verify)
        tried = await self._custody.add(_caller(call), order, repetition, call.time_remaining())
        return pb.AddApiKeyResponse(
            api_key=conversion.api_key(tried.key),
            message="API key added successfully",
            trading_bridge_configured=tried.key.configured,
            trading_bridge_warning=tried.warning,
        )

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, call: Call) -> pb.RotateApiKeyResponse:
        check = Violations()
        key_id = check.id("api_key_id", request.api_key_id)
        credentials = conversion.credentials(request.credentials)
        check.credentials("credentials", credentials)
        repetition = conversion.repetition(check, "RotateApiKey", request, request.request_id)
        check.refuse()
        order = Rotation(key_id, credentials, verify=request.verify)
        tried = await self._custody.rotate(_caller(call), order, repetition, call.time_remaining())
        return pb.RotateApiKeyResponse(
            api_key=conversion.api_key(tried.key),
            message="API key rotated successfully",
            trading_bridge_configured=tried.key.configured,
            trading_bridge_warning=tried.warning,
        )

    async def ReinitializeApiKey(
        self, request: pb.ReinitializeApiKeyRequest, call: Call
    ) -> pb.ReinitializeApiKeyResponse:
        key_id = required_id("api_key_id", request.api_key_id)
        tried = await self._reinitialization.one(_caller(call), key_id, call.time_remaining())
        return pb.ReinitializeApiKeyResponse(
            api_key=conversion.api_key(tried.key),
            message="The Trading Bridge was asked to hold the API key",
            trading_bridge_configured=tried.key.configured,
            trading_bridge_warning=tried.warning,
        )

    async def ReinitializeApiKeys(
        self, request: pb.ReinitializeApiKeysRequest, call: Call
    ) -> AsyncIterator[pb.ReinitializeApiKeysResponse]:
        check = Violations()
        client_id = check.optional_id("client_id", request.client_id)
        exchange = check.text("exchange", request.exchange, longest=LONGEST_NAME)
        check.refuse()
        name = self._catalogue.canonical(exchange) or None
        wanted = Selection(client_id, name, only_unconfigured=request.only_unconfigured)
        async with aclosing(self._reinitialization.many(_caller(call), wanted)) as progress:
            async for each in progress:
                yield pb.ReinitializeApiKeysResponse(
                    total=each.total,
                    done=each.done,
                    configured=each.configured,
                    api_key=conversion.api_key(each.key) if each.key else None,
                )

    async def VerifyApiKey(self, request: pb.VerifyApiKeyRequest, call: Call) -> pb.VerifyApiKeyResponse:
        key_id = required_id("api_key_id", request.api_key_id)
        proof = await self._verification.verify(_caller(call), key_id, call.time_remaining())
        key = conversion.api_key(proof.key)
        return pb.VerifyApiKeyResponse(api_key=key, permissions=key.permissions, message=proof.message)

    async def WatchApiKeys(
        self, request: pb.WatchApiKeysRequest, call: Call
    ) -> AsyncIterator[pb.WatchApiKeysResponse]:
        check = Violations()
        client_id = check.optional_id("client_id", request.client_id)
        check.refuse()
        async with aclosing(self._watching.watch(_caller(call), client_id)) as keys:
            async for key in keys:
                yield pb.WatchApiKeysResponse(api_key=conversion.api_key(key))

    async def GetApiKey(self, request: pb.GetApiKeyRequest, call: Call) -> pb.GetApiKeyResponse:
        key_id = required_id("api_key_id", request.api_key_id)
        key = await self._custody.get(_caller(call), key_id)
        return pb.GetApiKeyResponse(api_key=conversion.api_key(key))

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, call: Call) -> pb.ListApiKeysResponse:
        check = Violations()
        exchange = check.text("exchange", request.exchange, longest=LONGEST_NAME)
        wanted = Filter(
            client_id=check.optional_id("client_id", request.client_id),
            exchange=self._catalogue.canonical(exchange) or None,
            state=conversion.state(check, request.state),
            show_deleted=request.show_deleted,
        )
        size = check.page_size(request.page_size)
        listing, after = self._place(check, request)
        check.refuse()
        page = await self._custody.list(_caller(call), wanted, after=after, size=size)
        return pb.ListApiKeysResponse(
            api_keys=[conversion.api_key(each) for each in page.rows],
            next_page_token=self._tokens.write(page.next, listing),
        )

    async def UpdateApiKey(self, request: pb.UpdateApiKeyRequest, call: Call) -> pb.UpdateApiKeyResponse:
        check = Violations()
        key_id = check.id("api_key.id", request.api_key.id)
        given = {"label": request.api_key.label, "disabled": request.api_key.disabled}
        paths = check.mask(request.update_mask.paths, given)
        label = request.api_key.label if "label" in paths else None
        if label is not None:
            check.text("api_key.label", label, longest=LONGEST_LABEL)
        disabled = request.api_key.disabled if "disabled" in paths else None
        check.refuse()
        key = await self._custody.update(
            _caller(call), key_id, ApiKeyChanges(label, disabled), call.time_remaining()
        )
        return pb.UpdateApiKeyResponse(api_key=conversion.api_key(key))

    async def DeleteApiKey(self, request: pb.DeleteApiKeyRequest, call: Call) -> pb.DeleteApiKeyResponse:
        key_id = required_id("api_key_id", request.api_key_id)
        key = await self._custody.delete(_caller(call), key_id, call.time_remaining())
        return pb.DeleteApiKeyResponse(api_key=conversion.api_key(key))

    async def UndeleteApiKey(
        self, request: pb.UndeleteApiKeyRequest, call: Call
    ) -> pb.UndeleteApiKeyResponse:
        key_id = required_id("api_key_id", request.api_key_id)
        key = await self._custody.undelete(_caller(call), key_id, call.time_remaining())
        return pb.UndeleteApiKeyResponse(api_key=conversion.api_key(key))

    async def GetBalances(self, request: pb.GetBalancesRequest, call: Call) -> pb.GetBalancesResponse:
        check = Violations()
        client_id = check.id("client_id", request.client_id)
        exchange = check.text("exchange", request.exchange, longest=LONGEST_NAME)
        max_age = conversion.max_age(check, request.max_age)
        check.refuse()
        found = await self._balances.read(
            _caller(call),
            client_id,
            exchange=self._catalogue.canonical(exchange) or None,
            max_age=max_age,
            left=call.time_remaining(),
        )
        return pb.GetBalancesResponse(
            keys=[conversion.key_balances(each) for each in found.keys],
            totals=[conversion.balance_total(each) for each in found.totals],
            complete=found.complete,
        )

    async def GetBridgeHealth(
        self, _request: pb.GetBridgeHealthRequest, call: Call
    ) -> pb.GetBridgeHealthResponse:
        return conversion.bridge_health(await self._health.look(_caller(call)))

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, call: Call
    ) -> pb.ListAuditEventsResponse:
        check = Violations()
        client_id = check.optional_id("client_id", request.client_id)
        size = check.page_size(request.page_size)
        listing, after = self._place(check, request)
        check.refuse()
        page = await self._custody.audit_events(_caller(call), client_id=client_id, after=after, size=size)
        return pb.ListAuditEventsResponse(
            events=[conversion.audit_event(each) for each in page.rows],
            next_page_token=self._tokens.write(page.next, listing),
        )

    def _place(self, check: Violations, request: _ListRequest) -> tuple[bytes, Position | None]:
        """The list that is asked for, without regard to pages, and where in it to go on."""
        listing = paging.listing(request)
        try:
            return listing, self._tokens.read(request.page_token, listing)
        except NotAToken:
            check.add("page_token", "is not a token of this list with these filters; begin without one")
            return listing, None


def _caller(call: Call) -> Caller:
    if call.principal is None:
        return Caller(ANYBODY, call.request_id)
    return Caller(call.principal.name, call.request_id, call.principal.clients)
