"""Requests that are refused: every violation is told, in one answer, and never anything of a secret."""

import io
import secrets
from typing import Any
from uuid import uuid4

import grpc
import pytest

from bridgeservice.v1.credentials_pb2 import Credentials
from bridgeservice.v1.environment_pb2 import ENVIRONMENT_SANDBOX
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.rpc.status import RpcFailure
from tests.support.key_service import (
    KeyService,
    key_request,
    new_credentials,
    refusal,
    violations,
)
from tests.support.probe import failure, plain_channel, raw_call

MISTAKES = {
    "newline": lambda secret: secret + "\n",
    "windows newline": lambda secret: "\r\n" + secret,
    "space": lambda secret: " " + secret,
    "no-break space": lambda secret: secret + "\u00a0",
    "tab inside": lambda secret: secret[:8] + "\t" + secret[8:],
    "newline inside": lambda secret: secret[:8] + "\n" + secret[8:],
    "nul": lambda secret: secret + "\0" + secret,
    "escape": lambda secret: "\x1b[0m" + secret,
    "too long": lambda secret: secret * 200,
}


async def refused(service: KeyService, **fields: Any) -> RpcFailure:
    told = await refusal(service.stub.AddApiKey(key_request(Client(id=str(uuid4())), **fields)))
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    return told


async def test_everything_that_is_wrong_with_an_addition_is_told_at_once(service: KeyService) -> None:
    secret = secrets.token_hex(16)
    request = pb.AddApiKeyRequest(
        client_id="7",
        exchange="paper",
        label="x" * 65,
        environment=ENVIRONMENT_SANDBOX,
        credentials=Credentials(
            api_key=secret + "\n", api_secret=" " + secret, extra={"uid": "", "nonsense": secret}
        ),
        request_id="7",
    )
    told = await refusal(service.stub.AddApiKey(request))
    assert set(violations(told)) == {
        "client_id",
        "label",
        "environment",
        "credentials.api_key",
        "credentials.api_secret",
        "credentials.extra[uid]",
        "credentials.extra",
        "request_id",
    }
    assert told.message.startswith("The request is not valid: see client_id, ")
    assert await service.count("exchange_api_keys") == 0


async def test_a_request_with_nothing_in_it_is_told_what_is_required(service: KeyService) -> None:
    told = await refusal(service.stub.AddApiKey(pb.AddApiKeyRequest()))
    assert violations(told) == {"client_id": "is required", "exchange": "is required"}


async def test_the_nearest_names_are_told_of_an_unknown_exchange(service: KeyService) -> None:
    told = await refused(service, exchange="krakn")
    assert violations(told)["exchange"].startswith("is not an exchange that is served; did you mean")
    assert "kraken" in violations(told)["exchange"]
    told = await refused(service, exchange="qqqqqqqq")
    assert violations(told) == {
        "exchange": "is not an exchange that is served; ListExchanges of the bridge names all"
    }


async def test_an_exchange_that_has_shut_down_is_told_apart_from_one_that_never_was(
    service: KeyService,
) -> None:
    told = await refused(service, exchange="bitmart")
    assert violations(told)["exchange"].startswith("BitMart can no longer be served")


async def test_a_sandbox_is_refused_where_there_is_none(service: KeyService) -> None:
    told = await refused(service, environment=ENVIRONMENT_SANDBOX)
    assert violations(told) == {"environment": "kraken has no test net; use LIVE"}


async def test_an_environment_of_a_later_contract_is_refused(service: KeyService) -> None:
    request = key_request(Client(id=str(uuid4())))
    raw = request.SerializeToString() + b"\x20\x63"  # field 4, which is the environment, as 99
    async with plain_channel(service.port) as channel:
        call = raw_call(channel, "/keyservice.v1.KeyService/AddApiKey", raw)
        error = await failure(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("exchange", "given", "missing"),
    [
        ("kraken", {}, ["credentials.api_key", "credentials.api_secret"]),
        ("kraken", {"api_key": "k" * 16}, ["credentials.api_secret"]),
        ("okx", {"api_key": "k" * 16, "api_secret": "s" * 16}, ["credentials.passphrase"]),
        ("cryptomus", {"api_secret": "s" * 16}, ["credentials.extra[uid]"]),
        (
            "hyperliquid",
            {"api_key": "k" * 16},
            ["credentials.extra[privateKey]", "credentials.extra[walletAddress]"],
        ),
    ],
)
async def test_what_the_exchange_requires_and_was_not_given_is_named(
    service: KeyService, exchange: str, given: dict[str, str], missing: list[str]
) -> None:
    credentials = new_credentials(**{"api_key": "", "api_secret": ""} | given)
    told = await refused(service, exchange=exchange, credentials=credentials)
    assert violations(told) == dict.fromkeys(missing, f"is required by {exchange}")


async def test_a_rotation_is_held_to_the_same(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    before = await service.row(key)
    request = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=Credentials(api_key="k" * 16))
    told = await refusal(service.stub.RotateApiKey(request))
    assert violations(told) == {"credentials.api_secret": "is required by kraken"}
    wrong = new_credentials(api_key="k\n")
    wrong.passphrase = f"{secrets.token_hex(4)}\0"
    request = pb.RotateApiKeyRequest(api_key_id="7", credentials=wrong, request_id="7")
    told = await refusal(service.stub.RotateApiKey(request))
    assert set(violations(told)) == {
        "api_key_id",
        "credentials.api_key",
        "credentials.passphrase",
        "request_id",
    }
    assert await service.row(key) == before


async def test_a_rotation_that_is_refused_leaves_its_request_id_free(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    request_id = str(uuid4())
    incomplete = pb.RotateApiKeyRequest(
        api_key_id=key.id, credentials=Credentials(api_key="k" * 16), request_id=request_id
    )
    await refusal(service.stub.RotateApiKey(incomplete))
    incomplete.credentials.api_secret = "s" * 16
    await service.stub.RotateApiKey(incomplete)


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_no_part_of_a_secret_is_ever_repeated(
    service: KeyService, client: Client, output: io.StringIO, mistake: str
) -> None:
    key = await service.add_key(client)
    secret = secrets.token_hex(16)
    wrong = MISTAKES[mistake](secret)
    given = Credentials(
        api_key=wrong, api_secret=wrong, passphrase=wrong, extra={"uid": wrong, secret: wrong}
    )
    for call in (
        service.stub.AddApiKey(key_request(client, credentials=given, label="another")),
        service.stub.RotateApiKey(pb.RotateApiKeyRequest(api_key_id=key.id, credentials=given)),
    ):
        error = await failure(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        said = f"{error!r} {error.trailing_metadata()!r}"
        assert "credentials.passphrase" in said
        assert secret[:8] not in said
        assert secret[8:] not in said
    assert secret[:8] not in output.getvalue()


async def test_a_pasted_newline_is_called_by_its_name(service: KeyService) -> None:
    given = new_credentials()
    given.api_secret += "\r\n"
    told = await refused(service, credentials=given)
    assert violations(told) == {
        "credentials.api_secret": "begins or ends with a newline, probably pasted along with it; remove it"
    }


async def test_unknown_mask_paths_are_refused_and_the_known_ones_told(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    request = pb.UpdateApiKeyRequest(api_key=ApiKey(id=key.id))
    request.update_mask.paths.extend(["label", "exchange", "credentials.api_key", ""])
    told = await refusal(service.stub.UpdateApiKey(request))
    assert violations(told) == {"update_mask": "names what can't be changed; the fields are disabled, label"}
    assert await service.get_key(key) == key


async def test_a_malformed_id_is_a_violation_of_its_field(service: KeyService) -> None:
    for name, request in {
        "GetApiKey": pb.GetApiKeyRequest,
        "RotateApiKey": pb.RotateApiKeyRequest,
        "DeleteApiKey": pb.DeleteApiKeyRequest,
        "UndeleteApiKey": pb.UndeleteApiKeyRequest,
    }.items():
        for malformed in ("", "7", uuid4().hex):
            told = await refusal(getattr(service.stub, name)(request(api_key_id=malformed)))
            assert list(violations(told)) == ["api_key_id"]
    told = await refusal(service.stub.UpdateApiKey(pb.UpdateApiKeyRequest(api_key=ApiKey(label="\n"))))
    assert set(violations(told)) == {"api_key.id", "api_key.label"}


async def test_everything_that_is_wrong_with_a_list_is_told_at_once(service: KeyService) -> None:
    request = pb.ListApiKeysRequest(client_id="7", page_size=-1, page_token=uuid4().hex)
    assert set(violations(await refusal(service.stub.ListApiKeys(request)))) == {
        "client_id",
        "page_size",
        "page_token",
    }
    raw = b"\x18\x63"  # field 3, which is the state, as 99
    async with plain_channel(service.port) as channel:
        error = await failure(raw_call(channel, "/keyservice.v1.KeyService/ListApiKeys", raw))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
