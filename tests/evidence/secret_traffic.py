"""Calls that bring secrets to every RPC of KeyService: rightly, in the wrong fields, and in broken requests."""

from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.v1 import api_key_pb2, client_pb2
from keyservice.v1 import key_service_pb2 as pb
from servicekit.validation import EXTRA_CREDENTIALS
from tests.evidence.heard import Listener
from tests.evidence.planted import Planted

CONTRACT = pb.DESCRIPTOR.services_by_name["KeyService"]
METHODS = dict(CONTRACT.methods_by_name)
# It requires three credentials, and takes all the others too.
EXCHANGE = "kucoin"
LARGEST_MESSAGE = 1024 * 1024


class SecretTraffic:
    """One caller. ``control`` is what he calls clients and keys: no secret, and to be found where they are shown."""

    def __init__(self, listener: Listener, planted: Planted, control: str) -> None:
        self.listener = listener
        self.planted = planted
        self._control = control
        self.called: set[str] = set()
        self._labels = 0

    async def call(self, name: str, request: Message | bytes, **options: Any) -> Any:
        self.called.add(name)
        return await self.listener.call(METHODS[name], request, **options)

    def credentials(self, what: str, **changed: str) -> Credentials:
        """A full set, all of it secret."""
        given = {
            field: self.planted.new(f"{field} of {what}") for field in ("api_key", "api_secret", "passphrase")
        }
        extra = {name: self.planted.new(f"{name} of {what}") for name in EXTRA_CREDENTIALS}
        return Credentials(**(given | changed), extra=extra)

    def label(self) -> str:
        self._labels += 1
        return f"{self._control} {self._labels}"

    async def add_client(self) -> str:
        made = await self.call("CreateClient", pb.CreateClientRequest(name=self.label()))
        return str(made.client.id)

    def addition(self, client_id: str, what: str, **changed: Any) -> pb.AddApiKeyRequest:
        values = {"exchange": EXCHANGE, "label": self.label(), "request_id": str(uuid4())} | changed
        values.setdefault("credentials", self.credentials(what))
        return pb.AddApiKeyRequest(client_id=client_id, **values)

    async def as_it_should_be(self) -> tuple[str, str]:
        """Every method once or twice, with valid requests; the client and the key that are left."""
        client_id = await self.add_client()
        by_client: dict[str, Any] = {"client_id": client_id}
        added = await self.call("AddApiKey", request := self.addition(client_id, "a valid key"))
        assert added == await self.call("AddApiKey", request)
        key_id = added.api_key.id
        by_key: dict[str, Any] = {"api_key_id": key_id}
        for rotation in ("a rotation", "another rotation"):
            credentials = self.credentials(rotation)
            await self.call("RotateApiKey", pb.RotateApiKeyRequest(credentials=credentials, **by_key))
        await self.call("AddApiKey", self.addition(client_id, "a second key"))
        for name in ("DeleteApiKey", "UndeleteApiKey", "DeleteClient", "UndeleteClient"):
            fields = by_key if name.endswith("ApiKey") else by_client
            await self.call(name, _request(name, **fields))
        renamed = client_pb2.Client(id=client_id, name=self.label(), external_id=self.label())
        await self.call("UpdateClient", pb.UpdateClientRequest(client=renamed))
        for key in (
            api_key_pb2.ApiKey(id=key_id, label=self.label(), disabled=True),
            api_key_pb2.ApiKey(id=key_id, label=self.label()),
        ):
            update = pb.UpdateApiKeyRequest(api_key=key)
            update.update_mask.paths.extend(["label", "disabled"])
            await self.call("UpdateApiKey", update)
        for name in ("ListClients", "ListApiKeys", "ListAuditEvents"):
            page = await self.call(name, _request(name, page_size=1))
            await self.call(name, _request(name, page_size=1, page_token=page.next_page_token))
        for name in sorted(METHODS.keys() - self.called):
            known = METHODS[name].input_type.fields_by_name
            await self.call(
                name, _request(name, **{k: v for k, v in (by_client | by_key).items() if k in known})
            )
        assert self.called == METHODS.keys()
        return client_id, key_id

    async def in_every_text_field(self) -> None:
        """A secret wherever a text can stand. The requests are refused before anything is stored."""
        for name, method in METHODS.items():
            request = GetMessageClass(method.input_type)()
            self._fill(request, name)
            if request.ByteSize():
                code = await self.call(name, request)
                assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED), name

    async def in_one_wrong_field(self, client_id: str, key_id: str) -> None:
        """Requests that are right but for one field, in which somebody put a secret, or a secret that is wrong."""
        new = self.planted.new
        for changed in (
            {"exchange": new("exchange")},
            {"request_id": new("request_id")},
            {"label": new("a label with a newline") + "\n"},
            {"label": new("a label that is too long") * 9},
        ):
            await self._refused(
                "AddApiKey", self.addition(client_id, f"a wrong {next(iter(changed))}", **changed)
            )
        for what, credentials in self._wrong_credentials().items():
            await self._refused("AddApiKey", self.addition(client_id, what, credentials=credentials))
            rotation = pb.RotateApiKeyRequest(api_key_id=key_id, credentials=credentials)
            await self._refused("RotateApiKey", rotation)
        client = client_pb2.Client(
            id=client_id, name=new("a name") * 30, external_id=new("an external id") + "\x1b"
        )
        await self._refused("UpdateClient", pb.UpdateClientRequest(client=client))
        for name, field in (("UpdateClient", "client"), ("UpdateApiKey", "api_key")):
            row_id = client_id if field == "client" else key_id
            resource = {"client": client_pb2.Client, "api_key": api_key_pb2.ApiKey}[field](id=row_id)
            mask = FieldMask(paths=[new(f"a mask of {name}")])
            await self._refused(name, _request(name, update_mask=mask, **{field: resource}))
        for name in ("ListClients", "ListApiKeys", "ListAuditEvents"):
            await self._refused(name, _request(name, page_token=new(f"a page token of {name}")))
        await self._refused("ListApiKeys", pb.ListApiKeysRequest(exchange=new("a filter") + "\0"))

    async def in_headers_and_paths(self, client_id: str) -> None:
        """A token that nobody asked for, a request id that is none, a method that does not exist."""
        bearer = ("authorization", f"Bearer {self.planted.new('a bearer token')}")
        strange = ("x-strange", self.planted.new("an unknown header"))
        await self.call("GetClient", pb.GetClientRequest(client_id=client_id), metadata=(bearer, strange))

    async def in_broken_requests(self) -> None:
        """Bytes that are no request: cut, of the wrong type, not UTF-8, or too large, all with secrets in them."""
        for name, method in METHODS.items():
            if not method.input_type.fields:
                continue
            request = GetMessageClass(method.input_type)()
            self._fill(request, f"a broken {name}")
            raw, secret = request.SerializeToString(), self.planted.new(f"a broken text of {name}").encode()
            text = b"\x0a" + bytes([len(secret) + 1]) + secret
            for broken in (raw[:-5], text + b"\xff", b"\x0b" + raw, b"\x0a\xff\x7f" + secret):
                # Where the field is a number, a text in its place is skipped as an unknown field.
                await self.call(name, broken)
        huge = self.planted.new("an oversized secret") + "x" * LARGEST_MESSAGE + self.planted.new("its end")
        oversized = pb.AddApiKeyRequest(credentials=Credentials(api_secret=huge))
        assert await self.call("AddApiKey", oversized) is grpc.StatusCode.RESOURCE_EXHAUSTED

    def _wrong_credentials(self) -> dict[str, Credentials]:
        new = self.planted.new
        unknown = self.credentials("an unknown extra")
        unknown.extra[new("the name of an extra")] = new("the value of an extra")
        lacking = self.credentials("one that lacks its passphrase")
        lacking.ClearField("passphrase")
        return {
            "a pasted newline": self.credentials("a pasted newline", api_key=new("a pasted key") + "\n"),
            "a space": self.credentials("a space", api_secret=" " + new("a spaced secret")),
            "a control character": self.credentials(
                "a control", passphrase=new("one half") + "\0" + new("other")
            ),
            "too long": self.credentials("too long", api_secret=new("a long secret") * 200),
            "an unknown extra": unknown,
            "no passphrase": lacking,
        }

    async def _refused(self, name: str, request: Message) -> None:
        code = await self.call(name, request)
        assert code is grpc.StatusCode.INVALID_ARGUMENT, (name, code)

    def _fill(self, message: Any, what: str) -> None:
        for field in message.DESCRIPTOR.fields:
            place = f"{what}.{field.name}"
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                getattr(message, field.name)[self.planted.new(f"{place} key")] = self.planted.new(place)
            elif field.message_type is not None and not field.is_repeated:
                self._fill(getattr(message, field.name), place)
                getattr(message, field.name).SetInParent()
            elif field.type == FieldDescriptor.TYPE_STRING and field.is_repeated:
                getattr(message, field.name).append(self.planted.new(place))
            elif field.type == FieldDescriptor.TYPE_STRING:
                setattr(message, field.name, self.planted.new(place))


def _request(name: str, **fields: Any) -> Any:
    return GetMessageClass(METHODS[name].input_type)(**fields)
