"""How what is asked of an exchange stands among all that wait with it."""

import asyncio
from typing import Any, cast

from bridgeservice.precedence import OURSELVES, Standing, go_first, goes_first, standing
from servicekit.rpc.call import Call, Method, enter
from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal
from servicekit.v1 import policy_pb2

METHOD = Method("test.Service", "Call", Policy())


async def of(principal: Principal | None, connector: int | None) -> Standing:
    async def serve() -> Standing:
        enter(Call(METHOD, cast("Any", None), principal=principal))
        return standing(connector)

    return await asyncio.create_task(serve())


def test_what_nobody_asked_for_is_the_bridge_s_own() -> None:
    assert standing(1) == standing(None) == (OURSELVES, False)


async def test_a_principal_is_one_asker_whatever_he_uses() -> None:
    alice, bob = (Principal(name, policy_pb2.ROLE_READER, frozenset()) for name in ("alice", "bob"))
    assert await of(alice, 1) == await of(alice, None)
    assert await of(alice, 1) != await of(bob, 1)


async def test_who_speaks_for_all_or_for_nobody_in_particular_is_told_apart_by_connectors() -> None:
    for principal in (Principal("keys", policy_pb2.ROLE_BRIDGE_WRITER, None), None):
        assert await of(principal, 1) != await of(principal, 2)
        assert await of(principal, 1) == await of(principal, 1)


async def test_what_the_bridge_does_about_orders_by_itself_is_told_apart_by_connectors() -> None:
    async def look_after(connector: int) -> Standing:
        go_first()
        return standing(connector)

    one, again, other = [await asyncio.create_task(look_after(number)) for number in (1, 1, 2)]
    assert one == again != other
    assert one.is_order
    assert other.is_order


async def test_what_goes_first_does_so_from_there_on_and_with_all_that_it_begins() -> None:
    async def order() -> tuple[bool, bool]:
        before = goes_first()
        go_first()
        return before, (await asyncio.create_task(of(None, 1))).is_order

    assert await asyncio.create_task(order()) == (False, True)
    assert not goes_first()
