"""A request that is withheld until its caller was revoked is a revoked caller's request."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc

from servicekit.rpc.deny_list import DenyList
from servicekit.rpc.status import RpcFailure, from_rpc_error
from tests.services.authorisation.guarded import REVOKED, Guarded
from tests.support.contracts import about, admitted, call, path
from tests.support.issuer import bearing
from tests.support.probe import failure

MEANWHILE = "revoked meanwhile"


async def test_what_was_withheld_until_its_token_was_revoked_is_refused_by_every_method(
    guarded: Guarded,
) -> None:
    async with guarded.by_token() as channel:
        held = []
        for method in guarded.methods:
            make: Any = channel.stream_stream(path(method))
            token = guarded.issuer.token(role=admitted(method)[-1], jti=MEANWHILE)
            held.append((method, make(metadata=bearing(token), timeout=timedelta(hours=100).total_seconds())))
        token = guarded.issuer.token(role=admitted(guarded.methods[0])[-1], jti=MEANWHILE)
        # On the same connection, and so after the others were admitted.
        first = await call(channel, guarded.methods[0], b"\xff", bearing(token))
        assert isinstance(first, RpcFailure)
        assert first.reason == "MALFORMED_REQUEST"
        (guarded.folder / "denied.json").write_text(
            DenyList().with_token(REVOKED).with_token(MEANWHILE).text()
        )
        await _is_revoked(guarded, channel, token)
        told = {}
        for method, withheld in held:
            # A stream may have been ended already.
            if not withheld.done():
                await withheld.write(about(method, guarded.things).SerializeToString())
            told[method.name] = from_rpc_error(await failure(withheld.read())).reason
    assert told == dict.fromkeys([each.name for each in guarded.methods], "TOKEN_REVOKED")


async def _is_revoked(guarded: Guarded, channel: grpc.aio.Channel, token: str) -> None:
    async with asyncio.timeout(5):
        while True:
            told = await call(channel, guarded.methods[0], b"\xff", bearing(token))
            if isinstance(told, RpcFailure) and told.reason == "TOKEN_REVOKED":
                return
            await asyncio.sleep(0.05)
