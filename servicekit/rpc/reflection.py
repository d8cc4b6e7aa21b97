"""Reflection for grpcurl and its kind: the library's servicer (it offers v1alpha), under our policy."""

from collections.abc import Iterable

from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from servicekit.rpc.binding import Service
from servicekit.rpc.policy import Policy

REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def reflection_service(names: Iterable[str], policy: Policy) -> Service:
    """The reflection contract, telling of the services named and of itself."""
    servicer = aio.ReflectionServicer([*names, REFLECTION.full_name])
    return Service(REFLECTION, servicer, native_context=True, policy=policy)
