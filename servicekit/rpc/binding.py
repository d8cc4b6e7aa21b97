"""A contract bound to the object that serves it.

gRPC hands over and takes raw bytes here, so that the chain stands around the parsing too: a request that is
not what the contract says is refused in our words (INVALID_ARGUMENT), and an answer of the wrong type is our
fault (INTERNAL). It stands around the waiting for the bytes as well: whoever begins calls and never sends their
requests is known, counted and timed like everybody else. What each method needs is made once, when the server is
built.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import InternalError, ServicerContext

from servicekit.errors import Internal, InvalidArgument, StartupError, Unimplemented
from servicekit.rpc.call import Call, CallerGone, Method, enter
from servicekit.rpc.interceptors import Chain
from servicekit.rpc.messages import Messages
from servicekit.rpc.policy import PUBLIC, Policy, policies
from servicekit.rpc.sizes import require_bounded

# gRPC's types speak of messages; here both sides are bytes, except for the iterator of a request stream.
Context: TypeAlias = "ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Body = Callable[[Call], Awaitable[bytes | None]]
Parse = Callable[[Any, Call], Any]
Tenancy = Callable[[Collection[str]], Callable[[Any, Call], None] | None]
"""Makes, for a request with these fields, what refuses one that is about another tenant's things; None where none of
them says whose things it is about."""

_UNKNOWN = Method(service="", name="", policy=PUBLIC, unary=False, full="unknown")


class Service:
    """One service of a contract and its servicer.

    A servicer of ours has ``async def Name(self, request, call)``, an async generator where the response
    streams. A library's (``native_context``) is given gRPC's own context instead of the call. ``policy`` is
    for contracts that cannot state one. ``tenancy`` is asked once for each method, so that none is forgotten.
    """

    def __init__(
        self,
        descriptor: ServiceDescriptor,
        servicer: object,
        *,
        native_context: bool = False,
        policy: Policy | None = None,
        tenancy: Tenancy = lambda _: None,
    ) -> None:
        self.descriptor = descriptor
        self.name: str = descriptor.full_name
        self._servicer = servicer
        self._native_context = native_context
        self._tenancy = tenancy
        stated = policies(descriptor) if policy is None else dict.fromkeys(descriptor.methods_by_name, policy)
        self.methods = {each.name: _method(each, stated[each.name]) for each in descriptor.methods}
        self._refuse_strangers()

    def handlers(self, chain: Chain, messages: Messages) -> dict[str, Handler]:
        """What gRPC calls, by the full name of the method."""
        return {
            self.methods[each.name].full: self._handler(each, chain, messages)
            for each in self.descriptor.methods
        }

    def _refuse_strangers(self) -> None:
        """A method that looks like an RPC and is in no contract is a misspelt one, never to be called."""
        strangers = sorted(
            name
            for name in dir(type(self._servicer))
            if name[0].isupper() and callable(getattr(self._servicer, name)) and name not in self.methods
        )
        if strangers:
            raise StartupError(
                f"{type(self._servicer).__name__} serves what {self.name} lacks: {', '.join(strangers)}."
            )

    def _handler(self, descriptor: MethodDescriptor, chain: Chain, messages: Messages) -> Handler:
        method = self.methods[descriptor.name]
        serve = getattr(self._servicer, descriptor.name, None)
        if serve is None:
            return _make_handler(descriptor, _through(chain, method, _not_served))
        expected = inspect.isasyncgenfunction if descriptor.server_streaming else inspect.iscoroutinefunction
        if not expected(serve):
            kind = "an async generator" if descriptor.server_streaming else "async"
            raise StartupError(f"{type(self._servicer).__name__}.{descriptor.name} must be {kind}.")
        return _make_handler(descriptor, _through(chain, method, self._body(descriptor, serve, messages)))

    def _body(self, descriptor: MethodDescriptor, serve: Callable[..., Any], messages: Messages) -> Body:
        refuse_foreign = self._tenancy(descriptor.input_type.fields_by_name)
        parse = _parser(GetMessageClass(descriptor.input_type), refuse_foreign)
        if descriptor.client_streaming:
            parse = _stream_parser(parse)
        serialise = _serialiser(GetMessageClass(descriptor.output_type))
        native, many = self._native_context, descriptor.client_streaming

        async def answer(call: Call) -> bytes:
            request = parse(messages.each(call) if many else await messages.only(call), call)
            return serialise(await serve(request, call.context if native else call))

        async def stream(call: Call) -> None:
            request = parse(messages.each(call) if many else await messages.only(call), call)
            async with aclosing(serve(request, call.context if native else call)) as responses:
                async for response in responses:
                    await _write(call.context, serialise(response))

        return stream if descriptor.server_streaming else answer


class Router(grpc.GenericRpcHandler):
    """Finds the handler of a method; one that no service here knows is refused like any other call."""

    def __init__(self, services: Iterable[Service], chain: Chain, messages: Messages) -> None:
        self._handlers: dict[str, Handler] = {}
        for service in services:
            self._handlers.update(service.handlers(chain, messages))
        self._unknown: Handler = grpc.stream_stream_rpc_method_handler(_through(chain, _UNKNOWN, _not_known))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        return self._handlers.get(handler_call_details.method, self._unknown)


def _method(descriptor: MethodDescriptor, policy: Policy) -> Method:
    service = descriptor.containing_service.full_name
    return Method(
        service=service,
        name=descriptor.name,
        policy=policy,
        unary=not (descriptor.client_streaming or descriptor.server_streaming),
        full=f"/{service}/{descriptor.name}",
    )


def _through(chain: Chain, method: Method, body: Body) -> Callable[[Any, Context], Awaitable[bytes | None]]:
    """The whole of a call: the chain in its order, and what it guards."""
    resets, request_id, access, errors, admission, authorisation, quota, deadline = chain

    async def handle(_: Any, context: Context) -> bytes | None:
        call = Call(method, context)
        enter(call)
        async with (
            resets.around(call),
            request_id.around(call),
            access.around(call),
            errors.around(call),
            admission.around(call),
            authorisation.around(call),
            quota.around(call),
            deadline.around(call),
        ):
            return await body(call)

    return handle


def _make_handler(descriptor: MethodDescriptor, handle: Callable[..., Any]) -> Handler:
    """To gRPC every request is a stream: of one that it knows to be single, it waits for the message by itself."""
    if descriptor.server_streaming:
        return grpc.stream_stream_rpc_method_handler(handle)
    return grpc.stream_unary_rpc_method_handler(handle)


def _parser(message_class: type[Message], refuse_foreign: Callable[[Any, Call], None] | None) -> Parse:
    name, from_string = message_class.DESCRIPTOR.full_name, message_class.FromString

    def parse(raw: bytes, call: Call) -> Message:
        try:
            request = from_string(raw)
        except DecodeError:
            # The parser's own words may quote the bytes, and those may be a secret.
            raise InvalidArgument(f"The request is not a valid {name}.", reason="MALFORMED_REQUEST") from None
        require_bounded(request, len(raw))
        if refuse_foreign is not None:
            refuse_foreign(request, call)
        return request

    return parse


def _stream_parser(parse: Parse) -> Parse:
    async def each(raw: AsyncIterator[bytes], call: Call) -> AsyncIterator[Message]:
        async for one in raw:
            yield parse(one, call)

    return each


def _serialiser(message_class: type[Message]) -> Callable[[object], bytes]:
    name = message_class.DESCRIPTOR.full_name

    def serialise(response: object) -> bytes:
        if not isinstance(response, message_class):
            raise Internal(f"The handler returned {type(response).__name__} instead of {name}.")
        return response.SerializeToString()

    return serialise


async def _write(context: Context, raw: bytes) -> None:
    try:
        await context.write(raw)
    except InternalError as gone:
        raise CallerGone from gone


async def _not_served(call: Call) -> None:
    raise Unimplemented(f"{call.method.full} is not served by this build.")


async def _not_known(_call: Call) -> None:
    raise Unimplemented("No such method is served here.", reason="UNKNOWN_METHOD")
