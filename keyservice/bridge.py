"""The door to TradingBridge: its typed client, and the only file that calls it.

Every call has a deadline and says whose account it is about, for a balancer to hash on. It brings KeyService's own
token or certificate, and nothing by which KeyService's caller proved who he is. How a call ended is an
``Outcome`` and never an exception: for a key, a bridge that is away is a state and not an error.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from time import monotonic
from typing import Final, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from grpc.aio import AioRpcError

from bridgeservice.v1 import credentials_pb2, permissions_pb2, portfolio_pb2
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from keyservice.breaker import NO_ACCOUNT, Breaker
from keyservice.bridge_outcomes import outcome_of, sign_of
from keyservice.bridge_records import (
    Balance,
    BridgeInfo,
    Connector,
    Held,
    Holding,
    Outcome,
    Permissions,
    Portfolio,
)
from keyservice.enums import BridgeReason, Permission, ReadStatus
from keyservice.settings import KeyServiceSettings
from servicekit import logs
from servicekit.credentials import Credentials
from servicekit.rpc.bearer import bearer
from servicekit.rpc.client import Channel, ChannelOptions, ClientTls, connect, is_read
from servicekit.rpc.status import RpcFailure, from_rpc_error

__all__ = ["ACCOUNT_HEADER", "Bridge", "Connector", "Held", "Outcome", "Portfolio", "connect_bridge"]

ACCOUNT_HEADER: Final = "x-keybridge-account"

_PAGE: Final = 1000
_OUT_OF_TIME: Final = Outcome(BridgeReason.BRIDGE_TIMEOUT, code="DEADLINE_EXCEEDED", asked=False)
# Nobody waits long for a bridge that is back.
_RECONNECT: Final = timedelta(seconds=1)

_NOT_ADMITTED: Final = (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)

Response = TypeVar("Response")

_log = logs.get(__name__)


def connect_bridge(settings: KeyServiceSettings) -> Channel:
    """A channel to the bridge, which looks for one that was away every second."""
    options = ChannelOptions(timeout=settings.bridge_timeout, longest_reconnect=_RECONNECT)
    service = pb.DESCRIPTOR.services_by_name["TradingBridge"]
    return connect(
        settings.bridge_address,
        service,
        tls=_tls(settings),
        options=options,
        metadata=bearer(settings.bridge_token_file) if settings.bridge_token_file else (),
        reads=_is_repeated,
    )


class Bridge:
    """TradingBridge, as the rest of KeyService knows it."""

    def __init__(self, channel: Channel, breaker: Breaker | None = None) -> None:
        self._stub = channel.stub(TradingBridgeStub)
        self._breaker = breaker or Breaker()
        self._refused_as: str | None = None
        self.last_info: tuple[float, BridgeInfo] | None = None
        """The last answer to ``info``, and when it came, on the monotonic clock."""

    def is_away(self, account_name: str) -> bool:
        """Whether the transport said, last of all, that nobody is there for this account."""
        return self._breaker.is_away(account_name)

    @property
    def absence(self) -> Outcome | None:
        """What the transport said, where that is so."""
        return self._breaker.absence

    @property
    def away_for_some(self) -> bool:
        """Whether it is so for any account at all."""
        return self._breaker.away_for_some

    @property
    def returns(self) -> int:
        """How often somebody was there again for an account for which nobody had been."""
        return self._breaker.returns

    def shut(self) -> list[str]:
        """The accounts of which calls are not made just now."""
        return self._breaker.shut()

    def refusal(self, account_name: str) -> Outcome | None:
        """What a push for this account is to hear instead; None for one that is then to be made."""
        return self._breaker.refusal(account_name)

    async def push(
        self, connector: Connector, credentials: Credentials, *, verify: bool, timeout: timedelta
    ) -> Outcome:
        """Hand over a key. Only an answer about this very revision acknowledges it.

        Alone of all calls it is made whatever the breaker says: that was heard with the claim, which is on record.
        """
        request = pb.AddConnectorRequest(
            account_name=connector.account_name,
            connector_name=connector.connector_name,
            exchange=connector.exchange,
            credentials=_credentials(credentials),
            environment=f"ENVIRONMENT_{connector.environment.name}",
            revision=connector.revision,
            verify=verify,
        )
        answer = await self._call(self._stub.AddConnector, request, connector.account_name, timeout)
        if isinstance(answer, Outcome):
            return answer
        if answer.connector.revision != connector.revision:
            return Outcome(BridgeReason.BRIDGE_ERROR)
        told = _permissions(answer.permissions) if answer.HasField("permissions") else None
        return Outcome(instance_id=answer.connector.instance_id, permissions=told)

    async def remove(self, connector: Connector, *, timeout: timedelta) -> Outcome:
        request = pb.RemoveConnectorRequest(
            account_name=connector.account_name,
            connector_name=connector.connector_name,
            revision=connector.revision,
        )
        answer = await self._ask(self._stub.RemoveConnector, request, connector.account_name, timeout)
        return answer if isinstance(answer, Outcome) else Outcome()

    async def verify(self, connector: Connector, *, timeout: timedelta) -> Outcome:
        """Have the exchange say what the credentials may do."""
        request = pb.VerifyConnectorRequest(
            account_name=connector.account_name,
            connector_name=connector.connector_name,
            revision=connector.revision,
        )
        answer = await self._ask(self._stub.VerifyConnector, request, connector.account_name, timeout)
        if isinstance(answer, Outcome):
            return answer
        return Outcome(instance_id=answer.connector.instance_id, permissions=_permissions(answer.permissions))

    async def portfolio(
        self, account_name: str, revisions: Mapping[str, int], *, max_age: timedelta, timeout: timedelta
    ) -> Portfolio | Outcome:
        """What connectors of one account hold, by name and in these revisions: after a move the bridge may have an
        older one. An Outcome is what went wrong with the call as a whole.
        """
        age = Duration()
        age.FromTimedelta(max_age)
        request = pb.GetPortfolioRequest(
            account_name=account_name, connector_names=revisions, revisions=revisions, max_age=age
        )
        answer = await self._ask(self._stub.GetPortfolio, request, account_name, timeout)
        if isinstance(answer, Outcome):
            return answer
        return Portfolio([_holding(entry) for entry in answer.connectors])

    async def connectors(self, account_name: str, *, timeout: timedelta) -> list[Held] | Outcome:
        """What the bridge holds of an account: nothing, where there is no such account."""
        until = monotonic() + timeout.total_seconds()
        held: list[Held] = []
        token = ""
        while True:
            request = pb.ListConnectorsRequest(account_name=account_name, page_size=_PAGE, page_token=token)
            left = timedelta(seconds=until - monotonic())
            answer = await self._ask(self._stub.ListConnectors, request, account_name, left)
            if isinstance(answer, Outcome):
                return [] if answer.missing else answer
            held += [Held(each.connector_name, each.revision, each.instance_id) for each in answer.connectors]
            token = answer.next_page_token
            if not token:
                return held

    async def info(self, *, timeout: timedelta) -> BridgeInfo | Outcome:
        """Which run of the bridge is there. Asked whatever the breaker says, so it notices who is back."""
        begun = monotonic()
        answer = await self._call(self._stub.GetBridgeInfo, pb.GetBridgeInfoRequest(), NO_ACCOUNT, timeout)
        if isinstance(answer, Outcome):
            return answer
        now = monotonic()
        info = BridgeInfo(
            instance_id=answer.instance_id,
            start_time=answer.start_time.ToDatetime(UTC),
            version=answer.version,
            account_count=answer.account_count,
            connector_count=answer.connector_count,
            latency=timedelta(seconds=now - begun),
        )
        self.last_info = (now, info)
        return info

    async def _ask(
        self,
        method: Callable[..., Awaitable[Response]],
        request: object,
        account_name: str,
        timeout: timedelta,
    ) -> Response | Outcome:
        """A call about one account, unless the bridge is known to be away."""
        refusal = self._breaker.refusal(account_name)
        if refusal is not None:
            return refusal
        return await self._call(method, request, account_name, timeout)

    async def _call(
        self,
        method: Callable[..., Awaitable[Response]],
        request: object,
        account_name: str,
        timeout: timedelta,
    ) -> Response | Outcome:
        if timeout <= timedelta(0):
            return _OUT_OF_TIME
        metadata = ((ACCOUNT_HEADER, account_name),) if account_name != NO_ACCOUNT else ()
        try:
            response = await method(request, timeout=timeout.total_seconds(), metadata=metadata)
        except AioRpcError as error:
            failure = from_rpc_error(error)
            outcome = outcome_of(failure)
            self._tell_of_refusal(failure)
            heard = replace(outcome, retry_after=None, asked=False)
            self._breaker.failed(account_name, sign_of(failure), heard, timeout)
            return outcome
        self._breaker.answered(account_name)
        self._refused_as = None
        return response

    def _tell_of_refusal(self, failure: RpcFailure) -> None:
        """Whoever runs this must know, and no caller can help it."""
        reason = failure.reason if failure.code in _NOT_ADMITTED else None
        if reason is not None and reason != self._refused_as:
            _log.error("the bridge does not admit this service", reason=reason)
        self._refused_as = reason


def _tls(settings: KeyServiceSettings) -> ClientTls | None:
    if settings.bridge_tls_ca_file is None:
        return None
    return ClientTls(
        ca_file=settings.bridge_tls_ca_file,
        cert_file=settings.bridge_tls_cert_file,
        key_file=settings.bridge_tls_key_file,
        server_name=settings.bridge_tls_server_name,
    )


def _is_repeated(method: MethodDescriptor) -> bool:
    """All reads but the one that asks whether somebody is there, which is to say so at once."""
    return is_read(method) and method.name != "GetBridgeInfo"


def _credentials(given: Credentials) -> credentials_pb2.Credentials:
    return credentials_pb2.Credentials(
        api_key=given.api_key, api_secret=given.api_secret, passphrase=given.passphrase, extra=given.extra
    )


def _permissions(given: permissions_pb2.Permissions) -> Permissions:
    return Permissions(_permission(given.read), _permission(given.trade), _permission(given.withdraw))


def _permission(value: int) -> Permission:
    """A number of a later contract is nothing that is known here."""
    if value == permissions_pb2.PERMISSION_YES:
        return Permission.YES
    return Permission.NO if value == permissions_pb2.PERMISSION_NO else Permission.UNKNOWN


def _holding(entry: portfolio_pb2.ConnectorPortfolio) -> Holding:
    status = _status(entry.status)
    if status is not ReadStatus.OK:
        return Holding(entry.connector_name, status)
    return Holding(
        entry.connector_name,
        status,
        tuple(Balance(each.asset, each.free, each.used, each.total) for each in entry.balances),
        entry.as_of_time.ToDatetime(UTC),
    )


def _status(value: int) -> ReadStatus:
    """What is not said, or is of a later contract, is certainly not OK."""
    if value not in portfolio_pb2.ConnectorStatus.values():
        return ReadStatus.ERROR
    name = portfolio_pb2.ConnectorStatus.Name(value).removeprefix("CONNECTOR_STATUS_")
    return ReadStatus.__members__.get(name, ReadStatus.ERROR)
